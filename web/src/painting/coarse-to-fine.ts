/**
 * Painting large photos coarse to fine: large strokes at a small size first, then finer ones at each doubled size.
 *
 * A network paints strokes of a fixed size in pixels, so a large photo that is painted in a single pass is covered
 * with tiny strokes, all alike. Here the first pass is at the size that the network was trained for. Each further
 * pass paints what it has made, enlarged, with a part of the photo's own detail. It changes only strokes and edges:
 * what is larger than a few pixels, and so the whole picture's colors and composition, stays as the first pass made
 * it. The numbers are those of `nst_lightning/inference/coarse_to_fine.py`, which says where they come from.
 */
import type { Pace } from "./pace";
import type { Planes } from "./pixels";
import { rasterOfPlanes, scaled, setSamples, stored, storedInFloats, stripsOf, type Raster } from "./rasters";
import { fitShortSide, shortSide, type Size } from "./sizes";

/** A picture in whole numbers up to 65535: fewer steps would show in flat areas. */
export type Picture = Planes<Uint16Array>;

/** Paints a picture at a strength from 0 to 1. */
export type Paint = (photo: Raster, strength: number) => Promise<Picture>;

const FURTHER_STRENGTH = 0.3;
const PHOTO_DETAIL = 0.5;
const KEPT = 4;
/** Work of a pass after the first besides the network's, for each pixel, in the unit of `Stage.work`: measured. */
const WORK = { canvas: 3500, small: 1000, keeping: 2000 };

/** The work of a pass after the first besides the network's. */
export function scalingWork({ width, height }: Size): number {
  return (WORK.canvas + 2 * WORK.small + WORK.keeping) * width * height;
}

/**
 * The short sides, in pixels, to paint a photo at: the first, then the photo's own after halving it repeatedly. So the
 * first step enlarges by up to 2, all others by 2.
 */
export function planShortSides(side: number, first: number): number[] {
  const halved = [side];
  while (halved[0]! > 2 * first) halved.unshift(Math.ceil(halved[0]! / 2));
  return halved[0]! > first ? [first, ...halved] : halved;
}

/**
 * Paint a photo at several sizes, one after the other.
 *
 * @param photo the photo.
 * @param sizes the sizes to paint it at, from the smallest to its own.
 * @param paint paints a picture at a strength.
 * @param strength strength of the first pass. Those after it are weaker, and are given more of the photo's detail where
 *   the strength is lower, so that 0 gives the photo itself.
 */
export async function paintCoarseToFine(
  photo: Raster,
  sizes: readonly Size[],
  paint: Paint,
  strength: number,
  pace: Pace,
): Promise<Picture> {
  let picture = await paint(scaled(photo, sizes[0]!), strength);
  for (const size of sizes.slice(1)) {
    const further = strength * FURTHER_STRENGTH * Math.log2(shortSide(size) / shortSide(picture));
    const area = size.width * size.height;
    const canvas = await stored(
      addDetail(picture, photo, size, 1 - strength * (1 - PHOTO_DETAIL)),
      pace,
      area * WORK.canvas,
    );
    picture = await paint(rasterOfPlanes(canvas), further);
    await keepAllButStrokes(picture, canvas, pace);
  }
  return picture;
}

/** A picture enlarged to a size, with a share of what the photo has more at this size than at the picture's. */
function addDetail(picture: Picture, photo: Raster, size: Size, share: number): Raster {
  const rasters = [rasterOfPlanes(picture), photo, scaled(photo, picture)].map((raster) => scaled(raster, size));
  const read = (start: number, stop: number) => {
    const [enlarged, now, seen] = rasters.map((raster) => raster.read(start, stop));
    const data = enlarged!.data.map((value, i) => value + share * (now!.data[i]! - seen!.data[i]!));
    return { ...enlarged!, data };
  };
  return { ...size, read, rowPixels: Math.max(...rasters.map((raster) => raster.rowPixels)) };
}

/** Keep, in place, all of a canvas that is larger than the strokes that were painted on it. */
async function keepAllButStrokes(picture: Picture, canvas: Picture, pace: Pace): Promise<void> {
  const painted = rasterOfPlanes(picture);
  const area = picture.width * picture.height;
  const small = fitShortSide(picture, Math.ceil(shortSide(picture) / KEPT));
  const found = await storedInFloats(scaled(painted, small), pace, area * WORK.small);
  const wanted = await storedInFloats(scaled(rasterOfPlanes(canvas), small), pace, area * WORK.small);
  const [lost, kept] = [found, wanted].map((planes) => scaled(rasterOfPlanes(planes), picture));
  for await (const { start, rows } of stripsOf(painted, pace, area * WORK.keeping)) {
    const [before, after] = [lost!, kept!].map((raster) => raster.read(start, start + rows.height));
    for (let i = 0; i < rows.data.length; i++) rows.data[i]! += after!.data[i]! - before!.data[i]!;
    setSamples(picture, start, rows);
  }
}

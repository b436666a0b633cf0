/** Pictures whose rows are read one strip after the other, since arrays of floats would take too much memory. */
import { rowsNeeded, scaleRows } from "./lanczos";
import type { Pace } from "./pace";
import { bytesOf, toFloats, type Pixels, type Planes } from "./pixels";
import { isSame, type Size } from "./sizes";

const STRIP_PIXELS = 2 ** 19;

/** A picture. */
export interface Raster extends Size {
  /** Pixels of any picture that are read at once for each row. */
  readonly rowPixels: number;
  /** The rows from one up to another, as floats from 0 to 1. */
  read(start: number, stop: number): Planes;
}

/** Rows of a picture, the first of which has the number `start`. */
export interface Strip {
  readonly start: number;
  readonly rows: Planes;
}

export function rasterOfPixels(pixels: Pixels): Raster {
  const { width, height } = pixels;
  return { width, height, rowPixels: width, read: (start, stop) => toFloats(bytesOf(pixels, start, stop)) };
}

/** A picture in whole numbers up to 65535, or in floats up to 1. */
export function rasterOfPlanes(planes: Planes<Uint16Array> | Planes): Raster {
  const { width, height, data } = planes;
  const white = data instanceof Uint16Array ? 65535 : 1;
  const read = (start: number, stop: number) => {
    const area = (stop - start) * width;
    const rows = new Float32Array(3 * area);
    for (let channel = 0; channel < 3; channel++) {
      const from = (channel * height + start) * width;
      for (let i = 0; i < area; i++) rows[channel * area + i] = data[from + i]! / white;
    }
    return { width, height: stop - start, data: rows };
  };
  return { width, height, rowPixels: width, read };
}

/** The picture scaled to a size, which is computed again for each strip. */
export function scaled(raster: Raster, size: Size): Raster {
  if (isSame(raster, size)) return raster;
  const { width, height } = size;
  const rowPixels = Math.max((raster.height / height) * Math.max(raster.rowPixels, raster.width), width);
  const read = (start: number, stop: number) => {
    const { first, last } = rowsNeeded(raster.height, height, start, stop);
    return scaleRows(raster.read(first, last), raster.height, size, start, stop);
  };
  return { width, height, rowPixels, read };
}

/** The picture, enlarged to a size by its reflections at the right and the bottom. */
export function filled(raster: Raster, size: Size): Raster {
  if (isSame(raster, size)) return raster;
  const { width, height } = size;
  const read = (start: number, stop: number) => {
    const wanted = Array.from({ length: stop - start }, (_, i) => reflect(start + i, raster.height));
    const first = wanted.reduce((a, b) => Math.min(a, b));
    const rows = raster.read(first, wanted.reduce((a, b) => Math.max(a, b)) + 1);
    const data = new Float32Array(3 * wanted.length * width);
    for (let channel = 0, to = 0; channel < 3; channel++) {
      for (const row of wanted) {
        const from = (channel * rows.height + row - first) * raster.width;
        for (let x = 0; x < width; x++, to++) data[to] = rows.data[from + reflect(x, raster.width)]!;
      }
    }
    return { width, height: wanted.length, data };
  };
  return { width, height, rowPixels: raster.rowPixels, read };
}

function reflect(index: number, length: number): number {
  const period = 2 * (length - 1);
  return Math.min(index % period, period - (index % period));
}

/** All rows of a picture, in strips, each of which accounts for its share of some work. */
export async function* stripsOf(raster: Raster, pace: Pace, work = 0): AsyncGenerator<Strip> {
  const rows = Math.max(1, Math.floor(STRIP_PIXELS / raster.rowPixels));
  for (let start = 0; start < raster.height; start += rows) {
    const stop = Math.min(start + rows, raster.height);
    yield { start, rows: raster.read(start, stop) };
    await pace((work * (stop - start)) / raster.height);
  }
}

/** The whole picture in memory, in whole numbers up to 65535. */
export async function stored(raster: Raster, pace: Pace, work = 0): Promise<Planes<Uint16Array>> {
  const { width, height } = raster;
  const planes = { width, height, data: new Uint16Array(3 * width * height) };
  for await (const { start, rows } of stripsOf(raster, pace, work)) setSamples(planes, start, rows);
  return planes;
}

/** The whole picture in memory, in floats. */
export async function storedInFloats(raster: Raster, pace: Pace, work = 0): Promise<Planes> {
  const { width, height } = raster;
  const data = new Float32Array(3 * width * height);
  for await (const { start, rows } of stripsOf(raster, pace, work)) copyRows(rows, data, height, start);
  return { width, height, data };
}

/** Write rows into a picture, from some row on, clipped to what it holds. */
export function setSamples(planes: Planes<Uint16Array>, start: number, rows: Planes): void {
  const area = rows.width * rows.height;
  for (let channel = 0; channel < 3; channel++) {
    const to = (channel * planes.height + start) * planes.width;
    for (let i = 0; i < area; i++) {
      planes.data[to + i] = 65535 * Math.min(1, Math.max(0, rows.data[channel * area + i]!)) + 0.5;
    }
  }
}

function copyRows(rows: Planes, data: Float32Array, height: number, start: number): void {
  const area = rows.width * rows.height;
  for (let channel = 0; channel < 3; channel++) {
    data.set(rows.data.subarray(channel * area, (channel + 1) * area), (channel * height + start) * rows.width);
  }
}

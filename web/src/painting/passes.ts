/** A network's passes over photos: whole, or strip by strip where a photo would take too much memory. */
import type { InferenceSession } from "onnxruntime-web";
import { PaintingError } from "./errors";
import { filledSize, fromBatch, isFixed, toBatch, type InputShape } from "./input-shape";
import { makePace, type Pace } from "./pace";
import type { Planes } from "./pixels";
import { filled, rasterOfPlanes, storedInFloats, type Raster, type Strip } from "./rasters";
import { lazily, run, type OpenSession, type Runtime, type Tensors } from "./runtime";
import type { Size } from "./sizes";
import { StagedNetwork } from "./stages";
import { StripPainter, workInStrips, type StripPlan } from "./strips";

/** Bytes for each pixel of a photo that is painted whole, which are enough for networks that aren't known yet. */
const UNKNOWN_NETWORK = 1000;
/** Memory that a photo takes that is painted whole, relative to the features in use: operators copy some of them. */
const WHOLE_OVERHEAD = 2;
/** The same for a strip. */
const STRIP_OVERHEAD = 2;
/** Bytes for each pixel of a photo: the photo, its picture, and arrays that are made of them. */
const ARRAYS = 30;
/** Bytes for ONNX Runtime, the sessions of all stages, and memory that is free but can't be used. */
const RUNTIME = 250e6;
/** Pixels up to which a photo is painted whole: nothing else can be done, nor the work be stopped, during the run. */
const MIDDLING = 2 ** 19;
/** Bytes for the features of a strip, by preference: small strips are mostly borders. */
const WORKING = [32e6, 16e6, 8e6];
/** The work of a network that isn't known yet, for each pixel. */
const TYPICAL_WORK = 20_000;

const TRIED = { width: 64, height: 192 };
const LARGEST_ERROR = 10 ** -4.5; // 45 dB

/** Paints photos with the network in the bytes of an ONNX file. */
export class Passes {
  private readonly staged: () => Promise<StagedNetwork | undefined>;
  private readonly tried = new Map<number, boolean>();

  constructor(
    file: Uint8Array,
    private readonly session: InferenceSession,
    private readonly shape: InputShape,
    private readonly runtime: Runtime,
    open: OpenSession,
  ) {
    const cuttable = !isFixed(shape) && (shape.batch ?? 1) === 1;
    const cut = () => StagedNetwork.of(file, shape.inBytes, runtime, open).catch(() => undefined);
    this.staged = lazily(() => (cuttable ? cut() : Promise.resolve(undefined)));
  }

  /** How to paint a photo in strips; undefined if it is to be painted whole, or if strips would not look the same. */
  async plan(size: Size, memory: number, controls: Tensors): Promise<StripPlan | undefined> {
    const pixels = size.width * size.height;
    const fits = (bytes: number) => pixels <= MIDDLING && RUNTIME + pixels * bytes <= memory;
    if (fits(UNKNOWN_NETWORK)) return undefined;
    const network = await this.staged();
    if (!network || fits(network.working * WHOLE_OVERHEAD + ARRAYS)) return undefined;
    const { height } = filledSize(this.shape, size);
    await network.rows.prepare(height);
    const plan = choosePlan(network, height, pixels, memory);
    return (await this.isExact(plan, height % network.rows.step, controls)) ? plan : undefined;
  }

  /** The work of a pass, in the unit of `Stage.work`. */
  async work(size: Size, plan: StripPlan | undefined): Promise<number> {
    const all = filledSize(this.shape, size);
    const network = plan && (await this.staged());
    return network ? workInStrips(plan, all, network.rows.step) : TYPICAL_WORK * all.width * all.height;
  }

  /** Paint a photo; the strips of the picture. */
  async *paint(photo: Raster, plan: StripPlan | undefined, controls: Tensors, pace: Pace): AsyncGenerator<Strip> {
    const all = filled(photo, filledSize(this.shape, photo));
    const network = plan && (await this.staged());
    if (!network) {
      yield { start: 0, rows: await this.paintWhole(all, photo, controls, pace) };
      return;
    }
    for await (const { start, rows } of new StripPainter(network, plan, all, controls, this.runtime, pace).paint()) {
      const size = { width: photo.width, height: Math.min(rows.height, photo.height - start) };
      if (size.height > 0) yield { start, rows: crop(rows, size) };
    }
  }

  private async paintWhole(photo: Raster, size: Size, controls: Tensors, pace: Pace): Promise<Planes> {
    const photos = toBatch(this.shape, await storedInFloats(photo, pace), this.runtime);
    const results = await run(this.session, { [this.session.inputNames[0]!]: photos, ...controls });
    const pictures = results[this.session.outputNames[0]!]!;
    if (pictures.dims.join() !== photos.dims.join()) {
      throw new PaintingError("The network's pictures don't have the size of the photo.");
    }
    await pace(TYPICAL_WORK * photo.width * photo.height);
    return fromBatch(this.shape, pictures, size);
  }

  /** Whether strips look the same as a whole photo, for heights with some remainder. */
  private async isExact(plan: StripPlan, remainder: number, controls: Tensors): Promise<boolean> {
    const size = { width: TRIED.width, height: TRIED.height + remainder };
    const exact = this.tried.get(remainder) ?? (await this.error(plan, size, controls)) <= LARGEST_ERROR;
    this.tried.set(remainder, exact);
    return exact;
  }

  /** The mean squared error of narrow strips of a small photo: networks may have operators that see all of it. */
  private async error(plan: StripPlan, size: Size, controls: Tensors): Promise<number> {
    const photo = rasterOfPlanes(noise(size));
    const pace = makePace(1);
    let error = 0;
    try {
      const whole = await this.paint(photo, undefined, controls, pace).next();
      const expected = rasterOfPlanes((whole.value as Strip).rows);
      for await (const { start, rows } of this.paint(photo, { ...plan, working: 0 }, controls, pace)) {
        const other = expected.read(start, start + rows.height).data;
        rows.data.forEach((value, i) => (error += (value - other[i]!) ** 2));
      }
    } catch {
      return Infinity; // of any kind, depending on what operators a network has
    }
    return error / (3 * size.width * size.height);
  }
}

/** The first plan, by preference, for which there is memory; the one that needs the least if there is none. */
function choosePlan(network: StagedNetwork, height: number, pixels: number, memory: number): StripPlan {
  const plans = [...network.scales].reverse().flatMap((scale) => {
    const stages = network.stages(height, scale);
    return WORKING.map((working) => ({ stages, working }));
  });
  return plans.find((plan) => needed(network, plan, pixels) <= memory) ?? plans.at(-1)!;
}

/** Bytes that a plan needs at once. */
function needed(network: StagedNetwork, plan: StripPlan, pixels: number): number {
  return RUNTIME + pixels * (Math.max(...network.keptBytes(plan.stages)) + ARRAYS) + STRIP_OVERHEAD * plan.working;
}

/** A picture of noise that gets stronger towards the bottom, so that no strip is like another. */
function noise(size: Size): Planes {
  const data = Float32Array.from({ length: 3 * size.width * size.height }, (_, i) => {
    const row = Math.floor(i / size.width) % size.height;
    const wave = 43758.5 * Math.sin(12.9898 * i);
    return (row / size.height) * (wave - Math.floor(wave));
  });
  return { ...size, data };
}

/** The upper left part of some rows. */
function crop(rows: Planes, size: Size): Planes {
  if (rows.width === size.width && rows.height === size.height) return rows;
  const data = new Float32Array(3 * size.width * size.height);
  for (let row = 0; row < 3 * size.height; row++) {
    const from = (Math.floor(row / size.height) * rows.height + (row % size.height)) * rows.width;
    data.set(rows.data.subarray(from, from + size.width), row * size.width);
  }
  return { ...size, data };
}

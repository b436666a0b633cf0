/** Networks in ONNX files that `fit` or `export` wrote, which paint photos as `Stylizer` does. */
import type { InferenceSession } from "onnxruntime-web";
import { paintCoarseToFine, planShortSides, scalingWork, type Picture } from "./coarse-to-fine";
import { mixColor } from "./colors";
import { NetworkError, PaintingError, firstLine } from "./errors";
import { MINIMUM_SIZE, fitInto, isFixed, readInputShape, type InputShape } from "./input-shape";
import { scalePixels } from "./lanczos";
import { parseModel, readMetadata } from "./model";
import { makePace, type Pace } from "./pace";
import { Passes } from "./passes";
import { setRows, toBytes, type Pixels, type Planes } from "./pixels";
import { rasterOfPixels, rasterOfPlanes, setSamples, stripsOf, type Raster } from "./rasters";
import { sessionOpener, type OpenSession, type Runtime, type Tensors } from "./runtime";
import { fitShortSide, isSame, roundHalfToEven, shortSide, type Size } from "./sizes";
import type { StripPlan } from "./strips";
import { readStyle, readStyles, trainedShortSide, type Style } from "./styles";

export { NetworkError, PaintingError, RunError } from "./errors";
export type { Pixels } from "./pixels";
export type { Runtime } from "./runtime";
export type { Style } from "./styles";

/** How to paint a photo. */
export interface PaintOptions {
  /** Weights of the network's styles, of any sum above 0; by default only the first. */
  readonly style?: readonly number[];
  /** The size of strokes in large photos, relative to the painting's; `native` is a single pass, with tiny ones. */
  readonly strokes?: number | "native";
  /** From 0, the painting's colors, to 1, the photo's own. */
  readonly preserveColor?: number;
  /** From 0, the photo itself, to 1. */
  readonly strength?: number;
  /** Stops the work, between two runs of the network; the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Receives the share of the work that is done, from 0 to 1. */
  readonly onProgress?: (share: number) => void;
  /** Bytes that may be taken; photos that need more are painted in strips, with the same result. */
  readonly memory?: number;
}

/** One pass over the photo. */
interface Pass {
  readonly size: Size;
  readonly plan: StripPlan | undefined;
}

const CONTROLS = "style,strength,preserve_color";
/** Least short side of the first pass, in pixels, at strokes of size 1: at less, pictures lack details. */
const LEAST_FIRST_SIDE = 512;
const DEFAULT_MEMORY = 1e9;
/** What ONNX Runtime says if it can't be loaded itself, whatever the file. */
const NO_RUNTIME = "no available backend found";

/** A transfer network. It paints one photo at a time. */
export class Network {
  private constructor(
    /** The network's styles: one without a weight for a network that is not adjustable. */
    readonly styles: readonly Style[],
    /** Whether the network has several styles, and weights for them. */
    readonly adjustable: boolean,
    /** What the file says of itself, by its own names. */
    readonly metadata: ReadonlyMap<string, string>,
    private readonly shape: InputShape,
    private readonly passes: Passes,
    private readonly runtime: Runtime,
    private readonly sessions: readonly InferenceSession[],
  ) {}

  /**
   * Open a network.
   *
   * @param file the bytes of an ONNX file.
   * @param runtime the module of `onnxruntime-web`.
   * @param options options for its sessions, such as `executionProviders`.
   * @throws NetworkError the file is damaged or not a transfer network.
   */
  static async open(file: Uint8Array, runtime: Runtime, options?: InferenceSession.SessionOptions): Promise<Network> {
    const sessions: InferenceSession[] = [];
    const openAny = sessionOpener(runtime, options);
    const open: OpenSession = async (model) => {
      const session = await openAny(model);
      sessions.push(session);
      return session;
    };
    const [metadata, session] = await openFile(file, open);
    const adjustable = session.inputNames.slice(1).join() === CONTROLS;
    const shape = adjustable || session.inputNames.length === 1 ? readInputShape(session, metadata) : undefined;
    const styles = adjustable ? readStyles(metadata, weightCount(session)) : [readStyle(metadata)];
    if (!shape || !styles) {
      await session.release();
      const names = `it takes ${session.inputNames.join(", ")} and returns ${session.outputNames.join(", ")}`;
      const problem = shape ? "its styles aren't named in it" : `it isn't a transfer network for photos: ${names}`;
      throw new NetworkError(`The file can't be used: ${problem}.`);
    }
    const passes = new Passes(file, session, shape, runtime, open);
    return new Network(styles, adjustable, metadata, shape, passes, runtime, sessions);
  }

  /**
   * Paint a photo, coarse to fine if it is larger than the photos of the training, and than 512 pixels.
   *
   * @returns the picture, of the photo's size and with its opacity.
   * @throws PaintingError the photo is too small, or too large for the memory.
   * @throws RangeError an option is out of range.
   */
  async paint(photo: Pixels, options: PaintOptions = {}): Promise<Pixels> {
    const { strength = 1, preserveColor = 0, strokes = 1, memory = DEFAULT_MEMORY, signal, onProgress } = options;
    check("strength", strength, strength >= 0 && strength <= 1, "from 0 to 1");
    check("preserveColor", preserveColor, preserveColor >= 0 && preserveColor <= 1, "from 0 to 1");
    check("strokes", strokes, strokes === "native" || (strokes > 0 && strokes < Infinity), "> 0, or native");
    const weights = normalize(options.style ?? [1], this.styles.length);
    signal?.throwIfAborted();
    const input = this.scaleDown(photo);
    const sides = planShortSides(shortSide(input), this.firstShortSide(shortSide(input), weights, strokes));
    const sizes = sides.map((side) => fitShortSide(input, side));
    const passes = await this.planPasses(sizes, weights, memory);
    const pace = makePace(await this.workOf(passes), signal, onProgress);
    const paint = (raster: Raster, share: number) => this.paintPass(raster, passes, weights, share, pace);
    const given = rasterOfPixels(input);
    const picture = await paintCoarseToFine(given, sizes, paint, strength, pace);
    const painted = scalePixels(await withColor(picture, given, preserveColor, pace), photo);
    for (let i = 3; i < painted.data.length; i += 4) painted.data[i] = photo.data[i]!;
    onProgress?.(1);
    return painted;
  }

  /** Give the memory back; the network can't be used any more. */
  async close(): Promise<void> {
    for (const session of this.sessions) await session.release();
  }

  /** The photo, scaled down if it is too large for a file of a fixed size. */
  private scaleDown(photo: Pixels): Pixels {
    const size = fitInto(this.shape, photo);
    if (shortSide(size) < MINIMUM_SIZE) {
      const given = `${photo.width}x${photo.height}`;
      const inside = isSame(size, photo) ? "" : `, ${size.width}x${size.height} after it is scaled down for its file`;
      const least = `at least ${MINIMUM_SIZE}x${MINIMUM_SIZE} pixels`;
      throw new PaintingError(`A photo of ${given} is too small for the network${inside}: ${least}.`);
    }
    return scalePixels(photo, size);
  }

  /** The short side at which a photo with some short side is painted first: its own, for a single pass. */
  private firstShortSide(side: number, weights: readonly number[], strokes: number | "native"): number {
    const trained = trainedShortSide(this.styles, weights);
    if (strokes === "native" || isFixed(this.shape) || trained === undefined) return side;
    const first = Math.min(Math.max(trained, LEAST_FIRST_SIDE) / strokes, side);
    return Math.max(MINIMUM_SIZE, roundHalfToEven(first));
  }

  /** The network's inputs besides the photo, whose own colors aren't mixed before all passes are done. */
  private controls(weights: readonly number[], strength: number): Tensors {
    if (!this.adjustable) return {};
    const values = { style: weights, strength: [strength], preserve_color: [0] };
    const tensors = Object.entries(values).map(([name, numbers]) => {
      return [name, new this.runtime.Tensor("float32", Float32Array.from(numbers), [numbers.length])] as const;
    });
    return Object.fromEntries(tensors);
  }

  private async planPasses(sizes: readonly Size[], weights: readonly number[], memory: number): Promise<Pass[]> {
    const passes: Pass[] = [];
    for (const size of sizes) {
      passes.push({ size, plan: await this.passes.plan(size, memory, this.controls(weights, 1)) });
    }
    return passes;
  }

  private async workOf(passes: readonly Pass[]): Promise<number> {
    let work = 0;
    for (const { size, plan } of passes) work += await this.passes.work(size, plan);
    for (const { size } of passes.slice(1)) work += scalingWork(size);
    return work;
  }

  /** Run the network at a strength, by mixing its picture with the photo if it has no strength of its own. */
  private async paintPass(
    photo: Raster,
    passes: readonly Pass[],
    weights: readonly number[],
    strength: number,
    pace: Pace,
  ): Promise<Picture> {
    const { width, height } = photo;
    const picture = { width, height, data: new Uint16Array(3 * width * height) };
    const { plan } = passes.find(({ size }) => isSame(size, photo))!;
    for await (const { start, rows } of this.passes.paint(photo, plan, this.controls(weights, strength), pace)) {
      if (strength < 1 && !this.adjustable) mix(rows, photo.read(start, start + rows.height), strength);
      setSamples(picture, start, rows);
    }
    return picture;
  }
}

async function openFile(file: Uint8Array, open: OpenSession): Promise<[ReadonlyMap<string, string>, InferenceSession]> {
  try {
    return [readMetadata(parseModel(file)), await open(file)];
  } catch (error) {
    if (firstLine(error).startsWith(NO_RUNTIME)) throw error;
    throw new NetworkError(`The file is damaged or not an ONNX file (${firstLine(error)}).`);
  }
}

/** The number of styles for which a network takes weights. */
function weightCount(session: InferenceSession): number {
  const style = session.inputMetadata[1];
  const count = style?.isTensor ? style.shape[0] : 0;
  return typeof count === "number" ? count : 0;
}

function check(name: string, value: unknown, good: boolean, allowed: string): void {
  if (!good) throw new RangeError(`${name} must be ${allowed}, got ${value}`);
}

/** Weights of all styles, whose sum is 1. */
function normalize(weights: readonly number[], count: number): number[] {
  const all = Array.from({ length: count }, (_, i) => weights[i] ?? 0);
  const sum = all.reduce((a, b) => a + b, 0);
  const good = sum > 0 && all.every((weight) => weight >= 0) && weights.length <= count;
  check("style", weights.join(", "), good, `up to ${count} weights >= 0, one of them above 0`);
  return all.map((weight) => weight / sum);
}

/** Mix rows of a picture, in place, with those of the photo, as a network of several styles does at a low strength. */
function mix(rows: Planes, photo: Planes, strength: number): void {
  for (let i = 0; i < rows.data.length; i++) {
    rows.data[i] = photo.data[i]! + strength * (rows.data[i]! - photo.data[i]!);
  }
}

/** The pixels of a picture with a share of the photo's colors. */
async function withColor(picture: Picture, photo: Raster, share: number, pace: Pace): Promise<Pixels> {
  const { width, height } = picture;
  const pixels = { width, height, data: new Uint8ClampedArray(4 * width * height).fill(255) };
  for await (const { start, rows } of stripsOf(rasterOfPlanes(picture), pace)) {
    if (share) mixColor(rows, photo.read(start, start + rows.height), share);
    setRows(pixels, start, toBytes(rows));
  }
  return pixels;
}

/** Running a network on a large photo strip by strip, with the statistics of the whole picture. */
import type { Tensor } from "onnxruntime-web";
import { MINIMUM_SIZE } from "./input-shape";
import type { Pace } from "./pace";
import type { Raster, Strip } from "./rasters";
import { run, type Runtime, type Tensors } from "./runtime";
import type { Size } from "./sizes";
import { takenAfter, type Stage, type StagedNetwork } from "./stages";

/** How to paint a photo in strips. */
export interface StripPlan {
  readonly stages: readonly Stage[];
  /** Bytes for the features of a strip. */
  readonly working: number;
}

/** Rows of a photo: those of the strip itself, from `start` to `stop`, and those that are seen for it. */
interface Section {
  readonly start: number;
  readonly stop: number;
  readonly first: number;
  readonly last: number;
}

/** The work of a network's pass over a photo, in the unit of the stages' `work`. */
export function workInStrips(plan: StripPlan, size: Size, step: number): number {
  const works = plan.stages.map((stage) => {
    const sections = cutSections(plan, stage, size, step);
    return stage.work * size.width * sections.reduce((rows, { first, last }) => rows + last - first, 0);
  });
  return works.reduce((a, b) => a + b, 0);
}

/** A network's pass over one photo. */
export class StripPainter {
  private kept = new Map<string, KeptRows>();
  private readonly moments = new Map<string, Moments>();

  constructor(
    private readonly network: StagedNetwork,
    private readonly plan: StripPlan,
    private readonly photo: Raster,
    private readonly controls: Tensors,
    private readonly runtime: Runtime,
    private readonly pace: Pace,
  ) {}

  /** The strips of the picture. */
  async *paint(): AsyncGenerator<Strip> {
    const { stages } = this.plan;
    for (const [i, stage] of stages.entries()) {
      const later = takenAfter(stages, i);
      this.moments.set(stage.target, new Moments());
      for (const name of stage.keeps) this.kept.set(name, new KeptRows());
      const done = stage.takes.filter((name) => !later.has(name));
      for (const section of cutSections(this.plan, stage, this.photo, this.network.rows.step)) {
        for (const name of done) this.kept.get(name)!.forget(this.row(name, section.first));
        const results = await this.run(stage, section);
        this.collect(stage, section, results);
        if (stage.target === this.network.picture) yield stripOf(section, results[`${stage.target}/strip`]!);
        await this.pace(stage.work * this.photo.width * (section.last - section.first));
      }
      this.kept = new Map([...this.kept].filter(([name]) => later.has(name)));
    }
  }

  private async run(stage: Stage, section: Section): Promise<Tensors> {
    const session = await stage.session();
    const inputs = session.inputNames.map((name) => [name, this.input(name, stage, section)] as const);
    return run(session, Object.fromEntries(inputs));
  }

  private collect(stage: Stage, section: Section, results: Tensors): void {
    for (const name of stage.keeps) this.kept.get(name)!.add(results[`${name}/strip_kept`]!);
    if (stage.target === this.network.picture) return;
    const [start, stop] = this.ownRows(stage.target, section);
    const [mean, square] = ["mean", "square"].map((role) => results[`${stage.target}/strip_${role}`]!);
    this.moments.get(stage.target)!.add(floatsOf(mean!), floatsOf(square!), stop - start);
  }

  /** The value of an input of a stage for some section of the photo. */
  private input(name: string, stage: Stage, section: Section): Tensor {
    const control = this.controls[name];
    if (control) return control;
    if (name === this.network.photo) return this.photoRows(stage, section);
    const slash = name.lastIndexOf("/");
    const [tensor, role] = [name.slice(0, slash), name.slice(slash + 1)];
    switch (role) {
      case "axis":
        return this.integers([2]);
      case "mean":
      case "variance":
        return this.floats(this.moments.get(tensor)![role]);
      case "above":
      case "below":
      case "weight":
        return this.resizing(tensor, section)[role];
      case "first":
        return this.integers([this.row(tensor, section.first)], []);
      case "kept":
        return this.keptRows(tensor, section);
      default:
        return this.integers([this.ownRows(tensor, section)[role === "from" ? 0 : 1]]);
    }
  }

  private keptRows(tensor: string, { first, last }: Section): Tensor {
    const start = this.row(tensor, first);
    return this.kept.get(tensor)!.rows(start, start + this.network.rows.of(tensor, last - first), this.runtime);
  }

  private photoRows(stage: Stage, { first, last }: Section): Tensor {
    const { width } = this.photo;
    const data = stage.seesPhoto ? this.photo.read(first, last).data : new Float32Array(3 * (last - first) * width);
    return new this.runtime.Tensor("float32", data, [1, 3, last - first, width]);
  }

  /** The row of a tensor at which a row of the photo begins. */
  private row(tensor: string, row: number): number {
    return Math.floor(this.network.rows.scales.get(tensor)! * row);
  }

  /** The first row that is the section's own, and the one after the last, among those that a stage computes. */
  private ownRows(tensor: string, { start, stop, first, last }: Section): [number, number] {
    const end =
      stop === this.photo.height ? this.network.rows.of(tensor, last - first) : this.row(tensor, stop - first);
    return [this.row(tensor, start - first), end];
  }

  /** The rows between which a resized tensor's rows lie, and how near they are to the lower one. */
  private resizing(tensor: string, section: Section): Record<"above" | "below" | "weight", Tensor> {
    const counts = this.network.rows;
    const { small, large, linear } = this.network.resizings.get(tensor)!;
    const seen = section.last - section.first;
    const rows = counts.of(small, this.photo.height);
    const factor = rows / counts.of(large, this.photo.height);
    const places = Array.from({ length: counts.of(large, seen) }, (_, i) => {
      const row = this.row(large, section.first) + i;
      return linear ? clamp((row + 0.5) * factor - 0.5, rows - 1) : Math.floor(row * factor);
    });
    const first = this.row(small, section.first);
    const index = (below: number) =>
      this.integers(places.map((place) => clamp(Math.floor(place) + below - first, counts.of(small, seen) - 1)));
    const weight = this.floats(
      Float32Array.from(places, (place) => place - Math.floor(place)),
      [places.length, 1],
    );
    return { above: index(0), below: index(1), weight };
  }

  private floats(values: Float32Array, dims: readonly number[] = [values.length]): Tensor {
    return new this.runtime.Tensor("float32", values, dims);
  }

  private integers(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
    return new this.runtime.Tensor("int64", BigInt64Array.from(values, BigInt), dims);
  }
}

/** A tensor to whose end rows are added, and whose first rows are forgotten: float16 of shape (1, C, rows, W). */
class KeptRows {
  private readonly blocks: Tensor[] = [];
  private first = 0;

  add(block: Tensor): void {
    this.blocks.push(block);
  }

  rows(start: number, stop: number, runtime: Runtime): Tensor {
    const [, channels = 0, , width = 0] = this.blocks[0]!.dims;
    const data = new Uint16Array(channels * (stop - start) * width);
    let at = this.first;
    for (const block of this.blocks) {
      const count = block.dims[2]!;
      const [from, to] = [Math.max(start, at), Math.min(stop, at + count)];
      const source = halvesOf(block);
      for (let channel = 0; from < to && channel < channels; channel++) {
        const begin = (channel * count + from - at) * width;
        const rows = source.subarray(begin, begin + (to - from) * width);
        data.set(rows, (channel * (stop - start) + from - start) * width);
      }
      at += count;
    }
    return new runtime.Tensor("float16", data, [1, channels, stop - start, width]);
  }

  forget(before: number): void {
    while (this.blocks.length && this.first + this.blocks[0]!.dims[2]! <= before) {
      this.first += this.blocks.shift()!.dims[2]!;
    }
  }
}

/** The mean and variance of the channels of a tensor, from the means of strips' values and of their squares. */
class Moments {
  private rows = 0;
  private means = new Float64Array();
  private squares = new Float64Array();

  add(means: Float32Array, squares: Float32Array, rows: number): void {
    if (!this.rows) [this.means, this.squares] = [new Float64Array(means.length), new Float64Array(means.length)];
    this.rows += rows;
    const share = rows / this.rows;
    this.means.forEach((mean, i) => (this.means[i] = mean + share * (means[i]! - mean)));
    this.squares.forEach((square, i) => (this.squares[i] = square + share * (squares[i]! - square)));
  }

  get mean(): Float32Array {
    return Float32Array.from(this.means);
  }

  get variance(): Float32Array {
    return Float32Array.from(this.squares, (square, i) => Math.max(0, square - this.means[i]! ** 2));
  }
}

/** Divide a photo into sections; rows that are too few for a strip of their own belong to the one before. */
function cutSections(plan: StripPlan, { working, halo }: Stage, { width, height }: Size, step: number): Section[] {
  const wanted = Math.floor(plan.working / (working * width)) - 2 * halo;
  const rows = Math.floor(Math.max(MINIMUM_SIZE, wanted) / step) * step;
  const starts: number[] = [];
  for (let start = 0; start < height; start += rows) {
    if (start === 0 || height - start >= MINIMUM_SIZE) starts.push(start);
  }
  return starts.map((start, i) => {
    const stop = starts[i + 1] ?? height;
    return { start, stop, first: Math.max(0, start - halo), last: Math.min(height, stop + halo) };
  });
}

function stripOf({ start }: Section, picture: Tensor): Strip {
  const [, , height = 0, width = 0] = picture.dims;
  return { start, rows: { width, height, data: floatsOf(picture) } };
}

function floatsOf(tensor: Tensor): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new TypeError(`numbers are expected, not ${tensor.type}`);
}

/** The bits of float16 values, for which JavaScript's engines may have no type. */
function halvesOf({ data }: Tensor): Uint16Array {
  if (!ArrayBuffer.isView(data)) throw new TypeError("numbers are expected");
  return new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
}

function clamp(value: number, largest: number): number {
  return Math.min(largest, Math.max(0, value));
}

/**
 * Cutting a network at its instance normalizations, into stages that run on one strip of a photo after the other.
 *
 * An instance normalization needs the mean and variance of the whole picture. So each stage computes what one of them
 * normalizes, strip by strip, and measures it; later stages normalize with the result. Features at the network's
 * coarsest size are kept for later stages, since they are small and took the most work; finer ones are computed again.
 */
import type { InferenceSession } from "onnxruntime-web";
import { integersAttribute, parseModel, takeNumbers, textAttribute, type Model, type Node } from "./model";
import { writePart } from "./parts";
import { countRows, type RowCounts } from "./row-counts";
import { lazily, type OpenSession, type Runtime } from "./runtime";

/** What is to be computed strip by strip, before the next stage can begin. */
export interface Stage {
  /** Opens the session that computes the stage, or returns it. */
  readonly session: () => Promise<InferenceSession>;
  /** The tensor to be measured, or the picture. */
  readonly target: string;
  /** The kept tensors that the stage takes. */
  readonly takes: readonly string[];
  /** The tensors that are to be kept for later stages. */
  readonly keeps: readonly string[];
  /** Rows of the photo around a strip on which its result depends, or more. */
  readonly halo: number;
  /** Whether the result depends on the photo's colors directly. */
  readonly seesPhoto: boolean;
  /** Bytes in use at once for each pixel of a strip. */
  readonly working: number;
  /** Work for each pixel of a strip, as `workOf` measures it. */
  readonly work: number;
}

/** A resizing of features. */
export interface Resizing {
  readonly small: string;
  readonly large: string;
  readonly linear: boolean;
}

/** A network of photos of the shape (1, 3, H, W), cut into stages; they take numbers, also where it takes bytes. */
export class StagedNetwork {
  readonly photo: string;
  readonly picture: string;
  readonly resizings: ReadonlyMap<string, Resizing>;
  /** The scales, from the coarsest on, up to which features may be kept. */
  readonly scales: readonly number[];
  /** Bytes in use at once for each pixel of a photo that is painted whole. */
  readonly working: number;
  private readonly makers = new Map<string, number>();
  private readonly normalized: readonly string[];
  private readonly stagesMade = new Map<string, Stage[]>();

  private constructor(
    private readonly model: Model,
    readonly rows: RowCounts,
    private readonly open: OpenSession,
  ) {
    const { nodes } = model;
    this.photo = model.inputs[0]!.name;
    this.picture = model.outputs[0]!.name;
    nodes.forEach((node, i) => node.outputs.filter(Boolean).forEach((name) => this.makers.set(name, i)));
    this.normalized = nodes.filter((node) => node.op === "InstanceNormalization").map((node) => node.inputs[0]!);
    this.resizings = new Map(
      nodes.filter((node) => node.op === "Resize").map((node) => [node.outputs[0]!, resizing(node)]),
    );
    const scales = new Set(this.normalized.map((name) => rows.scales.get(name) ?? 1));
    this.scales = scales.size ? [...scales].sort((a, b) => a - b) : [1];
    this.working = this.workingOf(nodes);
  }

  /** Cut the network in the bytes of an ONNX file; rejects if it has unexpected parts. */
  static async of(data: Uint8Array, inBytes: boolean, runtime: Runtime, open: OpenSession): Promise<StagedNetwork> {
    const whole = parseModel(data);
    const model = inBytes ? takeNumbers(whole) : whole;
    return new StagedNetwork(model, await countRows(model, runtime, open), open);
  }

  /** The stages for photos of a height in pixels, which keep features up to a scale, one of `scales`. */
  stages(height: number, finest: number): readonly Stage[] {
    const drifting = this.driftingAt(height);
    const key = [finest, ...drifting].join();
    const stages = this.stagesMade.get(key) ?? this.cut(drifting, finest);
    this.stagesMade.set(key, stages);
    return stages;
  }

  /** The bytes of kept tensors in each stage, for each pixel of the photo. */
  keptBytes(stages: readonly Stage[]): number[] {
    let kept = new Set<string>();
    return stages.map((stage, i) => {
      const later = takenAfter(stages, i);
      const before = kept;
      kept = new Set([...before, ...stage.keeps].filter((name) => later.has(name)));
      const bytes = [before, kept].map((names) => sum([...names].map((name) => 2 * this.rows.valuesOf(name))));
      return Math.max(...bytes);
    });
  }

  /** The outputs of resizings by factors other than those in strips, which would drift apart. */
  private driftingAt(height: number): Set<string> {
    const { rows } = this;
    const drifting = [...this.resizings.values()].filter(
      ({ small, large }) =>
        rows.of(large, height) * rows.scales.get(small)! !== rows.of(small, height) * rows.scales.get(large)!,
    );
    return new Set(drifting.map(({ large }) => large));
  }

  private cut(drifting: ReadonlySet<string>, finest: number): Stage[] {
    const done = new Set<number>();
    const kept: string[] = [];
    return [...this.normalized, this.picture].map((target) => {
      const nodes = this.nodesFor(target, kept).map((i) => this.model.nodes[i]!);
      this.nodesFor(target, []).forEach((i) => done.add(i));
      const takes = kept.filter((name) => nodes.some((node) => node.inputs.includes(name)));
      const keeps = this.alive(done, finest).filter((name) => !kept.includes(name));
      kept.push(...keeps);
      const data = writePart(this.model, this.rows, { nodes, target, takes, keeps, drifting });
      return {
        session: lazily(() => this.open(data)),
        target,
        takes,
        keeps,
        halo: this.haloOf(nodes, [target, ...keeps]),
        seesPhoto: nodes.some((node) => node.inputs.includes(this.photo) && node.op !== "Shape"),
        working: this.workingOf(nodes),
        work: this.workOf(nodes),
      };
    });
  }

  /** The numbers of the nodes, in order, that compute a tensor from given ones and the network's inputs. */
  private nodesFor(target: string, given: readonly string[]): number[] {
    const needed = [target];
    const found = new Set<number>();
    for (let name = needed.pop(); name !== undefined; name = needed.pop()) {
      const maker = this.makers.get(name);
      if (maker === undefined || found.has(maker) || given.includes(name)) continue;
      found.add(maker);
      needed.push(...this.model.nodes[maker]!.inputs);
    }
    return [...found].sort((a, b) => a - b);
  }

  /** The tensors up to a scale that are computed and will be needed again. */
  private alive(done: ReadonlySet<number>, finest: number): string[] {
    const needed = new Set(this.model.nodes.filter((_, i) => !done.has(i)).flatMap((node) => node.inputs));
    const computed = this.model.nodes.filter((_, i) => done.has(i)).flatMap((node) => node.outputs);
    return computed.filter(
      (name) => needed.has(name) && this.rows.isImage(name) && this.rows.scales.get(name)! <= finest,
    );
  }

  /** The rows of the photo, a multiple of the step, that the results depend on beyond their own. */
  private haloOf(nodes: readonly Node[], results: readonly string[]): number {
    const { scales, step } = this.rows;
    const reaches = new Map<string, number>();
    for (const node of nodes) {
      const before = Math.max(0, ...node.inputs.map((name) => reaches.get(name) ?? 0));
      const scale = scales.get(node.inputs[0] ?? "");
      node.outputs.forEach((name) => reaches.set(name, before + (scale ? reachOf(node) / scale : 0)));
    }
    const seen = results.map((name) => {
      const margin = this.rows.of(name, 8 * step) / scales.get(name)! - 8 * step;
      return (reaches.get(name) ?? 0) + margin;
    });
    return Math.ceil(Math.max(0, ...seen) / step) * step;
  }

  /** The bytes for each pixel of a strip that are in use at once, at most. */
  private workingOf(nodes: readonly Node[]): number {
    const last = new Map(nodes.flatMap((node, i) => node.inputs.map((name) => [name, i] as const)));
    const alive = new Map<string, number>();
    let most = 0;
    nodes.forEach((node, i) => {
      for (const name of node.outputs.filter(Boolean)) alive.set(name, this.rows.bytesOf(name));
      most = Math.max(most, sum([...alive.values()]));
      for (const name of [...alive.keys()]) if ((last.get(name) ?? -1) <= i) alive.delete(name);
    });
    return most;
  }

  /** The multiplications of convolutions, and the values that all nodes write, for each pixel. */
  private workOf(nodes: readonly Node[]): number {
    const shapes = new Map(this.model.weights.map(({ name, shape }) => [name, shape]));
    const works = nodes.map((node) => {
      const shape = (node.op.startsWith("Conv") && shapes.get(node.inputs[1]!)) || [];
      const multiplications = shape.slice(1).reduce((a, b) => a * b, 1);
      return sum(node.outputs.filter(Boolean).map((name) => this.rows.valuesOf(name))) * (multiplications + WRITING);
    });
    return sum(works);
  }
}

/** Work of writing a value, in multiplications of a convolution, which are fast beside it. */
const WRITING = 10;

/** The kept tensors that are taken after some stage. */
export function takenAfter(stages: readonly Stage[], index: number): Set<string> {
  return new Set(stages.slice(index + 1).flatMap((stage) => stage.takes));
}

function resizing(node: Node): Resizing {
  return { small: node.inputs[0]!, large: node.outputs[0]!, linear: textAttribute(node, "mode") === "linear" };
}

/** The rows of its input that a node sees above and below a row. */
function reachOf(node: Node): number {
  if (node.op === "Resize") return textAttribute(node, "mode") === "cubic" ? 2 : 1;
  const [side] = integersAttribute(node, "kernel_shape");
  return side === undefined ? 0 : Math.floor(side / 2) * (integersAttribute(node, "dilations")[0] ?? 1);
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

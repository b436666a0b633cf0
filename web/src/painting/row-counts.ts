/** How many rows the tensors of a network have for photos of any height. */
import type { Tensor } from "onnxruntime-web";
import { makeValue, writeModel, type Model } from "./model";
import type { OpenSession, Runtime } from "./runtime";

/** Height and width of the smallest photo that is tried, in pixels; scales are multiples of its inverse. */
const PROBE_SIDE = 64;

/** The sizes and types of a network's tensors, by their names. */
export interface RowCounts {
  /** Rows for each row of the photo, of those tensors of shape (N, C, H, W) or (H,) that have more for more. */
  readonly scales: ReadonlyMap<string, number>;
  /** Number of the photo's rows after which all tensors begin another row. */
  readonly step: number;
  /** Find out what `of` needs for photos of some height in pixels, and for those whose heights differ by `step`. */
  prepare(height: number): Promise<void>;
  /** The rows that a tensor has for a photo of some height in pixels. */
  of(name: string, height: number): number;
  /** Whether a tensor has the shape (N, C, H, W), with more rows for higher photos. */
  isImage(name: string): boolean;
  /** The values that a tensor has for each pixel of the photo, and the bytes that they take. */
  valuesOf(name: string): number;
  bytesOf(name: string): number;
  /** The type of a tensor's values. */
  elementOf(name: string): Tensor.Type;
}

interface Probe {
  readonly dims: readonly number[];
  readonly bytes: number;
  readonly type: Tensor.Type;
}

type Probes = ReadonlyMap<string, Probe>;

/**
 * Runs a network on small photos to find out about its tensors.
 *
 * @param model the network.
 * @param runtime ONNX Runtime.
 * @param open opens sessions.
 */
export async function countRows(model: Model, runtime: Runtime, open: OpenSession): Promise<RowCounts> {
  const names = model.nodes.flatMap((node) => node.outputs).filter(Boolean);
  const session = await open(writeModel({ ...model, outputs: names.map((name) => makeValue(name)) }));
  const photo = model.inputs[0]!.name;

  async function probe(height: number): Promise<Probes> {
    const inputs = session.inputMetadata.map((input) => {
      const shape = input.name === photo ? [1, 3, height, PROBE_SIDE] : fixedShape(input.isTensor ? input.shape : []);
      const values = new Float32Array(product(shape)).fill(input.name === photo ? 0 : 1);
      return [input.name, new runtime.Tensor("float32", values, shape)] as const;
    });
    const found = Object.entries(await session.run(Object.fromEntries(inputs)));
    return new Map(found.map(([name, tensor]) => [name, describe(tensor)]));
  }

  const small = await probe(PROBE_SIDE);
  const large = await probe(2 * PROBE_SIDE);
  const counted = [...small].map(([name, tensor]) => [name, (rowsOf(large.get(name)!) - rowsOf(tensor)) / PROBE_SIDE]);
  const scales = new Map((counted as [string, number][]).filter(([, scale]) => scale > 0));
  const step = Math.max(1, ...[...scales.values()].map(denominator));
  const probes = [small];

  return {
    scales,
    step,
    async prepare(height) {
      const remainder = height % step;
      probes[remainder] ??= await probe(PROBE_SIDE + remainder);
    },
    of(name, height) {
      const remainder = height % step;
      return rowsOf(probes[remainder]!.get(name)!) + Math.floor(scales.get(name)! * (height - PROBE_SIDE - remainder));
    },
    isImage: (name) => scales.has(name) && small.get(name)!.dims.length === 4,
    valuesOf: (name) => product(small.get(name)!.dims) / PROBE_SIDE ** 2,
    bytesOf: (name) => small.get(name)!.bytes / PROBE_SIDE ** 2,
    elementOf: (name) => small.get(name)!.type,
  };
}

function describe({ dims, data, type }: Tensor): Probe {
  return { dims, type, bytes: ArrayBuffer.isView(data) ? data.byteLength : 0 };
}

/** The length of the dimension that follows the photo's height, if one does. */
function rowsOf({ dims }: Probe): number {
  return (dims.length === 1 ? dims[0] : dims.length === 4 ? dims[2] : 0) ?? 0;
}

/** The least power of 2 of which a multiple of 1/64 is a multiple of the inverse. */
function denominator(scale: number): number {
  let found = 1;
  while (!Number.isInteger(scale * found)) found *= 2;
  return found;
}

function fixedShape(shape: readonly (number | string)[]): number[] {
  return shape.map((length) => (typeof length === "number" ? length : 1));
}

function product(lengths: readonly number[]): number {
  return lengths.reduce((a, b) => a * b, 1);
}

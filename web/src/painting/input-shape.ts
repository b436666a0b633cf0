/** The photos that an ONNX file takes: of any size or a fixed one, as numbers or as bytes. */
import type { InferenceSession, Tensor } from "onnxruntime-web";
import { toBytes, type Planes } from "./pixels";
import type { Runtime } from "./runtime";
import { roundHalfToEven, type Size } from "./sizes";

/** The smallest width and height of a photo, in pixels, that networks accept. */
export const MINIMUM_SIZE = 32;

/** What is fixed in a file's input, in photos and pixels; undefined where the file takes any. */
export interface InputShape {
  readonly batch: number | undefined;
  readonly height: number | undefined;
  readonly width: number | undefined;
  /** What heights and widths that are not fixed must be multiples of. */
  readonly multiple: number;
  /** Whether the file takes and returns bytes, shape (N, H, W, 3), in place of numbers from 0 to 1, (N, 3, H, W). */
  readonly inBytes: boolean;
}

/** The shape of a file's first input, and what its metadata say of it; undefined if it doesn't take photos. */
export function readInputShape(
  session: InferenceSession,
  metadata: ReadonlyMap<string, string>,
): InputShape | undefined {
  const [photo] = session.inputMetadata;
  const [picture, ...others] = session.outputMetadata;
  if (!photo?.isTensor || !picture?.isTensor || others.length) return undefined;
  const inBytes = photo.type === "uint8";
  const channels = inBytes ? 3 : 1;
  if (!matches(photo, picture, channels)) return undefined;
  const lengths = photo.shape.map(fixedLength).filter((_, i) => i !== channels);
  const multiple = Number(metadata.get("size_multiple") ?? 1);
  const known = Number.isInteger(multiple) && multiple >= 1 && multiple <= MINIMUM_SIZE;
  return { batch: lengths[0], height: lengths[1], width: lengths[2], multiple: known ? multiple : 1, inBytes };
}

/** Whether width or height are fixed. */
export function isFixed(shape: InputShape): boolean {
  return Boolean(shape.height ?? shape.width);
}

/** The size of a photo after it is scaled down if it is too large for a file. */
export function fitInto(shape: InputShape, size: Size): Size {
  const limits = { width: shape.width ?? size.width, height: shape.height ?? size.height };
  const scale = Math.min(1, limits.width / size.width, limits.height / size.height);
  const fit = (limit: number, length: number) => Math.min(limit, Math.max(1, roundHalfToEven(length * scale)));
  return { width: fit(limits.width, size.width), height: fit(limits.height, size.height) };
}

/** The size to which a photo is enlarged by its reflections, which leave its statistics as they are. */
export function filledSize(shape: InputShape, size: Size): Size {
  const fill = (length: number) => Math.ceil(length / shape.multiple) * shape.multiple;
  return { width: shape.width ?? fill(size.width), height: shape.height ?? fill(size.height) };
}

/** What the file takes: a batch of one photo, as often as the batch is large. */
export function toBatch(shape: InputShape, photo: Planes, runtime: Runtime): Tensor {
  const { width, height } = photo;
  const batch = shape.batch ?? 1;
  if (!shape.inBytes) return new runtime.Tensor("float32", repeated(photo.data, batch), [batch, 3, height, width]);
  const area = width * height;
  const bytes = toBytes(photo).data;
  const pixels = Uint8Array.from({ length: 3 * area }, (_, i) => bytes[(i % 3) * area + Math.floor(i / 3)]!);
  return new runtime.Tensor("uint8", repeated(pixels, batch), [batch, height, width, 3]);
}

/** The first picture of a batch that the file returned, cut to a size. */
export function fromBatch(shape: InputShape, pictures: Tensor, size: Size): Planes {
  const width = pictures.dims[shape.inBytes ? 2 : 3]!;
  const area = width * pictures.dims[shape.inBytes ? 1 : 2]!;
  const samples = pictures.data as Float32Array | Uint8Array;
  const [next, plane, white] = shape.inBytes ? [3, 1, 255] : [1, area, 1];
  const data = new Float32Array(3 * size.width * size.height);
  for (let channel = 0, to = 0; channel < 3; channel++) {
    for (let y = 0; y < size.height; y++) {
      let from = channel * plane + y * width * next;
      for (let x = 0; x < size.width; x++, from += next) data[to++] = samples[from]! / white;
    }
  }
  return { width: size.width, height: size.height, data };
}

type TensorMetadata = InferenceSession.TensorValueMetadata;

/** Whether photo and picture are tensors of the same shape, fixed or not, with three channels. */
function matches(photo: TensorMetadata, picture: TensorMetadata, channels: number): boolean {
  const known = photo.type === "float32" || photo.type === "uint8";
  if (!known || photo.type !== picture.type || photo.shape.length !== 4 || picture.shape.length !== 4) return false;
  return photo.shape.every((length, i) => {
    const [own, other] = [fixedLength(length), fixedLength(picture.shape[i]!)];
    return i === channels ? own === 3 && other === 3 : own === other || !own || !other;
  });
}

function fixedLength(length: number | string): number | undefined {
  return typeof length === "number" && length > 0 ? length : undefined;
}

function repeated<T extends Float32Array | Uint8Array>(values: T, times: number): T {
  if (times === 1) return values;
  const all = new (values.constructor as new (length: number) => T)(times * values.length);
  for (let i = 0; i < times; i++) all.set(values, i * values.length);
  return all;
}

/**
 * Scaling with Lanczos' filter, with the same result as Pillow's `Image.resize`, by which `Stylizer` scales
 * pictures: see Resample.c in its source. Floats are filtered as its mode F, bytes as its mode RGB, whose weights
 * are whole multiples of 2^-22, and which is rounded in between. The width is scaled first; recent versions of
 * Pillow begin with the height for some sizes, which makes a difference by that rounding.
 */
import type { Pixels, Planes } from "./pixels";
import { bytesOf, setRows } from "./pixels";
import { isSame, type Size } from "./sizes";

const RADIUS = 3;
const PRECISION = 2 ** 22;

/** Weights of the samples, along one dimension, from which each sample of a scaled picture is made. */
interface Filter {
  readonly firsts: Int32Array;
  readonly counts: Int32Array;
  /** The weights of each scaled sample begin at its number times `stride`. */
  readonly weights: Float64Array;
  readonly stride: number;
}

type Samples = Float32Array | Uint8ClampedArray;

/** Rows of a picture that is being scaled: the number of the first one that is there, and of the one after the last. */
export interface RowRange {
  readonly first: number;
  readonly last: number;
}

/** The rows of a picture from which some rows of the scaled picture are made. */
export function rowsNeeded(height: number, scaledHeight: number, start: number, stop: number): RowRange {
  if (height === scaledHeight) return { first: start, last: stop };
  const { firsts, counts } = makeFilter(height, scaledHeight, start, stop);
  return { first: firsts[0]!, last: firsts.at(-1)! + counts.at(-1)! };
}

/**
 * Some rows of a scaled picture, as floats from 0 to 1.
 *
 * @param rows what `rowsNeeded` says.
 * @param height height of the whole picture.
 * @param size size of the whole scaled picture.
 * @param start the first row of the scaled picture to make.
 * @param stop the row after the last.
 */
export function scaleRows(rows: Planes, height: number, size: Size, start: number, stop: number): Planes {
  const { first } = rowsNeeded(height, size.height, start, stop);
  const wide = size.width === rows.width ? rows : scaleWidth(rows, makeFilter(rows.width, size.width), floats);
  const filter = makeFilter(height, size.height, start, stop);
  const scaled = height === size.height ? wide : scaleHeight(wide, filter, first, floats);
  for (let i = 0; i < scaled.data.length; i++) scaled.data[i] = Math.min(1, Math.max(0, scaled.data[i]!));
  return scaled;
}

/** Scale pixels, rounded to bytes; all of them are opaque. */
export function scalePixels(pixels: Pixels, size: Size): Pixels {
  if (isSame(pixels, size)) return pixels;
  const rows = bytesOf(pixels);
  const wide = size.width === rows.width ? rows : scaleWidth(rows, quantize(makeFilter(rows.width, size.width)), bytes);
  const filter = quantize(makeFilter(rows.height, size.height));
  const scaled = size.height === rows.height ? wide : scaleHeight(wide, filter, 0, bytes);
  const data = new Uint8ClampedArray(4 * size.width * size.height).fill(255);
  setRows({ ...size, data }, 0, scaled);
  return { ...size, data };
}

const floats = (length: number) => new Float32Array(length);
const bytes = (length: number) => new Uint8ClampedArray(length);

function makeFilter(length: number, scaled: number, start = 0, stop = scaled): Filter {
  const scale = length / scaled;
  const widening = Math.max(1, scale);
  const support = RADIUS * widening;
  const stride = 2 * Math.ceil(support) + 1;
  const firsts = new Int32Array(stop - start);
  const counts = new Int32Array(stop - start);
  const weights = new Float64Array(stride * (stop - start));
  for (let i = 0; i < firsts.length; i++) {
    const center = (start + i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    firsts[i] = first;
    counts[i] = Math.min(length, Math.trunc(center + support + 0.5)) - first;
    const own = weights.subarray(i * stride, i * stride + counts[i]!);
    own.forEach((_, j) => (own[j] = lanczos((first + j - center + 0.5) / widening)));
    const sum = own.reduce((total, weight) => total + weight);
    own.forEach((weight, j) => (own[j] = weight / sum));
  }
  return { firsts, counts, weights, stride };
}

function lanczos(x: number): number {
  return x >= -RADIUS && x < RADIUS ? sinc(x) * sinc(x / RADIUS) : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function quantize(filter: Filter): Filter {
  const weights = filter.weights.map(
    (weight) => Math.trunc(weight * PRECISION + (weight < 0 ? -0.5 : 0.5)) / PRECISION,
  );
  return { ...filter, weights };
}

/** What a sum begins with so that bytes, which are rounded to even, are rounded up where two are equally near. */
const upwards = (data: Samples) => (data instanceof Uint8ClampedArray ? 0.5 / PRECISION : 0);

function scaleWidth<T extends Samples>(rows: Planes<T>, filter: Filter, make: (length: number) => T): Planes<T> {
  const { firsts, counts, weights, stride } = filter;
  const width = firsts.length;
  const data = make(3 * rows.height * width);
  const begin = upwards(data);
  for (let row = 0, to = 0; row < 3 * rows.height; row++) {
    const from = row * rows.width;
    for (let x = 0; x < width; x++, to++) {
      let sum = begin;
      const first = from + firsts[x]!;
      const weight = x * stride;
      for (let i = 0; i < counts[x]!; i++) sum += rows.data[first + i]! * weights[weight + i]!;
      data[to] = sum;
    }
  }
  return { width, height: rows.height, data };
}

/** Scale columns of which only the rows from `first` on are there. */
function scaleHeight<T extends Samples>(
  rows: Planes<T>,
  filter: Filter,
  first: number,
  make: (length: number) => T,
): Planes<T> {
  const { width } = rows;
  const height = filter.firsts.length;
  const data = make(3 * height * width);
  const sums = new Float64Array(width);
  for (let channel = 0; channel < 3; channel++) {
    for (let y = 0; y < height; y++) {
      sums.fill(upwards(data));
      for (let i = 0; i < filter.counts[y]!; i++) {
        const weight = filter.weights[y * filter.stride + i]!;
        const from = (channel * rows.height + filter.firsts[y]! - first + i) * width;
        for (let x = 0; x < width; x++) sums[x]! += weight * rows.data[from + x]!;
      }
      data.set(sums, (channel * height + y) * width);
    }
  }
  return { width, height, data };
}

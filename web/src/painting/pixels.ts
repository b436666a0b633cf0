import type { Size } from "./sizes";

/** Pixels, row by row: red, green, blue and opacity from 0 to 255, as canvases have them. */
export interface Pixels extends Size {
  readonly data: Uint8ClampedArray;
}

/** Pixels in three planes, red, green and blue: shape (3, height, width). Floats are from 0 to 1. */
export interface Planes<Samples = Float32Array> extends Size {
  readonly data: Samples;
}

/** Some rows of pixels, as bytes in planes. */
export function bytesOf(pixels: Pixels, start = 0, stop = pixels.height): Planes<Uint8ClampedArray> {
  const { width, data: source } = pixels;
  const area = (stop - start) * width;
  const data = new Uint8ClampedArray(3 * area);
  for (let i = 0, from = 4 * start * width; i < area; i++, from += 4) {
    data[i] = source[from]!;
    data[area + i] = source[from + 1]!;
    data[2 * area + i] = source[from + 2]!;
  }
  return { width, height: stop - start, data };
}

/** Write rows, as bytes in planes, into pixels, from some row on; opacities stay as they are. */
export function setRows(pixels: Pixels, start: number, rows: Planes<Uint8ClampedArray>): void {
  const area = rows.width * rows.height;
  for (let i = 0, to = 4 * start * rows.width; i < area; i++, to += 4) {
    pixels.data[to] = rows.data[i]!;
    pixels.data[to + 1] = rows.data[area + i]!;
    pixels.data[to + 2] = rows.data[2 * area + i]!;
  }
}

/** Bytes for floats from 0 to 1, outside of which they are clipped. */
export function toBytes(planes: Planes): Planes<Uint8ClampedArray> {
  const data = new Uint8ClampedArray(planes.data.length);
  for (let i = 0; i < data.length; i++) data[i] = 255 * planes.data[i]!;
  return { ...planes, data };
}

/** Floats from 0 to 1 for bytes. */
export function toFloats(planes: Planes<Uint8ClampedArray | Uint8Array>): Planes {
  const data = new Float32Array(planes.data.length);
  for (let i = 0; i < data.length; i++) data[i] = planes.data[i]! / 255;
  return { ...planes, data };
}

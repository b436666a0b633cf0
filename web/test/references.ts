/** Reads what references.py has written. */
import { readFileSync } from "node:fs";
import type { Pixels } from "../src/painting/pixels";

const FOLDER = "build/references";

export interface Case {
  readonly network: string;
  /** Path of the network's file. */
  readonly file: string;
  readonly width: number;
  readonly height: number;
  readonly options: object;
  readonly photo: string;
  readonly picture: string;
}

export interface Scaling {
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
  readonly photo: string;
  readonly bytes: string;
  readonly floats: string;
}

export function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(`${FOLDER}/${name}`, "utf8")) as T;
}

export function readPixels(name: string, width: number, height: number): Pixels {
  return { width, height, data: new Uint8ClampedArray(readFileSync(`${FOLDER}/${name}`)) };
}

export function readFloats(name: string): Float32Array {
  return new Float32Array(Uint8Array.from(readFileSync(`${FOLDER}/${name}`)).buffer);
}

/** The bytes of a network's file, by its name or path. */
export function readNetwork(name: string): Uint8Array {
  return readFileSync(name.includes("/") ? name : `${FOLDER}/${name}.onnx`);
}

/** How alike two pictures are, in dB. */
export function decibels(a: Pixels, b: Pixels): number {
  if (a.data.length !== b.data.length) throw new RangeError(`${a.data.length} values, and ${b.data.length}`);
  const error = a.data.reduce((sum, value, i) => sum + (value - b.data[i]!) ** 2, 0) / ((3 / 4) * a.data.length);
  return 10 * Math.log10(255 ** 2 / Math.max(error, 1e-9));
}

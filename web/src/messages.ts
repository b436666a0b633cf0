/** What the page and its worker tell each other. Pictures travel as bitmaps, which are moved, not copied. */

import type { Size } from "./painting/sizes";

/** How a photo is to be painted. */
export interface Look {
  /** A weight of 0 or more for each of the network's styles. */
  readonly style: readonly number[];
  /** Size of the strokes relative to the painting's. */
  readonly strokes: number;
}

/** How the layers are laid over each other: both from 0 to 1. */
export interface Mix {
  readonly strength: number;
  readonly preserveColor: number;
}

export type Format = "image/jpeg" | "image/png";

export interface StyleInfo {
  readonly name: string;
  readonly credit?: string;
}

export type ToWorker =
  | { type: "network"; url: string; name: string }
  | { type: "photo"; source: Blob | ImageBitmap; name: string; display: Size }
  | { type: "preview"; look: Look }
  | { type: "save"; look: Look; mix: Mix; format: Format }
  | { type: "cancel" };

export type FromWorker =
  | { type: "network"; name: string; url: string; styles: StyleInfo[]; blends: boolean; backend: string }
  | { type: "backend"; name: string }
  | { type: "photo"; name: string; bitmap: ImageBitmap; size: Size }
  | { type: "thumbnail"; index: number; bitmap: ImageBitmap }
  | { type: "preview"; look: Look; painted: ImageBitmap; recolored: ImageBitmap; final: boolean }
  | { type: "progress"; share: number }
  | { type: "saved"; picture: Blob; seconds: number }
  | { type: "cancelled"; task: ToWorker["type"] }
  | { type: "failed"; task: ToWorker["type"]; problem: string };

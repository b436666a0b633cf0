/** Pixels, row by row: red, green, blue and opacity from 0 to 255, as canvases have them. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}

/** A picture's width and height, in pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

export function shortSide(size: Size): number {
  return Math.min(size.width, size.height);
}

export function isSame(a: Size, b: Size): boolean {
  return a.width === b.width && a.height === b.height;
}

/** The size of a picture after it is scaled to a short side. */
export function fitShortSide(size: Size, side: number): Size {
  const scaled = (length: number) => Math.max(side, roundHalfToEven((length * side) / shortSide(size)));
  return { width: scaled(size.width), height: scaled(size.height) };
}

/** The nearest whole number, an even one if two are equally near, as Python rounds: sizes must be those of Python. */
export function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

import type { Pixels } from "../painting/pixels";
import type { Size } from "../painting/sizes";

/** Rows that are read at once: some phones limit the area of a canvas. */
const ROWS = 512;

/** A part of a photo, in its pixels. */
interface Part extends Size {
  readonly x: number;
  readonly y: number;
}

/** A photo that can't be read. */
export class PhotoError extends Error {}

/** Decode a photo, upright as its EXIF orientation says, in sRGB. */
export async function decode(source: Blob | ImageBitmap, name: string): Promise<ImageBitmap> {
  if (source instanceof ImageBitmap) return source;
  try {
    return await createImageBitmap(source, { imageOrientation: "from-image" });
  } catch {
    throw new PhotoError(`${name} is not a picture that this browser can read.`);
  }
}

/** A photo's pixels at a size, or those of a part of it; what is transparent lies on white. */
export function readPixels(photo: ImageBitmap, { width, height }: Size, part: Part = whole(photo)): Pixels {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let top = 0; top < height; top += ROWS) {
    const rows = Math.min(ROWS, height - top);
    const context = newContext({ width, height: rows });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.imageSmoothingQuality = "high";
    context.drawImage(photo, part.x, part.y, part.width, part.height, 0, -top, width, height);
    data.set(context.getImageData(0, 0, width, rows).data, 4 * width * top);
  }
  return { width, height, data };
}

/** A bitmap of pixels, to be moved to the page. */
export function toBitmap(pixels: Pixels): ImageBitmap {
  return toCanvas(pixels).transferToImageBitmap();
}

/** A canvas of pixels. */
export function toCanvas({ width, height, data }: Pixels): OffscreenCanvas {
  const context = newContext({ width, height });
  context.putImageData(new ImageData(data as Uint8ClampedArray<ArrayBuffer>, width, height), 0, 0);
  return context.canvas;
}

function whole({ width, height }: Size): Part {
  return { x: 0, y: 0, width, height };
}

function newContext({ width, height }: Size): OffscreenCanvasRenderingContext2D {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new PhotoError(`This browser can't hold a picture of ${width} × ${height} pixels.`);
  return context;
}

import type { Size } from "../messages";
import type { Pixels } from "../painting/pixels";

/** Rows that are read at once: some phones limit the area of a canvas. */
const ROWS = 512;

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

/** The size of a photo after it is scaled, up or down, to a short side. */
export function withShortSide({ width, height }: Size, shortSide: number): Size {
  const scale = shortSide / Math.min(width, height);
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** A photo's pixels at a size; what is transparent lies on white. */
export function readPixels(photo: ImageBitmap, { width, height }: Size): Pixels {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let top = 0; top < height; top += ROWS) {
    const rows = Math.min(ROWS, height - top);
    const context = newContext({ width, height: rows });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.imageSmoothingQuality = "high";
    context.drawImage(photo, 0, -top, width, height);
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

function newContext({ width, height }: Size): OffscreenCanvasRenderingContext2D {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new PhotoError(`This browser can't hold a picture of ${width} × ${height} pixels.`);
  return context;
}

/** The layers of a picture, which are laid over each other without running the network again. */

import type { Mix } from "../messages";
import type { Pixels } from "../painting/pixels";

const LUMA = [0.299, 0.587, 0.114] as const;

/** A picture with its own luma, and the photo's colors. */
export function recolor(picture: Pixels, photo: Pixels): Pixels {
  const data = new Uint8ClampedArray(picture.data.length);
  for (let i = 0; i < data.length; i += 4) {
    const lost = luma(photo.data, i) - luma(picture.data, i);
    for (let channel = i; channel < i + 3; channel++) data[channel] = photo.data[channel]! - lost;
    data[i + 3] = 255;
  }
  return { width: picture.width, height: picture.height, data };
}

/** What the page shows: the recolored picture over the picture, and both over the photo. */
export function mixLayers(photo: Pixels, picture: Pixels, { strength, preserveColor }: Mix): Pixels {
  const recolored = preserveColor > 0 ? recolor(picture, photo) : picture;
  const data = new Uint8ClampedArray(photo.data.length);
  for (let i = 0; i < data.length; i++) {
    const painted = picture.data[i]! + preserveColor * (recolored.data[i]! - picture.data[i]!);
    data[i] = photo.data[i]! + strength * (painted - photo.data[i]!);
  }
  return { width: photo.width, height: photo.height, data };
}

function luma(data: Uint8ClampedArray, i: number): number {
  return LUMA[0] * data[i]! + LUMA[1] * data[i + 1]! + LUMA[2] * data[i + 2]!;
}

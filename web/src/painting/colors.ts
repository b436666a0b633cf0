import type { Planes } from "./pixels";

const LUMA = [0.299, 0.587, 0.114] as const; // Y of YIQ from R'G'B', Rec. 601

/** Give a picture, in place, a share from 0 to 1 of a photo's color in place of its own; it keeps its luma. */
export function mixColor(picture: Planes, photo: Planes, share: number): void {
  const area = picture.width * picture.height;
  const difference = (i: number) => photo.data[i]! - picture.data[i]!;
  for (let i = 0; i < area; i++) {
    const differences = [difference(i), difference(area + i), difference(2 * area + i)] as const;
    const gray = LUMA[0] * differences[0] + LUMA[1] * differences[1] + LUMA[2] * differences[2];
    for (let channel = 0, at = i; channel < 3; channel++, at += area) {
      const mixed = picture.data[at]! + share * (differences[channel]! - gray);
      picture.data[at] = Math.min(1, Math.max(0, mixed));
    }
  }
}

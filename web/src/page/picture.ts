import type { Mix } from "../messages";
import type { Size } from "../painting/sizes";
import { canvas, element, input, show } from "./elements";

const MOST_PIXELS = 2_000_000;

const picture = element("picture", HTMLDivElement);
const layers = element("layers", HTMLDivElement);
const divider = input("divider");

divider.addEventListener("input", showDivider);
showDivider();

/** The size of the area for the picture, in the display's pixels, but not more than can be painted quickly. */
export function displaySize(): Size {
  const { width, height } = element("frame", HTMLDivElement).getBoundingClientRect();
  const scale = Math.min(devicePixelRatio, Math.sqrt(MOST_PIXELS / (width * height)));
  return { width: Math.round(width * scale), height: Math.round(height * scale) };
}

export function showPhoto(bitmap: ImageBitmap, name: string): void {
  picture.style.setProperty("--wide", String(bitmap.width));
  picture.style.setProperty("--high", String(bitmap.height));
  layers.classList.add("empty");
  canvas("photo").setAttribute("aria-label", `The photo ${name}`);
  show(canvas("photo"), bitmap);
}

export function showPainting(painted: ImageBitmap, recolored: ImageBitmap, style: string): void {
  show(canvas("painted"), painted);
  show(canvas("recolored"), recolored);
  canvas("painted").setAttribute("aria-label", `The photo, painted in the style ${style}`);
  layers.classList.remove("empty");
}

/** Lay the layers over each other in other shares. Nothing is painted anew. */
export function mix({ strength, preserveColor }: Mix): void {
  picture.style.setProperty("--strength", String(strength));
  picture.style.setProperty("--preserve-color", String(preserveColor));
}

function showDivider(): void {
  picture.style.setProperty("--divider", `${divider.value}%`);
  divider.setAttribute("aria-valuetext", `${divider.value} % photo`);
}

import type { StyleInfo } from "../messages";
import { element, readable, select, show } from "./elements";

const grid = element("styles", HTMLFieldSetElement).querySelector(".grid")!;

/** List a network's styles; the first one is chosen. */
export function listStyles(styles: readonly StyleInfo[], blends: boolean): void {
  grid.replaceChildren(...styles.map(newChoice));
  const second = select("second");
  second.replaceChildren(new Option("no other style", ""));
  second.append(...styles.map(({ name }, index) => new Option(readable(name), String(index))));
  element("blend", HTMLDivElement).hidden = !blends;
}

export function showThumbnail(index: number, bitmap: ImageBitmap): void {
  const target = grid.querySelectorAll("canvas")[index];
  if (target) show(target, bitmap);
}

/** The number of the chosen style. */
export function chosenStyle(): number {
  return Number(grid.querySelector<HTMLInputElement>("input:checked")?.value ?? 0);
}

function newChoice({ name, credit }: StyleInfo, index: number): HTMLLabelElement {
  const [label, radio, text] = [document.createElement("label"), document.createElement("input"), document.createElement("span")];
  radio.type = "radio";
  radio.name = "style";
  radio.value = String(index);
  radio.checked = index === 0;
  text.textContent = readable(name);
  label.className = "style";
  label.title = credit ?? name;
  const thumbnail = document.createElement("canvas");
  thumbnail.setAttribute("aria-hidden", "true");
  label.append(radio, thumbnail, text);
  return label;
}

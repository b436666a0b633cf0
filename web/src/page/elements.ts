/** The page's element of an id. */
export function element<Type extends HTMLElement>(id: string, type: new () => Type): Type {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} called ${id}.`);
  return found;
}

export const button = (id: string) => element(id, HTMLButtonElement);
export const canvas = (id: string) => element(id, HTMLCanvasElement);
export const input = (id: string) => element(id, HTMLInputElement);
export const select = (id: string) => element(id, HTMLSelectElement);

/** Show a bitmap in a canvas, which takes its size. The bitmap is moved there. */
export function show(target: HTMLCanvasElement, bitmap: ImageBitmap): void {
  target.width = bitmap.width;
  target.height = bitmap.height;
  target.getContext("bitmaprenderer")?.transferFromImageBitmap(bitmap);
}

/** A style's name as people read it: "great_wave" is "Great wave". */
export function readable(name: string): string {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The page: what its controls say goes to the worker, and what the worker paints is shown. */

import type { Format, FromWorker, Look, Mix, StyleInfo, ToWorker } from "./messages";
import { offerCamera } from "./page/camera";
import { button, element, input, readable, select } from "./page/elements";
import { takeFiles } from "./page/files";
import { displaySize, mix, showPainting, showPhoto } from "./page/picture";
import { chosenStyle, listStyles, showThumbnail } from "./page/style_list";

interface Model {
  readonly name: string;
  readonly file: string;
  readonly title?: string;
}

const worker = new Worker(`worker.js${location.search}`, { type: "module" });
let styles: StyleInfo[] = [];
let network = "";
let hasPhoto = false;
let photoName = "";
let saving = false;

worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => receive(data));
worker.addEventListener("error", () => say("This browser can't run the painter.", "failed"));

element("controls", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
for (const id of ["strength", "preserve-color"]) input(id).addEventListener("input", showMix);
for (const id of ["strokes", "share"]) input(id).addEventListener("input", showValues);
for (const id of ["strokes", "share"]) input(id).addEventListener("change", paint);
element("styles", HTMLFieldSetElement).addEventListener("change", paint);
select("second").addEventListener("change", paint);
select("network").addEventListener("change", () => openNetwork(select("network").value, chosenText("network")));
button("cancel").addEventListener("click", () => send({ type: "cancel" }));
takeFiles(takeFile);
offerCamera((bitmap) => openPhoto(bitmap, "camera", [bitmap]), (problem) => say(problem, "failed"));
showMix();
showValues();
void begin();

async function begin(): Promise<void> {
  try {
    const [models, sample] = await Promise.all([
      fetch("models.json").then((response) => response.json() as Promise<Model[]>),
      fetch("sample.jpg").then((response) => response.blob()),
    ]);
    select("network").replaceChildren(...models.map(({ name, title, file }) => new Option(title ?? readable(name), file)));
    if (!models[0]) return say("There is no network here: open one.", "failed");
    openNetwork(models[0].file, models[0].name);
    openPhoto(sample, "cat");
  } catch {
    say("The page's files could not be loaded.", "failed");
  }
}

function receive(message: FromWorker): void {
  switch (message.type) {
    case "network":
      network = message.url;
      chooseNetwork(message.url, message.name);
      styles = message.styles;
      listStyles(styles, message.blends);
      document.documentElement.dataset.backend = message.backend;
      return paint();
    case "backend":
      document.documentElement.dataset.backend = message.name;
      return;
    case "photo":
      hasPhoto = true;
      photoName = message.name.replace(/\.[^.]*$/, "");
      showPhoto(message.bitmap, photoName);
      button("save").textContent = `Download ${message.size.width} × ${message.size.height}`;
      return paint();
    case "thumbnail":
      return showThumbnail(message.index, message.bitmap);
    case "preview":
      if (JSON.stringify(message.look) !== JSON.stringify(look())) return discard(message.painted, message.recolored);
      showPainting(message.painted, message.recolored, styleText());
      button("save").disabled = saving;
      if (state() !== "painting") return; // what is said of something else stays
      return message.final ? say("", "painted") : say("Adding finer strokes…", "painting");
    case "progress":
      element("progress", HTMLProgressElement).value = message.share;
      return;
    case "saved":
      setSaving(false);
      download(message.picture);
      say(`Saved after ${message.seconds.toFixed(1)} s.`);
      return finishPreview();
    case "cancelled":
      if (message.task !== "save") return;
      setSaving(false);
      say("Cancelled.");
      return finishPreview();
    case "failed":
      if (message.task === "save") setSaving(false);
      if (message.task === "network") select("network").value = network;
      return say(message.problem, "failed");
  }
}

/** Photos are painted, networks paint: both may be chosen, dropped or pasted anywhere. */
function takeFile(file: File): void {
  if (saving) return say("Cancel the download to open something else.");
  if (file.name.toLowerCase().endsWith(".onnx")) {
    openNetwork(URL.createObjectURL(file), file.name);
  } else {
    openPhoto(file, file.name);
  }
}

function openNetwork(url: string, name: string): void {
  say("Loading the network…", "loading");
  send({ type: "network", url, name });
}

/** Show the network in use; one of the visitor's own can be chosen again later. */
function chooseNetwork(url: string, name: string): void {
  const offered = select("network");
  if (![...offered.options].some(({ value }) => value === url)) offered.add(new Option(name, url));
  offered.value = url;
}

function openPhoto(source: Blob | ImageBitmap, name: string, moved: Transferable[] = []): void {
  say("Opening the photo…", "loading");
  send({ type: "photo", source, name, display: displaySize() }, moved);
}

function paint(): void {
  showValues();
  if (!hasPhoto || !styles.length) return;
  say("Painting…", "painting");
  send({ type: "preview", look: look() });
}

/** Go on with a picture for the screen that was left for one in full size. */
function finishPreview(): void {
  if (state() === "painting") send({ type: "preview", look: look() });
}

function save(): void {
  setSaving(true);
  say("Painting in full size…");
  send({ type: "save", look: look(), mix: currentMix(), format: select("format").value as Format });
}

function download(picture: Blob): void {
  const link = document.createElement("a");
  const words = `${photoName} ${styleText().toLowerCase()}`.match(/[\p{L}\p{N}.-]+/gu) ?? ["picture"];
  link.href = URL.createObjectURL(picture);
  link.download = `${words.join("_")}.${picture.type === "image/png" ? "png" : "jpg"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function look(): Look {
  const [first, second, share] = [chosenStyle(), select("second").value, Number(input("share").value) / 100];
  const style = styles.map((_, index) => Number(index === first));
  if (second !== "") {
    style[first] = 1 - share;
    style[Number(second)] = (style[Number(second)] ?? 0) + share;
  }
  return { style, strokes: strokes() };
}

function strokes(): number {
  return 2 ** Number(input("strokes").value);
}

function currentMix(): Mix {
  return { strength: Number(input("strength").value) / 100, preserveColor: Number(input("preserve-color").value) / 100 };
}

function showMix(): void {
  mix(currentMix());
  for (const id of ["strength", "preserve-color"]) showValue(id, `${input(id).value} %`);
}

function showValues(): void {
  showValue("strokes", `× ${Number(strokes().toFixed(2))}`);
  showValue("share", `${input("share").value} %`);
  element("share-row", HTMLDivElement).hidden = select("second").value === "";
  element("credit", HTMLParagraphElement).textContent = styles[chosenStyle()]?.credit ?? "";
}

function showValue(id: string, text: string): void {
  element(`${id}-value`, HTMLOutputElement).value = text;
  input(id).setAttribute("aria-valuetext", text);
}

function styleText(): string {
  const second = select("second").value;
  const chosen = new Set([chosenStyle(), second === "" ? chosenStyle() : Number(second)]);
  return [...chosen].map((index) => readable(styles[index]?.name ?? "")).join(" and ");
}

function chosenText(id: string): string {
  return select(id).selectedOptions[0]?.text ?? "";
}

function setSaving(now: boolean): void {
  const [from, to] = now ? ["save", "cancel"] : ["cancel", "save"];
  const focused = document.activeElement === button(from);
  saving = now;
  element("choices", HTMLFieldSetElement).disabled = now;
  for (const id of ["save", "open", "use-camera"]) button(id).disabled = now;
  button("cancel").hidden = !now;
  element("progress", HTMLProgressElement).hidden = !now;
  element("progress", HTMLProgressElement).value = 0;
  if (focused) button(to).focus({ preventScroll: true });
}

/** Say what goes on, and note for style sheets and tests what the page is at. */
function say(text: string, state?: "loading" | "painting" | "painted" | "failed"): void {
  element("status", HTMLParagraphElement).textContent = text;
  if (state) document.documentElement.dataset.state = state;
}

function state(): string | undefined {
  return document.documentElement.dataset.state;
}

function discard(...bitmaps: ImageBitmap[]): void {
  for (const bitmap of bitmaps) bitmap.close();
}

function send(message: ToWorker, moved: Transferable[] = []): void {
  worker.postMessage(message, moved);
}

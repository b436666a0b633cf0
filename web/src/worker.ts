/** The worker in which the network runs, so that the page stays responsive. */

import type { Format, FromWorker, Look, Mix, ToWorker } from "./messages";
import { Network, RunError } from "./painting/network";
import type { Pixels } from "./painting/pixels";
import { fitShortSide, shortSide, type Size } from "./painting/sizes";
import { Desk, type Job } from "./worker/desk";
import { mixLayers, recolor } from "./worker/layers";
import { decode, readPixels, toBitmap, toCanvas } from "./worker/photo";
import { loadRuntime } from "./worker/runtime";

const FIRST_SHORT_SIDE = 512;
/** Side of thumbnails, in pixels: at less, strokes are larger than what they paint. */
const THUMBNAIL = 192;
const JPEG_QUALITY = 0.95;

interface FullPicture {
  readonly photo: ImageBitmap;
  readonly network: Network;
  readonly look: string;
  readonly pixels: Pixels;
  readonly painted: Pixels;
}

let network: Network | null = null;
let file: Uint8Array | null = null;
let photo: ImageBitmap | null = null;
let display: Size = { width: 0, height: 0 };
let missing: number[] = [];
let full: FullPicture | null = null;
/** How often a photo or a network was asked for: only the last one counts. */
const asked = { photo: 0, network: 0 };
let backend = loadRuntime(new URL(self.location.href).searchParams.get("backend"));
backend.catch(() => undefined); // reported by the task that needs it
const desk = new Desk(nextThumbnail, (error) => fail("preview", error));

self.onmessage = ({ data }: MessageEvent<ToWorker>) => void receive(data);

async function receive(message: ToWorker): Promise<void> {
  try {
    switch (message.type) {
      case "network":
        return await openNetwork(message.url, message.name);
      case "photo":
        return await openPhoto(message.source, message.name, message.display);
      case "preview":
        return put("preview", preview(message.look));
      case "save":
        return put("save", save(message.look, message.mix, message.format));
      case "cancel":
        return desk.stop();
    }
  } catch (error) {
    fail(message.type, error);
  }
}

async function openNetwork(url: string, name: string): Promise<void> {
  const ticket = ++asked.network;
  const isLast = () => ticket === asked.network;
  const downloaded = await download(url, name);
  const { name: backendName, runtime, options } = await backend;
  const opened = await Network.open(downloaded, runtime, options).catch((error: Error) => {
    throw new Error(`${name}: ${error.message}`);
  });
  if (isLast()) await clearDesk();
  if (!isLast()) return opened.close();
  const former = network;
  [network, file, full] = [opened, downloaded, null];
  const withoutEnding = name.replace(/\.onnx$/i, "");
  const styles = network.styles.map((style) => ({ name: style.name || withoutEnding, credit: style.credit }));
  post({ type: "network", name, url, styles, blends: styles.length > 1, backend: backendName });
  askForThumbnails();
  await former?.close();
}

async function download(url: string, name: string): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${name} could not be loaded (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

async function openPhoto(source: Blob | ImageBitmap, name: string, wanted: Size): Promise<void> {
  const ticket = ++asked.photo;
  const isLast = () => ticket === asked.photo;
  const opened = await decode(source, name);
  const size = { width: opened.width, height: opened.height };
  const shown = fitShortSide(size, displayedShortSide(size, wanted));
  const bitmap = await createImageBitmap(opened, { resizeWidth: shown.width, resizeHeight: shown.height, resizeQuality: "high" });
  if (isLast()) await clearDesk();
  if (!isLast()) return [opened, bitmap].forEach((unused) => unused.close());
  photo?.close();
  [photo, display, full] = [opened, wanted, null];
  post({ type: "photo", name, bitmap, size }, [bitmap]);
  askForThumbnails();
}

/** Stop all work, before another network or photo takes the place of the one that it is done with. */
async function clearDesk(): Promise<void> {
  missing = [];
  await desk.clear();
}

/** The short side at which a photo fills the display, or its own. */
function displayedShortSide(photo: Size, display: Size): number {
  const scale = Math.min(1, display.width / photo.width, display.height / photo.height);
  return Math.max(1, Math.round(scale * shortSide(photo)));
}

function askForThumbnails(): void {
  missing = network && photo ? network.styles.map((_, index) => index) : [];
  desk.wake();
}

/** Do a job that the page waits for. */
function put(task: ToWorker["type"], job: Job): void {
  desk.put(async (signal) => {
    try {
      signal.throwIfAborted();
      await job(signal).catch(async (error) => {
        if (!(error instanceof RunError) || !(await leaveGraphicsProcessor())) throw error;
        await job(signal);
      });
    } catch (error) {
      if (signal.aborted) post({ type: "cancelled", task });
      else fail(task, error);
    }
  });
}

/** Open the network on the processor, if it was on the graphics processor, where it may lack memory or an operator. */
async function leaveGraphicsProcessor(): Promise<boolean> {
  if (!file || (await backend).name === "wasm") return false;
  backend = loadRuntime("wasm");
  const { name, runtime, options } = await backend;
  const former = network;
  network = await Network.open(file, runtime, options);
  await former?.close().catch(() => undefined); // its processor may be gone
  post({ type: "backend", name });
  return true;
}

/** Paint a picture for the display: fast at first, in full detail then. */
function preview(look: Look): Job {
  return async (signal) => {
    if (!network || !photo) return;
    const [painter, given] = [network, photo];
    const first = Math.min(shortSide(given), Math.round(FIRST_SHORT_SIDE / look.strokes));
    const shortSides = [...new Set([first, Math.max(first, displayedShortSide(given, display))])];
    for (const [i, side] of shortSides.entries()) {
      const pixels = readPixels(given, fitShortSide(given, side));
      const painted = await painter.paint(pixels, { ...look, signal });
      if (painter !== network || given !== photo) return;
      const [bitmap, recolored] = [toBitmap(painted), toBitmap(recolor(painted, pixels))];
      const final = i === shortSides.length - 1;
      post({ type: "preview", look, painted: bitmap, recolored, final }, [bitmap, recolored]);
    }
  };
}

/** Paint a picture at the photo's own size, and encode it. */
function save(look: Look, mix: Mix, format: Format): Job {
  return async (signal) => {
    if (!network || !photo) return;
    const start = performance.now();
    full = isPainted(full, look) ? full : null; // for it and another, there may not be enough memory
    full ??= await paintFull(network, photo, look, signal);
    const canvas = toCanvas(mixLayers(full.pixels, full.painted, mix));
    const picture = await canvas.convertToBlob({ type: format, quality: JPEG_QUALITY });
    signal.throwIfAborted();
    post({ type: "saved", picture, seconds: (performance.now() - start) / 1000 });
  };
}

async function paintFull(network: Network, photo: ImageBitmap, look: Look, signal: AbortSignal): Promise<FullPicture> {
  const pixels = readPixels(photo, photo);
  const onProgress = (share: number) => post({ type: "progress", share });
  const painted = await network.paint(pixels, { ...look, signal, onProgress });
  return { photo, network, look: JSON.stringify(look), pixels, painted };
}

function isPainted(full: FullPicture | null, look: Look): full is FullPicture {
  return full !== null && full.photo === photo && full.network === network && full.look === JSON.stringify(look);
}

function nextThumbnail(): Job | null {
  const index = missing.shift();
  if (index === undefined || !network || !photo) return null;
  const [painter, painted] = [network, photo];
  const side = shortSide(painted);
  const square = { x: (painted.width - side) / 2, y: (painted.height - side) / 2, width: side, height: side };
  return async (signal) => {
    try {
      const pixels = readPixels(painted, { width: THUMBNAIL, height: THUMBNAIL }, square);
      const style = painter.styles.map((_, i) => Number(i === index));
      const bitmap = toBitmap(await painter.paint(pixels, { style, strokes: 1, signal }));
      if (painter === network && painted === photo) post({ type: "thumbnail", index, bitmap }, [bitmap]);
    } catch (error) {
      if (signal.aborted && painter === network && painted === photo) missing.unshift(index);
      throw error;
    }
  };
}

function fail(task: ToWorker["type"], error: unknown): void {
  post({ type: "failed", task, problem: error instanceof Error ? error.message : String(error) });
}

function post(message: FromWorker, moved: Transferable[] = []): void {
  (self as unknown as DedicatedWorkerGlobalScope).postMessage(message, moved);
}

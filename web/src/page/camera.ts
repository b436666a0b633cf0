import { button, element } from "./elements";

const dialog = element("camera", HTMLDialogElement);
const view = element("view", HTMLVideoElement);

/** Offer the camera where there may be one. */
export function offerCamera(take: (photo: ImageBitmap) => void, report: (problem: string) => void): void {
  if (!navigator.mediaDevices?.getUserMedia) return;
  button("use-camera").hidden = false;
  button("use-camera").addEventListener("click", () => void open(report));
  button("leave-camera").addEventListener("click", () => dialog.close());
  button("shoot").addEventListener("click", () => void shoot(take));
  dialog.addEventListener("close", stop);
}

async function open(report: (problem: string) => void): Promise<void> {
  button("use-camera").disabled = true; // a second click would open another dialog
  try {
    view.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
    dialog.showModal();
  } catch (error) {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    report(refused ? "The browser may not use the camera." : "There is no camera that this page can use.");
  }
  button("use-camera").disabled = false;
}

async function shoot(take: (photo: ImageBitmap) => void): Promise<void> {
  if (!view.videoWidth) return; // no picture yet
  take(await createImageBitmap(view));
  dialog.close();
}

function stop(): void {
  for (const track of (view.srcObject as MediaStream | null)?.getTracks() ?? []) track.stop();
  view.srcObject = null;
}

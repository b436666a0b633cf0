import { button, input } from "./elements";

/** Take files that are chosen, dropped or pasted. */
export function takeFiles(take: (file: File) => void): void {
  connect("open", "photo-file", take);
  connect("open-network", "network-file", take);
  document.addEventListener("paste", (event) => takeFirst(event.clipboardData, take));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    takeFirst(event.dataTransfer, take);
  });
}

function connect(name: string, chooser: string, take: (file: File) => void): void {
  button(name).addEventListener("click", () => input(chooser).click());
  input(chooser).addEventListener("change", () => {
    const file = input(chooser).files?.[0];
    if (file) take(file);
    input(chooser).value = ""; // the same file may be chosen again
  });
}

function takeFirst(data: DataTransfer | null, take: (file: File) => void): void {
  const file = data?.files[0];
  if (file) take(file);
}

/** A file that is damaged, or not an ONNX file of a transfer network. Its message is a line for people. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** A photo that can't be painted. Its message is a line for people. */
export class PaintingError extends Error {
  override readonly name = "PaintingError";
}

/** The first line of what an error says. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return (text.split("\n")[0] ?? "").slice(0, 120);
}

/** ONNX Runtime failed, for which a lack of memory is the usual reason. */
export class RunError extends PaintingError {}

/** A file that is damaged, or not an ONNX file of a transfer network. Its message is a line for people. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** A photo that can't be painted. Its message is a line for people. */
export class PaintingError extends Error {
  override readonly name = "PaintingError";
}

/** The first line of what an error says, without the codes and the places in its source that ONNX Runtime begins with. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.split("\n")[0]!.split(BEFORE_REASON).at(-1)!.slice(0, 120);
}

const BEFORE_REASON = /ERROR_MESSAGE: |\[ONNXRuntimeError\] : \d+ : \w+ : /;

/** ONNX Runtime failed, for which a lack of memory is the usual reason. */
export class RunError extends PaintingError {}

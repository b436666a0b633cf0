/** What is used of ONNX Runtime. */
import type { InferenceSession, InferenceSessionFactory, Tensor, TensorConstructor } from "onnxruntime-web";
import { RunError, firstLine } from "./errors";

/** The module of `onnxruntime-web`, whichever of its entries has been loaded. */
export interface Runtime {
  readonly InferenceSession: InferenceSessionFactory;
  readonly Tensor: TensorConstructor;
}

/** Opens a session of a model's bytes. */
export type OpenSession = (model: Uint8Array) => Promise<InferenceSession>;

/** Tensors by the names of a session's inputs or outputs. */
export type Tensors = Readonly<Record<string, Tensor>>;

/** Makes a function that opens sessions, which set no memory aside: there are those of all parts of a network. */
export function sessionOpener(runtime: Runtime, options: InferenceSession.SessionOptions = {}): OpenSession {
  const all = { enableCpuMemArena: false, enableMemPattern: false, logSeverityLevel: 3 as const, ...options };
  return (model) => runtime.InferenceSession.create(model, all);
}

/**
 * Run a session.
 *
 * @throws RunError it failed.
 */
export async function run(session: InferenceSession, inputs: Tensors): Promise<Tensors> {
  try {
    return await session.run(inputs);
  } catch (error) {
    throw new RunError(`The photo could not be painted (${firstLine(error)}).`);
  }
}

/** What is made when it is first asked for, and again only if that fails. */
export function lazily<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}

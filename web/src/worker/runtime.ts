import type { OpenSession } from "../painting/network";

/** ONNX Runtime on one of the browser's backends. */
export interface Runtime {
  readonly backend: "webgpu" | "wasm";
  readonly openSession: OpenSession;
}

const MOST_THREADS = 8;

/**
 * Load ONNX Runtime: on the graphics processor if the browser offers it, else on the processor, with threads where the
 * page is isolated from others (see https://developer.mozilla.org/en-US/docs/Web/API/Window/crossOriginIsolated).
 *
 * @param wanted "wasm" to leave the graphics processor alone.
 */
export async function loadRuntime(wanted?: string | null): Promise<Runtime> {
  const backend = wanted !== "wasm" && (await hasGraphicsProcessor()) ? "webgpu" : "wasm";
  const { env, InferenceSession } =
    backend === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm");
  env.logLevel = "error";
  env.wasm.wasmPaths = new URL("runtime/", self.location.href).href;
  env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  const executionProviders = backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
  return { backend, openSession: (model) => InferenceSession.create(model, { executionProviders }) };
}

async function hasGraphicsProcessor(): Promise<boolean> {
  try {
    return Boolean(await (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu?.requestAdapter());
  } catch {
    return false;
  }
}

import type { OpenSession } from "../painting/network";

/** ONNX Runtime on one of the browser's backends. */
export interface Runtime {
  readonly backend: "webgpu" | "wasm";
  readonly openSession: OpenSession;
}

const MOST_THREADS = 8;

/**
 * Load ONNX Runtime: on the graphics processor if the browser offers a real one, else on the processor, with threads
 * where the page is isolated from others (https://developer.mozilla.org/docs/Web/API/Window/crossOriginIsolated).
 *
 * @param wanted "wasm" or "webgpu" to use that one all the same.
 */
export async function loadRuntime(wanted?: string | null): Promise<Runtime> {
  const backend = wanted === "webgpu" || (wanted !== "wasm" && (await hasGraphicsProcessor())) ? "webgpu" : "wasm";
  const { env, InferenceSession } =
    backend === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm");
  env.logLevel = "error";
  env.wasm.wasmPaths = new URL("runtime/", self.location.href).href;
  env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  const options = { executionProviders: backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"], logSeverityLevel: 3 } as const;
  return { backend, openSession: (model) => InferenceSession.create(model, options) };
}

interface Adapter {
  readonly info?: { readonly isFallbackAdapter?: boolean };
}

async function hasGraphicsProcessor(): Promise<boolean> {
  try {
    const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
    const adapter = await gpu?.requestAdapter();
    return adapter != null && !adapter.info?.isFallbackAdapter;
  } catch {
    return false;
  }
}

import type { InferenceSession } from "onnxruntime-web";
import type { Runtime } from "../painting/network";

/** ONNX Runtime on one of the browser's backends. */
export interface Backend {
  readonly name: "webgpu" | "wasm";
  readonly runtime: Runtime;
  readonly options: InferenceSession.SessionOptions;
}

const MOST_THREADS = 8;

/**
 * Load ONNX Runtime: on the graphics processor if the browser offers a real one, else on the processor, with threads
 * where the page is isolated from others (https://developer.mozilla.org/docs/Web/API/Window/crossOriginIsolated).
 *
 * @param wanted "wasm" or "webgpu" to use that one all the same.
 */
export async function loadRuntime(wanted?: string | null): Promise<Backend> {
  const name = wanted === "webgpu" || (wanted !== "wasm" && (await hasGraphicsProcessor())) ? "webgpu" : "wasm";
  const runtime = name === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm");
  const { env } = runtime;
  env.logLevel = "error";
  env.wasm.wasmPaths = new URL("runtime/", self.location.href).href;
  env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  const executionProviders = name === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
  return { name, runtime, options: { executionProviders, logSeverityLevel: 3 } };
}

interface Adapter {
  readonly features: ReadonlySet<string>;
  readonly info?: { readonly isFallbackAdapter?: boolean };
}

/** Whether there is one that is no software, and computes in half precision, as large photos need. */
async function hasGraphicsProcessor(): Promise<boolean> {
  try {
    const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
    const adapter = await gpu?.requestAdapter();
    return adapter != null && adapter.features.has("shader-f16") && !adapter.info?.isFallbackAdapter;
  } catch {
    return false;
  }
}

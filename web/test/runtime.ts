import * as ort from "onnxruntime-web/wasm";

ort.env.wasm.numThreads = 1;

export { ort };

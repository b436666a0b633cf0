// Runs the files of a folder in onnxruntime-web's WASM, and the guide's example. runtimes.py writes what it reads, and
// reads the results.
import fs from "node:fs";
import ort from "onnxruntime-web";

const [folder] = process.argv.slice(2);
const variants = JSON.parse(fs.readFileSync(`${folder}/variants.json`));
const read = (name) => new Uint8Array(fs.readFileSync(`${folder}/${name}`));
const floats = (name) => new Float32Array(read(name).buffer);
const largest = (made, expected) => expected.reduce((most, value, i) => Math.max(most, Math.abs(made(i) - value)), 0);

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
for (const { name, bytes, shape, controls } of variants) {
  const result = { runtime: `onnxruntime-web ${ort.env.versions.common} (WASM)`, variant: name };
  try {
    const session = await ort.InferenceSession.create(`${folder}/${name}.onnx`, { executionProviders: ["wasm"] });
    const photo = bytes ? read(`${name}.photo`) : floats(`${name}.photo`);
    const feed = { photo: new ort.Tensor(photo, shape) };
    for (const [control, value] of Object.entries(controls)) {
      feed[control] = new ort.Tensor("float32", value, [value.length]);
    }
    const { picture } = await session.run(feed);
    result.difference = largest((i) => picture.data[i] / (bytes ? 255 : 1), floats(`${name}.picture`));
  } catch (error) {
    result.error = String(error).slice(0, 200);
  }
  fs.appendFileSync(`${folder}/results.jsonl`, `${JSON.stringify(result)}\n`);
}

const { paint } = await import("./example_onnxruntime-web.mjs");
const { shape: [, height, width], limit } = variants.find(({ name }) => name === "bytes");
const pixels = read("bytes.photo");
const data = Uint8ClampedArray.from({ length: 4 * height * width }, (_, i) => (i % 4 < 3 ? pixels[i - (i >> 2)] : 255));
const made = (await paint({ data, width, height })).data;
const difference = largest((i) => made[i + Math.floor(i / 3)] / 255, floats("bytes.picture"));
if (!(difference <= limit)) throw new Error(`the guide's example differs by ${difference}`);

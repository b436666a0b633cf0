import assert from "node:assert/strict";
import { test } from "node:test";
import { makeNode, makeValue, parseModel, writeModel, FLOAT } from "../src/painting/model";
import { Network, NetworkError, PaintingError, type Pixels } from "../src/painting/network";
import { readNetwork } from "./references";
import { ort } from "./runtime";

const one = readNetwork("one");
const model = parseModel(one);
const noise = (width: number, height: number): Pixels => {
  const data = Uint8ClampedArray.from({ length: 4 * width * height }, (_, i) => (i * 7919) % 251);
  return { width, height, data };
};
const inputs = [...model.inputs, makeValue("style", FLOAT)];
/** The model with another operator at its end. */
const followedBy = (op: string, inputs: string[], attributes = {}) => {
  const node = makeNode(op, inputs, "last", attributes);
  return writeModel({ ...model, nodes: [...model.nodes, node], outputs: [makeValue("last", FLOAT)] });
};
const picture = model.outputs[0]!.name;
const without = (name: string, key: number) => {
  const many = parseModel(readNetwork(name));
  return { ...many, others: many.others.filter((field) => field.number !== key) };
};

for (const [what, file, message] of [
  ["empty", new Uint8Array(), /damaged or not an ONNX file/],
  ["a text", new TextEncoder().encode("This is a text, and no network.\n".repeat(20)), /damaged or not an ONNX file/],
  ["cut off", one.subarray(0, one.length / 2), /damaged or not an ONNX file/],
  ["cut off at its end", one.subarray(0, -7), /damaged or not an ONNX file/],
  ["a picture", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 16, 0x4a, 0x46, 0x49, 0x46), /damaged or not an ONNX file/],
  ["of an unknown operator", followedBy("Sharpen", [picture]), /^[^/]+ONNX file \([^/]*Sharpen[^/]*\)\.$/],
  [
    "of another network",
    writeModel({ ...model, inputs }),
    /isn't a transfer network for photos: it takes photo, style and returns picture\.$/,
  ],
  ["without the names of its styles", writeModel(without("many", 14)), /its styles aren't named in it/],
] as const) {
  test(`a file that is ${what} is refused in one line`, async () => {
    await assert.rejects(Network.open(file, ort), (error: Error) => {
      assert.ok(error instanceof NetworkError, error.stack);
      assert.match(error.message, message);
      assert.match(error.message, /^The .{20,200}\.$/);
      return true;
    });
  });
}

test("a network of other shapes is refused", async () => {
  const gray = { ...model, outputs: [makeValue("gray")], nodes: [...model.nodes] };
  gray.nodes.push(makeNode("ReduceMean", [model.outputs[0]!.name], "gray", { keepdims: 1 }));
  await assert.rejects(Network.open(writeModel(gray), ort), /isn't a transfer network for photos/);
});

test("a network whose pictures have another size than the photo is refused", async () => {
  const network = await Network.open(followedBy("Concat", [picture, picture], { axis: 3 }), ort);
  await assert.rejects(network.paint(noise(64, 48)), (error: Error) => {
    assert.ok(error instanceof PaintingError, error.stack);
    assert.match(error.message, /don't have the size of the photo/);
    return true;
  });
});

test("a runtime that can't be loaded is not taken for a damaged file", async () => {
  const options = { executionProviders: ["webnn"] };
  await assert.rejects(Network.open(one, ort, options), (error: Error) => {
    assert.ok(!(error instanceof NetworkError));
    assert.match(error.message, /backend/);
    return true;
  });
});

test("styles, credits and sizes are read", async () => {
  const many = await Network.open(readNetwork("../export/styles.onnx"), ort);
  assert.ok(many.adjustable);
  assert.equal(many.styles.length, 12);
  const credit = "Katsushika Hokusai, The Great Wave off Kanagawa, 1831";
  assert.deepEqual(many.styles[0], { name: "great_wave", credit, size: 512 });
  const single = await Network.open(one, ort);
  assert.ok(!single.adjustable);
  assert.deepEqual(single.styles, [{ name: "ink", credit: "A painter", size: 128 }]);
  const baked = await Network.open(readNetwork("half"), ort);
  assert.deepEqual(
    baked.styles.map(({ name }) => name),
    ["wood, ink"],
  );
});

for (const [name, width, height, message] of [
  ["one", 31, 80, /^A photo of 31x80 is too small for the network: at least 32x32 pixels\.$/],
  ["fixed", 500, 100, /^A photo of 500x100 is .*, 128x26 after it is scaled down for its file: at least/],
] as const) {
  test(`a photo of ${width}x${height} is too small for ${name}`, async () => {
    const network = await Network.open(readNetwork(name), ort);
    await assert.rejects(network.paint(noise(width, height)), (error) => {
      assert.ok(error instanceof PaintingError);
      assert.match(error.message, message);
      return true;
    });
  });
}

for (const style of [[], [0, 0, 0], [1, -1, 0], [1, 0, 0, 1], [NaN]]) {
  test(`weights of ${style} are refused`, async () => {
    const network = await Network.open(readNetwork("many"), ort);
    await assert.rejects(network.paint(noise(40, 40), { style }), /style must be up to 3 weights >= 0/);
  });
}

for (const [name, value] of [
  ["strength", 1.5],
  ["preserveColor", -1],
  ["strokes", 0],
  ["strokes", NaN],
] as const) {
  test(`${name} of ${value} is refused`, async () => {
    const network = await Network.open(one, ort);
    await assert.rejects(
      network.paint(noise(40, 40), { [name]: value }),
      new RegExp(`^RangeError: ${name} must be .*, got`),
    );
  });
}

test("opacity is kept, and the photo is left as it is", async () => {
  const network = await Network.open(one, ort);
  const photo = noise(50, 40);
  const copy = photo.data.slice();
  const picture = await network.paint(photo);
  assert.deepEqual(photo.data, copy);
  assert.ok(picture.data.every((value, i) => i % 4 !== 3 || value === copy[i]));
  assert.ok(picture.data.some((value, i) => value !== copy[i]));
});

test("strength and colors can be changed for a network of one style, too", async () => {
  const network = await Network.open(one, ort);
  const photo = noise(50, 40);
  const all = await network.paint(photo);
  const half = await network.paint(photo, { strength: 0.5 });
  half.data.forEach((value, i) => assert.ok(Math.abs(value - (photo.data[i]! + all.data[i]!) / 2) <= 1));
  assert.deepEqual((await network.paint(photo, { strength: 0 })).data, photo.data);
});

test("work stops between two runs of the network, and messages arrive", async () => {
  const network = await Network.open(readNetwork("many"), ort);
  const controller = new AbortController();
  const shares: number[] = [];
  const onProgress = (share: number) => shares.push(share);
  setTimeout(() => controller.abort(new Error("enough")), 0);
  const { signal } = controller;
  await assert.rejects(network.paint(noise(400, 400), { signal, onProgress, memory: 1 }), { message: "enough" });
  assert.ok(shares.every((share) => share < 0.5));
  await assert.rejects(network.paint(noise(400, 400), { signal }), { message: "enough" });
  const again = await network.paint(noise(64, 64));
  assert.equal(again.width, 64);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseModel, readMetadata, writeModel } from "../src/painting/model";
import { integerField, integersOf, parseFields, writeFields } from "../src/painting/wire";
import { readNetwork } from "./references";
import { ort } from "./runtime";

for (const name of ["one", "many", "half", "fixed"]) {
  test(`the file of ${name} is the same after its fields are parsed and written`, () => {
    const file = new Uint8Array(readNetwork(name));
    assert.deepEqual(writeFields(parseFields(file)), file);
  });

  test(`the model of ${name} is the same after it is parsed and written`, async () => {
    const file = new Uint8Array(readNetwork(name));
    const model = parseModel(file);
    const again = writeModel(model);
    assert.deepEqual(parseModel(again), model);
    const [before, after] = [await ort.InferenceSession.create(file), await ort.InferenceSession.create(again)];
    assert.deepEqual(after.inputMetadata, before.inputMetadata);
    assert.deepEqual(after.outputMetadata, before.outputMetadata);
  });
}

test("metadata are read from the file", () => {
  const metadata = readMetadata(parseModel(readNetwork("many")));
  assert.equal(metadata.get("styles"), '["ink", "glass", "wood"]');
  assert.equal(metadata.get("size"), "128");
});

for (const value of [0, 1, 127, 128, 300, 2 ** 31, 2 ** 52 + 1]) {
  test(`${value} is the same after it is written and read`, () => {
    assert.deepEqual(integersOf(parseFields(writeFields([integerField(5, value)])), 5), [value]);
  });
}

test("lists of numbers are read, whether they are in one field or several", () => {
  const one = { number: 8, type: 2, value: Uint8Array.of(3, 0xac, 0x02) };
  assert.deepEqual(integersOf([one, integerField(8, 7)], 8), [3, 300, 7]);
});

for (const [what, bytes] of [
  ["a length after the end", [0x0a, 5, 1]],
  ["a number without an end", [0x08, 0x80]],
  ["a group, which no file has any more", [0x0b]],
] as const) {
  test(`${what} is an error`, () => {
    assert.throws(() => parseFields(Uint8Array.from(bytes)), RangeError);
  });
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { scalePixels } from "../src/painting/lanczos";
import { rasterOfPixels, scaled } from "../src/painting/rasters";
import { readFloats, readJson, readPixels, type Scaling } from "./references";

for (const { from, to, photo, bytes, floats } of readJson<Scaling[]>("scaled.json")) {
  const pixels = readPixels(photo, ...from);
  const [width, height] = to;

  test(`bytes of ${from} are scaled to ${to} exactly as Pillow does it`, () => {
    assert.deepEqual(scalePixels(pixels, { width, height }).data, readPixels(bytes, width, height).data);
  });

  test(`floats of ${from} are scaled to ${to} as Pillow does it, also some rows at a time`, () => {
    const expected = readFloats(floats);
    for (const [start, stop] of [
      [0, height],
      [0, 1],
      [3, height - 1],
    ] as const) {
      const rows = scaled(rasterOfPixels(pixels), { width, height }).read(start, stop);
      assert.equal(rows.height, stop - start);
      rows.data.forEach((value, i) => {
        const [channel, place] = [Math.floor(i / (width * rows.height)), i % (width * rows.height)];
        const other = expected[(channel * height + start) * width + place]!;
        assert.ok(Math.abs(value - other) < 1e-6, `${value} at ${i}, not ${other}`);
      });
    }
  });
}

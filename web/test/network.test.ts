import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../src/painting/network";
import { decibels, readJson, readNetwork, readPixels, type Case } from "./references";
import { ort } from "./runtime";

/** The files that take and return bytes, to which `Stylizer` rounds after each pass unless it paints in strips. */
const ROUNDED = ["bytes", "half"];

/** The only network whose photos aren't painted in strips, where there is little memory. */
const PAINTED_WHOLE = "darkened";

for (const { network, file, width, height, options, photo, picture } of readJson<Case[]>("cases.json")) {
  test(`${network} paints ${width}x${height} as Stylizer does, with ${JSON.stringify(options)}`, async (context) => {
    const opened = await Network.open(readNetwork(file), ort);
    const shares: number[] = [];
    const onProgress = (share: number) => shares.push(share);
    const started = performance.now();
    const painted = await opened.paint(readPixels(photo, width, height), { ...options, onProgress });
    const seconds = (performance.now() - started) / 1000;
    const found = decibels(painted, readPixels(picture, width, height));
    context.diagnostic(`${found.toFixed(1)} dB, ${seconds.toFixed(2)} s, ${shares.length} steps`);
    assert.ok(found > (ROUNDED.includes(network) ? 45 : 55), `${found} dB`);
    if ("memory" in options && network !== PAINTED_WHOLE) assert.ok(shares.length > 10);
    assert.deepEqual(
      shares,
      shares.toSorted((a, b) => a - b),
    );
    assert.equal(shares.at(-1), 1);
    await opened.close();
  });
}

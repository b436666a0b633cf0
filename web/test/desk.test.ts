import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk, type Job } from "../src/worker/desk";

/** A job that takes some milliseconds, and notes what becomes of it. */
function newJob(name: string, notes: string[]): Job {
  return async (signal) => {
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 5));
    notes.push(`${name} ${signal.aborted ? "stopped" : "done"}`);
  };
}

const silent = () => assert.fail("nothing is to be reported");

test("a job that waits is told when another one takes its place", async () => {
  const notes: string[] = [];
  const desk = new Desk(() => null, silent);
  desk.put(newJob("first", notes));
  await null;
  for (const name of ["second", "third"]) desk.put(newJob(name, notes));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual(notes, ["second stopped", "first stopped", "third done"]);
});

for (const way of ["stop", "clear"] as const) {
  test(`${way} ends the job that waits, too`, async () => {
    const notes: string[] = [];
    const desk = new Desk(() => null, silent);
    desk.put(newJob("first", notes));
    await null;
    desk.put(newJob("second", notes));
    await desk[way]();
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.deepEqual(notes, ["second stopped", "first stopped"]);
  });
}

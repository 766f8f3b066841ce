// The machine does what the table in docs/sdk.md says.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Machine } from "../dist/move/machine.js";

const head = "| phase | input | next phase | actions |\n| --- | --- | --- | --- |\n";
const text = readFileSync(new URL("../../../docs/sdk.md", import.meta.url), "utf8");
const rows = text.slice(text.indexOf(head) + head.length).split("\n\n")[0].split("\n")
  .map((line) => line.split("|").slice(1, 5).map((cell) => cell.trim()));

// A wait lets time pass in two steps, of which the first is too short.
const wait = (ms, conditions = {}) => (m) => {
  const { phase } = m;
  m.observe(conditions);
  if (ms === 0) return;
  m.tick(ms - 1);
  assert.equal(m.phase, phase, "too early");
  m.tick(1);
};

const inputs = {
  "begin": (m) => m.begin(),
  "identified": (m) => m.identified(true),
  "identified, no FENCE": (m) => m.identified(false),
  "FENCE on old": (m) => { m.fenceSent("new", "n"); m.fenceArrived("old"); },
  "FENCE on new": (m) => { m.fenceSent("old", "o"); m.fenceArrived("new"); },
  "stopped": (m) => m.stopped(),
  "10 s": wait(10_000),
  "200 ms, hurry": wait(200, { hurry: true }),
  "0 ms, hurry": wait(0, { hurry: true }),
  "500 ms": wait(500),
  "500 ms, answers due": wait(500, { due: true }),
  "1 s": wait(1_000),
  "5 s, silent": wait(5_000, { silent: true }),
  "end of old": (m) => m.ended("old"),
  "end of new": (m) => m.ended("new"),
  "all handed out": (m) => { m.next(); },
};

// How a move without faults reaches each phase.
const path = [
  ["begin", "Opening"], ["identified", "Joining"], ["FENCE on old", "Stopping"], ["stopped", "Switching"],
  ["FENCE on new", "Lingering"], ["500 ms", "Clearing"], ["FENCE on old", "Leaving"], ["end of old", "Merging"],
];

function reach(phase) {
  const m = new Machine();
  for (const [input] of path) {
    if (m.phase === phase) break;
    inputs[input](m);
  }
  m.actions();
  assert.equal(m.phase, phase);
  return m;
}

test("each row of the table", () => {
  assert.ok(rows.length >= 30, `${rows.length} rows`);
  for (const [phase, input, next, wanted] of rows) {
    const m = reach(phase);
    assert.ok(inputs[input], `unknown input ${input}`);
    const lost = inputs[input](m) === true;
    const actions = new Set();
    for (const { kind, side } of m.actions()) {
      // The table names only the FENCEs that a phase begins with.
      if (kind !== "SendFence" || wanted.includes(`${kind} ${side}`)) actions.add(`${kind} ${side}`);
    }
    if (lost) actions.add("lost");
    assert.deepEqual([m.phase, [...actions].join(", ")], [next, wanted], `${phase}, ${input}`);
  }
});

test("the table has each end of a connection", () => {
  for (const [, phase] of path) {
    if (phase === "Merging") continue;
    for (const end of ["end of old", "end of new"]) assert.ok(rows.some((r) => r[0] === phase && r[1] === end), `${phase}, ${end}`);
  }
});

test("inputs that a phase does not expect change nothing", () => {
  const names = ["identified", "identified, no FENCE", "FENCE on old", "FENCE on new", "stopped", "0 ms, hurry", "end of old", "end of new"];
  for (const phase of ["Single", ...path.map(([, p]) => p)]) {
    for (const input of names) {
      if (rows.some((r) => r[0] === phase && r[1] === input) || (phase === "Joining" && input === "FENCE on new")) continue;
      const m = reach(phase);
      inputs[input](m);
      assert.equal(m.phase, phase, `${phase}, ${input}`);
      assert.deepEqual(m.actions().filter((a) => a.kind !== "SendFence"), [], `${phase}, ${input}`);
    }
  }
  const m = new Machine();
  assert.deepEqual([m.next(), m.full("old"), m.needsKey, m.fenceSent("old", "x")], [undefined, false, false, false]);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../dist/backoff.js";
import { SendQueue } from "../dist/call.js";
import { appendAnnouncement, Dispatcher } from "../dist/dispatch.js";
import { ClientError } from "../dist/errors.js";
import { Liveness } from "../dist/liveness.js";
import { prepare } from "../dist/options.js";
import { handshakeError } from "../dist/platform/node.js";
import { badGroup, envelope, newID, parse, toOf, utf8Length } from "../dist/wire.js";

const nested = (levels) => JSON.parse("[".repeat(levels) + "]".repeat(levels));

test("envelope refuses what the hub refuses", () => {
  const id = newID();
  assert.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  for (const [to, event, data, messageID] of [
    ["GROUP:", "e"], ["GROUP", "e"], ["GROUP:$x", "e"], [`GROUP:${"é".repeat(65)}`, "e"], ["GROUP:a\u0085", "e"],
    ["GLOBAL:x", "e"], ["DIRECT:x", "e"], ["DIRECT", "e"], ["ANY:", "e"], ["", "e"], ["group:x", "e"],
    ["GLOBAL", "é".repeat(65)], ["GLOBAL", "e", nested(64)], ["GLOBAL", "e", 1n], ["GLOBAL", "e", "\ud800"],
    ["GLOBAL", "e", ["\\\udc00"]], ["GLOBAL", "\ud800"], ["GLOBAL", "e", 1, ""], ["GLOBAL", "e", 1, "é".repeat(33)],
  ]) {
    assert.throws(() => envelope(0, messageID ?? id, to, event, data), { code: "INVALID" }, `${to} ${event} ${String(data)}`);
  }
  for (const [to, event, data] of [
    ["GLOBAL", ""], ["ANY", "é".repeat(64)], ["ANY:a:b", "e"], [`GROUP:${"é".repeat(64)}`, "e"], ["GLOBAL", "e", nested(63)],
    ["DIRECT:6F9A1C3E-0000-4000-8000-000000000000", "e"], ["GLOBAL", "e", "\\ud800"], ["GLOBAL", "e", "😀"], ["GLOBAL", "e", null],
  ]) {
    const { op, id: sent, event: name, intent } = JSON.parse(envelope(0, id, to, event, data));
    assert.deepEqual([op, sent, name, to.startsWith(intent.target)], [0, id, event, true]);
  }
});

test("an intent has several targets, and exceptions", () => {
  const [a, b] = [newID(), newID()];
  for (const [to, except, intent] of [
    [["GROUP:a", "GROUP:b:c"], undefined, { target: "GROUP", identifiers: ["a", "b:c"] }],
    [[`DIRECT:${a}`, `DIRECT:${b}`], ["g"], { target: "DIRECT", identifiers: [a, b], except: ["g"] }],
    ["GLOBAL", ["g", a], { target: "GLOBAL", except: ["g", a] }],
    ["GROUP:a", [a], { target: "GROUP", identifier: "a", except: [a] }],
  ]) {
    const frame = envelope(0, "1", to, "e", 1, undefined, except);
    assert.deepEqual(JSON.parse(frame).intent, intent);
    const wire = parse(frame);
    assert.deepEqual([toOf(wire), wire.except], [to, except ?? []]);
  }
  const many = Array.from({ length: 17 }, (_, i) => `g${i}`);
  for (const [to, except] of [
    [[]], [["GROUP:a", "GROUP:a"]], [["GROUP:a", `DIRECT:${a}`]], [["GLOBAL"]], [["ANY:a", "ANY:b"]], [["GROUP:a", "GROUP:$b"]], [["DIRECT:a"]],
    [many.map((name) => `GROUP:${name}`)], ["GLOBAL", []], ["GLOBAL", many], ["GLOBAL", ["a", "a"]], ["GLOBAL", ["$a"]], ["ANY", ["a"]],
    ["ANY:a", ["b"]], [undefined], [7], [[7]],
  ]) {
    assert.throws(() => envelope(0, "1", to, "e", 1, undefined, except), `${String(to)} ${String(except)}`);
  }
  const old = parse('{"op":0,"intent":{"target":"GLOBAL","identifiers":7,"except":["a",1]}}'); // of a hub that does not know them
  assert.deepEqual([toOf(old), old.except], ["GLOBAL", []]);
});

test("utf8Length is that of TextEncoder", () => {
  for (const s of ["", "a", "é", "€", "😀", "a€😀é\u0000"]) assert.equal(utf8Length(s), new TextEncoder().encode(s).length, s);
});

test("parse takes what a hub sends, and nothing else", () => {
  const members = { op: 3 };
  assert.deepEqual(parse('{"op":3}'), { op: 3, id: "", event: "", data: undefined, sender: "", target: "", identifier: "", identifiers: [], except: [], members });
  assert.equal(parse('{"op":0,"id":null,"intent":null}').id, "");
  for (const bad of ["", "{", "[]", "1", "null", '{"op":"3"}', '{"op":1.5}', "{}", '{"op":0,"id":1}', '{"op":0,"intent":[]}', '{"op":0,"sender":{}}']) {
    assert.throws(() => parse(bad), ClientError, bad);
  }
});

test("options that the hub would refuse are refused", () => {
  const good = { url: "ws://127.0.0.1:1", token: "t", group: "g" };
  assert.equal(prepare(good).maxBackoff, 30_000);
  for (const bad of [
    { url: "http://x" }, { url: "ws://u:p@x" }, { url: "ws://x?token=t" }, { url: "ws://x#f" }, { url: "x" }, { group: "" },
    { group: "$g" }, { groups: ["a\n"] }, { groups: Array.from({ length: 32 }, (_, i) => `g${i}`) }, { name: "n".repeat(129) },
    { version: "v".repeat(65) }, { meta: { a: 1 } }, { meta: { a: "é".repeat(129) } }, { token: "t".repeat(8193) },
    { minBackoff: 0 }, { maxBackoff: 1 }, { connectTimeout: -1 }, { receiveQueue: 0 }, { writeTimeout: NaN },
  ]) {
    assert.throws(() => prepare({ ...good, ...bad }), { code: "OPTIONS" }, JSON.stringify(bad));
  }
  assert.equal(badGroup("billing.eu"), undefined);
});

test("handshake errors say what has answered", () => {
  const err = handshakeError(200, "gate/1", "log in");
  assert.match(err.message, /200 by "gate\/1": "log in"; this is an HTTP server without WebSocket/);
  assert.deepEqual([200, 301, 401, 407, 410, 429, 503].filter((s) => handshakeError(s, "", "").permanent), [301, 401, 410]);
});

test("waits are random up to a bound that doubles", () => {
  const backoff = new Backoff({ minBackoff: 100, maxBackoff: 350 });
  for (const bound of [100, 200, 350, 350]) {
    const wait = backoff.next();
    assert.ok(wait >= 0 && wait <= bound, `${wait} > ${bound}`);
  }
  const draws = Array.from({ length: 1000 }, () => {
    backoff.reset();
    return backoff.next();
  });
  const mean = draws.reduce((a, b) => a + b) / draws.length;
  assert.ok(mean > 42 && mean < 58 && Math.max(...draws) <= 100, `mean ${mean}`);
});

test("liveness gives a peer up only if it had time to answer", () => {
  const ping = 1_000;
  const l = new Liveness();
  const verdicts = [];
  for (let now = 0; verdicts.at(-1) !== "give up"; now += 250) verdicts.push(l.check(now, now, ping));
  assert.equal(verdicts.indexOf("ask"), 5); // at 1,250 ms
  assert.equal((verdicts.length - 1) * 250, 2_250); // 1 s after the PING
  const paused = new Liveness();
  assert.equal(paused.check(0, 0, ping), "alive");
  assert.equal(paused.check(60_000, 60_000, ping), "ask"); // this process was paused: the answer may be unread
  assert.equal(paused.check(60_250, 60_250, ping), "ask");
  assert.equal(paused.check(61_000, 61_000, ping), "give up");
  paused.heard();
  assert.equal(paused.check(60_500, 0, ping), "alive");
});

const message = (event) => ({ event, id: "i", sender: "s", isReply: false });

test("handlers run one at a time, and the queue is bounded", async () => {
  const done = [];
  let release;
  let room = 0;
  const d = new Dispatcher(2, undefined, {}, () => room++);
  d.on("slow", async () => {
    await new Promise((resolve) => (release = resolve));
    done.push("slow");
  });
  d.on("fast", () => { done.push("fast"); });
  d.add({ message: message("fast") });
  assert.deepEqual(done, ["fast"]);
  d.add({ message: message("slow") });
  d.add({ message: message("fast") });
  assert.equal(d.full, false);
  d.add({ message: message("fast") });
  assert.equal(d.full, true);
  assert.equal(room, 0);
  release();
  await d.rest();
  assert.deepEqual(done, ["fast", "slow", "fast", "fast"]);
  assert.equal(room, 1);
});

test("handlers that fail are logged, and the next one runs", async () => {
  const log = [];
  const done = [];
  const d = new Dispatcher(8, (m) => { done.push(m.event); }, { error: (text, { error }) => log.push(`${text}: ${error.message}`) }, () => undefined);
  d.on("throws", () => { throw new Error("one"); });
  d.on("rejects", () => Promise.reject(new Error("two")));
  d.on("odd", () => { throw "three"; });
  for (const event of ["throws", "rejects", "odd", "last"]) d.add({ message: message(event) });
  await d.rest();
  assert.deepEqual([log, done], [["a handler failed: one", "a handler failed: two", "a handler failed: three"], ["last"]]);
  await d.stop();
  d.add({ message: message("late") });
  assert.deepEqual(done, ["last"]);
});

test("announcements beyond the bound are merged", () => {
  const items = [];
  for (let i = 0; i < 100; i++) {
    appendAnnouncement(items, { announces: "lost", n: i }, 3);
    appendAnnouncement(items, { announces: "found", n: i }, 3);
  }
  assert.ok(items.length <= 6, `${items.length}`);
  assert.deepEqual(items.at(-1), { announces: "found", n: 99 });
});

test("the queue of sends keeps its order and its bounds", () => {
  const q = new SendQueue();
  const call = (id, size = 1) => ({ id, frame: { length: size } });
  const calls = Array.from({ length: 3000 }, (_, i) => call(i));
  for (const c of calls) assert.ok(q.push(c));
  for (const c of calls) if (c.id % 3 === 0) q.withdraw(c);
  const got = [];
  for (let c = q.shift(); c; c = q.shift()) got.push(c.id);
  assert.deepEqual(got, calls.map((c) => c.id).filter((id) => id % 3 !== 0));
  assert.ok(q.empty);
  assert.equal(q.push(call("big", 17 << 20)), false);
  for (let i = 0; i < 65_536; i++) assert.ok(q.push(call(i)));
  assert.equal(q.push(call("one more")), false);
});

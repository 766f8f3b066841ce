// The parts that read what others wrote, without a browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { transformWithEsbuild } from "vite";

/** load compiles a module that imports nothing, and imports it. */
async function load(name) {
  const path = new URL(`../src/${name}`, import.meta.url);
  const { code } = await transformWithEsbuild(readFileSync(path, "utf8"), name, { jsx: "automatic", jsxImportSource: "preact", target: "es2022" });
  return import(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`);
}

const { compact, memberOf, plain, pretty, problemOf, quoted } = await load("json.ts");
const { amount, bytes, brief, duration, lag, plural } = await load("format.ts");
const { events } = await load("sse.ts");

test("JSON is laid out without being changed", () => {
  for (const text of [
    '{"a":[1,2.50,1e400,12345678901234567890],"b":{},"c":[ ],"d":"x,y:{z}","a":null}',
    '"\\"{\\\\"', "[[[]],{\"k\":[{}]}]", "-0.10", '{"\\u0022,":"\\\\\\""}', "{}", '""',
  ]) {
    assert.equal(compact(pretty(text)), compact(text));
    assert.deepEqual(JSON.parse(pretty(text)), JSON.parse(text));
  }
  assert.equal(pretty('{"n":12.50,"l":[1]}'), '{\n  "n": 12.50,\n  "l": [\n    1\n  ]\n}');
  assert.equal(compact(' { "a b" : [ 1 , "c  d" ] } '), '{"a b":[1,"c  d"]}');
  for (const broken of ['{"a', "[1,", "}}}}", '"\\', "nonsense", "", ":::"]) {
    assert.equal(typeof pretty(broken), "string");
    assert.equal(typeof compact(broken), "string");
    memberOf(broken, "a");
  }
});

test("members are found where they are, and nowhere else", () => {
  const text = '{"x":{"event":"no"},"s":"\\"event\\":1","\\u0065vent": "yes" ,"list":["event",{"event":2}],"data":{"event":3},"event":"late"}';
  assert.equal(memberOf(text, "event"), '"yes"');
  assert.equal(memberOf(text, "data"), '{"event":3}');
  assert.equal(memberOf(text, "list"), '["event",{"event":2}]');
  assert.equal(memberOf(text, "absent"), undefined);
  assert.equal(memberOf('{"n":12.50}', "n"), "12.50");
});

test("numbers are quoted where they are ids, and keep their digits", () => {
  for (const [text, want] of [
    ['{"id":12345678901234567890,"n":1}', '{"id":"12345678901234567890","n":1}'],
    ['[{"id" : -1},{"id":"1"},{"x":{"id":0}}]', '[{"id" : "-1"},{"id":"1"},{"x":{"id":"0"}}]'],
    ['{"a":"\\\"id\\\":1","id":null,"ids":2}', '{"a":"\\\"id\\\":1","id":null,"ids":2}'],
    ['{"x":"id","y":["id",1]}', '{"x":"id","y":["id",1]}'],
    ["", ""],
    ['{"id":1', '{"id":"1"'],
  ]) {
    assert.equal(quoted(text, "id"), want);
  }
});

test("only what the API escapes is written plainly", () => {
  assert.equal(plain('"\\u003cb\\u003E \\u0026 \\u202e"'), '"<b> & \\u202e"');
  assert.equal(plain('"\\\\u003c \\\\\\u003c"'), '"\\\\u003c \\\\<"'); // a backslash of the author's is no escape
});

test("what is wrong with JSON is said", () => {
  assert.equal(problemOf('{"a":1}'), "");
  assert.notEqual(problemOf('{"a":1'), "");
  assert.notEqual(problemOf("{'a':1}"), "");
});

test("a stream of events is read however it is cut", async () => {
  const text = ': hello\n\nevent: message\ndata: {"a":"ä"}\n\ndata: one\r\ndata: two\r\n\r\nevent: counts\ndata:{"seen":1}\n\nevent: unfinished\ndata: x';
  const want = [
    { name: "message", data: '{"a":"ä"}' },
    { name: "message", data: "one\ntwo" },
    { name: "counts", data: '{"seen":1}' },
  ];
  const encoded = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 7, 1000]) {
    const body = new ReadableStream({
      start(controller) {
        for (let i = 0; i < encoded.length; i += size) controller.enqueue(encoded.slice(i, i + size));
        controller.close();
      },
    });
    const got = [];
    for await (const e of events(body)) got.push(e);
    assert.deepEqual(got, want, `in pieces of ${size}`);
  }
  const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1 << 16).fill(120)) });
  await assert.rejects(async () => {
    for await (const e of events(endless)) assert.fail(e);
  }, /too long/);
});

test("figures have units and few digits", () => {
  assert.deepEqual([0, 0.01, 0.4, 9.96, 10, 1234, 12_345, 1_234_567, 5e9].map(amount), ["0", "<0.1", "0.4", "10.0", "10", "1,234", "12.3 k", "1.2 M", "5.0 G"]);
  assert.deepEqual([0, 1023, 1024, 1536, 150 * 1024, 3 << 20].map(bytes), ["0 B", "1,023 B", "1.0 KiB", "1.5 KiB", "150 KiB", "3.0 MiB"]);
  assert.deepEqual([-5, 999, 1000, 61_000, 3_700_000, 90_000_000].map(duration), ["0 ms", "999 ms", "1 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
  assert.deepEqual([61_000, 90_000_000].map(brief), ["1 min", "1 d"]);
  assert.deepEqual([0.00005, 0.0123, 0.5, 2].map(lag), ["50 µs", "12.3 ms", "500 ms", "2.0 s"]);
  assert.deepEqual([0, 1, 2].map((n) => plural(n, "client")), ["0 clients", "1 client", "2 clients"]);
});

// The package is small, needs nothing in browsers, and has the version of the release.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const folder = fileURLToPath(new URL("..", import.meta.url));

const zipped = (text) => gzipSync(text, { level: 9 }).length;

// Builds what a page would load: the first text, with what that imports, and all texts.
async function bundle(contents) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: folder }, outdir: "out",
    bundle: true, minify: true, splitting: true, write: false, metafile: true, format: "esm", platform: "browser", target: "es2022",
  });
  const first = new Set();
  const add = (name) => {
    if (first.has(name)) return;
    first.add(name);
    for (const { path, kind } of metafile.outputs[name].imports) if (kind === "import-statement") add(path);
  };
  add(Object.keys(metafile.outputs).find((name) => metafile.outputs[name].entryPoint));
  const textOf = (name) => outputFiles.find(({ path }) => path.endsWith(name)).text;
  const texts = (names) => names.map(textOf).join("");
  return { text: texts([...first]), all: texts(Object.keys(metafile.outputs)), inputs: Object.keys(metafile.inputs) };
}

test("a page loads at most 12 KiB of it to connect, and nothing else", async (t) => {
  const { text, all, inputs } = await bundle(`export * from "./dist/index.js"`);
  t.diagnostic(`figure: ${zipped(text)} bytes gzipped to connect, ${zipped(all)} with moves, requests, groups, presence and holds`);
  assert.ok(zipped(text) <= 12 * 1024, `${zipped(text)} bytes`);
  for (const input of inputs) assert.match(input, /^(dist\/|<stdin>)/);
  assert.ok(!inputs.some((input) => input.includes("platform/node")));
});

test("a program that imports only the errors gets only them", async () => {
  const { inputs, text } = await bundle(`import { HubError } from "./dist/index.js"; console.log(HubError)`);
  assert.ok(text.length < 1_500, `${text.length} bytes: ${inputs.join()}`);
});

test("the version is that of the last release", () => {
  const log = readFileSync(new URL("../../../CHANGELOG.md", import.meta.url), "utf8");
  const { version, dependencies } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  assert.equal(version, /^## (\d+\.\d+\.\d+)/m.exec(log)[1]);
  assert.equal(dependencies, undefined);
});

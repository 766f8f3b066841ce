// The package is small, needs nothing in browsers, and has the version of the release.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const folder = fileURLToPath(new URL("..", import.meta.url));

async function bundle(contents) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: folder },
    bundle: true, minify: true, write: false, metafile: true, format: "esm", platform: "browser", target: "es2022",
  });
  return { text: outputFiles[0].text, inputs: Object.keys(metafile.inputs) };
}

test("a page loads at most 16 kB of it, and nothing else", async (t) => {
  const { text, inputs } = await bundle(`export * from "./dist/index.js"`);
  const size = gzipSync(text, { level: 9 }).length;
  t.diagnostic(`figure: ${size} bytes gzipped, ${text.length} minified`);
  assert.ok(size <= 16_000, `${size} bytes`);
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

// Shortens the names of private members in dist, which no minifier of a page can do. A name is shortened only if each of its
// occurrences in the sources is its declaration or follows "this.", so that nothing else can mean it.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { transform } from "esbuild";

const folder = fileURLToPath(new URL("..", import.meta.url));
const files = (name, end) => readdirSync(join(folder, name), { recursive: true }).filter((f) => f.endsWith(end)).map((f) => join(folder, name, f));

const code = files("src", ".ts").map((f) => readFileSync(f, "utf8")).join("\n")
  .replace(/\/\*\*[\s\S]*?\*\/|^\s*\/\/.*$|\s\/\/ .*$/gm, "");
const declaration = /\bprivate (?:async )?(?:readonly )?(?:get )?(\w+)/g;
const names = new Set([...code.matchAll(declaration)].map((m) => m[1]));
const rest = code.replace(declaration, "").replace(/\bthis\.\w+/g, "");
const own = [...names].filter((name) => !new RegExp(`\\b${name}\\b`).test(rest) && name.length > 2).sort();

const mangleCache = Object.fromEntries(own.map((name, i) => [name, `_${i.toString(36)}`]));
const mangleProps = new RegExp(`^(${own.join("|")})$`);
for (const file of files("dist", ".js")) {
  const text = readFileSync(file, "utf8");
  writeFileSync(file, (await transform(text, { mangleProps, mangleCache, target: "es2022", format: "esm" })).code);
}
console.log(`${own.length} names of private members are shortened`);

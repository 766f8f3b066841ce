// Fails unless dist is exactly what the sources build.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("..", import.meta.url));
const committed = fileURLToPath(new URL("../../dist", import.meta.url));
const fresh = mkdtempSync(join(tmpdir(), "console-dist-"));

function files(dir) {
  const found = new Map();
  for (const name of readdirSync(dir, { recursive: true })) {
    const path = join(dir, String(name));
    if (statSync(path).isFile()) found.set(relative(dir, path), readFileSync(path));
  }
  return found;
}

try {
  const built = spawnSync("npm", ["run", "build"], { cwd: web, env: { ...process.env, OUT: fresh }, encoding: "utf8" });
  if (built.status !== 0) throw new Error(`the build failed:\n${built.stdout}${built.stderr}`);
  const want = files(fresh);
  const have = files(committed);
  const wrong = [...want].filter(([name, bytes]) => !have.get(name)?.equals(bytes)).map(([name]) => `${name} differs or is missing`);
  wrong.push(...[...have.keys()].filter((name) => !want.has(name)).map((name) => `${name} should not be there`));
  if (wrong.length > 0) throw new Error(`admin/console/dist is not what the sources build: run make console\n  ${wrong.join("\n  ")}`);
  console.log(`admin/console/dist is what the sources build: ${want.size} files`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(fresh, { recursive: true, force: true });
}

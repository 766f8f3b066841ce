// Builds the pages into ../dist, or into the folder that the variable OUT names. What is in dist is complete at every
// moment, since builds of the binary embed it: the new files are made elsewhere, moved in one by one, the page that names
// them last of all, and then those that nothing names any more go.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const web = fileURLToPath(new URL("..", import.meta.url));
const dist = fileURLToPath(new URL("../../dist", import.meta.url));
const page = "index.html";

const files = (dir) => readdirSync(dir, { recursive: true }).map(String).filter((name) => statSync(join(dir, name)).isFile());
const into = (outDir) => build({ root: web, build: { outDir, emptyOutDir: true } });

const same = (a, b) => {
  try {
    return readFileSync(a).equals(readFileSync(b));
  } catch {
    return false; // one of them is not there
  }
};

/** replace makes the files of dist those of fresh. Both are on the same file system, so that each move is one step. */
function replace(fresh) {
  const made = files(fresh).sort((a, b) => Number(a === page) - Number(b === page));
  for (const name of made) {
    const to = join(dist, name);
    if (same(join(fresh, name), to)) continue;
    mkdirSync(dirname(to), { recursive: true });
    renameSync(join(fresh, name), to);
  }
  for (const name of files(dist)) if (!made.includes(name)) rmSync(join(dist, name));
}

if (process.env.OUT) await into(process.env.OUT);
else {
  const fresh = mkdtempSync(`${dist}.`);
  try {
    await into(fresh);
    mkdirSync(dist, { recursive: true });
    replace(fresh);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

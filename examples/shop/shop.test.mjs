// The example as its README starts it: a hub, an order service and a worker in each language, and the dashboard in Chromium.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
const languages = ["go", "python", "typescript"];
const patience = 120_000; // ms

/** start starts a command that ends with the test, and waits for what it prints. */
async function start(t, command, args, token, pattern) {
  const environment = { ...process.env, SHOP_TOKEN: token, PYTHONPATH: join(root, "sdk/python"), MASTERSOCKET_TOKEN: "" };
  const child = spawn(command, args, { cwd: root, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const kill = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  t.after(kill);
  let output = "";
  const found = await new Promise((resolve, reject) => {
    const read = (text) => {
      output += text;
      const match = pattern.exec(output);
      if (match) resolve(match);
    };
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
    ended.then(() => reject(new Error(`${command} has ended: ${output}`)));
  });
  return { kill, found };
}

const listening = (server, where) => new Promise((resolve) => server.once("error", () => resolve(false)).listen(where, () => resolve(true)));

/** freePort returns a port that no outgoing connection, and no other test, has, so that the hub can listen there again. */
async function freePort(t) {
  const above = Number(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/)[0]);
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * (Math.max(above, 13_000) - 12_000));
    const claim = createServer(); // those of internal/freeport are the same
    if (!(await listening(claim, { path: `\0mastersocket-test-port-${port}` }))) continue;
    const server = createServer();
    if (await listening(server, { port, host: "127.0.0.1" })) {
      t.after(() => claim.close());
      await new Promise((resolve) => server.close(resolve));
      return port;
    }
    claim.close();
  }
}

/** build builds the Go programs and returns their paths. */
async function build(t) {
  const folder = mkdtempSync(join(tmpdir(), "shop-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const go = spawn("go", ["build", "-o", `${folder}/`, "./examples/shop/orders", "./examples/shop/workers"], { cwd: root, stdio: "inherit" });
  assert.equal(await new Promise((resolve) => go.on("close", resolve)), 0);
  return { orders: join(folder, "orders"), workers: join(folder, "workers") };
}

test("orders are placed in a browser, and taken and priced by services in all languages", { timeout: patience }, async (t) => {
  const launching = chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"], timeout: patience });
  launching.catch(() => {}); // it is awaited below
  t.after(async () => (await launching).close());
  const building = build(t);
  const address = `127.0.0.1:${await freePort(t)}`;
  const flags = ["serve", "--admin-listen", "off", "--tokens-file", "examples/shop/tokens.yaml", "--allowed-origins", "*", "--listen", address];
  const startHub = () => start(t, "bin/mastersocket", flags, "", /listener=hub/);
  const hub = await startHub();
  const url = `ws://${address}`;
  const { orders: goOrders, workers: goWorker } = await building;
  const orders = (command, ...args) => start(t, command, args, "shop-orders-token-for-trying-only", /takes orders(?:.* (http\S+))?/);
  const worker = (command, ...args) => start(t, command, args, "shop-worker-token-for-trying-only", /prices orders/);
  const [taking, ...services] = await Promise.all([
    orders(goOrders, "--listen", "127.0.0.1:0", url, "go"),
    worker(goWorker, url, "go"),
    worker("/usr/bin/python3", "examples/shop/workers/worker.py", url, "python"),
    worker("node", "examples/shop/workers/worker.mjs", url, "typescript"),
    orders("/usr/bin/python3", "examples/shop/orders/orders.py", url, "python"),
    orders("node", "examples/shop/orders/orders.mjs", url, "typescript"),
  ]);
  const workers = services.slice(0, languages.length);

  const page = await (await launching).newPage();
  page.setDefaultTimeout(patience);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${taking.found[1]}#hub=${url}&token=shop-dashboard-token-for-trying-only`);

  // place clicks until the dashboard shows orders of all these services and workers, which are drawn at random.
  const place = async (services, workers) => {
    await page.waitForSelector("#order:not([disabled])");
    await page.evaluate(() => document.getElementById("orders").replaceChildren());
    await page.waitForFunction(([services, workers]) => {
      const rows = [...document.querySelectorAll("#orders tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
      const done = services.every((name) => rows.some((row) => row[0].startsWith(name))) && workers.every((name) => rows.some((row) => row[3] === name));
      if (!done) document.getElementById("order").click();
      return done;
    }, [services, workers], { polling: 60 });
  };
  await place(languages, languages);
  for (const row of await page.locator("#orders tr").allTextContents()) assert.match(row, /^(go|python|typescript)-\d+the dashboard19\.00(go|python|typescript)$/);
  assert.match(await page.textContent("#answer"), /^order (go|python|typescript)-\d+: 19\.00$/);

  // Workers are killed: the one that is left prices all orders.
  await Promise.all(workers.slice(0, 2).map((w) => w.kill()));
  await place(languages, ["typescript"]);

  // The hub is killed and started again: everything comes back by itself.
  await hub.kill();
  await page.waitForFunction(() => document.getElementById("state").textContent.startsWith("not connected"));
  await startHub();
  await page.waitForFunction(() => document.getElementById("state").textContent.startsWith("connected"));
  await place(languages, ["typescript"]);
  assert.deepEqual(errors, []);
});

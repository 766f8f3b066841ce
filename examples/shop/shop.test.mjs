// The example as its README starts it: a hub, the order service, two workers, and the dashboard in Chromium.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));

/** start starts a command that ends with the test, and waits for what it prints. */
async function start(t, command, args, token, pattern) {
  const environment = { ...process.env, SHOP_TOKEN: token, PYTHONPATH: join(root, "sdk/python"), MASTERSOCKET_TOKEN: "" };
  const child = spawn(command, args, { cwd: root, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
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
  return { child, ended, found };
}

test("orders are placed in a browser and priced by one of the workers", { timeout: 120_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "shop-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const built = spawn("go", ["build", "-o", join(folder, "orders"), "./examples/shop/orders"], { cwd: root, stdio: "inherit" });
  assert.equal(await new Promise((resolve) => built.on("close", resolve)), 0);

  const flags = ["serve", "--admin-listen", "off", "--tokens-file", "examples/shop/tokens.yaml", "--allowed-origins", "*"];
  const hub = await start(t, "bin/mastersocket", [...flags, "--listen", "127.0.0.1:0"], "", /listener=hub addr=(127\.0\.0\.1:\d+)/);
  const address = hub.found[1];
  const url = `ws://${address}`;
  const orders = await start(t, join(folder, "orders"), ["--hub", url, "--listen", "127.0.0.1:0"], "shop-orders-token-for-trying-only", /page=(http\S+)/);
  const worker = (name) => start(t, "/usr/bin/python3", ["examples/shop/worker/worker.py", url, name], "shop-worker-token-for-trying-only", /prices orders/);
  const first = await worker("worker-1");

  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  t.after(() => browser.close());
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${orders.found[1]}#hub=${url}&token=shop-dashboard-token-for-trying-only`);

  const place = async (pattern) => {
    await page.click("#order:not([disabled])");
    await page.waitForFunction((text) => new RegExp(text).test(document.getElementById("answer").textContent), pattern.source);
  };
  await place(/^order 1: 19\.00$/);
  await page.waitForFunction(() => document.querySelectorAll("#orders tr").length === 1);
  assert.equal(await page.textContent("#orders tr"), "1the dashboard19.00worker-1");

  // Another worker takes over when the first one is killed.
  await worker("worker-2");
  first.child.kill("SIGKILL");
  await first.ended;
  await page.waitForFunction(() => {
    document.getElementById("order").click();
    return [...document.querySelectorAll("#orders tr")].some((row) => row.textContent.endsWith("worker-2"));
  }, undefined, { polling: 200 });

  // The hub is killed and started again: everything comes back by itself.
  hub.child.kill("SIGKILL");
  await hub.ended;
  await page.waitForFunction(() => document.getElementById("state").textContent.startsWith("not connected"));
  const before = await page.locator("#orders tr").count();
  await start(t, "bin/mastersocket", [...flags, "--listen", address], "", /listener=hub/);
  await page.waitForFunction((n) => {
    document.getElementById("order").click();
    return [...document.querySelectorAll("#orders tr")].slice(0, -n).some((row) => row.textContent.endsWith("worker-2"));
  }, before, { polling: 500 });
  assert.deepEqual(errors, []);
});

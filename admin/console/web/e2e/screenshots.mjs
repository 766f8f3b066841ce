// Pictures of every page of a busy hub of three instances, in light and dark, for docs/console.md. The folder that they
// go to may be given, and then gets them all: node e2e/screenshots.mjs /tmp/pictures

import { mkdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { close, logIn, open, to } from "./browser.mjs";
import { call, connect, startHub, startRedis, until } from "./hub.mjs";

const out = process.argv[2] ?? fileURLToPath(new URL("../../../../docs/console", import.meta.url));
const chosen = ["overview-light", "overview-dark", "clients-light", "client-dark", "groups-light", "tail-light", "publish-dark", "operate-light"];
const seconds = Number(process.env.SECONDS_OF_TRAFFIC ?? 75);
mkdirSync(out, { recursive: true });

const ends = [];
const t = { after: (end) => ends.push(end) };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const services = [
  { name: "orders", group: "orders", groups: ["audit"], version: "4.2.0", copies: 6 },
  { name: "billing", group: "billing", groups: ["orders"], version: "2.3.1", copies: 4 },
  { name: "warehouse", group: "warehouse.eu", groups: ["orders"], version: "1.18.2", copies: 5 },
  { name: "mailer", group: "mailer", groups: ["billing"], version: "3.0.7", copies: 3 },
  { name: "search", group: "search", groups: ["orders"], version: "0.9.4", copies: 4 },
];

async function population(hubs) {
  const clients = [];
  for (const { copies, ...identity } of services) {
    for (let i = 0; i < copies; i++) {
      const meta = { region: i % 2 ? "eu-2" : "eu-1", pod: `${identity.name}-${i}` };
      clients.push(await connect(t, hubs[clients.length % hubs.length], { ...identity, meta, echo: false }));
    }
  }
  return clients;
}

/** traffic sends as services do, more and less, until it is told to stop. */
function traffic(clients) {
  let n = 0;
  const timer = setInterval(() => {
    const busy = 6 + 4 * Math.sin(Date.now() / 9000) + 2 * Math.sin(Date.now() / 2300);
    for (let i = 0; i < busy; i++) {
      const c = clients[n++ % clients.length];
      const order = { order: 48_210 + n, total: Number((5 + (n * 7.35) % 240).toFixed(2)), currency: "EUR", items: (n % 4) + 1 };
      c.send({ op: 0, event: ["order.created", "order.paid", "order.packed"][n % 3], data: order, intent: { target: "GROUP", identifier: n % 5 ? "orders" : "billing" } });
      if (n % 40 === 0) c.send({ op: 0, event: "cache.warm", data: {}, intent: { target: "ANY", identifier: "thumbnails" } });
    }
  }, 50);
  return () => clearInterval(timer);
}

async function main() {
  const redis = await startRedis(t);
  const hubs = [];
  for (const name of ["hub-0", "hub-1", "hub-2"]) {
    hubs.push(await startHub(t, "--redis", redis, "--node", name, "--send-queue-bytes", "32MiB", "--write-timeout", "10m", "--ping-interval", "10m"));
  }
  await until("three instances", async () => (await call(hubs[0], "/v1/nodes")).nodes.length === 3);
  const clients = await population(hubs);
  const slow = await connect(t, hubs[1], { name: "reports", group: "reports", groups: ["orders"], version: "1.4.0", meta: { region: "eu-1", pod: "reports-0" } }, { read: false });
  const stop = traffic(clients);

  const page = await open(t, hubs[0], { colorScheme: "light", deviceScaleFactor: 1, expected: [404], viewport: { width: 1280, height: 800 } });
  const sizes = [];
  const shot = async (name, height = 800) => {
    await page.setViewportSize({ width: 1280, height });
    for (const theme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: theme });
      await pause(150); // the charts render
      if (!process.argv[2] && !chosen.includes(`${name}-${theme}`)) continue;
      const path = `${out}/${name}-${theme}.png`;
      await page.screenshot({ path });
      sizes.push(`${name}-${theme}.png ${Math.round(statSync(path).size / 1000)} kB`);
    }
  };
  await shot("login");
  await logIn(page);
  const blob = "x".repeat(25_000);
  await until("a slow client", async () => {
    for (let i = 0; i < 20; i++) await clients[0].send({ op: 0, event: "report.page", data: blob, intent: { target: "GROUP", identifier: "reports" } });
    return (await call(hubs[0], "/v1/clients?name=reports")).clients[0].queue_bytes > 2_000_000; // more than the kernel takes while it adapts its buffers
  });
  await pause(seconds * 1000);
  await shot("overview", 960);
  await to(page, "Clients");
  await page.locator("tr.slow").waitFor();
  await pause(500);
  await shot("clients");
  await page.locator("tr.slow a").first().click();
  await page.getByText("This client is slow.").waitFor();
  await pause(20_000);
  await shot("client");
  await page.getByRole("button", { name: "Disconnect…" }).click();
  await shot("disconnect");
  await page.keyboard.press("Escape");
  await to(page, "Groups");
  await page.getByRole("link", { name: "orders", exact: true }).waitFor();
  await shot("groups");
  await page.getByRole("link", { name: "orders", exact: true }).click();
  await page.locator("table.clients tbody tr").first().waitFor();
  await pause(1200);
  await shot("group");
  await page.getByRole("link", { name: "Watch live" }).click();
  await page.locator(".events tbody tr").nth(40).waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator(".events button").nth(4).click();
  await page.mouse.move(5, 500);
  await shot("tail", 640);
  await to(page, "Publish");
  await page.getByLabel("Group", { exact: true }).last().fill("warehouse.eu");
  await page.getByLabel("Event", { exact: true }).fill("stock.recount");
  await page.getByLabel("Data (JSON)").fill('{\n  "aisle": "B12",\n  "reason": "difference at handover"\n}');
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.locator(".receipts li").first().waitFor();
  await page.getByLabel("Group", { exact: true }).last().fill("thumbnails");
  await page.getByLabel("Event", { exact: true }).fill("cache.warm");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.locator(".receipts li").nth(1).waitFor();
  await page.getByLabel("Data (JSON)").focus();
  await shot("publish");
  await to(page, "Operate");
  for (let i = 0; i < 12; i++) await connect(t, hubs[2], { name: "thumbnails", group: "thumbnails", version: "1.1.0" });
  await call(hubs[2], "/v1/drain", { method: "POST", body: '{"over":"20s"}' });
  await page.locator("tbody tr", { hasText: /have left/ }).filter({ hasText: /[5-9] of/ }).waitFor();
  await page.getByRole("button", { name: /^Reload/ }).click();
  await page.getByText("Nothing has changed.").waitFor();
  await page.mouse.move(5, 500);
  await shot("operate", 640);
  stop();
  slow.socket.destroy();
  console.log(sizes.join("\n"));
}

try {
  await main();
} finally {
  for (const end of ends.reverse()) await end();
  await close();
}

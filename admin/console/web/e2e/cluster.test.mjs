// The console of a hub of three instances: the search for the one slow client.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { close, logIn, open, to } from "./browser.mjs";
import { call, connect, startHub, startRedis, until } from "./hub.mjs";

after(close);

async function startThree(t, ...flags) {
  const redis = await startRedis(t);
  const hubs = [];
  for (const name of ["a", "b", "c"]) hubs.push(await startHub(t, "--redis", redis, "--node", name, ...flags));
  await until("three instances", async () => {
    const { nodes } = await call(hubs[0], "/v1/nodes");
    return nodes.length === 3 && nodes.every((n) => n.broker.available);
  });
  return hubs;
}

test("the one slow client of three instances is found, understood, and disconnected", async (t) => {
  const [a, b, c] = await startThree(t, "--send-queue-bytes", "64MiB", "--write-timeout", "10m", "--ping-interval", "10m");
  for (const [i, hub] of [a, b, c].entries()) await connect(t, hub, { group: "reports", name: `reader-${i}` });
  const slow = await connect(t, b, { group: "reports", name: "laggard" }, { read: false });
  const sender = await connect(t, c, { group: "senders", name: "sender" });

  const page = await open(t, a, { expected: [404] });
  await logIn(page);
  await page.getByText("Live · all 3 instances answer").waitFor();

  const blob = "x".repeat(30_000);
  await until("a backlog", async () => {
    for (let i = 0; i < 50; i++) await sender.send({ op: 0, event: "report", data: blob, intent: { target: "GROUP", identifier: "reports" } });
    const { clients } = await call(a, "/v1/clients?limit=500&name=laggard");
    return clients[0].queue_bytes > 6 << 20; // the kernel takes less than 4 MiB, sooner or later
  });

  // The overview shows that there is a backlog, and leads to the client.
  await page.getByRole("link", { name: "find the slow clients" }).click();
  const first = page.locator("tbody tr").first();
  await first.filter({ hasText: "laggard" }).waitFor();
  assert.match(await first.innerText(), /MiB/);
  await first.getByRole("link").first().click();
  await page.getByText("This client is slow.").waitFor();
  await page.locator(".facts", { hasText: slow.id }).getByRole("link", { name: "b", exact: true }).waitFor();

  await page.getByRole("button", { name: "Disconnect…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
  await page.getByText("Disconnected.").waitFor();
  await until("that it is gone", async () => (await call(a, "/v1/clients?name=laggard")).clients?.length === 0);
});

test("instances that do not answer are named", async (t) => {
  const [a, b] = await startThree(t);
  const page = await open(t, a);
  await connect(t, b, { group: "demo", name: "hidden" });
  await logIn(page);
  await page.getByText("Live · all 3 instances answer").waitFor();
  await to(page, "Clients");
  await page.getByRole("link", { name: "hidden" }).waitFor();
  await to(page, "Overview");
  const messages = page.locator(".stat", { hasText: "Messages in" }).locator("dd").first();
  await until("a rate", async () => (await messages.innerText()) !== "–");
  b.child.kill("SIGSTOP"); // until its lease ends the others expect an answer of it
  await page.getByText(/Instance b does not answer: its clients are missing/).waitFor();
  assert.equal(await messages.innerText(), "–"); // a gap, no fall of the rates
  const chart = page.locator("figure", { hasText: "Clients" }).locator("output");
  assert.equal(await chart.innerText(), "–");
  b.child.kill("SIGCONT");
  await page.getByText("Live · all 3 instances answer").waitFor();
  await to(page, "Clients");
  await page.getByRole("link", { name: "hidden" }).waitFor();
});

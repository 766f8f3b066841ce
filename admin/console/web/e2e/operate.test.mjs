// Operations: drain, rebalance, reload, teams.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { barriers, close, logIn, open, to, tooWide } from "./browser.mjs";
import { atEnd, call, connect, publish, startHub, startRedis, until } from "./hub.mjs";

after(close);

test("an instance is drained, with the keyboard alone, and the page shows the progress", async (t) => {
  const redis = await startRedis(t);
  const a = await startHub(t, "--redis", redis, "--node", "a");
  const b = await startHub(t, "--redis", redis, "--node", "b");
  await until("two instances", async () => (await call(a, "/v1/nodes")).nodes.length === 2);
  const page = await open(t, a, { expected: [422] });
  await logIn(page);
  const clients = [];
  for (let i = 0; i < 3; i++) clients.push(await connect(t, a, { group: "demo", name: `c${i}` }));
  await connect(t, b, { group: "demo", name: "elsewhere" });
  await page.getByRole("link", { name: "drain, rebalance, reload" }).focus();
  await page.keyboard.press("Enter");
  const row = page.getByRole("region", { name: "Instances" }).locator("tbody tr");
  await row.filter({ hasText: "this one" }).filter({ hasText: "3" }).waitFor();
  await page.getByRole("button", { name: "Drain a…" }).waitFor();

  // What the hub refuses is said, and nothing has happened.
  const over = page.getByRole("region", { name: "Drain a" }).getByLabel("Over");
  await over.fill("soon");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Drain a?" });
  await dialog.getByText(/can't be undone/).waitFor();
  assert.match(await dialog.innerText(), /a accepts no more connections.*its 3 connections.*over soon/s);
  await dialog.getByRole("button", { name: "Drain a", exact: true }).click();
  await page.getByRole("alert").getByText(/over must be a duration/i).waitFor();

  // The focus begins on Cancel.
  await over.fill("1m");
  await page.getByRole("button", { name: "Drain a…" }).focus();
  await page.keyboard.press("Enter");
  await dialog.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Cancel");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.equal((await call(a, "/v1/nodes")).nodes.find((n) => n.name === "a").draining, false);
  assert.deepEqual(await barriers(page), []);

  await page.keyboard.press("Enter"); // the focus is back on the button
  await dialog.waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await row.filter({ hasText: "this one" }).getByText("draining").waitFor();
  await page.getByText(/told to move over 1 min/).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Drain a");
  const progress = row.getByRole("progressbar", { name: "Connections that have left a" });
  await progress.waitFor();
  assert.deepEqual(await barriers(page), []);
  clients[0].socket.destroy(); // one that does not wait to be told
  await row.getByText(/[123] of 3 have left/).waitFor();
  for (const c of clients) c.socket.destroy();
  await row.getByText("no connections left").waitFor();
  await page.getByText(/All connections have ended/).waitFor();
  await page.getByRole("status").getByText("a is draining").waitFor();
  assert.equal((await call(b, "/v1/nodes")).nodes.find((n) => n.name === "b").draining, false);
});

test("another instance is drained and reloaded from this console", async (t) => {
  const redis = await startRedis(t);
  const a = await startHub(t, "--redis", redis, "--node", "a");
  const b = await startHub(t, "--redis", redis, "--node", "b");
  await until("two instances", async () => (await call(a, "/v1/nodes")).nodes.length === 2);
  const page = await open(t, a, { path: "/operate" });
  await logIn(page);
  await page.getByRole("radio", { name: "Operate b" }).check();
  await page.getByRole("button", { name: "Reload b" }).click();
  await page.getByText("Nothing has changed.").waitFor();
  await page.getByRole("button", { name: "Drain b…" }).click();
  await page.getByRole("dialog", { name: "Drain b?" }).getByRole("button", { name: "Drain b", exact: true }).click();
  await page.getByRole("status").getByText("b is draining").waitFor();
  const { nodes } = await call(a, "/v1/nodes");
  assert.deepEqual(nodes.map((n) => [n.name, n.draining]), [["a", false], ["b", true]]);
  assert.deepEqual(await barriers(page), []);
});

test("a drain of the only instance is warned of", async (t) => {
  const hub = await startHub(t, "--node", "single");
  const page = await open(t, hub, { path: "/operate" });
  await logIn(page);
  await page.getByRole("button", { name: "Drain single…" }).click();
  const dialog = page.getByRole("dialog", { name: "Drain single?" });
  await dialog.getByText("There is no other instance").waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await dialog.waitFor({ state: "hidden" });
  // A drain that begins elsewhere is shown, too.
  await call(hub, "/v1/drain", { method: "POST", body: "{}" });
  await page.getByText("no connections left").first().waitFor();
  assert.equal(await page.getByRole("button", { name: /^Drain/ }).count(), 0);
});

test("a cluster is rebalanced, and the page shows which clients were told to move", async (t) => {
  const redis = await startRedis(t);
  const a = await startHub(t, "--redis", redis, "--node", "a");
  const b = await startHub(t, "--redis", redis, "--node", "b");
  await until("two instances", async () => (await call(a, "/v1/nodes")).nodes.length === 2);
  const page = await open(t, b, { path: "/operate", expected: [409, 422] });
  await logIn(page);
  const region = page.getByRole("region", { name: "Rebalance the cluster" });
  const ask = region.getByRole("button", { name: "Rebalance…" });
  const dialog = page.getByRole("dialog", { name: "Rebalance the cluster?" });
  const yes = dialog.getByRole("button", { name: "Rebalance" });
  await ask.click();
  await dialog.getByText("no instance has more than its share").waitFor();
  await yes.click();
  await region.getByText("No client was told to move").waitFor();

  const clients = [];
  for (let i = 0; i < 5; i++) clients.push(await connect(t, a, { group: "demo", name: `c${i}` }));
  clients.push(await connect(t, b, { group: "demo", name: "elsewhere" }));
  const row = page.getByRole("region", { name: "Instances" }).locator("tbody tr");
  await row.filter({ hasText: /^a/ }).getByText("5", { exact: true }).waitFor();
  await until("a knows of all", async () => (await call(b, "/v1/nodes")).nodes.reduce((n, node) => n + (node.connections.service ?? 0), 0) === 6);

  await region.getByLabel("Over").fill("soon");
  await ask.click();
  await yes.click();
  await region.getByRole("alert").getByText(/over must be a duration/i).waitFor();
  await region.getByLabel("Over").fill("1s");
  await region.getByLabel("At most, per instance").fill("1");
  await region.getByLabel("At most, per instance").press("Enter");
  await dialog.getByText("a tells 1 of its 5 clients").waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await region.getByLabel("At most, per instance").fill("");
  await ask.focus();
  await page.keyboard.press("Enter");
  await dialog.getByText("a tells 2 of its 5 clients").waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await region.getByText("Told to move: 2 clients").waitFor();
  await region.getByText("The share is 3.").waitFor();
  assert.match(await region.getByRole("listitem").first().innerText(), /^a: 2 of 5 clients$/);
  assert.match(await region.getByRole("listitem").last().innerText(), /^b: 0 of 1 client$/);
  assert.deepEqual(await barriers(page), []);
  await row.filter({ hasText: /^a/ }).getByText("3", { exact: true }).waitFor();
  assert.equal(clients.filter((c) => c.received.some((m) => m.data === "SERVER_RESTART")).length, 2);
  await ask.click();
  await yes.click();
  await region.getByText(/No client was told to move|a rebalance is going on/i).waitFor();

  await call(b, "/v1/drain", { method: "POST", body: "{}" });
  await region.getByText("A draining instance can't begin it").waitFor();
  assert.ok(await ask.isDisabled());
});

test("the configuration is read again, and the page shows the result", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "console-config-"));
  atEnd(t, () => rmSync(dir, { recursive: true, force: true }));
  const config = join(dir, "hub.yaml");
  writeFileSync(config, "ping-interval: 20s\n");
  const hub = await startHub(t, "--config", config);
  const page = await open(t, hub, { path: "/operate", expected: [422] });
  await logIn(page);
  const reload = page.getByRole("button", { name: /^Reload/ });
  await reload.click();
  await page.getByText("Nothing has changed.").waitFor();

  writeFileSync(config, "ping-interval: 21s\n");
  await reload.click();
  await page.getByText("Nothing was applied.").waitFor();
  await page.getByText("Need a restart: ping-interval").waitFor();
  assert.deepEqual(await barriers(page), []);

  writeFileSync(config, "ping-interval: never\nno-such-setting: 1\n");
  await reload.click();
  const alert = page.getByRole("alert");
  await alert.getByText(/nothing has changed/i).waitFor();
  await alert.getByRole("listitem").filter({ hasText: /hub\.yaml:2.*no-such-setting|no-such-setting/ }).waitFor();
  assert.ok((await alert.getByRole("listitem").count()) >= 2, await alert.innerText());
  assert.equal(await page.getByText("Need a restart").count(), 0);
  assert.deepEqual(await barriers(page), []);

  // The watcher may be first to see a change of tokens: what the API says then is made up here.
  const result = { at: new Date().toISOString(), changed: ["tokens"], tokens_added: ["audit"], tokens_changed: [], tokens_revoked: ["<b>billing"], need_restart: [] };
  await page.route("**/v1/reload*", (route) => route.fulfill({ status: 200, contentType: "application/json", body: JSON.stringify(result) }));
  await reload.click();
  await page.getByText("Reloaded.").waitFor();
  await page.getByText("Applied: tokens").waitFor();
  await page.getByText("Tokens added: audit").waitFor();
  await page.getByText("Tokens revoked: <b>billing").waitFor();
});

test("teams are listed, page by page", async (t) => {
  const hub = await startHub(t, "--enable", "team", "--team-anonymous");
  const page = await open(t, hub, { expected: [404] }); // the group of a team without a connection has no members
  await logIn(page);
  await to(page, "Teams");
  await page.getByText("There are no teams.").waitFor();
  assert.deepEqual(await barriers(page), []);
  await publish(hub, "GROUP:teams", "team.join", { team_id: "<i>sales</i>" });
  const row = page.locator("tbody tr", { hasText: "<i>sales</i>" });
  await row.waitFor();
  assert.match(await row.innerText(), /none.*nothing/s);
  await row.getByRole("link").first().click();
  await page.getByRole("heading", { name: "team.<i>sales</i>", level: 1 }).waitFor();

  const sender = await connect(t, hub, { group: "announcer", echo: false });
  for (let id = 0; id < 101; id++) sender.send({ op: 0, event: "team.join", data: { team_id: id }, intent: { target: "GROUP", identifier: "teams" } });
  await sender.send({ op: 0, event: "team.join", data: { team_id: 0 }, intent: { target: "GROUP", identifier: "teams" } });
  await to(page, "Teams");
  await page.getByText("Page 1 · 100 teams · more follow").waitFor();
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByText("Page 2 · 2 teams").waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.getByRole("button", { name: "First" }).click();
  await page.getByText("Page 1 · 100 teams").waitFor();
});

test("a team's connection is shown beside what its client says, and its id with all its digits", async (t) => {
  const hub = await startHub(t, "--enable", "team");
  const page = await open(t, hub, { path: "/teams" });
  const client = { node: "b", client: "0af3e765-0000-8238-be00-0049edea9233", at: new Date().toISOString() };
  const teams = [
    '{"id":12345678901234567890,"since":"2026-01-01T00:00:00Z","message_count":7,"props_count":2,"claims":[]}',
    `{"id":"two","since":"2026-01-01T00:00:00Z","connection":${JSON.stringify({ ...client, address: "10.0.0.7:4711", since: client.at })},"message_count":7,"props_count":2,"claims":[${JSON.stringify({ ...client, connected: true, message_count: 7, props_count: 2 })},${JSON.stringify({ ...client, client: client.client.replace(/3$/, "4"), connected: false, message_count: 5, props_count: 0 })}]}`,
  ];
  await page.route("**/v1/teams*", (route) => route.fulfill({ status: 200, contentType: "application/json", body: `{"teams":[${teams}],"next":null,"missing":["c"]}` }));
  await logIn(page);
  await page.getByRole("link", { name: "12345678901234567890" }).waitFor();
  const row = page.locator("tbody tr", { hasText: "two" });
  assert.match(await row.innerText(), /open.*b.*10\.0\.0\.7:4711.*7.*2.*the same.*not connected, 5 messages, 0 with props/s);
  await page.getByText("Instance c did not answer").waitFor();
  assert.deepEqual(await barriers(page), []);
  assert.deepEqual(await tooWide(page), []);
});

/** bot connects a bot by long polling, which gets ready, and returns the packets that it is sent. */
async function bot(t, hub, version) {
  const base = `${hub.url.replace("ws://", "http://")}/socket.io/?EIO=4&transport=polling`;
  const { sid } = JSON.parse((await (await fetch(base)).text()).slice(1));
  const say = (...packets) => fetch(`${base}&sid=${sid}`, { method: "POST", body: packets.join("\x1e") });
  const said = [];
  const over = new AbortController();
  const listen = async () => {
    while (!over.signal.aborted) {
      const response = await fetch(`${base}&sid=${sid}`, { signal: over.signal });
      for (const packet of (await response.text()).split("\x1e")) {
        said.push(packet);
        if (packet === "2") await say("3");
        if (packet.startsWith("40")) await say(`42["identify",${JSON.stringify({ version })}]`);
        if (packet.startsWith('42["hello"')) await say('42["ready"]');
      }
    }
  };
  const ended = say("40").then(listen).catch(() => {});
  atEnd(t, () => {
    over.abort();
    return ended;
  });
  await until("that the bot is greeted", () => said.some((packet) => packet.startsWith('42["hello"')));
  return said;
}

test("a fleet is shown with its bots, and operated", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "console-fleets-"));
  atEnd(t, () => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, "fleets.yaml"), "fleets: {default: {token: secret}}\n", { mode: 0o600 });
  const hub = await startHub(t, "--enable", "fleet", "--fleet-file", join(dir, "fleets.yaml"));
  const page = await open(t, hub, { expected: [409] });
  await logIn(page);
  await to(page, "Fleets");
  await page.getByText("No bot is there.").waitFor();
  assert.deepEqual(await barriers(page), []);

  const bots = [await bot(t, hub, "1.0.0"), await bot(t, hub, "<b>0.9.0")];
  const region = page.getByRole("region", { name: /^default/ });
  await region.locator("tbody tr", { hasText: "1.0.0" }).getByText("running").waitFor();
  const second = region.locator("tbody tr", { hasText: "<b>0.9.0" });
  await second.getByRole("button", { name: "Promote…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("told to stop first").waitFor();
  assert.deepEqual(await barriers(page), []);
  await dialog.getByRole("button", { name: "Promote" }).click();
  await second.getByText("running").waitFor();
  await until("that the first one is told", () => bots[0].some((text) => text.includes('"coma"')));

  await region.getByRole("button", { name: "Roll back…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
  await region.getByText("There was no agent for: rollback").waitFor();
  assert.deepEqual(await barriers(page), []);
  assert.deepEqual(await tooWide(page), []);
});

test("where the service type is not enabled the page says how to", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { path: "/teams", expected: [404], colorScheme: "dark" });
  let asked = 0;
  page.on("request", (request) => (asked += request.url().includes("/v1/teams") ? 1 : 0));
  await logIn(page);
  await page.getByText("This instance serves no teams.").waitFor();
  await page.getByText("mastersocket serve --enable team").waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.waitForTimeout(2500);
  assert.ok(asked <= 2, `asked ${asked} times, and again and again`);
  await page.getByRole("button", { name: "Ask again" }).click();
  await until("that it asks", () => asked > 2);
});

test("a token that may only look finds nothing that changes something", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "mastersocket-e2e-"));
  atEnd(t, () => rmSync(folder, { recursive: true }));
  const tokens = join(folder, "tokens.yaml");
  const watcher = "e2e-token-that-may-only-look";
  writeFileSync(tokens, `tokens: [{name: watcher, sha256: ${createHash("sha256").update(watcher).digest("hex")}, admin: read}]\n`);
  const a = await startHub(t, "--node", "a", "--tokens-file", tokens);
  const client = await connect(t, a, { group: "demo", name: "c", groups: ["demo", "other"] });
  const page = await open(t, a);
  await logIn(page, watcher);
  await page.getByText("This token may only look.").waitFor();
  await page.getByRole("link", { name: "drain, rebalance, reload" }).click();
  for (const name of ["Drain a…", "Reload a"]) {
    assert.equal(await page.getByRole("button", { name }).isDisabled(), true, name);
  }
  await page.goto(`${a.admin}/publish?target=GROUP&identifier=demo`);
  await page.getByText("This token may only look.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Publish", exact: true }).isDisabled(), true);
  for (const path of [`/clients/${client.id}`, "/groups/demo"]) {
    await page.goto(`${a.admin}${path}`);
    await page.getByText("This token may only look.").waitFor();
    await page.getByText("demo").first().waitFor();
    for (const name of [/^Disconnect/, /^Join$/, /^Take the client out/]) {
      assert.equal(await page.getByRole("button", { name }).count(), 0, `${path}: ${name}`);
    }
    for (const name of ["Publish to it", "Send to it"]) {
      assert.equal(await page.getByRole("link", { name }).count(), 0, `${path}: ${name}`);
    }
  }
  assert.deepEqual(await barriers(page), []);

  // Another token of the same tab finds everything again.
  await page.getByRole("button", { name: "Log out" }).click();
  await logIn(page);
  await page.goto(`${a.admin}/operate`);
  await page.getByRole("button", { name: "Drain a…" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Drain a…" }).isDisabled(), false);
  assert.equal(await page.getByText("This token may only look.").count(), 0);
});

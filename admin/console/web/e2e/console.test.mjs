// The console of one instance, in a real browser, with real clients.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { barriers, close, logIn, open, to, tooWide } from "./browser.mjs";
import { call, connect, publish, startHub, subscribe, token, until } from "./hub.mjs";

after(close);

test("one must log in, and the token is in the tab's session storage only", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { path: "/groups", expected: [401] });

  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("Type or paste the token.").waitFor();
  await page.getByLabel("Admin token").fill("wrong-token");
  await page.keyboard.press("Enter");
  await page.getByText("The hub does not know this token.").waitFor();

  await logIn(page);
  await page.getByRole("heading", { name: "Groups", level: 1 }).waitFor(); // the page that was asked for
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, document.cookie, location.href, history.state, window.name]));
  assert.ok(!kept.includes(token), kept);
  assert.equal(await page.locator(`text=${token}`).count(), 0);

  // Session and colours survive a reload of the tab; another tab has neither.
  await page.getByText("Dark", { exact: true }).click();
  await page.reload();
  await page.getByRole("heading", { name: "Groups", level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  const other = await page.context().newPage();
  await other.goto(hub.admin);
  await other.getByLabel("Admin token").waitFor();
  await other.close();

  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Admin token").waitFor();
  assert.ok(!(await page.evaluate(() => JSON.stringify({ ...sessionStorage }))).includes(token));
  await page.reload();
  await page.getByLabel("Admin token").waitFor();
});

test("a client appears within a second", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await logIn(page);
  await to(page, "Clients");
  await page.getByText("No client is connected.").waitFor();
  const times = [];
  for (let i = 0; i < 5; i++) {
    const name = `newcomer-${i}`;
    const seen = page.evaluate(
      (text) =>
        new Promise((resolve) => {
          new MutationObserver(() => document.querySelector("main").textContent.includes(text) && resolve(Date.now())).observe(document.body, { childList: true, subtree: true });
        }),
      name,
    );
    await connect(t, hub, { group: "demo", name });
    const began = Date.now();
    times.push((await seen) - began);
  }
  console.log(`a new client was seen after ${times.join(", ")} ms`);
  assert.ok(Math.min(...times) < 1000, `seen after ${times} ms`); // the best of five: other work may be going on
});

test("events are tailed, with filters", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await logIn(page);
  await subscribe(t, hub, "demo");
  await to(page, "Groups");
  await page.getByRole("link", { name: "demo", exact: true }).click();
  await page.getByRole("link", { name: "Watch live" }).click();
  await page.locator(".bar .badge", { hasText: /^live$/ }).waitFor();
  await publish(hub, "GROUP:demo", "order.created", { total: 12.5, note: "first" });
  await page.getByRole("button", { name: "order.created" }).click();
  await page.mouse.move(5, 600);
  const detail = page.getByRole("region", { name: "Selected event" });
  await detail.getByText('"note": "first"').waitFor();

  await page.getByRole("button", { name: "Pause" }).click();
  await publish(hub, "GROUP:demo", "order.paid", { note: "second" });
  await page.locator(".bar", { hasText: "2 events" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "order.paid" }).count(), 0);
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("button", { name: "order.paid" }).waitFor();
  await page.getByLabel("Show only events that contain").fill("FIRST");
  await page.getByRole("button", { name: "order.paid" }).waitFor({ state: "detached" });
  await page.getByLabel("Show only events that contain").fill("");

  // The hub's own filter, by event.
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByLabel("Event", { exact: true }).fill("wanted");
  await page.getByRole("button", { name: "Watch", exact: true }).click();
  await page.locator(".bar .badge", { hasText: /^live$/ }).waitFor();
  await publish(hub, "GROUP:demo", "unwanted", {});
  await publish(hub, "GROUP:demo", "wanted", {});
  await page.getByRole("button", { name: "wanted", exact: true }).waitFor();
  assert.equal(await page.getByRole("button", { name: "unwanted" }).count(), 0);

  // GLOBAL messages are another stream.
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByLabel("Event", { exact: true }).fill("");
  await page.getByLabel("GLOBAL messages").check();
  await page.getByRole("button", { name: "Watch", exact: true }).click();
  await page.locator(".bar .badge", { hasText: /^live$/ }).waitFor();
  await publish(hub, "GLOBAL", "to.everybody", {});
  await page.getByRole("button", { name: "to.everybody" }).waitFor();
});

test("the tail is held while the pointer is on rows, and only there", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { path: "/tail?group=demo" });
  await logIn(page);
  await subscribe(t, hub, "demo");
  const badge = page.locator(".bar .badge");
  await badge.filter({ hasText: /^live$/ }).waitFor();
  const list = page.getByRole("region", { name: "Events, newest first" });
  const box = await list.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height - 10);
  await page.mouse.move(box.x + box.width / 2, box.y + box.height - 20); // on the empty list
  await publish(hub, "GROUP:demo", "first", {});
  await page.getByRole("button", { name: "first", exact: true }).waitFor();
  assert.match(await badge.innerText(), /^live$/);

  await page.getByRole("button", { name: "first", exact: true }).hover();
  await badge.filter({ hasText: /^held$/ }).waitFor();
  await publish(hub, "GROUP:demo", "second", {});
  await page.locator(".bar", { hasText: "2 events" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "second", exact: true }).count(), 0);
  // A filter that leaves no row releases the list although the pointer has not moved.
  await page.getByLabel("Show only events that contain").evaluate((el) => {
    el.value = "no such text";
    el.dispatchEvent(new InputEvent("input", { bubbles: true }));
  });
  await badge.filter({ hasText: /^live$/ }).waitFor();
});

test("the banner of a slow client has the hub's own settings", async (t) => {
  const hub = await startHub(t, "--send-queue-bytes", "48MiB", "--write-timeout", "7m", "--ping-interval", "10m");
  const page = await open(t, hub);
  const slow = await connect(t, hub, { group: "reports", name: "laggard" }, { read: false });
  const sender = await connect(t, hub, { group: "senders", name: "sender" });
  const blob = "x".repeat(30_000);
  await until("a backlog", async () => {
    for (let i = 0; i < 10; i++) await sender.send({ op: 0, event: "report", data: blob, intent: { target: "GROUP", identifier: "reports" } });
    return (await call(hub, "/v1/clients?name=laggard")).clients[0].queue_bytes > 6 << 20; // the kernel takes less than 4 MiB
  });
  await logIn(page);
  await page.goto(`${hub.admin}/clients/${slow.id}`);
  await page.getByText("This client is slow.").waitFor();
  await page.locator(".notice", { hasText: "--send-queue-bytes (48.0 MiB)" }).filter({ hasText: "--write-timeout (7 min 0 s)" }).waitFor();
});

test("Teams is in the menu where the service type is enabled", async (t) => {
  for (const flags of [[], ["--enable", "team"]]) {
    const hub = await startHub(t, ...flags);
    const page = await open(t, hub);
    await logIn(page);
    await page.getByText(/^Live ·/).waitFor();
    const menu = page.getByRole("navigation", { name: "Pages", exact: true });
    assert.equal(await menu.getByRole("link", { name: "Teams" }).count(), flags.length > 0 ? 1 : 0);
  }
});

test("a flood is sampled, and what is left out is counted", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { path: "/tail?group=flood" });
  await logIn(page);
  await page.locator(".bar .badge", { hasText: /^live$/ }).waitFor();
  const sender = await connect(t, hub, { group: "flood", echo: false });
  for (let i = 0; i < 2000; i++) sender.send({ op: 0, event: "flood", data: i, intent: { target: "GROUP", identifier: "flood" } });
  await page.locator(".bar", { hasText: /[1-9][\d,]* left out/ }).waitFor();
  const rows = await page.locator(".events tbody tr").count();
  assert.ok(rows > 0 && rows <= 500, `${rows} rows`);
});

test("an event is published, and the receipt tells what became of it", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await logIn(page);
  const sub = await subscribe(t, hub, "demo");
  await to(page, "Publish");
  await page.getByLabel("Group", { exact: true }).last().fill("demo");
  await page.getByLabel("Event", { exact: true }).fill("config.changed");
  const data = page.getByLabel("Data (JSON)");
  await data.fill('{"limit": 1');
  await page.getByText(/Not JSON/).waitFor();
  assert.ok(await page.getByRole("button", { name: "Publish", exact: true }).isDisabled());
  await data.fill('{"limit": 12345678901234567890.50}');
  await data.press("Control+Enter");
  await page.locator(".receipts .badge", { hasText: "1 client" }).waitFor();
  await sub.printed(/config\.changed/);
  assert.match(sub.output, /12345678901234567890\.50/); // its digits are those that were typed

  await page.getByText("Everybody", { exact: true }).click();
  await page.getByRole("button", { name: "Publish to everybody…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.equal(await page.locator(".receipts li").count(), 1);
  await page.getByRole("button", { name: "Publish to everybody…" }).click();
  await dialog.getByRole("button", { name: "Publish" }).click();
  await until("a second receipt", async () => (await page.locator(".receipts li").count()) === 2);

  await page.getByText("Group", { exact: true }).first().click();
  await page.getByLabel("Group", { exact: true }).last().fill("nobody.is.here");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.locator(".receipts li", { hasText: "nobody.is.here" }).locator(".badge", { hasText: "no client" }).waitFor();
});

test("a client is disconnected, with the keyboard alone", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { expected: [404] });
  await logIn(page);
  const client = await connect(t, hub, { group: "demo", name: "reports", version: "2.3.1", meta: { region: "eu-1" } });
  await connect(t, hub, { group: "demo", name: "other" });

  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab"); // past the title, which has the focus after login: the page's first control
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "the focus is visible");
  await page.getByRole("link", { name: "Clients", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "reports" }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("reports");
  await page.getByRole("link", { name: "other" }).waitFor({ state: "detached" });
  await page.getByRole("link", { name: "reports" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("eu-1").waitFor();
  await page.getByRole("button", { name: "Disconnect…" }).focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Disconnect this client?" });
  await dialog.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Cancel"); // the way out comes first
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  await page.keyboard.press("Enter"); // the focus is back on the button
  await dialog.waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("Disconnected.").waitFor();
  await client.closed;
  assert.equal(client.received.at(-1).data, "KICKED");
});

test("a client's groups are those of the moment, and an operator changes them", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { expected: [409] });
  await logIn(page);
  const client = await connect(t, hub, { group: "demo", name: "mover", features: ["groups"] });
  await to(page, "Clients");
  await page.getByRole("link", { name: "mover" }).click();
  await client.send({ op: 8, id: "s", data: { groups: ["by itself"] } });
  await page.getByRole("link", { name: "by itself" }).waitFor();
  await page.getByLabel("Put it into a group").fill("by an operator");
  await page.getByRole("button", { name: "Join", exact: true }).click();
  await page.getByRole("link", { name: "by an operator" }).waitFor();
  await page.getByRole("button", { name: "Take the client out of by itself" }).click();
  await page.getByRole("link", { name: "by itself" }).waitFor({ state: "detached" });
  assert.deepEqual(
    client.received.filter((m) => m.data?.by === "operator").map((m) => [m.op, m.data.groups]),
    [[8, ["by an operator"]], [9, ["by itself"]]],
  );
  assert.equal(await page.getByRole("button", { name: "Take the client out of demo" }).count(), 0); // the group of its IDENTIFY
  await page.getByLabel("Put it into a group").fill("$reserved");
  await page.getByRole("button", { name: "Join", exact: true }).click();
  await page.getByRole("alert").getByText(/may not join the group/).waitFor();
});

test("a client that disconnects is said to have done so", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { expected: [404] });
  await logIn(page);
  const client = await connect(t, hub, { group: "demo", name: "visitor" });
  await to(page, "Clients");
  await page.getByRole("link", { name: "visitor" }).click();
  await page.locator(".facts").first().waitFor();
  client.socket.destroy();
  await page.getByText("This client has disconnected.").waitFor();
  await page.locator("dd", { hasText: client.id }).waitFor(); // what was known of it stays
});

test("when the hub goes away the page says so, and when it no longer knows the token too", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { expected: [0, 401] });
  await logIn(page);
  await page.getByText(/^Live ·/).waitFor();
  hub.child.kill("SIGSTOP");
  await page.route("**/v1/**", (route) => route.abort()); // as if the port were closed
  await page.getByRole("status").getByText(/The hub does not answer/).waitFor();
  hub.child.kill("SIGCONT");
  await page.unroute("**/v1/**");
  await page.getByText(/^Live ·/).waitFor();
  await page.route("**/v1/nodes", (route) => route.fulfill({ status: 401, contentType: "application/problem+json", body: '{"title":"Unauthorized","status":401}' }));
  await page.getByText("The hub no longer accepts the token.").waitFor();
  await page.getByLabel("Admin token").waitFor();
});

test("what clients say is never anything but text", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { allowed: /TrustedHTML/ }); // the last lines of this test are refused
  await logIn(page);
  const tag = '<img src="x" onerror="alert(1)">';
  const nasty = `${tag}\u202egnp.exe\u0007\u0000`.slice(0, -1);
  const group = `<script>alert(2)</script>/../%2e\u202e`;
  const client = await connect(t, hub, {
    group,
    groups: ["x".repeat(128)],
    name: nasty,
    version: '"><svg onload=alert(3)>',
    meta: { "<b>bold</b>": "</dd><iframe src=javascript:alert(4)>", long: "y".repeat(256), "__proto__": "p", zalgo: "z" + "\u0335\u0321".repeat(60) },
  });

  await to(page, "Clients");
  const row = page.locator("tbody tr", { hasText: client.id.slice(-12) });
  await row.waitFor();
  assert.ok((await row.innerText()).includes(tag));
  assert.ok((await row.innerText()).includes("U+202E") && (await row.innerText()).includes("U+0007"), await row.innerText());
  assert.ok((await row.boundingBox()).height < 60, "a row is one line high, whatever is in it");
  await row.getByRole("link").first().click();
  await page.getByText("</dd><iframe src=javascript:alert(4)>").waitFor();
  await page.getByText("<b>bold</b>").waitFor();

  await to(page, "Groups");
  await page.getByRole("link", { name: /<script>/ }).click();
  await page.getByRole("link", { name: "Watch live" }).click();
  await page.locator(".bar .badge", { hasText: /^live$/ }).waitFor();
  const said = { "</pre><script>alert(5)</script>": ["\u202e", "\u2028", tag, 1] };
  await client.send({ op: 0, event: tag, data: said, intent: { target: "GROUP", identifier: group } });
  await page.getByRole("button", { name: /<img/ }).click();
  await page.getByText("</pre><script>alert(5)</script>").last().waitFor();
  assert.equal(await page.locator("img, iframe, script:not([src]), svg:not(.mark), b b").count(), 0);
  assert.deepEqual(await tooWide(page), []);
  // And the browser would refuse to take a string for HTML.
  const refused = await page.evaluate(() => {
    try {
      document.createElement("div").innerHTML = "<i></i>";
      return "";
    } catch (error) {
      return String(error);
    }
  }).catch(String);
  assert.match(refused, /TrustedHTML/);
});

test("nothing moves on the page by itself", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await page.evaluate(() => {
    window.shifts = 0;
    new PerformanceObserver((list) => {
      for (const e of list.getEntries()) if (!e.hadRecentInput) window.shifts += e.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await logIn(page);
  await page.locator(".charts").waitFor();
  const before = (await call(hub, "/v1/nodes")).nodes[0].messages_received;
  const client = await connect(t, hub, { group: "demo", name: "busy" });
  for (let i = 0; i < 500; i++) client.send({ op: 0, event: "x", data: "y".repeat(1000), intent: { target: "GROUP", identifier: "demo" } });
  await until("500 messages", async () => (await call(hub, "/v1/nodes")).nodes[0].messages_received >= before + 500);
  await page.locator(".stat", { hasText: "Clients" }).getByText("1", { exact: true }).waitFor();
  await to(page, "Operate");
  await page.getByRole("button", { name: /^Reload/ }).waitFor();
  await until("the figures come again", async () => (await page.evaluate(() => performance.getEntriesByType("resource").filter((e) => e.name.endsWith("/v1/nodes")).length)) > 5);
  const shifts = await page.evaluate(() => window.shifts);
  console.log(`cumulative layout shift: ${shifts.toFixed(4)}`);
  assert.ok(shifts < 0.05, `the layout shifted by ${shifts}`);
});

test("nothing keeps people with a keyboard or a screen reader out", async (t) => {
  const hub = await startHub(t);
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(t, hub, { colorScheme });
    assert.deepEqual(await barriers(page), [], `login, ${colorScheme}`);
    await logIn(page);
    const client = await connect(t, hub, { group: "demo", name: `reader-${colorScheme}`, meta: { region: "eu-1" } });
    await page.locator(".charts").waitFor();
    assert.deepEqual(await barriers(page), [], `overview, ${colorScheme}`);
    await to(page, "Clients");
    await page.getByRole("link", { name: `reader-${colorScheme}` }).waitFor();
    assert.deepEqual(await barriers(page), [], `clients, ${colorScheme}`);
    await page.getByRole("link", { name: `reader-${colorScheme}` }).click();
    await page.getByText("eu-1").waitFor();
    assert.deepEqual(await barriers(page), [], `a client, ${colorScheme}`);
    await page.getByRole("button", { name: "Disconnect…" }).click();
    assert.deepEqual(await barriers(page), [], `disconnect, ${colorScheme}`);
    await page.keyboard.press("Escape");
    await to(page, "Groups");
    await page.getByRole("link", { name: "demo", exact: true }).waitFor();
    assert.deepEqual(await barriers(page), [], `groups, ${colorScheme}`);
    await page.getByRole("link", { name: "demo", exact: true }).click();
    await page.getByRole("link", { name: `reader-${colorScheme}` }).waitFor();
    assert.deepEqual(await barriers(page), [], `a group, ${colorScheme}`);
    await page.getByRole("link", { name: "Watch live" }).click();
    await page.locator(".bar .badge", { hasText: /^live$/ }).waitFor();
    await client.send({ op: 0, event: "seen", data: { n: 1 }, intent: { target: "GROUP", identifier: "demo" } });
    await page.getByRole("button", { name: "seen", exact: true }).click();
    assert.deepEqual(await barriers(page), [], `tail, ${colorScheme}`);
    await to(page, "Publish");
    await page.getByLabel("Data (JSON)").waitFor();
    assert.deepEqual(await barriers(page), [], `publish, ${colorScheme}`);
    await to(page, "Operate");
    await page.getByRole("button", { name: /^Drain/ }).click();
    assert.deepEqual(await barriers(page), [], `drain, ${colorScheme}`);
    await page.keyboard.press("Escape");
    assert.deepEqual(await barriers(page), [], `operate, ${colorScheme}`);
  }
});

test("requests are shown by outcome, and on their clients' pages", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await logIn(page);
  await to(page, "Requests");
  await page.getByText("No request has been settled since the instances started.").waitFor();
  const asker = await connect(t, hub, { group: "askers", name: "asker", features: ["requests"] });
  const worker = await connect(t, hub, { group: "workers", name: "worker", features: ["requests"] });
  const ask = (id, identifier) => asker.send({ op: 0, id, event: "work", expect: { timeout_ms: 600_000 }, intent: { target: "GROUP", identifier } });
  for (const id of ["q1", "q2", "q3"]) {
    await ask(id, "workers");
    await until("the request", () => worker.received.find((m) => m.id === id));
  }
  await worker.send({ op: 5, id: "q1", intent: { target: "DIRECT", identifier: asker.id } });
  await worker.send({ op: 14, id: "q2", intent: { target: "DIRECT", identifier: asker.id } });
  await ask("q4", "nobody");
  const row = (name) => page.getByRole("row", { name: new RegExp(`^${name} `) });
  for (const outcome of ["answered", "unanswered", "undelivered"]) await row(outcome).locator("td:nth-child(4)", { hasText: /^1$/ }).waitFor();
  await row("timed out").locator("td:nth-child(4)", { hasText: /^0$/ }).waitFor();
  await page.locator(".stat", { hasText: "Open" }).getByText("1", { exact: true }).waitFor();
  await page.locator(".stat", { hasText: "Without an answer" }).getByText("2 since start").waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await barriers(page), [], `requests, ${colorScheme}`);
  }
  const fact = (name) => page.locator("dt", { hasText: name }).locator("+ dd");
  await page.goto(`${hub.admin}/clients/${asker.id}`);
  await fact("Open requests").getByText("1: it waits for answers").waitFor();
  await page.goto(`${hub.admin}/clients/${worker.id}`);
  await fact("Owed answers").getByText("1 request of others").waitFor();
});

test("top talkers are found in two clicks", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await logIn(page);
  const flood = await connect(t, hub, { group: "floods", name: "flood" });
  const quiet = await connect(t, hub, { group: "quiet", name: "quiet" });
  const send = (from, n) => Promise.all(Array.from({ length: n }, () => from.send({ op: 0, event: "e", intent: { target: "GROUP", identifier: "quiet" } })));
  await send(quiet, 3);
  await send(flood, 100);
  await page.getByRole("link", { name: "who sends most" }).click();
  await page.getByLabel("Over the last").selectOption("5m");
  const first = (table) => page.getByRole("region", { name: table }).getByRole("row").nth(1);
  await first("Busiest clients").getByRole("link", { name: /^flood/ }).waitFor();
  await first("Busiest groups").getByRole("link", { name: "quiet", exact: true }).waitFor();
  await first("Busiest tokens").getByRole("link").waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await barriers(page), [], `top talkers, ${colorScheme}`);
  }
  await page.getByRole("region", { name: "Busiest clients" }).getByRole("button", { name: "Bytes out" }).click();
  await first("Busiest clients").getByRole("link", { name: /^quiet/ }).click();
  await page.getByRole("heading", { name: "quiet", level: 1 }).waitFor();
});

test("a client is watched, DIRECT and ANY included", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await logIn(page);
  const worker = await connect(t, hub, { group: "workers", name: "worker" });
  const asker = await connect(t, hub, { group: "askers", name: "asker" });
  await to(page, "Clients");
  await page.getByRole("link", { name: "worker" }).first().click();
  await page.getByRole("link", { name: "Watch it" }).click();
  await page.locator(".bar .badge", { hasText: /^live$/ }).waitFor();
  await asker.send({ op: 0, event: "ask", intent: { target: "ANY", identifier: "workers" } });
  await worker.send({ op: 0, event: "answer", intent: { target: "DIRECT", identifier: asker.id } });
  const row = (event) => page.getByRole("row").filter({ has: page.getByRole("button", { name: event, exact: true }) });
  await row("ask").getByText("asker").waitFor();
  await row("answer").getByText("worker").waitFor();
  await row("ask").getByRole("button", { name: "ask", exact: true }).click();
  await page.getByRole("region", { name: "Selected event" }).getByText("Got by").waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await barriers(page), [], `a watched client, ${colorScheme}`);
  }
});

test("the event log shows what happened, with filters", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub);
  await logIn(page);
  const one = await connect(t, hub, { group: "billing", name: "billing-1" });
  await connect(t, hub, { group: "orders", name: "orders-1" });
  await call(hub, `/v1/clients/${one.id}`, { method: "DELETE" });
  await to(page, "Events");
  const rows = page.getByRole("table").getByRole("row");
  const row = (name) => page.getByRole("row", { name });
  await row(/ kicked kicked billing-1 /).waitFor();
  await row(/ operation done .* by /).waitFor();
  await row(/ connected orders-1 /).waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await barriers(page), [], `events, ${colorScheme}`);
  }
  await page.getByLabel("Client's name begins with").fill("orders");
  await until("one event", async () => (await rows.count()) === 2);
  assert.match(page.url(), /name=orders\*/);
  await page.getByLabel("What").selectOption("kicked");
  await page.getByText("No event matches.").waitFor();
  await page.getByRole("link", { name: "Clear" }).click();
  await row(/ kicked kicked billing-1 /).waitFor();
});

test("typed text stays while the page renders", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { path: "/clients" });
  await logIn(page);
  const search = page.getByLabel("Name begins with");
  await search.pressSequentially("a name that takes more than two seconds", { delay: 60 });
  assert.equal(await search.inputValue(), "a name that takes more than two seconds");
  await page.getByText("No client matches.").waitFor();
  assert.match(page.url(), /name=a\+name\+that/);
  await page.getByRole("link", { name: "Clear" }).click();
  await until("an empty search", async () => (await search.inputValue()) === "");
});

test("it can be used in a narrow window, and in both colours", async (t) => {
  const hub = await startHub(t);
  const page = await open(t, hub, { viewport: { width: 390, height: 800 }, colorScheme: "dark" });
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await logIn(page);
  await connect(t, hub, { group: "demo", name: "n".repeat(128) });
  for (const name of ["Overview", "Top talkers", "Clients", "Groups", "Requests", "Events", "Live tail", "Publish", "Operate"]) {
    await to(page, name);
    await page.getByRole("heading", { name, level: 1 }).waitFor();
    assert.deepEqual(await tooWide(page), [], name);
  }

  // A table that is cut says so until one has scrolled to its end.
  await to(page, "Clients");
  const list = page.getByRole("region", { name: "Clients", exact: true });
  await list.waitFor();
  const hint = page.getByText("more columns →");
  await hint.waitFor();
  await list.evaluate((el) => (el.scrollLeft = el.scrollWidth));
  await hint.waitFor({ state: "detached" });
  await list.evaluate((el) => (el.scrollLeft = 0));
  await hint.waitFor();
  await page.getByText("Light", { exact: true }).click();
  await until("light colours", async () => (await page.evaluate(() => document.documentElement.dataset.theme)) === "light");
});

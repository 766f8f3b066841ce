// Many clients that ask each other, for the tests with real hubs: sdk/conformance/README.md describes commands and outcomes.
import { connect } from "@mastersocket/client";

const timeout = 20_000;
const slack = 20_000; // what takes longer than this beyond the timeout hangs

const kinds = ["all", "retry", "any"];

const counts = { sent: 0, answered: 0, wrong: 0, hung: 0, failed: {} };
let agents = [];
let timer;
let underWay = 0;

const failed = (kind, err) => {
  const reason = `${kind} ${err.settlement?.missing[0]?.reason ?? err.code ?? err.name}`;
  counts.failed[reason] = (counts.failed[reason] ?? 0) + 1;
};

// Of those who are missing, the receivers.
const lost = (missing) => missing.reduce((sum, { id, count }) => sum + (id ? 1 : count), 0);

async function ask(client, team, n) {
  counts.sent++;
  const kind = kinds[n % 3];
  const began = performance.now();
  try {
    if (kind === "all") {
      const { replies, settlement: s } = await client.requestAll(`GROUP:${team}`, "double", n, { timeout });
      const whole = s && s.replied === replies.length && s.receivers === s.replied + s.passed + s.more + lost(s.missing);
      if (!whole || replies.some((m) => m.data !== 2 * n)) counts.wrong++;
      else if (s.missing.length > 0 || s.replied === 0) failed(kind, { settlement: s });
      else counts.answered++;
    } else {
      const { data } = await client.request(`ANY:${team}`, "double", n, { timeout, retry: kind === "retry" });
      if (data === 2 * n) counts.answered++;
      else counts.wrong++;
    }
  } catch (err) {
    failed(kind, err);
  }
  if (performance.now() - began > timeout + slack) counts.hung++;
}

export async function startAsking(o, print) {
  const teams = Math.max(1, o.clients / 10);
  agents = await Promise.all(Array.from({ length: o.clients }, async (_, i) => {
    let lost = false;
    let connected = false;
    return connect({
      url: o.url, token: o.token, group: `team-${i % teams}`, name: `agent ${i}`, minBackoff: 100, maxBackoff: 1_000,
      on: { double: (m) => 2 * m.data },
      onConnect: () => {
        if (connected) print({ event: lost ? "back" : "moved" });
        connected = true;
        lost = false;
      },
      onDisconnect: () => (lost = true),
    });
  }));
  const began = performance.now();
  let n = 0;
  timer = setInterval(() => {
    for (const due = ((performance.now() - began) / 1000) * o.rate; n < due; n++) {
      if (underWay >= 4 * agents.length) continue; // a program that fell behind does not send everything at once
      underWay++;
      void ask(agents[n % agents.length], `team-${Math.floor(Math.random() * teams)}`, n).then(() => underWay--);
    }
  }, 5);
  return {};
}

export async function finishAsking() {
  clearInterval(timer);
  for (const until = performance.now() + timeout + slack; underWay > 0 && performance.now() < until; ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  counts.hung += underWay;
  await Promise.all(agents.map((a) => a.close()));
  return counts;
}

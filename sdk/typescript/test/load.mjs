// Many clients that exchange messages and record what they send and get, for the tests with real hubs: sdk/conformance/README.md
// describes commands and answers. The record is that of internal/history.
import { createWriteStream } from "node:fs";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { connect, HubError, RequestError } from "@mastersocket/client";

import { finishAsking, startAsking } from "./asking.mjs";

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const now = () => performance.timeOrigin + performance.now(); // ms since 1970
// JSON numbers of nanoseconds since 1970, which JavaScript can't hold.
const nanos = (ms) => `${Math.trunc(ms * 1000)}000`;

const targets = { GLOBAL: 0, GROUP: 1, DIRECT: 2, ANY: 3 };
const outcomes = { pending: 0, accepted: 1, refused: 2, unsent: 3 };
const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
const padding = 8;

// The characters that show that a payload is intact: those of history.AppendPayload.
function pad(sender, n) {
  const word = (x) => BigInt.asUintN(64, x);
  let x = word(BigInt(sender + 1) * 0x9e3779b97f4a7c15n) ^ word(BigInt(n + 1) * 0xbf58476d1ce4e5b9n) ^ word(BigInt(padding + 1) * 0x94d049bb133111ebn);
  if (x === 0n) x = 1n;
  x ^= x >> 12n;
  x ^= word(x << 25n);
  x ^= x >> 27n;
  let rest = word(x * 0x2545f4914f6cdd1dn);
  let text = "";
  for (let i = 0; i < padding; i++, rest >>= 8n) text += alphabet[Number(rest & 63n)];
  return text;
}

const failures = {};
const unanswered = {}; // requests that had a receiver, by why that did not answer
const count = (what) => (failures[what] = (failures[what] ?? 0) + 1);
let frozen = false;
let refused = 0;
let outcomeUnknown = 0;
let arrived = 0;
let lastArrival = 0;

class Agent {
  names = [];
  absences = [];
  sends = [];
  arrivals = [];
  stamps = {};
  oddities = [];
  known = [];
  ids = new Set();
  underWay = 0;

  constructor(index, group) {
    this.index = index;
    this.group = group;
  }

  async connect({ url, token, ping }) {
    this.identifying = now();
    const got = (m) => this.got(m);
    this.client = await connect({
      url, group: this.group, name: `agent ${this.index}`, minBackoff: 100, maxBackoff: 1_000, connectTimeout: ping ? 5_000 : 15_000,
      token: () => {
        if (this.identified && !this.moving) this.moving = now();
        return token;
      },
      on: {
        tell: got,
        ask: (m) => {
          got(m);
          m.reply(m.data).catch((err) => count(`reply: ${err.code}`));
        },
      },
      onMessage: (m) => count(`stray ${m.event}`),
      onConnect: ({ id }) => this.connected(id),
      onDisconnect: (reason) => {
        if (frozen) return;
        this.absences.push({ from: now() });
        print({ event: "lost", at: now(), code: reason.code });
      },
      onError: (err) => this.settle(Number(err.id.split("-")[1]), "refused", err.code),
      log: { error: (text, { error }) => count(`${text}: ${error}`) },
    });
  }

  connected(id) {
    if (frozen) return;
    this.ids.add(id);
    if (!this.identified) {
      this.identified = now();
      this.id = id;
      return;
    }
    const absence = this.absences.at(-1);
    if (absence && !absence.to) {
      absence.to = now();
      print({ event: "back", at: now() });
    } else {
      print({ event: "moved", at: now() });
    }
    this.names.push({ id, at: this.moving ?? now(), known: now() });
    this.moving = undefined;
  }

  got(m) {
    if (frozen) return;
    const { s, n, pad: text } = m.data;
    if (text !== pad(s, n) || m.id !== `m${s}-${n}`) this.oddities.push(`message ${m.id} has the payload ${JSON.stringify(m.data)}`);
    const stamps = (this.stamps[s] ??= []);
    if (!stamps.includes(m.sender) && stamps.length < 4) stamps.push(m.sender);
    this.arrivals.push([now(), s, n]);
    this.known[this.arrivals.length % 4] = m.sender;
    arrived++;
    lastArrival = now();
  }

  settle(n, outcome, code) {
    const m = this.sends[n];
    if (!m) return;
    if (m.outcome === "pending" || (m.outcome === "accepted" && outcome === "refused")) Object.assign(m, { outcome, code, settled: now() });
    if (outcome === "refused") refused++;
  }

  async send(groups) {
    const n = this.sends.length;
    const dice = Math.random();
    let to = "GLOBAL";
    if (dice < 0.6) to = `GROUP:${groups[Math.floor(Math.random() * groups.length)]}`;
    else if (dice < 0.8) to = `ANY:${groups[Math.floor(Math.random() * groups.length)]}`;
    else if (dice < 0.99 && this.known.length > 0) {
      const id = this.known[Math.floor(Math.random() * this.known.length)];
      if (id) to = `DIRECT:${id}`;
    }
    const [target, ...rest] = to.split(":");
    const name = rest.join(":");
    const m = { at: now(), target, to: name, outcome: "pending" };
    this.sends.push(m);
    const data = { s: this.index, n, pad: pad(this.index, n) };
    const id = `m${this.index}-${n}`;
    this.underWay++;
    try {
      // A client asks itself nothing: the outcomes of question and answer, which have the same id, could not be told apart.
      if (target === "DIRECT" && Math.random() < 0.5 && !this.ids.has(name)) {
        const reply = await this.client.request(to, "ask", data, { id, timeout: 3_000 });
        if (JSON.stringify(reply.data) !== JSON.stringify(data)) count("wrong answer");
        this.settle(n, "accepted");
      } else {
        await this.client.sendAcked(to, "tell", data, { id });
        this.settle(n, "accepted");
      }
    } catch (err) {
      if (err instanceof HubError || err.code === "NO_RECEIVER") this.settle(n, "refused", err.code);
      else if (err instanceof RequestError) {
        this.settle(n, "refused", "OUTCOME_UNKNOWN"); // it had a receiver, which may have got it
        const reason = err.settlement.missing[0]?.reason ?? "PASSED";
        unanswered[reason] = (unanswered[reason] ?? 0) + 1;
        outcomeUnknown++;
      }
      else if (err.code === "OUTCOME_UNKNOWN" || err.name === "TimeoutError") outcomeUnknown++;
      else {
        this.settle(n, "unsent");
        count(`send: ${err.code ?? err.name}`);
      }
    }
    this.underWay--;
  }

  write(out) {
    const life = [
      `"id":${JSON.stringify(this.id)}`, `"groups":${JSON.stringify([this.group])}`, `"reports":true`,
      `"identifying":${nanos(this.identifying)}`, `"identified":${nanos(this.identified)}`,
      `"names":[${this.names.map((m) => `{"id":"${m.id}","at":${nanos(m.at)},"known":${nanos(m.known)}}`)}]`,
      `"absences":[${this.absences.map((a) => `{"from":${nanos(a.from)}${a.to ? `,"to":${nanos(a.to)}` : ""}}`)}]`,
    ];
    const odd = JSON.stringify({ count: this.oddities.length, texts: this.oddities.slice(0, 16) });
    out.write(`{"session":${this.index},"name":"agent","life":{${life}},"stamps":${JSON.stringify(this.stamps)},"odd":${odd}}\n`);
    const sends = this.sends.map((m) => `{"at":${nanos(m.at)},"target":${targets[m.target]},"to":${JSON.stringify(m.to)},` +
      `"outcome":${outcomes[m.outcome]}${m.settled ? `,"settled":${nanos(m.settled)}` : ""}${m.code ? `,"code":"${m.code}"` : ""}}`);
    out.write(`{"session":${this.index},"sent":[${sends}]}\n`);
    out.write(`{"session":${this.index},"got":[${this.arrivals.map(([at, s, n]) => `[${nanos(at)},${s},${n}]`)}]}\n`);
  }
}

let agents = [];
let timer;
let since = 0;

async function start(o) {
  const groups = Array.from({ length: Math.max(1, o.clients / 10) }, (_, i) => `team-${i}`);
  agents = Array.from({ length: o.clients }, (_, i) => new Agent(i, groups[i % groups.length]));
  await Promise.all(agents.map((a) => a.connect(o)));
  since = performance.now();
  let sent = 0;
  timer = setInterval(() => {
    // A program that fell behind, and one whose clients have no connection, does not send everything at once.
    for (let due = ((performance.now() - since) / 1000) * o.rate; sent < due; sent++) {
      const a = agents[sent % agents.length];
      if (a.underWay < 4) void a.send(groups);
    }
  }, 5);
  return {};
}

async function finish({ file }) {
  clearInterval(timer);
  const took = performance.now() - since;
  // The last messages are on their way.
  while (agents.some((a) => a.underWay > 0) || now() - lastArrival < 1_000) await new Promise((resolve) => setTimeout(resolve, 50));
  frozen = true;
  const out = createWriteStream(file);
  for (const a of agents) a.write(out);
  out.end();
  await once(out, "finish");
  await Promise.all(agents.map((a) => a.client.close()));
  return { took_ms: Math.round(took), arrived, refused, outcome_unknown: outcomeUnknown, unanswered, failures };
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const { n, cmd, ...o } = JSON.parse(line);
  const run = { start, finish, start_asking: (c) => startAsking(c, print), finish_asking: finishAsking }[cmd];
  run(o).then((ok) => print({ n, ok }), (err) => print({ n, error: { kind: "other", text: String(err.stack) } }));
}).on("close", () => process.exit(0));

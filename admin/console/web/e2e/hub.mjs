// Real hubs, a real Redis and real clients for the tests. Each listens on a port of its own choice and ends with the
// test that started it.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The binary under test. */
export const binary = process.env.MASTERSOCKET ?? fileURLToPath(new URL("../../../../bin/mastersocket", import.meta.url));
if (!existsSync(binary)) throw new Error(`${binary} is not there: run make build`);

/** The longest that anything is waited for, in milliseconds. */
export const patience = 30_000;

/** The one token, whose holders may do everything. */
export const token = "e2e-token-of-no-secrecy";

const environment = { PATH: process.env.PATH, HOME: tmpdir(), MASTERSOCKET_TOKEN: token };

const stacks = new WeakMap();

/** atEnd has something done when the test has ended: what was begun last ends first. */
export function atEnd(t, end) {
  if (!stacks.has(t)) {
    const stack = [];
    stacks.set(t, stack);
    t.after(async () => {
      const errors = [];
      while (stack.length > 0) {
        try {
          await stack.pop()();
        } catch (error) {
          errors.push(error);
        }
      }
      if (errors.length > 0) throw errors[0];
    });
  }
  stacks.get(t).push(end);
}

/** Process is a running command whose output can be waited for. */
class Process {
  constructor(command, args, options = {}) {
    this.name = [command.split("/").pop(), ...args].join(" ");
    this.output = "";
    this.waiting = new Set();
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: environment, ...options });
    this.ended = new Promise((resolve) => this.child.on("close", resolve));
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        this.output = (this.output + text).slice(-200_000);
        for (const check of this.waiting) check();
      });
    }
  }

  /** printed waits until the pattern is in the output, and returns its match. */
  printed(pattern) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => done(reject, new Error(`${this.name}: no ${pattern} in\n${this.output}`)), patience);
      const done = (settle, value) => {
        clearTimeout(timer);
        this.waiting.delete(check);
        settle(value);
      };
      const check = () => {
        const match = pattern.exec(this.output);
        if (match) done(resolve, match);
      };
      this.waiting.add(check);
      this.ended.then(() => done(reject, new Error(`${this.name} ended without ${pattern}:\n${this.output}`)));
      check();
    });
  }

  async stop(signal = "SIGTERM") {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    await this.ended;
  }
}

/** startHub runs an instance. The test ends it. */
export async function startHub(t, ...flags) {
  const listen = "127.0.0.1:0";
  const hub = new Process(binary, ["serve", "--listen", listen, "--tcp-listen", listen, "--admin-listen", listen, "--drain-timeout", "100ms", ...flags]);
  atEnd(t, () => {
    hub.child.kill("SIGCONT");
    return hub.stop();
  });
  const address = async (listener) => (await hub.printed(new RegExp(`msg=listening listener=${listener} addr=(\\S+)`)))[1];
  hub.admin = `http://${await address("admin")}`;
  hub.url = `ws://${await address("hub")}`;
  hub.tcp = await address("tcp");
  return hub;
}

/** freePort returns a port that is free and below the range from which the kernel takes those of outgoing connections. */
const freePort = () =>
  new Promise((resolve) => {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const server = net.createServer().on("error", () => resolve(freePort()));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(port)));
  });

/** startRedis runs a Redis that keeps nothing, and returns its URL. */
export async function startRedis(t) {
  const dir = mkdtempSync(join(tmpdir(), "console-redis-"));
  const port = await freePort();
  const redis = new Process("redis-server", ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir]);
  atEnd(t, async () => {
    await redis.stop("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  });
  await redis.printed(/Ready to accept connections/);
  return `redis://127.0.0.1:${port}/0`;
}

/** subscribe runs `mastersocket sub` in a group. */
export async function subscribe(t, hub, group) {
  const sub = new Process(binary, ["sub", "--url", hub.url, "--group", group, "--json"]);
  atEnd(t, () => sub.stop());
  const [, id] = await sub.printed(/([0-9a-f]{8}-[0-9a-f-]{27})/);
  sub.id = id;
  return sub;
}

/** publish runs `mastersocket pub` to its end. */
export async function publish(hub, to, event, data) {
  const pub = new Process(binary, ["pub", "--url", hub.url, "--to", to, "--event", event, JSON.stringify(data)]);
  const code = await pub.ended;
  if (code !== 0) throw new Error(`${pub.name} ended with ${code}:\n${pub.output}`);
}

/** objects cuts a text into the JSON objects in it. A message may have line feeds of its own. */
function objects(text) {
  const all = [];
  let depth = 0;
  let quoted = false;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c === "\\") i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === "{") depth++;
    else if (c === "}" && --depth === 0) {
      all.push(JSON.parse(text.slice(start, i + 1)));
      start = i + 1;
    }
  }
  return { all, rest: text.slice(start) };
}

/** connect is a client over TCP that says of itself what the test wants. read: false makes it a slow one. */
export async function connect(t, hub, identity, { read = true } = {}) {
  const [host, port] = hub.tcp.split(":");
  const socket = net.connect(Number(port), host);
  const client = { socket, id: "", received: [], closed: new Promise((resolve) => socket.on("close", resolve)) };
  atEnd(t, () => socket.destroy());
  socket.on("error", () => {}); // the hub ends connections, too
  client.send = (message) => new Promise((resolve) => socket.write(`${JSON.stringify(message)}\n`, resolve));
  let rest = "";
  const identified = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no answer to IDENTIFY")), patience);
    socket.setEncoding("utf8").on("data", (text) => {
      const found = objects(rest + text);
      rest = found.rest;
      for (const m of found.all) {
        if (m.op === 3) client.send({ op: 4 });
        else if (m.op === 1) {
          clearTimeout(timer);
          client.id = m.data.id;
          if (!read) socket.pause();
          resolve();
        } else client.received.push(m);
      }
    });
  });
  await client.send({ op: 1, data: { token, ...identity } });
  await identified;
  return client;
}

/** until asks again and again, and returns the first answer that is not falsy. */
export async function until(what, ask) {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** call asks the admin API. */
export async function call(hub, path, init = {}) {
  const response = await fetch(hub.admin + path, { ...init, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", ...init.headers } });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.status === 204 ? undefined : response.json();
}

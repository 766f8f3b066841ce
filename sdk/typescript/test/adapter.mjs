// Connects the TypeScript SDK to the conformance suite (sdk/conformance/README.md): commands on standard input, outcomes and
// events on standard output. With the argument "platform" it uses the platform's own WebSocket instead of the package ws.
import { createInterface } from "node:readline";

import { connect, DisconnectError, GroupError, HandshakeError, HubError, RemoteError, RequestError } from "@mastersocket/client";

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const kinds = {
  NO_RECEIVER: "no_receiver", RECEIVER_GONE: "receiver_gone", FORBIDDEN: "forbidden", BROKER_UNAVAILABLE: "broker_unavailable",
  OVERLOADED: "overloaded", OUTCOME_UNKNOWN: "outcome_unknown", CLOSED: "closed", OPTIONS: "options", TOO_BIG: "too_big",
  DUPLICATE_ID: "duplicate_id", NO_ACKS: "no_acks", TOO_MANY_REPLIES: "too_many_replies", SILENT: "silent", SLOW_CONSUMER: "slow", UNSUPPORTED: "unsupported",
  TIMEOUT: "timeout", TOO_MANY_REQUESTS: "too_many_requests", REQUEST_OVER: "request_over",
};

function describe(err) {
  const text = String(err?.message ?? err);
  if (err instanceof HandshakeError) return { kind: "handshake", status: err.status, text };
  if (err instanceof DisconnectError) return { kind: "disconnected", reason: err.reason, code: err.closeCode, text };
  if (err instanceof RemoteError) return { kind: "remote", code: err.code, message: err.explanation, text };
  if (err instanceof RequestError) return { kind: kinds[err.code] ?? "no_answer", settlement: err.settlement, text };
  if (err?.name === "TimeoutError") return { kind: "timeout", text };
  if (err?.name === "AbortError") return { kind: "cancelled", text };
  if (err instanceof GroupError) return { kind: "group", code: err.code, group: err.group, text };
  if (kinds[err?.code]) return { kind: kinds[err.code], text };
  return err instanceof HubError ? { kind: "hub", code: err.code, text } : { kind: "other", text };
}

const identity = ({ id, node, ping, maxMessageBytes, features, sessionStarted }) => ({
  id, node, ping, max_message_bytes: maxMessageBytes, features, session_started: sessionStarted.getTime(),
});

let client;
let release;
const released = new Promise((resolve) => (release = resolve));
const counts = {};
const removers = {};
const watches = {};
const holds = {};

const ids = (members) => [...members].map((m) => m.id).sort();
const shown = ({ joined, left, moved, updated }) => ({
  joined: ids(joined), updated: ids(updated), left: left.map(({ member, reason }) => ({ id: member.id, reason })),
  moved: moved.map(({ from, to }) => ({ from, to: to.id })),
});

const reply = (m) => m.reply(m.data).catch((err) => print({ event: "reply_failed", id: m.id, error: describe(err) }));

async function* count3() {
  yield* [1, 2, 3];
}

const handler = (does) => (m) => {
  counts[m.event] = (counts[m.event] ?? 0) + 1;
  if (["record", "wait", "later"].includes(does)) {
    print({ event: "message", op: m.isReply ? 5 : 0, id: m.id, name: m.event, data: m.data, sender: m.sender, to: m.to, attempt: m.attempt });
  }
  switch (does) {
    case "reply": return reply(m);
    case "throw": throw new Error("the handler failed");
    case "wait": return released;
    case "answer": return m.data;
    case "fail": return Promise.reject(new RemoteError("FULL", "no space left"));
    case "pass": return m.pass();
    case "stream": return count3();
    case "later": {
      let waits = true;
      m.signal.addEventListener("abort", () => waits && print({ event: "over", id: m.id }));
      void released.then(() => {
        waits = false;
        return reply(m);
      });
    }
  }
};

const log = (level) => (text) => print({ event: "log", level, text });

async function open(o, timeout) {
  let next = 0;
  client = await connect({
    url: o.url, group: o.group, groups: o.groups, name: o.name, version: o.version, meta: o.meta, echo: o.echo, acks: o.acks,
    drain: o.drain, stopOnAuthError: o.stop_on_auth_error, failFast: o.fail_fast, connectTimeout: o.connect_timeout_ms,
    minBackoff: o.min_backoff_ms, maxBackoff: o.max_backoff_ms, receiveQueue: o.receive_queue,
    token: o.tokens ? () => o.tokens[Math.min(next++, o.tokens.length - 1)] : o.token,
    on: Object.fromEntries(Object.entries(o.handlers ?? {}).map(([event, does]) => [event, handler(does)])),
    onMessage: o.on_message ? handler("record") : undefined,
    onConnect: ({ id }) => print({ event: "connected", id }),
    onDisconnect: (reason) => print({ event: "disconnected", error: describe(reason) }),
    onError: (err) => print({ event: "error", error: describe(err), id: err.id, name: err.event, to: err.to }),
    log: { warn: log("warn"), error: log("error") },
    ...(process.argv[2] === "platform" && { ws: false }),
  }, timeout && { signal: AbortSignal.timeout(timeout) });
  void client.closed.then((reason) => print({ event: "ended", error: describe(reason) }));
  return identity(client.identity);
}

const cancels = {};
const outcome = (m) => (m.error ? { error: { kind: "remote", ...m.error } } : { data: m.data });

async function run({ n, cmd, options, to, event, data, id, timeout_ms: timeout, replies, handler: does, group, groups, meta, weight, retry, key, of }) {
  cancels[n] = new AbortController();
  const { signal } = cancels[n];
  switch (cmd) {
    case "connect": return open(options, timeout);
    case "send": return client.send(to, event, data, { id, timeout, signal });
    case "send_acked": return { instances: await client.sendAcked(to, event, data, { id, timeout }) };
    case "request": {
      if (replies === 1) return { replies: [(await client.request(to, event, data, { id, timeout, signal, retry, key })).data] };
      if (!replies) return { replies: (await client.requestAll(to, event, data, { id, timeout, signal })).replies.map((m) => m.data) };
      const all = [];
      for await (const m of client.stream(to, event, data, { id, timeout, signal, replies })) all.push(m.data);
      return { replies: all };
    }
    case "request_all": {
      const all = await client.requestAll(to, event, data, { id, timeout, signal });
      return { replies: all.replies.map(outcome), settlement: all.settlement ?? null };
    }
    case "stream":
      for await (const m of client.stream(to, event, data, { id, timeout, signal, replies })) {
        print({ event: "reply", id: m.id, more: m.more, ...outcome(m) });
      }
      return {};
    case "cancel": cancels[of].abort(); return {};
    case "on": removers[event] = client.on(event, handler(does)); return {};
    case "off": removers[event](); return {};
    case "subscribe": return client.subscribe(groups, { timeout });
    case "unsubscribe": return client.unsubscribe(groups, { timeout });
    case "set_meta": return client.setMeta(meta, { timeout });
    case "set_weight": return client.setWeight(weight, { timeout });
    case "groups": return { groups: client.groups.sort() };
    case "watch":
      watches[group] = await client.watch(group, (change, watch) => print({ event: "presence", group, ...shown(change), members: ids(watch.members.values()), ...(watch.count !== undefined && { count: watch.count }), missing: watch.missing }), { timeout });
      return {};
    case "hold": {
      const hold = (holds[group] = await client.hold(group, { timeout }));
      hold.signal.addEventListener("abort", () => print({ event: "hold_lost", group }));
      return { term: hold.term };
    }
    case "held": return { term: holds[group].term, left: holds[group].left > 0 };
    case "release_hold": return holds[group].release();
    case "unwatch": return watches[group].close();
    case "release": release(); return {};
    case "count": return { count: counts[event] ?? 0 };
    case "identity": return identity(client.identity);
    case "close": return client.close({ timeout });
    default: throw new Error(`unknown command ${cmd}`);
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  run(command).then((ok) => print({ n: command.n, ok: ok ?? {} }), (err) => print({ n: command.n, error: describe(err) }));
}).on("close", () => process.exit(0));

import { signal } from "@preact/signals";
import { api, Failure } from "./api";
import { sum } from "./format";
import type { Counts, Node, Nodes } from "./types";

// The instances' answers of the last minutes. The hub counts from its start; rates are differences, computed here.

/** Interval of the requests in milliseconds, and how many seconds the answers are kept. */
const every = 1000;
const kept = 300;

/** Rates of one instance, per second. */
export interface Rates {
  received: number;
  deliveries: number;
  bytesIn: number;
  bytesOut: number;
  drops: number;
  dropsBy: Counts;
  disconnectsBy: Counts;
  settledBy: Counts; // requests, by outcome
  settleSeconds: Counts; // time that these took in each second, by outcome
}

/** An instance that is no longer in the cluster; at is the time of its last answer, in milliseconds of Unix time. */
export interface Gone {
  node: Node;
  at: number;
}

/** The columns of the charts. null is a gap: a figure is not known while an instance does not answer. */
export const columns = ["time", "received", "deliveries", "bytesIn", "bytesOut", "drops", "clients", "queue", "open", "answered", "failed"] as const;
export type Column = (typeof columns)[number];
export type Series = Record<Column, (number | null)[]>;

export interface State {
  latest: Nodes | undefined;
  rates: Map<string, Rates>; // by instance id
  total: Rates | undefined; // of all instances; undefined while one does not answer
  gone: Gone[]; // during the last minutes
  leaving: Map<string, number>; // connections at the begin of the drain, by the id of a draining instance
  failure: Failure | undefined;
  failingSince: number; // performance.now; 0: all is well
  series: Series;
  samples: number;
}

const fresh = (): State => ({
  latest: undefined,
  rates: new Map(),
  total: undefined,
  gone: [],
  leaving: new Map(),
  failure: undefined,
  failingSince: 0,
  series: Object.fromEntries(columns.map((c) => [c, []])) as unknown as Series,
  samples: 0,
});

export const cluster = signal<State>(fresh());

/** Offset of the hub's clock to this machine's, in milliseconds. */
let skew = 0;

/** hubNow returns the time of the hub's clock. */
export const hubNow = () => Date.now() + skew;

/** since returns the milliseconds between a time and now, by the hub's clock. */
export const since = (time: string) => Math.max(0, hubNow() - Date.parse(time));

let seen = new Map<string, Gone>(); // last answers of all instances, by id

/** connectionsOf returns the connections of an instance, unidentified ones included. */
export const connectionsOf = (n: Node) => sum(n.connections) + n.unidentified;

/** leavingOf returns the connections of the draining instances at the begin of the drain. */
function leavingOf(nodes: Node[], old: Map<string, number>): Map<string, number> {
  const leaving = new Map<string, number>();
  for (const n of nodes) {
    if (!n.draining) continue;
    const before = seen.get(n.id)?.node;
    leaving.set(n.id, Math.max(connectionsOf(n), old.get(n.id) ?? (before ? connectionsOf(before) : 0)));
  }
  return leaving;
}

/** diff is 0 if the counter shrank: the instance has restarted under the same id. */
const diff = (now: number, before: number, seconds: number) => Math.max(0, now - before) / seconds;

function diffs(now: Counts, before: Counts, seconds: number): Counts {
  return Object.fromEntries(Object.entries(now).map(([k, v]) => [k, diff(v, before[k] ?? 0, seconds)]));
}

function ratesOf(now: Node, before: Node, seconds: number): Rates {
  const dropsBy = diffs(now.drops, before.drops, seconds);
  return {
    received: diff(now.messages_received, before.messages_received, seconds),
    deliveries: diff(now.deliveries, before.deliveries, seconds),
    bytesIn: diff(now.received_bytes, before.received_bytes, seconds),
    bytesOut: diff(now.sent_bytes, before.sent_bytes, seconds),
    drops: sum(dropsBy),
    dropsBy,
    disconnectsBy: diffs(now.disconnects, before.disconnects, seconds),
    settledBy: diffs(now.requests.settled, before.requests.settled, seconds),
    settleSeconds: diffs(now.requests.settle_seconds, before.requests.settle_seconds, seconds),
  };
}

/** nameOf returns the name of an instance. The API gives only the id of one whose lease has just ended. */
export const nameOf = (instance: string) => seen.get(instance)?.node.name ?? instance;

/** addCounts adds counts up. */
export function addCounts(a: Counts, b: Counts): Counts {
  const out = { ...a };
  for (const [k, v] of Object.entries(b)) out[k] = (out[k] ?? 0) + v;
  return out;
}

function add(a: Rates, b: Rates): Rates {
  return {
    received: a.received + b.received,
    deliveries: a.deliveries + b.deliveries,
    bytesIn: a.bytesIn + b.bytesIn,
    bytesOut: a.bytesOut + b.bytesOut,
    drops: a.drops + b.drops,
    dropsBy: addCounts(a.dropsBy, b.dropsBy),
    disconnectsBy: addCounts(a.disconnectsBy, b.disconnectsBy),
    settledBy: addCounts(a.settledBy, b.settledBy),
    settleSeconds: addCounts(a.settleSeconds, b.settleSeconds),
  };
}

/** next returns the state after an answer. */
function next(answer: Nodes): State {
  const at = Date.parse((answer.nodes.find((n) => n.self) ?? answer.nodes[0])?.at ?? "");
  if (Number.isNaN(at)) throw new Failure(0, "The response can't be read", "it has no time");
  skew = at - Date.now();
  const rates = new Map<string, Rates>();
  let total: Rates | undefined;
  const old = cluster.peek();
  const leaving = leavingOf(answer.nodes, old.leaving);
  for (const node of answer.nodes) {
    const before = seen.get(node.id);
    const said = Date.parse(node.at); // by the instance's own clock
    if (before && said > before.at && before.node.started === node.started) {
      const r = ratesOf(node, before.node, (said - before.at) / 1000);
      rates.set(node.id, r);
      total = total ? add(total, r) : r;
    }
    seen.set(node.id, { at: said, node });
  }
  for (const [id, last] of seen) if (at - last.at > kept * 1000) seen.delete(id);
  const complete = answer.missing.length === 0; // a sum without some instances would look like a fall of the traffic
  if (!complete) total = undefined;
  const row: Record<Column, number | null> = {
    time: at / 1000,
    received: total?.received ?? null,
    deliveries: total?.deliveries ?? null,
    bytesIn: total?.bytesIn ?? null,
    bytesOut: total?.bytesOut ?? null,
    drops: total?.drops ?? null,
    clients: complete ? answer.nodes.reduce((n, node) => n + sum(node.connections), 0) : null,
    queue: complete ? answer.nodes.reduce((n, node) => n + node.queue_bytes, 0) : null,
    open: complete ? answer.nodes.reduce((n, node) => n + node.requests.open, 0) : null,
    answered: total ? (total.settledBy.answered ?? 0) : null,
    failed: total ? sum(total.settledBy) - (total.settledBy.answered ?? 0) : null,
  };
  const first = old.series.time.findIndex((t) => t !== null && t > at / 1000 - kept);
  const from = first < 0 ? old.series.time.length : first;
  const series = Object.fromEntries(columns.map((c) => [c, [...old.series[c].slice(from), row[c]]])) as unknown as Series;
  const missing = answer.missing.map(nameOf);
  const there = new Set([...answer.nodes.map((n) => n.name), ...missing]);
  const gone = [...seen.values()].filter(({ node }) => !there.has(node.name));
  return { latest: { ...answer, missing }, rates, total, gone, leaving, failure: undefined, failingSince: 0, series, samples: old.samples + 1 };
}

/** watch polls the instances until the returned function is called. */
export function watch(): () => void {
  const stop = new AbortController();
  cluster.value = fresh();
  seen = new Map();
  const run = async () => {
    while (!stop.signal.aborted) {
      const began = performance.now();
      try {
        const answer = await api.nodes({ signal: stop.signal });
        if (stop.signal.aborted) return;
        cluster.value = next(answer);
      } catch (error) {
        if (stop.signal.aborted) return;
        const failure = error instanceof Failure ? error : new Failure(0, "Something went wrong", String(error));
        const old = cluster.peek();
        cluster.value = { ...old, failure, failingSince: old.failingSince || performance.now() };
      }
      await new Promise((resolve) => setTimeout(resolve, Math.max(100, every - (performance.now() - began))));
    }
  };
  void run();
  return () => {
    stop.abort();
    cluster.value = fresh(); // the next session must not see this one's figures
  };
}

import { signal } from "@preact/signals";
import { api, Failure } from "./api";
import { sum } from "./format";
import type { Counts, Node, Nodes } from "./types";

// What the instances said during the last minutes. The hub counts since its start; rates are differences, made here.

/** How often the instances are asked, in milliseconds, and for how many seconds the answers are kept. */
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
}

/** An instance that was there, and when it was last heard of, in milliseconds of Unix time. */
export interface Gone {
  node: Node;
  at: number;
}

/** The columns of the charts. Where there is no figure yet, it is null. */
export const columns = ["time", "received", "deliveries", "bytesIn", "bytesOut", "drops", "clients", "queue"] as const;
export type Column = (typeof columns)[number];
export type Series = Record<Column, (number | null)[]>;

export interface State {
  latest: Nodes | undefined;
  rates: Map<string, Rates>; // by instance id
  total: Rates | undefined;
  gone: Gone[]; // during the last minutes
  leaving: Map<string, number>; // by the id of a draining instance: its connections when that began, as far as is known
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

/** How far the hub's clock is ahead of this machine's, in milliseconds. */
let skew = 0;

/** hubNow is what the hub's clock says. */
export const hubNow = () => Date.now() + skew;

/** since tells how long ago, by the hub's clock, something happened, in milliseconds. */
export const since = (time: string) => Math.max(0, hubNow() - Date.parse(time));

let seen = new Map<string, Gone>(); // by instance id, those that are there too

/** connectionsOf returns how many connections the instance has, those that have not identified included. */
export const connectionsOf = (n: Node) => sum(n.connections) + n.unidentified;

/** leavingOf tells how many connections the instances had that are draining now. */
function leavingOf(nodes: Node[], old: Map<string, number>): Map<string, number> {
  const leaving = new Map<string, number>();
  for (const n of nodes) {
    if (!n.draining) continue;
    const before = seen.get(n.id)?.node;
    leaving.set(n.id, Math.max(connectionsOf(n), old.get(n.id) ?? (before ? connectionsOf(before) : 0)));
  }
  return leaving;
}

/** Counters shrink when an instance has started anew under the same id, which is no reason to show negative rates. */
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
  };
}

/** nameOf returns the name of an instance that the API could only give by its id, as just after its lease has ended. */
export const nameOf = (instance: string) => seen.get(instance)?.node.name ?? instance;

function addCounts(a: Counts, b: Counts): Counts {
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
  };
}

/** take turns an answer into the next state. */
function take(answer: Nodes): State {
  const at = Date.parse((answer.nodes.find((n) => n.self) ?? answer.nodes[0])?.at ?? "");
  if (Number.isNaN(at)) throw new Failure(0, "The answer could not be read", "it has no time");
  skew = at - Date.now();
  const rates = new Map<string, Rates>();
  let total: Rates | undefined;
  const old = cluster.peek();
  const leaving = leavingOf(answer.nodes, old.leaving);
  for (const node of answer.nodes) {
    const before = seen.get(node.id);
    const said = Date.parse(node.at); // by its own clock
    if (before && said > before.at && before.node.started === node.started) {
      const r = ratesOf(node, before.node, (said - before.at) / 1000);
      rates.set(node.id, r);
      total = total ? add(total, r) : r;
    }
    seen.set(node.id, { at: said, node });
  }
  for (const [id, last] of seen) if (at - last.at > kept * 1000) seen.delete(id);
  const row: Record<Column, number | null> = {
    time: at / 1000,
    received: total?.received ?? null,
    deliveries: total?.deliveries ?? null,
    bytesIn: total?.bytesIn ?? null,
    bytesOut: total?.bytesOut ?? null,
    drops: total?.drops ?? null,
    clients: answer.nodes.reduce((n, node) => n + sum(node.connections), 0),
    queue: answer.nodes.reduce((n, node) => n + node.queue_bytes, 0),
  };
  const first = old.series.time.findIndex((t) => t !== null && t > at / 1000 - kept);
  const from = first < 0 ? old.series.time.length : first;
  const series = Object.fromEntries(columns.map((c) => [c, [...old.series[c].slice(from), row[c]]])) as unknown as Series;
  const missing = answer.missing.map(nameOf);
  const there = new Set([...answer.nodes.map((n) => n.name), ...missing]);
  const gone = [...seen.values()].filter(({ node }) => !there.has(node.name));
  return { latest: { ...answer, missing }, rates, total, gone, leaving, failure: undefined, failingSince: 0, series, samples: old.samples + 1 };
}

/** watch asks the instances until it is told to stop. */
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
        cluster.value = take(answer);
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
    cluster.value = fresh(); // whoever logs in next sees nothing of it
  };
}

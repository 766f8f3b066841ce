import { cut, RequestError } from "./errors.js";
import { malformed, number, object, text } from "./wire.js";

/** An answer that a request did not get, or several of one instance of the hub. */
export interface Missing {
  /** Of the receiver; empty where it can't be named. */
  id: string;
  /** That it gave in its options; empty for none. */
  name: string;
  /** The name of an instance; empty for none. */
  node: string;
  /** Such as LOST, TIMEOUT or INSTANCE_LOST; docs/protocol.md lists them. */
  reason: string;
  /** Of receivers, where they can't be named; else 0. */
  count: number;
}

/** What the hub says of a request at its end. receivers = replied + passed + missing receivers. */
export interface Settlement {
  /** Clients that got the request. */
  receivers: number;
  /** Of these, those that answered. */
  replied: number;
  /** Of these, those that said that they don't. */
  passed: number;
  /** The others, 100 entries at most, and what was not delivered. */
  missing: Missing[];
  /** Missing ones without an entry. */
  more: number;
}

/** Who is missing, and why. */
const describe = ({ id, name, node, reason, count }: Missing): string =>
  [name, id, count > 0 && `${count} receivers`, node && `on ${node}`, reason].filter((word) => word).join(" ");

/** The reasons that are the code of an error, in their order. */
const codes = ["TIMEOUT", "BROKER_UNAVAILABLE", "OUTCOME_UNKNOWN"];

function codeOf({ receivers, missing }: Settlement): string {
  if (receivers === 0 && missing.every(({ reason }) => reason === "NOT_DELIVERED")) return "NO_RECEIVER";
  return codes.find((code) => missing.some(({ reason }) => reason === code)) ?? "NO_ANSWER";
}

function textOf({ receivers, replied, passed, missing, more }: Settlement): string {
  const most = 8;
  const left = missing.length + more - most;
  return [
    replied > 0 ? `${replied} of ${receivers} receivers answered` : receivers + missing.length > 0 ? "no answer" : "no receiver can answer",
    ...(passed > 0 ? [`${passed} passed`] : []),
    ...missing.slice(0, most).map(describe),
    ...(left > 0 ? [`${left} more`] : []),
  ].join("; ");
}

/** Why a request to these has no answer, or not all of them. */
export const requestError = (event: string, to: string, s: Settlement): RequestError =>
  new RequestError(codeOf(s), `event ${cut(event, 80)} to ${cut(to, 150)}: ${textOf(s)}`, s);

const count = (v: unknown): number => number(v, "SETTLED");

export function parseSettlement(data: unknown): Settlement {
  const { receivers, replied, passed, missing, more } = object(data, "SETTLED");
  if (missing !== undefined && !Array.isArray(missing)) malformed("SETTLED");
  return {
    receivers: count(receivers),
    replied: count(replied),
    passed: count(passed),
    missing: ((missing ?? []) as unknown[]).map((one) => {
      const m = object(one, "SETTLED");
      return { id: text(m.id, "id"), name: text(m.name, "name"), node: text(m.node, "node"), reason: text(m.reason, "reason"), count: count(m.count) };
    }),
    more: count(more),
  };
}

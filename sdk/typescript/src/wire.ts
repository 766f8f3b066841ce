import { ClientError, cut } from "./errors.js";

/** The opcodes of docs/protocol.md, section 4. */
export const op = {
  event: 0,
  identify: 1,
  disconnect: 2,
  ping: 3,
  pong: 4,
  reply: 5,
  error: 6,
  ack: 7,
  subscribe: 8,
  unsubscribe: 9,
  presence: 10,
  drain: 12,
  fence: 13,
  settled: 14,
  cancel: 15,
} as const;

/**
 * Where a message goes: to every client, to every client of a group, to the client with an id, to one client of a group that the
 * hub draws at random, or to any one client.
 */
export type To = "GLOBAL" | `GROUP:${string}` | `DIRECT:${string}` | `ANY:${string}` | "ANY";

/** One target, or 1 to 16 of one kind, groups or clients, each once. A client in several of them gets one copy. */
export type Targets = To | readonly To[];

/** A message from the hub. The hub has checked the envelope, but not its data. */
export interface Wire {
  op: number;
  id: string;
  event: string;
  data: unknown;
  sender: string;
  target: string;
  identifier: string;
  identifiers: string[];
  except: string[];
  /** All members of the envelope. */
  members: Record<string, unknown>;
}

/** Throws what the hub must not send. */
export const malformed = (what: string): never => {
  throw new ClientError("CONNECTION", `malformed ${what} from the hub`);
};

/** Returns v as a string, and refuses everything else; undefined and null are empty. */
export const text = (v: unknown, name: string): string =>
  v === undefined || v === null ? "" : typeof v === "string" ? v : malformed(`message (${name})`);

/** Returns v as an object, and refuses everything else; undefined and null are empty ones. */
export function object(v: unknown, what: string): Record<string, unknown> {
  if (v === undefined || v === null) return {};
  return typeof v === "object" && !Array.isArray(v) ? (v as Record<string, unknown>) : malformed(what);
}

/** Returns v as a number, and refuses everything else; undefined and null are 0. */
export const number = (v: unknown, what: string): number =>
  v === undefined || v === null ? 0 : typeof v === "number" ? v : malformed(what);

/** Returns a list of names. A hub of an earlier release forwards anything there, which means nothing. */
const names = (v: unknown): string[] => (Array.isArray(v) && v.every((name) => typeof name === "string") ? (v) : []);

export function parse(raw: string): Wire {
  let m: Record<string, unknown>;
  try {
    m = object(JSON.parse(raw), "message");
  } catch (cause) {
    throw cause instanceof ClientError ? cause : new ClientError("CONNECTION", "malformed message from the hub", cause);
  }
  const to = object(m.intent, "intent");
  return {
    op: Number.isInteger(m.op) ? (m.op as number) : malformed("opcode"),
    id: text(m.id, "id"),
    event: text(m.event, "event"),
    data: m.data,
    sender: text(m.sender, "sender"),
    target: text(to.target, "target"),
    identifier: text(to.identifier, "identifier"),
    identifiers: names(to.identifiers),
    except: names(to.except),
    members: m,
  };
}

/** Where a message went, as text; an array where it has several targets. */
export const toOf = ({ target, identifier, identifiers }: Wire): To | To[] =>
  identifiers.length > 0 ? identifiers.map((name) => `${target}:${name}` as To) : ((identifier ? `${target}:${identifier}` : target) as To);

/** Whether a message goes to all matching clients, so that both connections of a move get it. */
export const toMany = (w: Wire): boolean => w.target === "GROUP" || w.target === "GLOBAL";

const invalid = (what: string): never => {
  throw new ClientError("INVALID", what);
};

/** The length of text in UTF-8. */
export function utf8Length(s: string): number {
  let n = s.length;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c < 0x80) continue;
    n++; // two bytes, or each half of the four of a surrogate pair
    if (c >= 0x800 && (c < 0xd800 || c > 0xdfff)) n++;
  }
  return n;
}

/** Returns why a name can't be a group's; undefined if it can. */
export function badGroup(name: unknown): string | undefined {
  if (typeof name !== "string" || name === "") return "a group needs a name";
  if (utf8Length(name) > 128) return `the group ${cut(name, 50)} has more than 128 bytes`;
   
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return `the group ${cut(name, 50)} has a control character`;
  if (name.startsWith("$")) return `the group ${cut(name, 50)} begins with $, which is reserved`;
  return undefined;
}

interface Intent {
  target: string;
  identifier?: string;
}

/** Returns a list of 1 to 16 names, each once, and throws for any other. */
const few = <T extends string>(names: readonly T[]): readonly T[] =>
  names.length < 1 || names.length > 16 || new Set(names).size < names.length ? invalid(`want 1 to 16 names, each once: ${cut(names.join(), 80)}`) : names;

/** The intent of a message with several targets, or exceptions. Those have the form of groups' names. */
function selection(to: Targets, except?: readonly string[]): object {
  const all = few(typeof to === "object" ? to : [to]).map(intent);
  const [{ target, identifier } = { target: "" }] = all;
  if (except) for (const name of few(except)) intent(`GROUP:${name}`);
  if (target === "ANY" || (to !== "GLOBAL" && all.some((one) => one.target !== target || !one.identifier))) {
    invalid(`no targets: ${cut(String(to), 80)}`);
  }
  return { target, ...(typeof to === "object" ? { identifiers: all.map((one) => one.identifier) } : { identifier }), except };
}

function intent(to: To): Intent {
  const colon = to.indexOf(":");
  if (colon < 0) return to === "GLOBAL" || to === "ANY" ? { target: to } : invalid(`no target: ${cut(to, 80)}`);
  const target = to.slice(0, colon);
  const identifier = to.slice(colon + 1);
  if (target === "DIRECT") {
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(identifier)) invalid(`no client's id: ${cut(identifier, 80)}`);
  } else if (target === "GROUP" || target === "ANY") {
    const why = badGroup(identifier);
    if (why) invalid(why);
  } else {
    invalid(`no target: ${cut(to, 80)}`);
  }
  return { target, identifier };
}

/** The deepest nesting of data; the hub allows 64 levels with the envelope. */
const maxDepth = 63;

function depth(v: unknown, left: number): boolean {
  if (typeof v !== "object" || v === null) return true;
  if (left === 0) return false;
  for (const member of Array.isArray(v) ? (v as unknown[]) : Object.values(v)) {
    if (typeof member === "object" && member !== null && !depth(member, left - 1)) return false;
  }
  return true;
}

/** Returns a message as the hub wants it, with further members, and throws what the hub would refuse. */
export function envelope(
  code: number,
  id: string,
  to: Targets,
  event: string,
  data: unknown,
  members?: object,
  except?: readonly string[],
): string {
  const target = except || typeof to === "object" ? selection(to, except) : intent(to);
  if (utf8Length(event) > 128) invalid(`the event ${cut(event, 50)} has more than 128 bytes`);
  if (id === "" || utf8Length(id) > 64) invalid("an id has 1 to 64 bytes");
  if (!depth(data, maxDepth)) invalid(`event ${cut(event, 80)}: data is nested deeper than ${maxDepth} levels`);
  let frame: string;
  try {
    frame = JSON.stringify({ op: code, id, event, intent: target, data, ...members });
  } catch (cause) {
    throw new ClientError("INVALID", `event ${cut(event, 80)}: data can't be written as JSON`, cause);
  }
  // JSON.stringify escapes half of a surrogate pair, and nothing else like that.
  if (frame.includes("\\ud") && /(^|[^\\])(\\\\)*\\ud[89a-f]/.test(frame)) {
    invalid(`event ${cut(event, 80)}: a string has half of a surrogate pair`);
  }
  return frame;
}

let randomUUID: (() => string) | undefined;

/** Returns a random UUID. Pages without TLS have no crypto.randomUUID. */
export function newID(): string {
  randomUUID ??=
    "randomUUID" in crypto
      ? () => crypto.randomUUID()
      : () =>
          "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (c) =>
            (Number(c) ^ ((crypto.getRandomValues(new Uint8Array(1))[0] ?? 0) & (15 >> (Number(c) / 4)))).toString(16),
          );
  return randomUUID();
}

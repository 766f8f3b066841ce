import { ClientError, type HubError } from "./errors.js";
import type { Message } from "./message.js";
import type { SocketOptions } from "./platform/socket.js";
import { badGroup, utf8Length } from "./wire.js";

/** The hub's answer to IDENTIFY. Each connection has its own. */
export interface Identity {
  /** The client's id, which others can address with `DIRECT:<id>`. */
  id: string;
  /** The name of the hub's instance. */
  node: string;
  /** The hub sends a PING to a client that was silent for so many ms. */
  ping: number;
  sessionStarted: Date;
  /** The largest message that the hub accepts; 0 if unknown. */
  maxMessageBytes: number;
  /** Granted by the hub: "errors", "acks", "drain". */
  features: string[];
}

/** The names of events and the types of their data, as a program declares them for itself. */
export type Events = Record<string, any>; // eslint-disable-line @typescript-eslint/no-explicit-any -- a program narrows it

/**
 * Handles a received message. Handlers run one at a time, in the order of messages: the next one begins when the promise of this
 * one is settled.
 *
 * What it returns, or its promise resolves with, answers a request, unless it is undefined; each value of an async generator is one
 * answer, and no message waits for it. What it throws is sent as the answer's error.
 */
export type Handler<T = unknown> = (m: Message<T>) => unknown;

/** Takes what the client logs: neither tokens nor data of messages. */
export interface Logger {
  info?(text: string, details: Record<string, unknown>): void;
  warn?(text: string, details: Record<string, unknown>): void;
  error?(text: string, details: Record<string, unknown>): void;
}

/** The options of connect. Times are in milliseconds. */
export interface Options<E extends Events = Events> extends SocketOptions {
  /** The hub's address, ws:// or wss://. It must not contain the token, because URLs end up in logs. */
  url: string;
  /**
   * Identifies the service. It is sent only in IDENTIFY. A function is called for each connection, so that the token can change
   * while the service runs; an error counts as a failed attempt to connect. Without a token the hub wants a client certificate.
   */
  token?: string | ((signal: AbortSignal) => string | Promise<string>);
  /** The group to join. */
  group: string;
  /** Further groups. */
  groups?: string[];
  /** The service's name, for operators. */
  name?: string;
  /** Its version, for operators. */
  version?: string;
  /** At most 16 entries, for operators. */
  meta?: Record<string, string>;
  /** Whether the client receives its own messages to groups and GLOBAL; default true. */
  echo?: boolean;
  /** Whether the hub acknowledges messages; default true. Without, sendAcked fails. */
  acks?: boolean;
  /** Whether the client moves when the hub asks for it; default true. Else it stays until the hub disconnects it. */
  drain?: boolean;

  /** Handlers of EVENTs by name. They get every message; those added later with Client.on may miss some. */
  on?: { [K in keyof E]?: Handler<E[K]> };
  /** Handles all other messages: EVENTs without a handler for their name, and REPLYs without an open request. */
  onMessage?: Handler;
  /** Called for an ERROR of the hub that no call waits for, as with send. By default it is logged, at most once a second. */
  onError?: (error: HubError) => void;
  /** Called after each IDENTIFY, before the messages of that connection; in a move, once the client sends on the new one. */
  onConnect?: (identity: Identity) => void;
  /** Called after each loss of an identified connection, except after close and in a move without loss. */
  onDisconnect?: (reason: Error) => void;
  /** By default only refused tokens, handlers that fail and the client's end are logged, with console.error. */
  log?: Logger;

  /** For one attempt, from the connection to the answer to IDENTIFY; default 15 s. */
  connectTimeout?: number;
  /** The longest wait before the first new attempt; default 500 ms. */
  minBackoff?: number;
  /** The longest wait before any attempt; default 30 s. */
  maxBackoff?: number;
  /** A write that takes longer ends the connection; default 30 s. */
  writeTimeout?: number;
  /** Ends the client when the hub refuses its token or a group; with a function as token, the same token twice. */
  stopOnAuthError?: boolean;
  /** Makes connect fail with the first failure instead of trying on. */
  failFast?: boolean;
  /** Messages that wait for handlers before the client stops reading, and replies that wait for a loop; default 256. */
  receiveQueue?: number;
  /** The largest message accepted from the hub, in bytes; default 1 MiB, at least the hub's own limit. */
  maxReceiveBytes?: number;
}

type Default =
  | "connectTimeout"
  | "minBackoff"
  | "maxBackoff"
  | "writeTimeout"
  | "receiveQueue"
  | "maxReceiveBytes";

export type Settings = Options & Required<Pick<Options, Default>>;

/** Checks options by the hub's rules, and fills in defaults. */
export function prepare(o: Options): Settings {
  const bad = whyBad(o);
  if (bad) throw new ClientError("OPTIONS", `bad options: ${bad}`);
  const s: Settings = {
    ...o,
    connectTimeout: o.connectTimeout ?? 15_000,
    minBackoff: o.minBackoff ?? 500,
    maxBackoff: o.maxBackoff ?? 30_000,
    writeTimeout: o.writeTimeout ?? 30_000,
    receiveQueue: o.receiveQueue ?? 256,
    maxReceiveBytes: o.maxReceiveBytes ?? 1 << 20,
  };
  const least = Math.min(s.connectTimeout, s.minBackoff, s.writeTimeout, s.receiveQueue, s.maxReceiveBytes);
  if (least > 0 && s.maxBackoff >= s.minBackoff) return s;
  throw new ClientError("OPTIONS", "bad options: a time or size is not positive, or maxBackoff less than minBackoff");
}

function whyBad(o: Options): string | undefined {
  const long = (s: string | undefined, most: number) => s !== undefined && utf8Length(s) > most;
  const groups = [o.group, ...(o.groups ?? [])];
  const meta = Object.entries(o.meta ?? {});
  const group = groups.map(badGroup).find((why) => why);
  if (group) return group;
  if (new Set(groups).size > 32) return "over 32 groups";
  if (long(o.name, 128) || long(o.version, 64)) return "name has at most 128 bytes, version 64";
  if (meta.length > 16 || meta.some(([key, value]) => long(key, 64) || typeof value !== "string" || long(value, 256))) {
    return "meta has at most 16 entries, names of 64 bytes and strings of 256";
  }
  if (typeof o.token === "string" && long(o.token, 8192)) return "the token has over 8,192 bytes";
  return badURL(o.url);
}

/** The URL may contain a password, so it is not quoted. */
const wantURL = "want a URL such as ws://HOST:PORT or wss://HOST:PORT";

function badURL(url: string): string | undefined {
  let u: URL;
  try {
    u = new URL(url);
  } catch {
    return wantURL;
  }
  if (u.protocol !== "ws:" && u.protocol !== "wss:") return wantURL;
  if (u.username || u.password || u.searchParams.has("token") || u.searchParams.has("access_token")) {
    return "the URL must not contain a token or password; use token";
  }
  return u.hash ? "the URL must not have a fragment (RFC 6455, section 3)" : undefined;
}

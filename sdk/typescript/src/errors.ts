import type { To } from "./wire.js";

/**
 * What went wrong, for programs:
 *
 * - of the hub, in a HubError: the message was not delivered. `NO_RECEIVER`, `RECEIVER_GONE`, `FORBIDDEN`,
 *   `BROKER_UNAVAILABLE`, `OVERLOADED` and those of later hubs
 * - `OUTCOME_UNKNOWN`: a connection broke with the message on its way. Receivers may have got it
 * - `CLOSED`: the client was closed or has ended by itself; then `cause` says why
 * - `OPTIONS`, `INVALID`: options, or a message, that the hub would refuse
 * - `TOO_BIG`, `DUPLICATE_ID`, `NO_ACKS`, `QUEUE_FULL`: the message was not sent
 * - `UNSUPPORTED`: the hub is of a release without what was asked for. `WATCHED`, `HELD`: the client does that already
 * - `HOLD_LOST`, `RELEASED`: why a hold has ended
 * - `TOO_MANY_REPLIES`: more replies to a request were unread than the queue takes
 * - `HANDSHAKE`, `DISCONNECTED`, `SILENT`, `SLOW_CONSUMER`, `CONNECTION`: why there is no connection
 */
export type ErrorCode =
  | "NO_RECEIVER"
  | "RECEIVER_GONE"
  | "FORBIDDEN"
  | "BROKER_UNAVAILABLE"
  | "OVERLOADED"
  | "OUTCOME_UNKNOWN"
  | "CLOSED"
  | "OPTIONS"
  | "INVALID"
  | "TOO_BIG"
  | "DUPLICATE_ID"
  | "NO_ACKS"
  | "QUEUE_FULL"
  | "UNSUPPORTED"
  | "WATCHED"
  | "HELD"
  | "HOLD_LOST"
  | "RELEASED"
  | "TOO_MANY_REPLIES"
  | "HANDSHAKE"
  | "DISCONNECTED"
  | "SILENT"
  | "SLOW_CONSUMER"
  | "CONNECTION"
  | (string & {});

/** The base of all errors of this package. */
export class ClientError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
  }
}

/** The hub's answer to a message that it did not deliver, or not to all receivers. `code` says why. */
export class HubError extends ClientError {
  constructor(
    code: ErrorCode,
    /** The hub's explanation, for people. */
    readonly explanation: string,
    /** The id of the message. */
    readonly id: string,
    /** The event of the message; undefined if the message is one of many and long past. */
    readonly event?: string,
    /** Where the message was sent. */
    readonly to?: To,
  ) {
    const subject = to === undefined ? `message ${cut(id, 80)}` : `event ${cut(event ?? "", 80)} to ${cut(to, 150)}`;
    super(code, `${subject}: refused by the hub: ${code}${explanation ? `: ${explanation}` : ""}`);
  }
}

/** The hub's reason for ending a connection. */
export class DisconnectError extends ClientError {
  constructor(
    /** Such as SERVER_RESTART; empty if there was none. */
    readonly reason: string,
    /** The code of the WebSocket close frame (RFC 6455, section 7.4); 0 if there was none. */
    readonly closeCode: number,
  ) {
    super("DISCONNECTED", `disconnected by the hub: ${reason || "without a reason"}${closeCode ? ` (${closeCode})` : ""}`);
  }
}

/**
 * An HTTP answer other than 101 Switching Protocols to the handshake (RFC 6455, section 4.1). Before the first connection an
 * answer that shows a wrong URL ends the client: a redirect, 400, 401, 403, 404, 405 or 410. All others are temporary.
 * Browsers don't tell the status; there the error is one with the code CONNECTION.
 */
export class HandshakeError extends ClientError {
  constructor(
    readonly status: number,
    /** The header of that name, which shows what has answered; empty if there is none. */
    readonly server: string,
    /** The beginning of the answer's body. */
    readonly body: string,
  ) {
    const by = server ? ` by ${cut(server, 80)}` : "";
    super("HANDSHAKE", `refused with HTTP status ${status}${by}${body ? `: ${cut(body, 500)}` : ""}${cause(status)}`);
  }

  /** Whether another attempt would most likely get the same answer. */
  get permanent(): boolean {
    return [400, 401, 403, 404, 405, 410].includes(this.status) || Math.floor(this.status / 100) === 3;
  }
}

/** The likely cause of a status; empty if there is none. */
const cause = (status: number): string =>
  ({
    2: "; this is an HTTP server without WebSocket, such as a proxy's login page",
    3: "; redirects are not followed",
    4: status === 426 ? "; a proxy on the way may have removed the upgrade to WebSocket" : "",
  })[Math.floor(status / 100)] ?? "";

/** Returns text in quotes, cut off behind most characters. */
export function cut(text: string, most: number): string {
  return JSON.stringify(text.length > most ? `${text.slice(0, most)}…` : text);
}

/** Returns what was thrown as an Error. */
export const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));

import type { Settlement } from "./outcome.js";
import type { Targets } from "./wire.js";

/**
 * What went wrong, for programs:
 *
 * - of the hub, in a HubError: the message was not delivered. `NO_RECEIVER`, `RECEIVER_GONE`, `FORBIDDEN`,
 *   `BROKER_UNAVAILABLE`, `OVERLOADED`, `TOO_MANY_REQUESTS` and those of later hubs
 * - `OUTCOME_UNKNOWN`: a connection broke with the message on its way. Receivers may have got it
 * - `CLOSED`: the client was closed or has ended by itself; then `cause` says why
 * - `OPTIONS`, `INVALID`: options, or a message, that the hub would refuse
 * - `TOO_BIG`, `DUPLICATE_ID`, `NO_ACKS`, `QUEUE_FULL`: the message was not sent
 * - `UNSUPPORTED`: the hub is of a release without what was asked for. `WATCHED`, `HELD`: the client does that already
 * - `HOLD_LOST`, `RELEASED`: why a hold has ended
 * - `TOO_MANY_REPLIES`: more replies to a request were unread than the queue takes
 * - of a RequestError: `NO_RECEIVER`, `TIMEOUT`, `BROKER_UNAVAILABLE`, `OUTCOME_UNKNOWN`, `NO_ANSWER`
 * - `REQUEST_OVER`: an answer was not sent, since none is wanted any more
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
  | "TOO_MANY_REQUESTS"
  | "TIMEOUT"
  | "NO_ANSWER"
  | "REQUEST_OVER"
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
    readonly to?: Targets,
  ) {
    const subject = to === undefined ? `message ${cut(id, 80)}` : `event ${cut(event ?? "", 80)} to ${cut(String(to), 150)}`;
    super(code, `${subject}: refused by the hub: ${code}${explanation ? `: ${explanation}` : ""}`);
  }
}

/** The hub's refusal of a change of groups, or of a watch. `code` says why, such as FORBIDDEN or TOO_MANY_GROUPS. */
export class GroupError extends ClientError {
  /** @internal */
  constructor(
    code: string,
    text: string,
    /** The group at fault; empty if the hub names none. */
    readonly group: string,
    /** The hub's explanation, for people. */
    readonly explanation: string,
  ) {
    super(code, text);
  }
}

/**
 * Why a request has no answer, or not all of them: no more can come. `code` is NO_RECEIVER, TIMEOUT, BROKER_UNAVAILABLE or
 * OUTCOME_UNKNOWN if that is among the reasons, else NO_ANSWER.
 */
export class RequestError extends ClientError {
  /** @internal */
  constructor(
    code: string,
    text: string,
    /** What became of the request: who did not answer, and why. */
    readonly settlement: Settlement,
  ) {
    super(code, text);
  }
}

/** The error of the handler that answered a request. A handler throws it to choose the code; that of other errors is ERROR. */
export class RemoteError extends ClientError {
  constructor(
    code: string,
    /** For people. */
    readonly explanation = "",
    /** The id of the client whose handler failed. */
    readonly sender = "",
  ) {
    super(code, `${code}: ${explanation}`);
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
  /** @internal */
  constructor(
    text: string,
    readonly status: number,
    /** The header of that name, which shows what has answered; empty if there is none. */
    readonly server: string,
    /** The beginning of the answer's body. */
    readonly body: string,
  ) {
    super("HANDSHAKE", text);
  }

  /** Whether another attempt would most likely get the same answer. */
  get permanent(): boolean {
    return [400, 401, 403, 404, 405, 410].includes(this.status) || Math.floor(this.status / 100) === 3;
  }
}

/** Returns text in quotes, cut off behind most characters. */
export function cut(text: string, most: number): string {
  return JSON.stringify(text.length > most ? `${text.slice(0, most)}…` : text);
}

/** Returns what was thrown as an Error. */
export const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));

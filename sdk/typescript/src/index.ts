/**
 * Connects a service or a page to a mastersocket hub.
 *
 * @module
 */
export type { RequestOptions, SendOptions } from "./call.js";
export { Client, connect } from "./client.js";
export { ClientError, DisconnectError, type ErrorCode, GroupError, HandshakeError, HubError, RemoteError, RequestError } from "./errors.js";
export type { Hold } from "./hold.js";
export type { Failure, Message, ReplyOptions } from "./message.js";
export type { Events, Handler, Identity, Logger, Options } from "./options.js";
export type { Missing, Settlement } from "./outcome.js";
export type { Member, PresenceChange, Watch } from "./presence.js";
export type { Answers } from "./requests.js";
export type { Wait } from "./wait.js";
export type { Targets, To } from "./wire.js";

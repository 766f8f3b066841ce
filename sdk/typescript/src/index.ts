/**
 * Connects a service or a page to a mastersocket hub.
 *
 * @module
 */
export type { SendOptions } from "./call.js";
export { Client, connect, type RequestOptions } from "./client.js";
export { ClientError, DisconnectError, type ErrorCode, HandshakeError, HubError } from "./errors.js";
export { GroupError } from "./groups.js";
export type { Hold } from "./hold.js";
export type { Message } from "./message.js";
export type { Events, Handler, Identity, Logger, Options } from "./options.js";
export type { Member, PresenceChange, Watch } from "./presence.js";
export type { Wait } from "./wait.js";
export type { To } from "./wire.js";

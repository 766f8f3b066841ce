import { op, type To, toMany, toOf, type Wire } from "./wire.js";

/** What a message needs of its client. */
export interface Replier {
  reply(m: Message, data: unknown, options?: { signal?: AbortSignal; timeout?: number }): Promise<void>;
  readonly life: AbortSignal;
}

/** A message from another client. */
export class Message<T = unknown> {
  /** @internal */
  constructor(
    wire: Wire,
    /** The whole message as it arrived. */
    readonly raw: string,
    private readonly client: Replier,
  ) {
    this.isReply = wire.op === op.reply;
    this.id = wire.id;
    this.event = wire.event;
    this.data = wire.data as T;
    this.sender = wire.sender;
    this.to = toOf(wire);
    this.toMany = toMany(wire);
  }

  /** Whether it is a REPLY; else it is an EVENT. */
  readonly isReply: boolean;
  /** Correlates an EVENT with its REPLYs. */
  readonly id: string;
  /** The event's name. */
  readonly event: string;
  /** What the sender has sent. Nothing has checked that it is what the handler expects. */
  readonly data: T;
  /** The sender's id, set by the hub. */
  readonly sender: string;
  /** How it was addressed. */
  readonly to: To;
  /** @internal */
  readonly toMany: boolean;

  /** Aborted when the client has ended. */
  get signal(): AbortSignal {
    return this.client.life;
  }

  /** Sends a REPLY to the message's sender, with the same id and event. It resolves when the reply is written. */
  reply(data?: unknown, options?: { signal?: AbortSignal; timeout?: number }): Promise<void> {
    return this.client.reply(this, data, options);
  }
}

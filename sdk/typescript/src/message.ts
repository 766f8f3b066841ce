import type { Duty } from "./duties.js";
import { op, type To, toMany, toOf, type Wire } from "./wire.js";

/** Options of a reply. */
export interface ReplyOptions {
  /** At least one more REPLY of this client follows. */
  more?: boolean;
  signal?: AbortSignal;
  timeout?: number;
}

/** The error of a handler, as it travels in a REPLY. */
export interface Failure {
  /** For programs. */
  code: string;
  /** For people. */
  message: string;
}

/** What a message needs of its client. */
export interface Replier {
  reply(m: Message, data: unknown, options?: ReplyOptions, error?: Failure): Promise<void>;
  fail(m: Message, error: unknown): Promise<void>;
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
    this.except = wire.except;
    this.toMany = toMany(wire);
    this.members = wire.members;
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
  readonly to: To | To[];
  /** Groups, and ids of clients, that were left out. */
  readonly except: string[];
  /** @internal */
  readonly toMany: boolean;
  private readonly members: Record<string, unknown>;
  /** @internal Of a request. */
  duty: Duty | undefined;

  /** @internal For how many ms a request waits for an answer; 0 for other messages. */
  get expected(): number {
    const ms = (this.members.expect as { timeout_ms?: unknown } | undefined)?.timeout_ms;
    return typeof ms === "number" && ms > 0 && !this.isReply ? ms : 0;
  }

  /** Of a request: from 2 on, another member of the group had it before, and may have begun to work on it. */
  get attempt(): number {
    const { attempt } = this.members;
    return typeof attempt === "number" && !this.isReply ? attempt : 1;
  }

  /** Of a REPLY: another one of the same client follows. */
  get more(): boolean {
    return this.isReply && this.members.more === true;
  }

  /** Of a REPLY: why the handler failed. */
  get error(): Failure | undefined {
    const { error } = this.members;
    if (!this.isReply || error === undefined) return undefined;
    const { code, message } = Object(error) as Partial<Failure>; // others may put there what they like
    return { code: typeof code === "string" ? code : "ERROR", message: typeof message === "string" ? message : "" };
  }

  /**
   * Aborted when the client has ended; of a request also when no answer is wanted any more, because the requester has given up, or its
   * time is over, or the connection is lost.
   */
  get signal(): AbortSignal {
    return this.duty?.signal ?? this.client.life;
  }

  /** Until when an answer to a request is wanted, by performance.now; undefined for other messages. */
  get deadline(): number | undefined {
    return this.duty?.deadline;
  }

  /**
   * Sends a REPLY to the message's sender, with the same id and event: the last one to a request, unless `more` is set. It resolves
   * when the reply is written. It rejects with REQUEST_OVER if the request was answered, cancelled or passed, or its time is over, or
   * the connection that it came from has ended.
   */
  reply(data?: unknown, options?: ReplyOptions): Promise<void> {
    return this.client.reply(this, data, options);
  }

  /** Sends a REPLY that says that the handler failed: with the code of a RemoteError, or ERROR. */
  fail(error: unknown): Promise<void> {
    return this.client.fail(this, error);
  }

  /** Tells the hub that no answer to a request comes from this client. It does nothing for any other message. */
  pass(): void {
    this.duty?.pass();
  }
}

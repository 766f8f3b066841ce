import { ClientError, cut } from "./errors.js";
import type { Message } from "./message.js";
import type { Settlement } from "./outcome.js";
import type { Session } from "./session.js";
import { type Targets, utf8Length } from "./wire.js";

/** What completes a call: its write, the hub's ACK or ERROR, or SETTLED, ERROR or its caller, after enough replies. */
export type CallKind = "plain" | "acked" | "request";

/** Options of a send. */
export interface SendOptions {
  /** The message's id, of 1 to 64 bytes; default a random UUID. Receivers see it, and their REPLYs carry it. */
  id?: string;
  /**
   * Gives up. If the write has not begun the message is not sent, and the error is the signal's reason; else the outcome is
   * unknown.
   */
  signal?: AbortSignal;
  /** Gives up after so many ms, with an error of the name TimeoutError. */
  timeout?: number;
  /** Leaves out the members of these groups, and the clients with these ids: 1 to 16, each once. Not with ANY. */
  except?: readonly string[];
}

/** Options of a request, which has one target and no exceptions. */
export interface RequestOptions extends Omit<SendOptions, "except"> {
  /** With ANY: another member gets the request if the first goes without an answer. It may have begun to work on it. */
  retry?: boolean;
  /** With ANY: names the member, 1 to 128 bytes. It is the same one as long as the group does not change. */
  key?: string;
}

/** One message from its send to its outcome. */
export class Call {
  /** Whether its write has begun. */
  written = false;
  /** The session that wrote it and receives its answer. */
  session: Session | undefined;
  /** The session that must write it; undefined for the one that sends. */
  via: Session | undefined;
  /** Of a request: REPLYs that were not taken yet. */
  replies: Message[] = [];
  /** Of a request: what the hub has said of it at its end. */
  settlement: Settlement | undefined;
  /** Called for each reply, and for the outcome. */
  news: (() => void) | undefined;
  /** Called for the outcome. */
  clean: (() => void) | undefined;

  completed = false;
  error: Error | undefined;
  private instances: number | undefined;

  constructor(
    readonly kind: CallKind,
    readonly id: string,
    readonly event: string,
    readonly to: Targets,
    readonly frame: string,
  ) {}

  /** Settled with the outcome: of an acked call with the number of instances. */
  get done(): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      this.news = () => {
        if (this.error) reject(this.error);
        else if (this.completed) resolve(this.instances);
      };
      this.news();
    });
  }

  /** Sets the outcome. Only the first call has an effect. */
  complete(instances?: number, error?: Error): void {
    if (this.completed) return;
    this.completed = true;
    this.instances = instances;
    this.error = error;
    this.clean?.();
    this.news?.();
  }

  fail(err: Error): void {
    this.complete(undefined, err);
  }

  /** Takes a REPLY to a request, of which so many may wait. */
  reply(m: Message, most: number): void {
    if (this.replies.length < most) this.replies.push(m);
    else this.failWith("TOO_MANY_REPLIES", "too many unread replies");
    this.news?.();
  }

  /** Fails the call if it has more bytes than the hub accepts; 0 is no limit. Reports whether it has. */
  isTooBig(limit: number): boolean {
    if (limit === 0 || 3 * this.frame.length <= limit) return false;
    const bytes = utf8Length(this.frame);
    if (bytes > limit) this.failWith("TOO_BIG", `the message has ${bytes} bytes, the hub accepts at most ${limit}`);
    return bytes > limit;
  }

  /** Fails with the code, and names the event. */
  failWith(code: string, why: string, cause?: unknown): void {
    this.fail(new ClientError(code, `event ${cut(this.event, 80)}: ${why}`, cause));
  }
}

/** The bounds of what waits to be sent. */
const maxQueued = 65_536;
const maxQueuedBytes = 16 << 20;

/** The calls that wait to be written, in the order of sends. */
export class SendQueue {
  private calls: (Call | undefined)[] = [];
  private head = 0;
  private size = 0;
  private count = 0;

  get empty(): boolean {
    return this.count === 0;
  }

  /** Adds the call. It returns false if too much waits. */
  push(call: Call): boolean {
    if (this.count >= maxQueued || this.size + call.frame.length > maxQueuedBytes) return false;
    this.calls.push(call);
    this.count++;
    this.size += call.frame.length;
    return true;
  }

  shift(): Call | undefined {
    while (this.head < this.calls.length) {
      const call = this.calls[this.head];
      this.calls[this.head++] = undefined;
      if (this.head > 1024 && 2 * this.head > this.calls.length) {
        this.calls = this.calls.slice(this.head);
        this.head = 0;
      }
      if (!call) continue; // withdrawn
      this.count--;
      this.size -= call.frame.length;
      return call;
    }
    this.calls = [];
    this.head = 0;
    return undefined;
  }

  /** Removes the call. */
  withdraw(call: Call): void {
    const at = this.calls.indexOf(call, this.head);
    if (at < 0) return;
    this.calls[at] = undefined;
    this.count--;
    this.size -= call.frame.length;
  }
}

/** The written calls that await an answer, by id. During a move they belong to two sessions. */
export class Pending {
  private readonly calls = new Map<string, Call>();

  get empty(): boolean {
    return this.calls.size === 0;
  }

  /** Registers the call for the session that is about to write it. It returns false if the id is in use. */
  add(call: Call, session: Session): boolean {
    if (this.calls.has(call.id)) return false;
    call.session = session;
    this.calls.set(call.id, call);
    return true;
  }

  /** The request with the id. Its REPLYs may arrive on either connection. */
  request(id: string): Call | undefined {
    const call = this.calls.get(id);
    return call?.kind === "request" ? call : undefined;
  }

  /** The call with the id that the session wrote. */
  writtenBy(session: Session, id: string): Call | undefined {
    const call = this.calls.get(id);
    return call?.session === session ? call : undefined;
  }

  /** How many answers the session awaits. */
  count(session: Session): number {
    let n = 0;
    for (const call of this.calls.values()) if (call.session === session) n++;
    return n;
  }

  remove(call: Call): void {
    if (this.calls.get(call.id) === call) this.calls.delete(call.id);
  }

  /** Fails all calls that await an answer on the session. */
  failAll(session: Session, cause: Error): void {
    for (const [id, call] of this.calls) {
      if (call.session !== session) continue;
      this.calls.delete(id);
      call.failWith("OUTCOME_UNKNOWN", "the connection broke", cause);
    }
  }
}

/** How many messages are remembered at most. */
const sentMessages = 1024;

/** The last messages that were written, so that an ERROR that belongs to no call can name event and target. */
export class SentLog {
  private readonly ring: Call[] = [];
  private next = 0;

  add(call: Call): void {
    this.ring[this.next++ % sentMessages] = call;
  }

  find(id: string): Call | undefined {
    return this.ring.find((call) => call.id === id);
  }
}

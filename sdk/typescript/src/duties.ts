import type { Core } from "./core.js";
import { asError, ClientError, cut, RemoteError } from "./errors.js";
import type { Message } from "./message.js";
import type { Session } from "./session.js";
import { op } from "./wire.js";

/** The longest time of a request, in ms. */
const maxTime = 3_600_000;

/** The longest explanation of an error that is sent to the requester, in characters. */
const maxExplanation = 4096;

/** The text without half surrogate pairs, which the hub refuses. */
const wellFormed = (s: string): string => s.replace(/[\ud800-\udfff]/gu, "\ufffd");

/** The member error of a REPLY. */
export function failure(err: unknown): { code: string; message: string } {
  const [code, message] = err instanceof RemoteError ? [err.code, err.explanation] : ["ERROR", asError(err).message];
  return { code: wellFormed(code), message: wellFormed(message.slice(0, maxExplanation)) };
}

const isGenerator = (v: unknown): v is AsyncIterable<unknown> => typeof v === "object" && v !== null && Symbol.asyncIterator in v;

/** A request that this client owes an answer to. */
export class Duty {
  /** When it is too late, by performance.now. */
  readonly deadline: number;
  /** No answer is sent any more: it was answered, passed or cancelled, or it is too late. */
  over = false;
  private reason: unknown; // why no answer is wanted
  private controller: AbortController | undefined;
  private readonly timer: ReturnType<typeof setTimeout>;

  constructor(
    private readonly core: Core,
    /** That the answer goes over. */
    public session: Session,
    public message: Message,
  ) {
    const time = Math.min(message.expected, maxTime);
    this.deadline = performance.now() + time;
    this.timer = setTimeout(() => {
      this.abort(new DOMException(`event ${cut(message.event, 80)}: the requester's time is over`, "TimeoutError"));
    }, time);
  }

  /** Aborted when no answer is wanted any more, and when the client has ended. */
  get signal(): AbortSignal {
    if (!this.controller) {
      const controller = (this.controller = new AbortController());
      const { life } = this.core;
      const stop = () => {
        controller.abort(life.reason);
      };
      if (this.reason) controller.abort(this.reason);
      else if (life.aborted) stop();
      else life.addEventListener("abort", stop, { signal: controller.signal });
    }
    return this.controller.signal;
  }

  /** Ends the duty. It returns false if it had ended before. */
  end(): boolean {
    if (this.over) return false;
    this.over = true;
    clearTimeout(this.timer);
    this.core.requests?.duties.forget(this);
    return true;
  }

  /** Ends the duty, because no answer is wanted any more. */
  abort(reason: Error): void {
    if (!this.end()) return;
    this.reason = reason;
    this.controller?.abort(reason);
  }

  /** See Message.pass. */
  pass(): void {
    const { id, sender } = this.message;
    if (this.end() && this.session.has("requests")) this.session.writeAside({ op: op.settled, id, intent: { target: "DIRECT", identifier: sender } });
  }

  /** Answers with what a handler has returned. */
  returned(value: unknown): void {
    if (isGenerator(value)) void this.stream(value);
    else if (value !== undefined && !this.over) this.core.reply(this.message, value).catch((err: unknown) => this.failed(err));
  }

  /** Sends each value. The last one must say so, hence each is held until the next one comes. */
  private async stream(values: AsyncIterable<unknown>): Promise<void> {
    const { core, message } = this;
    const held: unknown[] = [];
    try {
      for await (const value of values) {
        if (this.over) return;
        if (held.length > 0) await core.reply(message, held.pop(), { more: true });
        held.push(value);
      }
      if (!this.over) await core.reply(message, held.pop());
    } catch (err) {
      if (!this.failed(err)) core.log.error?.("a handler failed", { event: message.event, id: message.id, error: asError(err) });
    }
  }

  /** Answers with what a handler has thrown. It returns whether that is for the requester alone. */
  failed(err: unknown): boolean {
    const over = err instanceof ClientError && err.code === "REQUEST_OVER";
    if (!this.over) {
      this.core.reply(this.message, undefined, {}, failure(err)).catch(() => undefined); // the connection is lost
    }
    return over || err instanceof RemoteError;
  }
}

const keyOf = ({ sender, id }: { sender: string; id: string }): string => `${sender} ${id}`;

/** The requests that a client owes an answer to. */
export class Duties {
  private readonly open = new Map<Session, Map<string, Duty>>();

  constructor(private readonly core: Core) {}

  /** Notes a request that has arrived on the session. It is read again if it had to wait. */
  owe(s: Session, m: Message): void {
    let all = this.open.get(s);
    if (!all) this.open.set(s, (all = new Map<string, Duty>()));
    const duty = all.get(keyOf(m)) ?? new Duty(this.core, s, m);
    all.set(keyOf(m), duty);
    duty.message = m;
    m.duty = duty;
  }

  forget(duty: Duty): void {
    const all = this.open.get(duty.session);
    if (all?.get(keyOf(duty.message)) === duty) all.delete(keyOf(duty.message));
  }

  /** How many answers are owed over the session. */
  count(s: Session): number {
    return this.open.get(s)?.size ?? 0;
  }

  /** Handles a CANCEL. */
  cancelled(s: Session, request: { sender: string; id: string }): void {
    this.open.get(s)?.get(keyOf(request))?.abort(new DOMException("the requester has given up", "AbortError"));
  }

  /** Ends what came over a session that has ended: no answer to it arrives any more. */
  ended(s: Session, why: Error): void {
    for (const duty of this.open.get(s)?.values() ?? []) duty.abort(why);
    this.open.delete(s);
  }

  /**
   * Handles that of two copies of a request, on the two connections of a move, m is not handed out: the other one is answered, and
   * m passed. If nothing can be sent any more over the connection that the other one came from, m's is used.
   */
  dropCopy(m: Message): void {
    const mine = m.duty;
    if (!mine || mine.over) return;
    for (const [s, all] of this.open) {
      const other = all.get(keyOf(m));
      if (!other || s === mine.session || s.writable) continue;
      mine.end();
      this.forget(other);
      other.session = mine.session;
      this.open.get(other.session)?.set(keyOf(m), other);
      return;
    }
    mine.pass();
  }
}

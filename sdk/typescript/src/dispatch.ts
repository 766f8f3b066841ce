import type { Duty } from "./duties.js";
import { asError } from "./errors.js";
import type { Message } from "./message.js";
import type { Handler, Logger } from "./options.js";

/** One call of a handler, for a message, or of a hook. Hooks that begin and end connections are announcements. */
export interface Delivery {
  message?: Message;
  hook?: () => unknown;
  /** Of an announcement: whether a connection was lost or made. */
  announces?: "lost" | "found";
}

/**
 * The queue to handlers and hooks, and their calls, one at a time. Readers wait while it is full. Announcements don't wait,
 * because a handler may be waiting for the next connection. Beyond the limit, connections that came and went without a message
 * are merged, so that their number stays small.
 */
export class Dispatcher {
  private items: Delivery[] = [];
  private head = 0;
  private busy = false;
  private quit = false;
  private readonly idle: (() => void)[] = [];
  private readonly handlers = new Map<string, Handler[]>();

  constructor(
    private readonly limit: number,
    private readonly otherwise: Handler | undefined,
    private readonly log: Logger,
    /** Called when the queue has room again. */
    private readonly onRoom: () => void,
  ) {}

  private get length(): number {
    return this.items.length - this.head;
  }

  get full(): boolean {
    return this.length >= this.limit;
  }

  add(d: Delivery): void {
    if (this.quit) return;
    this.items.push(d);
    this.run();
  }

  announce(d: Delivery): void {
    if (this.quit) return;
    appendAnnouncement(this.items, d, this.head + this.limit);
    this.run();
  }

  /** Adds a handler behind those that the event has. Returns a function that removes it. */
  on(event: string, handler: Handler): () => void {
    const mine: Handler = (m) => handler(m); // the same function may be added twice
    this.handlers.set(event, [...(this.handlers.get(event) ?? []), mine]);
    return () => {
      const left = (this.handlers.get(event) ?? []).filter((other) => other !== mine);
      if (left.length > 0) this.handlers.set(event, left);
      else this.handlers.delete(event);
    };
  }

  /** Whether there is a handler for m. A REPLY has none by name, so that no handler replies to a reply. */
  wants(m: Message): boolean {
    return this.otherwise !== undefined || (!m.isReply && this.handlers.has(m.event));
  }

  /** Calls no further handler, and drops what waits. Resolves when the running one has ended. */
  stop(): Promise<void> {
    this.quit = true;
    this.items = [];
    this.head = 0;
    return this.rest();
  }

  /** Resolves when everything is handled. */
  rest(): Promise<void> {
    return this.busy ? new Promise((resolve) => this.idle.push(resolve)) : Promise.resolve();
  }

  private run(): void {
    if (this.busy) return;
    this.busy = true;
    for (let d = this.shift(); d; d = this.shift()) {
      const running = this.invoke(d);
      if (!running) continue;
      void running.then(() => {
        this.busy = false;
        this.run();
      });
      return;
    }
    this.busy = false;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private shift(): Delivery | undefined {
    const d = this.items[this.head];
    if (!d) return undefined;
    if (++this.head === this.items.length || this.head > 1024) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    if (this.length === this.limit - 1) this.onRoom();
    return d;
  }

  /** Calls a hook, or the handlers of a message. Returns a promise, which is never rejected, if they take longer. */
  private invoke(d: Delivery): Promise<void> | undefined {
    const { message, hook } = d;
    if (!message) return this.contain(() => hook?.(), "a hook failed", {});
    const { event, id, sender, duty } = message;
    if (duty?.over) return undefined; // no answer is wanted any more
    const all = (message.isReply ? undefined : this.handlers.get(event)) ?? (this.otherwise ? [this.otherwise] : []);
    let running: Promise<void> | undefined;
    for (const handler of all) {
      const call = () => this.contain(() => handler(message), "a handler failed", { event, id, sender }, duty);
      running = running ? running.then(call) : call();
    }
    return running;
  }

  /** Calls f. An error of the program's own functions must not end the connection. What f returns answers a request. */
  private contain(f: () => unknown, text: string, details: Record<string, unknown>, duty?: Duty): Promise<void> | undefined {
    const failed = (err: unknown) => {
      if (!duty?.failed(err)) this.log.error?.(text, { ...details, error: asError(err) });
    };
    try {
      const result = f();
      if (isThenable(result)) return Promise.resolve(result).then((value) => duty?.returned(value), failed);
      duty?.returned(result);
    } catch (err) {
      failed(err);
    }
    return undefined;
  }
}

const isThenable = (v: unknown): v is PromiseLike<unknown> =>
  typeof v === "object" && v !== null && typeof (v as { then?: unknown }).then === "function";

/**
 * Appends an announcement. Beyond the bound it merges consecutive announcements, so that only the first loss and the last
 * connection remain.
 */
export function appendAnnouncement(items: Delivery[], d: Delivery, bound: number): void {
  const last = items[items.length - 1];
  if (items.length > bound && last) {
    if (d.announces === "found" && last.announces === "found") {
      items[items.length - 1] = d;
      return;
    }
    if (d.announces === "lost" && last.announces === "lost") return;
    if (d.announces === "lost" && last.announces === "found" && items.length > bound + 1 && items[items.length - 2]?.announces === "lost") {
      items.pop();
      return;
    }
  }
  items.push(d);
}

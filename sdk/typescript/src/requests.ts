import type { Call } from "./call.js";
import type { Core } from "./core.js";
import { Duties, failure } from "./duties.js";
import { ClientError, cut, RemoteError } from "./errors.js";
import type { Message } from "./message.js";
import { parseSettlement, requestError, type Settlement } from "./outcome.js";
import type { Session } from "./session.js";
import { op, type Wire } from "./wire.js";

/** What a request got until its end. */
export interface Answers<R = unknown> {
  replies: Message<R>[];
  /** Who did not answer, and why; undefined if the hub is of an earlier release, or did not say so in time. */
  settlement: Settlement | undefined;
}

/** How many replies are wanted: so many, all without who is missing, or all and then an error if there are missing ones. */
export type Wanted = number | "all" | "whole";

/** The client's requests, and those of others that it owes an answer to. The code is loaded with the first one. */
export class Requests {
  readonly duties: Duties;

  constructor(private readonly core: Core) {
    this.duties = new Duties(core);
  }

  /** Handles a SETTLED. */
  settled(s: Session, w: Wire): void {
    const settlement = parseSettlement(w.data);
    const call = this.core.pending.writtenBy(s, w.id);
    if (call?.kind !== "request") return;
    this.core.pending.remove(call);
    call.settlement = settlement;
    call.complete();
  }

  /** The first reply; see Client.request. */
  async first(call: Call): Promise<Message> {
    for await (const m of this.replies(call, 1)) {
      if (m.error) throw new RemoteError(m.error.code, m.error.message, m.sender);
      return m;
    }
    throw new ClientError("CLOSED", `event ${cut(call.event, 80)}: no reply`);
  }

  /** All replies; see Client.requestAll. */
  async all(call: Call): Promise<Answers> {
    const replies: Message[] = [];
    for await (const m of this.replies(call, "all")) replies.push(m);
    return { replies, settlement: call.settlement };
  }

  /** The replies as they arrive; see Client.stream. */
  async *replies(call: Call, want: Wanted): AsyncGenerator<Message, void, undefined> {
    const least = typeof want === "number" ? want : 0;
    let got = 0;
    let answered = false; // a reply came that no other of the same client follows
    try {
      for (;;) {
        for (let m = call.replies.shift(); m; m = call.replies.shift()) {
          answered ||= !m.more;
          got++;
          yield m;
          if (got === least) return;
        }
        if (call.error) {
          // Without a number of replies the time decides how many come.
          if (call.error.name === "TimeoutError" && !least && call.written) return;
          throw call.error;
        }
        if (call.completed) {
          const { settlement: s } = call;
          if (s && (got < least || (want === "whole" && (s.missing.length > 0 || s.replied === 0)))) {
            throw requestError(call.event, String(call.to), s);
          }
          return;
        }
        await new Promise<void>((resolve) => (call.news = resolve));
      }
    } finally {
      if (!answered || String(call.to).startsWith("G")) this.cancel(call); // else it is over, or about to be
      this.core.pending.remove(call);
      if (!call.written) this.core.queue.withdraw(call);
      call.complete();
    }
  }

  /** See Message.fail. */
  fail(m: Message, error: unknown): Promise<void> {
    return this.core.reply(m, undefined, {}, failure(error));
  }

  /** Tells the hub that no more answers are wanted, unless the request is over. */
  private cancel(call: Call): void {
    const { session } = call;
    if (session?.has("requests") && this.core.pending.writtenBy(session, call.id) === call) {
      session.writeAside({ op: op.cancel, id: call.id });
    }
  }
}

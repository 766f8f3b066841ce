import type { Core } from "./core.js";
import { asError, ClientError } from "./errors.js";
import { type Changes, LostError } from "./changes.js";
import type { Session } from "./session.js";
import { type Wait, waiting } from "./wait.js";
import { number, object, op, text } from "./wire.js";

/** How often a holder asks for how long it may act, in ms. */
const holdRepeat = 1_000;
/** How often one that waits asks how it stands, in ms: a notice is not lost, but who knows. */
const waitRepeat = 10_000;

/** How a client stands with an exclusive group. */
interface Standing {
  held: boolean;
  term: number;
  valid: number;
}

function standing(v: unknown): Standing {
  const w = object(v, "standing");
  return { held: w.held === true, term: number(w.term, "term"), valid: number(w.valid_ms, "valid_ms") };
}

/**
 * An exclusive group that the client holds, made by Client.hold.
 *
 * What must not be done by two at a time is done until `signal` is aborted, and where that can't be interrupted only while `left` is
 * long enough. `term` is a fencing token: a store that refuses lower terms than the highest that it has seen is safe from a holder
 * that was stopped in between.
 */
export class Hold {
  private readonly life = new AbortController();
  private session: Session | undefined; // that holds it, or waits for it
  private moved = false; // session was handed the group, and has not been told for how long it may act
  private tenure = 0;
  private until = 0; // the client may act until then, by performance.now
  private expiry: ReturnType<typeof setTimeout> | undefined;
  private repeat: ReturnType<typeof setInterval> | undefined;
  private news: () => void = () => undefined; // the hub has said something, or there is another connection
  private gone: Promise<void> | undefined; // settled when the hub has been told of the end, or can't be

  /** @internal */
  constructor(
    private readonly core: Core,
    private readonly changes: Changes,
    readonly group: string,
  ) {}

  /** The number of this tenure. It is higher than those of all holders before; a move raises it. */
  get term(): number {
    return this.tenure;
  }

  /** For how many ms the client holds the group for certain; 0 if it is not certain any more. */
  get left(): number {
    return this.life.signal.aborted ? 0 : Math.max(this.until - performance.now(), 0);
  }

  /** Aborted when the group is lost, or when it can't be told any more whether it is held. Its reason says why. */
  get signal(): AbortSignal {
    if (this.until > 0 && this.left === 0) this.lose("it was not confirmed in time");
    return this.life.signal;
  }

  /** Gives the group to the next one. It resolves when the hub has answered; without a connection the hub releases by itself. */
  async release(): Promise<void> {
    this.end(new ClientError("RELEASED", "the group was released"));
    await this.gone;
  }

  /** The same as release, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** @internal Whether the session holds the group. */
  isOn(s: Session): boolean {
    return this.session === s && this.left > 0;
  }

  /** @internal The session was handed the group. */
  moveTo(s: Session): void {
    this.session = s;
    this.moved = true;
  }

  /** @internal Looks at how the client stands. */
  poke(): void {
    this.news();
  }

  /** @internal Takes what the hub says unasked. */
  told(s: Session, v: unknown): void {
    if (!standing(v).held && this.session === s && this.tenure > 0 && !this.moved) this.lose(text(object(v, "standing").reason, "reason"));
    this.news();
  }

  /** @internal Waits for the first grant. */
  async claim(): Promise<void> {
    while (!this.life.signal.aborted) {
      const s = await this.changes.sender();
      if (!s.has("exclusive")) throw new ClientError("UNSUPPORTED", "the hub is of a release without exclusive groups");
      this.session = s;
      const news = new Promise<void>((resolve) => (this.news = resolve));
      try {
        if (await this.ask(s)) {
          this.repeat = setInterval(() => void this.confirm(), holdRepeat);
          this.news = () => void this.confirm();
          return;
        }
      } catch (err) {
        if (err instanceof LostError) continue;
        throw err;
      }
      let timer: ReturnType<typeof setTimeout> | undefined;
      await Promise.race([news, new Promise((resolve) => (timer = setTimeout(resolve, waitRepeat)))]);
      clearTimeout(timer);
    }
  }

  /** Asks for how long the client may act. Without an answer the former time stands. */
  private async confirm(): Promise<void> {
    if (!this.session || this.session.error || this.life.signal.aborted) return; // expiry ends it, unless it is handed over before
    try {
      await this.ask(this.session);
    } catch {
      // expiry ends it
    }
  }

  /** Asks on the session how the client stands with the group, and returns whether it holds it. */
  private async ask(s: Session): Promise<boolean> {
    const sent = performance.now();
    const data = await this.changes.ask(op.subscribe, { exclusive: [this.group] }, s);
    const { held, term, valid } = standing(object(data.exclusive, "standing")[this.group]);
    if (!held || valid <= 0 || this.session !== s || this.life.signal.aborted) return false;
    if (this.tenure !== 0 && !this.moved && term !== this.tenure) {
      this.lose("another one held it meanwhile"); // what was begun under the old term must end
      return false;
    }
    this.tenure = term;
    this.moved = false;
    this.until = Math.max(this.until, sent + valid);
    this.expire();
    return this.left > 0;
  }

  /** Ends the hold when its time is over. Timers count whole milliseconds, and may be early by a part of one. */
  private expire(): void {
    clearTimeout(this.expiry);
    const left = this.until - performance.now();
    if (left > 0) this.expiry = setTimeout(() => { this.expire(); }, Math.ceil(left));
    else this.lose("it was not confirmed in time");
  }

  private lose(why: string): void {
    this.end(new ClientError("HOLD_LOST", `the exclusive group was lost: ${why}`));
  }

  /** @internal Ends the hold, and gives the group, or the place, up. A claim that is left would be granted to a client that is gone. */
  end(reason: Error): void {
    if (this.gone) return;
    clearTimeout(this.expiry);
    clearInterval(this.repeat);
    this.life.abort(reason);
    this.news();
    this.gone = this.withdraw();
  }

  private async withdraw(): Promise<void> {
    const { core, changes, group, session } = this;
    try {
      if (session && !session.error) await changes.ask(op.unsubscribe, { exclusive: [group] }, session);
    } catch (err) {
      if (!(err instanceof LostError)) core.log.warn?.("an exclusive group was not given up", { group, error: asError(err) });
    }
    if (core.holds.get(group) === this) core.holds.delete(group);
  }
}

/** Claims an exclusive group; see Client.hold. */
export async function hold(core: Core, group: string, options: Wait | undefined): Promise<Hold> {
  const changes = await core.memberships.load();
  if (core.holds.has(group)) throw new ClientError("HELD", "the client holds the group or waits for it already");
  const h = new Hold(core, changes, group);
  core.holds.set(group, h);
  core.life.addEventListener("abort", () => {
    h.end(new ClientError("CLOSED", "client closed"));
  });
  try {
    await waiting(h.claim(), options);
    return h;
  } catch (err) {
    h.end(asError(err));
    throw err;
  }
}

/**
 * Has the next connection of a move take over what the old one holds: it asks, and the old one releases to it. The hub gives the
 * group to no other one while the client may act, so that this goes on meanwhile. What can't be handed over is lost with the old
 * connection.
 */
export async function handOver(core: Core, from: Session, to: Session): Promise<void> {
  const all = [...core.holds.values()].filter((h) => h.isOn(from));
  const groups = all.map((h) => h.group);
  const { changes } = core.memberships;
  if (!changes || groups.length === 0 || !to.has("exclusive")) return;
  try {
    await changes.ask(op.subscribe, { exclusive: groups }, to);
    for (const h of all) h.moveTo(to);
    await changes.ask(op.unsubscribe, { exclusive: groups, to: to.identity.id }, from);
  } catch (err) {
    core.log.warn?.("exclusive groups can't move", { groups, error: asError(err) });
  }
}

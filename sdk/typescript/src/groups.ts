import type { Core } from "./core.js";
import { asError, ClientError, cut } from "./errors.js";
import type { Session } from "./session.js";
import { badGroup, newID, object, op, text, utf8Length, type Wire } from "./wire.js";

/** How many groups IDENTIFY can name. Further ones are subscribed to behind it. */
const identifyGroups = 32;
/** How many groups a SUBSCRIBE behind IDENTIFY names at most. */
const restGroups = 64;
/** How long the hub may take to answer a change, more than it takes at most, in ms. */
const changeTime = 15_000;
/** Begins the ids of requests. */
const changePrefix = "groups:";

/** The data of a SUBSCRIBE or UNSUBSCRIBE. */
export interface ChangeData {
  groups?: string[];
  watch?: string[];
  meta?: Record<string, string>;
  weight?: number;
}

/** The hub's refusal of a change of groups, or of a watch. `code` says why, such as FORBIDDEN or TOO_MANY_GROUPS. */
export class GroupError extends ClientError {
  constructor(
    code: string,
    /** The group at fault; empty if the hub names none. */
    readonly group: string,
    /** The hub's explanation, for people. */
    readonly explanation: string,
  ) {
    super(code, `${group ? `group ${cut(group, 150)} ` : ""}refused by the hub: ${code}${explanation ? `: ${explanation}` : ""}`);
  }
}

/** The connection ended before the answer came. */
class LostError extends Error {}

interface OpenChange {
  session: Session;
  settle: (err?: Error) => void;
}

/**
 * The groups that a client is in, what it says of itself, and the changes of both.
 *
 * One change is carried out at a time, and none while a connection identifies until it sends: so the connection has all groups of
 * the time at which it begins.
 */
export class Memberships {
  private gate: Promise<unknown> = Promise.resolve(); // settled when the last one that has begun is done
  private further: string[]; // beyond the option group
  private watched: string[] = [];
  private meta: Record<string, string> | undefined;
  private weight: number | undefined;
  private current: Session | undefined; // the one that sends, or did last
  private arrived: (() => void)[] = []; // wait for a session that sends
  private readonly open = new Map<string, OpenChange>(); // that wait for their answer, by id
  private readonly stale = new Set<Session>(); // groups were subscribed to on another session of a move alone

  constructor(private readonly core: Core) {
    this.further = [...new Set(core.settings.groups)].filter((g) => g !== core.settings.group);
    this.meta = core.settings.meta;
  }

  /** All groups, the option group first. */
  get all(): string[] {
    return [this.core.settings.group, ...this.further];
  }

  /** Waits until no change is carried out. None is until the returned function is called, which may be called again. */
  async begin(): Promise<() => void> {
    const before = this.gate;
    let done: () => void = () => undefined;
    this.gate = new Promise<void>((resolve) => (done = resolve));
    await before;
    return done;
  }

  /** Notes which session sends. */
  use(s: Session): void {
    this.current = s;
    for (const resolve of this.arrived.splice(0)) resolve();
    if (this.stale.delete(s)) void this.catchUp(s);
  }

  /** Fails the requests on a session that has ended. */
  ended(s: Session): void {
    this.stale.delete(s);
    for (const { session, settle } of this.open.values()) if (session === s) settle(new LostError());
  }

  /** Wakes up the changes that wait for a connection, because the client has ended. */
  close(): void {
    for (const resolve of this.arrived.splice(0)) resolve();
  }

  /** Fills in the data of an IDENTIFY, and returns the groups that it has no room for. */
  complete(data: Record<string, unknown>): string[] {
    const { meta, weight, further, watched } = this;
    const groups = further.slice(0, identifyGroups - 1);
    Object.assign(data, { meta, weight, groups: groups.length > 0 ? groups : undefined, watch: watched.length > 0 ? watched : undefined });
    return further.slice(identifyGroups - 1);
  }

  /** Carries out a change, on the next connection where the current one is lost. */
  async change(code: number, data: ChangeData): Promise<void> {
    for (const g of [...(data.groups ?? []), ...(data.watch ?? [])]) {
      const why = badGroup(g);
      if (why) throw new ClientError("INVALID", why);
    }
    for (;;) {
      if (this.core.error) throw new ClientError("CLOSED", "client closed", this.core.error);
      if (!this.current || this.current.error) {
        await new Promise<void>((resolve) => this.arrived.push(resolve));
        continue;
      }
      const done = await this.begin();
      try {
        await this.carryOut(code, data);
        return;
      } catch (err) {
        if (!(err instanceof LostError)) throw err;
      } finally {
        done();
      }
    }
  }

  /**
   * Sends the request on the session that sends. What ends memberships goes first to the one that is being left: it still
   * receives.
   */
  private async carryOut(code: number, data: ChangeData): Promise<void> {
    const s = this.current;
    if (!s || s.error) throw new LostError();
    const feature = data.watch ? "presence" : "groups";
    if (!s.has(feature)) throw new ClientError("UNSUPPORTED", `the hub is of a release without ${feature}`);
    const old = this.core.stream.left;
    if (code === op.unsubscribe && old && old !== s) {
      await this.ask(code, data, old).catch((err: unknown) => {
        if (!(err instanceof LostError)) throw err;
      });
    }
    await this.ask(code, data, s);
    this.apply(code, data);
    if (code === op.subscribe && old && old !== s) this.stale.add(old);
  }

  /** Notes a change that the hub has carried out. */
  private apply(code: number, { groups = [], watch = [], meta, weight }: ChangeData): void {
    const without = (list: string[], names: string[]) => list.filter((g) => !names.includes(g));
    this.further = without(this.further, groups);
    this.watched = without(this.watched, watch);
    if (code === op.unsubscribe) return;
    this.further.push(...new Set(without(groups, [this.core.settings.group])));
    this.watched.push(...new Set(watch));
    this.meta = meta ?? this.meta;
    this.weight = weight ?? this.weight;
  }

  /** Makes a session, which sends again after a move that failed, what the client became meanwhile. */
  private async catchUp(s: Session): Promise<void> {
    const done = await this.begin();
    try {
      const { further, watched: watch, meta, weight } = this;
      await this.ask(op.subscribe, { meta, weight, ...(watch.length > 0 && { watch }) }, s);
      for (let i = 0; i < further.length; i += restGroups) await this.ask(op.subscribe, { groups: further.slice(i, i + restGroups) }, s);
    } catch (err) {
      s.end(asError(err)); // the next connection has them
    } finally {
      done();
    }
  }

  /** Subscribes a connection that has just identified to the groups that IDENTIFY had no room for. */
  async rest(s: Session, groups: string[]): Promise<void> {
    if (groups.length === 0) return;
    if (!s.has("groups")) throw new ClientError("UNSUPPORTED", "the hub takes at most 32 groups");
    for (let i = 0; i < groups.length; i += restGroups) await this.ask(op.subscribe, { groups: groups.slice(i, i + restGroups) }, s);
  }

  /** Sends the request on a session and waits for the answer. */
  private ask(code: number, data: ChangeData, s: Session): Promise<void> {
    const id = changePrefix + newID();
    const frame = JSON.stringify({ op: code, id, data });
    const limit = s.identity.maxMessageBytes;
    return new Promise<void>((resolve, reject) => {
      if (s.error) throw new LostError();
      if (limit > 0 && utf8Length(frame) > limit) throw new ClientError("TOO_BIG", `the hub accepts at most ${limit} bytes`);
      const settle = (err?: Error) => {
        clearTimeout(timer);
        this.open.delete(id);
        if (err) reject(err);
        else resolve();
      };
      const timer = setTimeout(() => {
        settle(new ClientError("OUTCOME_UNKNOWN", `no answer for ${changeTime} ms`));
      }, changeTime);
      this.open.set(id, { session: s, settle });
      s.write(frame);
    });
  }

  /** Whether a message answers a request: it is handled at once, also on a connection that has just identified. */
  awaits(w: Wire): boolean {
    return (w.op === op.subscribe || w.op === op.unsubscribe) && this.open.has(w.id);
  }

  /** Handles an answer, or a change that an operator made. */
  changed(s: Session, w: Wire): void {
    const data = object(w.data, "answer to a change of groups");
    if (!w.id) {
      const groups = Array.isArray(data.groups) ? data.groups.map(String) : [];
      this.apply(w.op, { groups });
      this.core.log.info?.("an operator changed the groups", { op: w.op, groups });
      return;
    }
    const change = this.open.get(w.id);
    if (change?.session !== s) return;
    if (data.error === undefined) change.settle();
    else {
      const err = object(data.error, "refusal");
      change.settle(new GroupError(text(err.code, "code"), text(err.group, "group"), text(err.message, "message")));
    }
  }
}

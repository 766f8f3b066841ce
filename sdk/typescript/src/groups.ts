import type { Core } from "./core.js";
import { ClientError, cut } from "./errors.js";
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
  exclusive?: string[];
  to?: string;
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
export class LostError extends Error {}

interface OpenChange {
  session: Session;
  settle: (answer: Record<string, unknown> | Error) => void;
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

  constructor(private readonly core: Core) {
    this.further = [...new Set(core.settings.groups)].filter((g) => g !== core.settings.group);
    this.meta = core.settings.meta;
  }

  /** All groups, the option group first. */
  get all(): string[] {
    return [this.core.settings.group, ...this.further];
  }

  /** What the client is beside a member of groups. */
  get self(): ChangeData {
    const { meta, weight, watched: watch } = this;
    return { meta, weight, ...(watch.length > 0 && { watch }) };
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
    for (const hold of this.core.holds.values()) hold.poke();
  }

  /** Fails the requests on a session that has ended. */
  ended(s: Session): void {
    for (const { session, settle } of this.open.values()) if (session === s) settle(new LostError());
  }

  /** Wakes up the changes that wait for a connection, because the client has ended. */
  close(): void {
    for (const resolve of this.arrived.splice(0)) resolve();
  }

  /** Fills in the data of an IDENTIFY, and returns the groups that it has no room for. */
  complete(data: Record<string, unknown>): string[] {
    const groups = this.further.slice(0, identifyGroups - 1);
    Object.assign(data, this.self, groups.length > 0 && { groups });
    return this.further.slice(identifyGroups - 1);
  }

  /** Returns the session that sends, once there is one. */
  async sender(): Promise<Session> {
    for (;;) {
      if (this.core.error) throw new ClientError("CLOSED", "client closed", this.core.error);
      if (this.current && !this.current.error) return this.current;
      await new Promise<void>((resolve) => this.arrived.push(resolve));
    }
  }

  /** Carries out a change, on the next connection where the current one is lost. */
  async change(code: number, data: ChangeData): Promise<void> {
    for (const g of [...(data.groups ?? []), ...(data.watch ?? [])]) {
      const why = badGroup(g);
      if (why) throw new ClientError("INVALID", why);
    }
    for (;;) {
      await this.sender();
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
    if (code === op.subscribe) this.core.stream.subscribed(s);
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

  /** Subscribes a connection that has just identified to the groups that IDENTIFY had no room for. */
  async rest(s: Session, groups = this.further): Promise<void> {
    if (groups.length === 0) return;
    if (!s.has("groups")) throw new ClientError("UNSUPPORTED", "the hub takes at most 32 groups");
    for (let i = 0; i < groups.length; i += restGroups) await this.ask(op.subscribe, { groups: groups.slice(i, i + restGroups) }, s);
  }

  /** Sends the request on a session and returns the data of the answer. */
  ask(code: number, data: ChangeData, s: Session): Promise<Record<string, unknown>> {
    const id = changePrefix + newID();
    const frame = JSON.stringify({ op: code, id, data });
    const limit = s.identity.maxMessageBytes;
    return new Promise((resolve, reject) => {
      if (s.error) throw new LostError();
      if (limit > 0 && utf8Length(frame) > limit) throw new ClientError("TOO_BIG", `the hub accepts at most ${limit} bytes`);
      const settle = (answer: Record<string, unknown> | Error) => {
        clearTimeout(timer);
        this.open.delete(id);
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
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
    const data = object(w.data, "change of groups");
    if (!w.id && data.exclusive) {
      for (const [group, standing] of Object.entries(object(data.exclusive, "standing"))) this.core.holds.get(group)?.told(s, standing);
      return;
    }
    if (!w.id) {
      const groups = Array.isArray(data.groups) ? data.groups.map(String) : [];
      this.apply(w.op, { groups });
      this.core.log.info?.("an operator changed the groups", { op: w.op, groups });
      return;
    }
    const change = this.open.get(w.id);
    if (change?.session !== s) return;
    if (data.error === undefined) change.settle(data);
    else {
      const err = object(data.error, "refusal");
      change.settle(new GroupError(text(err.code, "code"), text(err.group, "group"), text(err.message, "message")));
    }
  }
}

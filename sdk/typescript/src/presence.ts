import type { Core } from "./core.js";
import { ClientError } from "./errors.js";
import type { Session } from "./session.js";
import { type Wait, waiting } from "./wait.js";
import { object, op, text } from "./wire.js";

/** A member of a group that the client watches. */
export interface Member {
  /** Changes when the member moves to another connection. */
  id: string;
  name: string;
  version: string;
  meta: Record<string, string>;
  /** Its share of the ANYs of its groups. */
  weight: number;
  /** The name of the hub's instance that it is connected to. */
  node: string;
  /** When it identified. */
  since: Date;
}

/** What changed in a group. */
export interface PresenceChange {
  joined: Member[];
  /** With a reason of DISCONNECT, UNSUBSCRIBED, LOST, INSTANCE_LOST, or "" where the member left while the client was away. */
  left: { member: Member; reason: string }[];
  /** Members that have another connection, and another id. */
  moved: { from: string; to: Member }[];
  /** Members with another meta or weight. */
  updated: Member[];
  /** Watch.missing or Watch.count is something else than before. */
  totals: boolean;
}

/** What one session was told of a group. */
class View {
  members = new Map<string, Member>();
  whole = false; // it has the whole snapshot
  count: number | undefined; // of a group that is too large; undefined: the members are known
  missing: string[] = [];

  /** Applies a frame. It returns what changed, if the frame is no part of a snapshot and no count. */
  apply(d: Record<string, unknown>): PresenceChange | undefined {
    const count = typeof d.count === "number" ? d.count : undefined;
    if (count !== undefined) {
      this.members = new Map();
      this.count = count;
      this.whole = true;
    } else if (Array.isArray(d.members)) {
      if (this.whole) this.members = new Map(); // another snapshot begins
      this.count = undefined;
      this.whole = d.complete === true;
      for (const m of list(d.members)) this.add(m);
    }
    const change: PresenceChange = { joined: [], left: [], moved: [], updated: [], totals: d.missing !== undefined };
    for (const l of list(d.left)) {
      const member = this.members.get(text(l.id, "id"));
      if (member) change.left.push({ member, reason: text(l.reason, "reason") });
      this.members.delete(text(l.id, "id"));
    }
    for (const m of list(d.moved)) {
      const from = text(m.from, "id");
      this.members.delete(from);
      change.moved.push({ from, to: this.add(object(m.to, "PRESENCE")) });
    }
    for (const m of list(d.joined)) change.joined.push(this.add(m));
    for (const m of list(d.updated)) change.updated.push(this.add(m));
    if (Array.isArray(d.missing)) this.missing = d.missing.map(String);
    return count === undefined && !Array.isArray(d.members) ? change : undefined;
  }

  private add(m: Record<string, unknown>): Member {
    const member: Member = {
      id: text(m.id, "id"),
      name: text(m.name, "name"),
      version: text(m.version, "version"),
      meta: object(m.meta, "meta") as Record<string, string>,
      weight: typeof m.weight === "number" ? m.weight : 1,
      node: text(m.node, "node"),
      since: new Date(text(m.since, "since")),
    };
    this.members.set(member.id, member);
    return member;
  }

  /** What is other in next. */
  differ(next: View): PresenceChange {
    const change: PresenceChange = { joined: [], left: [], moved: [], updated: [], totals: false };
    for (const [id, m] of next.members) {
      const old = this.members.get(id);
      if (!old) change.joined.push(m);
      else if (JSON.stringify(old) !== JSON.stringify(m)) change.updated.push(m);
    }
    if (next.count === undefined) {
      for (const [id, member] of this.members) if (!next.members.has(id)) change.left.push({ member, reason: "" });
    }
    change.totals = this.count !== next.count || JSON.stringify(this.missing) !== JSON.stringify(next.missing);
    return change;
  }

  copy(): View {
    const copy = new View();
    copy.members = new Map(this.members);
    copy.whole = this.whole;
    copy.count = this.count;
    copy.missing = this.missing;
    return copy;
  }
}

const list = (v: unknown): Record<string, unknown>[] => (Array.isArray(v) ? v.map((one) => object(one, "PRESENCE")) : []);

const isEmpty = (c: PresenceChange): boolean =>
  c.joined.length + c.left.length + c.moved.length + c.updated.length === 0 && !c.totals;

/**
 * The set of the members of a group. It stays through reconnects and moves of the client; after a reconnect onChange gets the
 * difference.
 */
export class Watch {
  /** The members by their ids; empty if the group is too large: see count. */
  members: ReadonlyMap<string, Member> = new Map();
  /** The number of the members of a group that is too large for their names; else undefined. */
  count: number | undefined;
  /** The names of the instances that don't answer. Of their members the set has those that were known before. */
  missing: readonly string[] = [];

  private readonly views = new Map<Session, View>(); // in the order of their first frames
  private shown: View | undefined;
  private shownOf: Session | undefined;

  /** @internal */
  constructor(
    private readonly core: Core,
    readonly group: string,
    private readonly onChange: ((change: PresenceChange, watch: Watch) => void) | undefined,
    private readonly known: () => void,
  ) {}

  /** Ends the watch. onChange may still be called for what has arrived before. */
  async close(): Promise<void> {
    this.core.watches.delete(this.group);
    await (await this.core.memberships.load()).change(op.unsubscribe, { watch: [this.group] });
  }

  /** @internal Applies a frame to what its session was told, and tells of it if it changes what is shown. */
  take(s: Session, d: Record<string, unknown>): void {
    let view = this.views.get(s);
    if (!view) this.views.set(s, (view = new View()));
    const wasShown = this.shownOf === s && view.whole;
    const change = view.apply(d);
    if (!wasShown || !change) {
      this.choose();
      return;
    }
    this.shown = view.copy();
    this.tell(change);
  }

  /** @internal Forgets what a session was told. What another one was told, in a move, is shown from now on. */
  ended(s: Session): void {
    if (this.views.delete(s)) this.choose();
  }

  /** Shows what the newest session was told, if that is whole. */
  private choose(): void {
    const last = [...this.views].reverse().find(([, view]) => view.whole);
    if (!last) return;
    const [session, view] = last;
    const change = (this.shown ?? new View()).differ(view);
    const first = !this.shown;
    this.shown = view.copy();
    this.shownOf = session;
    if (first || !isEmpty(change)) this.tell(change);
  }

  private tell(change: PresenceChange): void {
    const { members, count, missing } = this.shown?.copy() ?? new View();
    this.core.dispatcher.add({
      hook: () => {
        Object.assign(this, { members, count, missing });
        this.known();
        return this.onChange?.(change, this);
      },
    });
  }
}

/** Makes the client a watcher of a group; see Client.watch. */
export function watch(
  core: Core,
  group: string,
  onChange: ((change: PresenceChange, watch: Watch) => void) | undefined,
  options: Wait | undefined,
): Promise<Watch> {
  return waiting(begin(core, group, onChange), options);
}

async function begin(
  core: Core,
  group: string,
  onChange: ((change: PresenceChange, watch: Watch) => void) | undefined,
): Promise<Watch> {
  if (core.watches.has(group)) throw new ClientError("WATCHED", "the group is watched already");
  let known: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => (known = resolve));
  const w = new Watch(core, group, onChange, known);
  core.watches.set(group, w);
  try {
    await (await core.memberships.load()).change(op.subscribe, { watch: [group] });
  } catch (err) {
    core.watches.delete(group);
    throw err;
  }
  await Promise.race([ready, core.closed]);
  if (core.error) throw new ClientError("CLOSED", "client closed", core.error);
  return w;
}

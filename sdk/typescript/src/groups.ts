import type { Changes } from "./changes.js";
import type { Core } from "./core.js";
import { asError } from "./errors.js";
import type { Session } from "./session.js";
import { op, type Wire } from "./wire.js";

/** How many groups IDENTIFY can name. Further ones are subscribed to behind it. */
const identifyGroups = 32;

/** The data of a SUBSCRIBE or UNSUBSCRIBE. */
export interface ChangeData {
  groups?: string[];
  watch?: string[];
  meta?: Record<string, string>;
  weight?: number;
  exclusive?: string[];
  to?: string;
}

/**
 * The groups that a client is in, and what it says of itself. Changes of both are loaded with the first one.
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
  /** The session that sends, or did last. */
  current: Session | undefined;
  /** Changes under way; undefined if there was none yet. */
  changes: Changes | undefined;

  constructor(private readonly core: Core) {
    this.further = [...new Set(core.settings.groups)].filter((g) => g !== core.settings.group);
    this.meta = core.settings.meta;
  }

  /** Loads what changes groups. */
  async load(): Promise<Changes> {
    const { Changes: Made } = await import("./changes.js");
    return (this.changes ??= new Made(this.core));
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
    this.changes?.wake();
    for (const hold of this.core.holds.values()) hold.poke();
  }

  /** Fills in the data of an IDENTIFY, and returns the groups that it has no room for. */
  complete(data: Record<string, unknown>): string[] {
    const groups = this.further.slice(0, identifyGroups - 1);
    Object.assign(data, this.self, groups.length > 0 && { groups });
    return this.further.slice(identifyGroups - 1);
  }

  /** Subscribes a connection that has just identified to the groups that IDENTIFY had no room for. */
  async rest(s: Session, groups = this.further): Promise<void> {
    if (groups.length > 0) await (await this.load()).rest(s, groups);
  }

  /** Notes a change that the hub has carried out. */
  apply(code: number, { groups = [], watch = [], meta, weight }: ChangeData): void {
    const without = (list: string[], names: string[]) => list.filter((g) => !names.includes(g));
    this.further = without(this.further, groups);
    this.watched = without(this.watched, watch);
    if (code === op.unsubscribe) return;
    this.further.push(...new Set(without(groups, [this.core.settings.group])));
    this.watched.push(...new Set(watch));
    this.meta = meta ?? this.meta;
    this.weight = weight ?? this.weight;
  }

  /** Handles an answer, or a change that an operator made. */
  changed(s: Session, w: Wire): void {
    if (this.changes) this.changes.changed(s, w);
    else void this.load().then((changes) => { changes.changed(s, w); }, (err: unknown) => { s.end(asError(err)); });
  }
}

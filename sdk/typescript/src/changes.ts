import type { Core } from "./core.js";
import { ClientError, cut, GroupError } from "./errors.js";
import type { ChangeData } from "./groups.js";
import type { Session } from "./session.js";
import { type Wait, waiting } from "./wait.js";
import { badGroup, newID, object, op, text, utf8Length, type Wire } from "./wire.js";

/** How many groups a SUBSCRIBE behind IDENTIFY names at most. */
const restGroups = 64;
/** How long the hub may take to answer a change, more than it takes at most, in ms. */
const changeTime = 15_000;
/** Begins the ids of requests. */
const changePrefix = "groups:";

/** The connection ended before the answer came. */
export class LostError extends Error {}

const refusal = (code: string, group: string, explanation: string): GroupError =>
  new GroupError(
    code,
    `${group ? `group ${cut(group, 150)} ` : ""}refused by the hub: ${code}${explanation ? `: ${explanation}` : ""}`,
    group,
    explanation,
  );

interface OpenChange {
  session: Session;
  settle: (answer: Record<string, unknown> | Error) => void;
}

/** Changes of what a client is: its groups, watches and holds, and what it says of itself. */
export class Changes {
  private arrived: (() => void)[] = []; // wait for a session that sends
  private readonly open = new Map<string, OpenChange>(); // that wait for their answer, by id

  constructor(private readonly core: Core) {}

  /** Wakes up the changes that wait for a connection: there is one, or the client has ended. */
  wake(): void {
    for (const resolve of this.arrived.splice(0)) resolve();
  }

  /** Fails the requests on a session that has ended. */
  ended(s: Session): void {
    for (const { session, settle } of this.open.values()) if (session === s) settle(new LostError());
  }

  /** Returns the session that sends, once there is one. */
  async sender(): Promise<Session> {
    for (;;) {
      if (this.core.error) throw new ClientError("CLOSED", "client closed", this.core.error);
      const { current } = this.core.memberships;
      if (current && !current.error) return current;
      await new Promise<void>((resolve) => this.arrived.push(resolve));
    }
  }

  /** Carries out a change within the wait. */
  change(code: number, data: ChangeData, options?: Wait): Promise<void> {
    return waiting(this.repeat(code, data), options);
  }

  /** Carries out a change, on the next connection where the current one is lost. */
  private async repeat(code: number, data: ChangeData): Promise<void> {
    for (const g of [...(data.groups ?? []), ...(data.watch ?? [])]) {
      const why = badGroup(g);
      if (why) throw new ClientError("INVALID", why);
    }
    for (;;) {
      await this.sender();
      const done = await this.core.memberships.begin();
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
    const s = this.core.memberships.current;
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
    this.core.memberships.apply(code, data);
    if (code === op.subscribe) this.core.stream.subscribed(s);
  }

  /** Subscribes a connection that has just identified to further groups. */
  async rest(s: Session, groups: string[]): Promise<void> {
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
      this.core.memberships.apply(w.op, { groups });
      this.core.log.info?.("an operator changed the groups", { op: w.op, groups });
      return;
    }
    const change = this.open.get(w.id);
    if (change?.session !== s) return;
    if (data.error === undefined) change.settle(data);
    else {
      const err = object(data.error, "refusal");
      change.settle(refusal(text(err.code, "code"), text(err.group, "group"), text(err.message, "message")));
    }
  }
}

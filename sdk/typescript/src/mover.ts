import { Backoff, crowdedDelay } from "./backoff.js";
import type { Core } from "./core.js";
import type { Delivery } from "./dispatch.js";
import { ClientError } from "./errors.js";
import { handOver } from "./hold.js";
import { leaveTimeout, type Phase } from "./move/machine.js";
import type { Notice } from "./notice.js";
import { goodbyeTimeout, type Session } from "./session.js";
import { within } from "./wait.js";
import { type MovingStream, moveTick } from "./moving.js";

// Times are in ms.

/**
 * How long the client records messages before it dials the new connection. The new instance may lag behind the old one by this
 * much without a duplicate.
 */
const recordTime = 250;
/** The minimum when there is hardly any time to move. It also paces reconnects to a hub that keeps asking to move. */
const minRecordTime = 100;
/** How long answers are awaited on an old connection without a deadline. */
const answerTime = 30_000;
/** The most time that a move spends on exclusive groups. */
const handOverTime = 1_000;
/** How often a client may reach its old instance in a rebalance before it stays there. */
const sameTries = 3;
/** The most failures of a rebalance. */
const moveTries = 10;

const newSends = (phase: Phase): boolean => ["Lingering", "Clearing", "Leaving", "Merging"].includes(phase);

const sameInstance = (a: Session, b: Session): boolean => a.identity.id.slice(0, 8) === b.identity.id.slice(0, 8);

/** The new connection leads to the same instance. */
class SameInstanceError extends ClientError {
  constructor() {
    super("CONNECTION", "the new connection leads to the same instance");
  }
}

/** Moves the client to another connection after a DRAIN. */
export class Mover {
  private readonly backoff: Backoff;
  private begun: () => void = () => undefined; // lets the groups change again, see Memberships.begin
  private began = 0;
  private same = 0; // connections to the old instance
  private tries = 0; // failures

  constructor(
    private readonly core: Core,
    private readonly old: Session,
    private notice: Notice,
    private readonly stream: MovingStream,
  ) {
    this.backoff = new Backoff(core.settings);
  }

  /** Follows a DRAIN. It returns the session to continue with, which may be the old one. */
  async move(): Promise<Session> {
    try {
      if (!(await this.awaitSlot())) return this.old;
      for (this.began = performance.now(); ; ) {
        let failure: Error;
        try {
          const next = await this.connect();
          const session = await this.cross(next);
          if (session) return session;
          failure = next.error ?? new ClientError("CONNECTION", "the new connection was lost");
        } catch (err) {
          failure = err as Error;
        }
        if (!(await this.again(failure))) return this.old;
      }
    } finally {
      this.begun();
      this.stream.stopRecording();
    }
  }

  /** Waits until it is time to connect. It returns false if the old session ended or the client was closed. */
  private async awaitSlot(): Promise<boolean> {
    const { core } = this;
    const { reason, due, arrived, deadline } = this.notice;
    core.log.info?.("asked to move", { reason, node: this.old.identity.node, in: due - arrived, deadlineIn: deadline && deadline - arrived });
    if (!(await this.awaitDue())) return false;
    // All clients add the same time to their slots, so that the slots stay apart.
    this.stream.startRecording();
    if (!(await this.awaitQuiet())) return false;
    const by = this.notice.leaveBy;
    const lead = by === undefined ? recordTime : Math.min(recordTime, Math.max((by - performance.now()) / 4, minRecordTime));
    for (const until = performance.now() + lead; performance.now() < until; ) {
      if (!(await this.pause(until - performance.now()))) return false;
    }
    return true;
  }

  private get over(): boolean {
    return this.old.done || this.core.closing;
  }

  /** Waits for ms or until the next DRAIN. It returns false if the old session ended or the client was closed. */
  private async pause(ms: number): Promise<boolean> {
    for (const until = performance.now() + ms; !this.over; ) {
      const left = until - performance.now();
      if (this.takeNotice() || left <= 0) return true;
      await this.core.wakeUp(left);
    }
    return false;
  }

  private takeNotice(): boolean {
    if (!this.old.drained || !this.old.notice) return false;
    this.notice = this.old.notice;
    this.old.drained = false;
    return true;
  }

  /** Waits for the slot of the last DRAIN. */
  private async awaitDue(): Promise<boolean> {
    for (let wait = this.notice.due - performance.now(); wait > 0; wait = this.notice.due - performance.now()) {
      if (!(await this.pause(wait))) return false;
    }
    return true;
  }

  /** Waits until all messages of the last attempt are handed out. */
  private async awaitQuiet(): Promise<boolean> {
    while (!this.stream.quiet) {
      if (this.over) return false;
      await this.core.wakeUp();
    }
    return true;
  }

  /** Opens the new connection. If the old one ends in the meantime, the attempt serves as the reconnect. */
  private async connect(): Promise<Session> {
    const { stream } = this;
    let dialed: Session | undefined;
    let next: Session;
    this.begun();
    this.begun = await this.core.memberships.begin();
    try {
      next = await this.core.open(this.notice.reason === "expiry" ? this.old.token : undefined, (s) => {
        dialed = s;
        s.replaces = this.old.identity.id;
        stream.begin(this.old, s);
      });
    } catch (err) {
      stream.ended(dialed);
      this.begun();
      throw err;
    }
    if (this.notice.optional && sameInstance(next, this.old)) {
      this.same++;
      this.begun();
      await this.turnBack(next);
      throw new SameInstanceError();
    }
    if (this.core.holds.size > 0) await within(handOver(this.core, this.old, next), handOverTime);
    return next;
  }

  /**
   * Leaves an unwanted new connection. It reads the connection to its end, because the hub may already have drawn it for an ANY.
   */
  private async turnBack(next: Session): Promise<void> {
    next.start();
    next.setMode("revoking");
    for (const until = performance.now() + goodbyeTimeout; !next.done && !this.over; ) {
      const left = until - performance.now();
      if (left <= 0) break;
      await this.core.wakeUp(left);
    }
    next.end(new ClientError("CLOSED", "an unwanted connection"));
    this.stream.ended(next);
  }

  /** Waits and reports whether to connect once more. */
  private async again(failure: Error): Promise<boolean> {
    const { core, notice } = this;
    if (!(failure instanceof SameInstanceError)) this.tries++;
    if (notice.optional && (this.same >= sameTries || this.tries >= moveTries)) {
      core.log.info?.("stays where it is", { node: this.old.identity.node, error: failure });
      return false;
    }
    let delay = this.backoff.next() + crowdedDelay(failure);
    if (notice.leaveBy !== undefined) delay = Math.min(delay, Math.max((notice.leaveBy - performance.now()) / 2, 100));
    core.log.warn?.("could not move yet", { error: failure, nextAttemptIn: delay });
    if (!(await this.pause(delay)) || !(await this.awaitQuiet())) return false;
    if (this.notice !== notice && !(await this.awaitDue())) return false;
    const by = this.notice.leaveBy;
    return by === undefined || performance.now() < by;
  }

  /**
   * Changes over to the new connection and returns it. It returns undefined if the new one has ended and the old one can go on.
   */
  private async cross(next: Session): Promise<Session | undefined> {
    const { core, old } = this;
    const began = performance.now();
    this.stream.addOwnID(old.identity.id); // again: failed attempts may have displaced it
    this.stream.addOwnID(next.identity.id);
    this.stream.newIdentified();
    next.start();
    for (;;) {
      if (old.done) {
        this.arrive(next);
        return next;
      }
      if (next.done) return this.goBack(next);
      if (core.closing) {
        await this.closeBoth(next);
        return next;
      }
      this.takeNotice();
      if (newSends(this.stream.phase)) this.begun();
      this.stream.observe({
        due: this.stream.phase === "Lingering" && core.pending.count(old) + (core.requests?.duties.count(old) ?? 0) > 0,
        hurry: this.leaveBy(next, began) < performance.now(),
        silent: !old.isStalled && old.silence >= leaveTimeout,
      });
      await core.wakeUp(moveTick);
    }
  }

  /** When the old connection must be left. It is earlier if the new one must be left soon, too. */
  private leaveBy(next: Session, began: number): number {
    const by = this.notice.leaveBy ?? began + answerTime;
    const n = next.notice;
    return n?.leaveBy === undefined ? by : Math.min(by, n.arrived + (n.leaveBy - n.arrived) / 2);
  }

  /** Completes a move whose old connection has ended. */
  private arrive(next: Session): void {
    const { core, old, notice } = this;
    const lost = new ClientError("CONNECTION", "the connection was lost while moving to another instance", old.error);
    const announcements = [core.lost(lost), core.found(next)].filter((d): d is Delivery => d !== undefined);
    if (this.stream.ended(old, announcements)) {
      core.log.warn?.("the old connection ended too early in a move; messages may be lost", { error: old.error });
    }
    core.log.info?.("moved", {
      reason: notice.reason,
      id: next.identity.id,
      node: next.identity.node,
      oldID: old.identity.id,
      oldNode: old.identity.node,
      took: performance.now() - this.began,
      sendsWaited: this.stream.paused,
    });
  }

  /**
   * Handles the end of the new connection. If the old one has already been left, both are gone, and it returns the new one.
   */
  private async goBack(next: Session): Promise<Session | undefined> {
    const { core, old } = this;
    core.log.warn?.("the new connection was lost in a move", { error: next.error });
    if (this.stream.newEnded()) {
      this.begun();
      return undefined;
    }
    for (const until = performance.now() + goodbyeTimeout; !old.done; ) {
      const left = until - performance.now();
      if (left <= 0) old.end(new ClientError("SILENT", "the hub did not end the old connection"));
      else await core.wakeUp(left);
    }
    this.stream.ended(old); // before the new one, so that all its messages are handed out
    this.stream.ended(next);
    return next;
  }

  /** Ends both sessions. The one that may send writes the queue. */
  private async closeBoth(next: Session): Promise<void> {
    const { core, old } = this;
    const phase = this.stream.freeze();
    const [sender, rest] = newSends(phase) ? [next, old] : [old, next];
    sender.setMode("finishing");
    if (phase !== "Leaving") rest.setMode("closing");
    while (!sender.done) await core.wakeUp();
    if (phase === "Leaving") rest.end(new ClientError("CLOSED", "client closed")); // it has sent DISCONNECT
    while (!rest.done) await core.wakeUp();
  }
}

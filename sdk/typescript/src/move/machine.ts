/**
 * The state machine with which a client moves from one connection to another without losing, duplicating or reordering a
 * message.
 *
 * It has no clock and does no I/O. Its owner reports what happens on the two connections and the time that passes, executes
 * the actions that result, and hands out the messages in the order of `next`. docs/sdk.md has its table.
 *
 * A message to many arrives on both connections, a message to one client on one of them. They are handed out in the order of
 * the old connection, each together with its copy on the new one. What the same sender sent earlier to the new connection
 * alone is handed out before. FENCEs bound the waiting: one that arrives on the new connection shows that messages which the
 * old one had received when it was sent have no copy to come; one that arrives on the old connection shows that nothing can
 * still precede what the new one had received when it was sent.
 */
import { Copies, Recent } from "./copies.js";
import { fenceInterval, type Held, type Parcel, SideState, toOne } from "./side.js";

export type { Parcel } from "./side.js";

/** One of the two connections. Without a move there is only the old one. */
export type Side = "old" | "new";

/** The progress of a move, in its order. */
export const phases = [
  "Single", // there is one connection, which sends
  "Opening", // the new connection has not identified yet
  "Joining", // waits until everything that the new connection is too late for has arrived on the old one
  "Stopping", // waits until the old connection has stopped sending
  "Switching", // nothing is sent until everything sent on the old connection is published
  "Lingering", // the new connection sends; the old one stays for the answers that are due on it
  "Clearing", // waits until everything on its way to the old connection has arrived
  "Leaving", // the old connection is read to its end
  "Merging", // one of the connections has ended; the held messages are handed out
] as const;

export type Phase = (typeof phases)[number];

/** What the owner of a Machine must do. */
export interface Action {
  /**
   * SendFence: write a FENCE to the other connection, see fenceSent. StopSending: send nothing more on this connection, then
   * call stopped. StartSending: send on this connection, and on no other. Leave: write DISCONNECT and nothing more. End: cut
   * this connection, which does not do what it should. Doubt: log that no FENCE arrived on this connection, so that messages
   * may be lost or out of order.
   */
  kind: "SendFence" | "StopSending" | "StartSending" | "Leave" | "End" | "Doubt";
  side: Side;
  /** How long the phase had lasted, in ms. */
  after: number;
}

/** What becomes of a message that arrived: it is handed out at once, next returns it, or a copy was handed out. */
export type Verdict = "deliver" | "hold" | "drop";

/** What the owner knows of the old connection. */
export interface Conditions {
  /** Answers are due on it. */
  due?: boolean;
  /** It should have been left. */
  hurry?: boolean;
  /** It was silent for leaveTimeout. */
  silent?: boolean;
}

// The timeouts of a move, in ms of the time that tick counts.
const fenceTimeout = 10_000; // a move waits so long for a FENCE before it goes on without
const hurryTime = 200; // replaces fenceTimeout once the old connection should have been left
const settleTime = 500; // the old connection lingers at least so long, for clients that still address its id
const clearTimeout = 1_000; // a move waits so long for the FENCE that shows that nothing is on its way to the old connection
export const leaveTimeout = 5_000; // the hub may take so long to end the old connection after DISCONNECT
const fenceRenewal = 3_000; // the longest time between two FENCEs to the old connection, so that no ANY draws it
const lateTime = 60_000; // messages are remembered so long after a move to recognize their copies

// How long a message of the old connection waits for its copy on the new one without a FENCE.
const holdTime = 3_000;
const identifyHold = 1_000; // while no FENCE can be sent
const fullHold = 200; // while the new side is full, so that its copy can't be read

export class Machine<T> {
  private state: Phase = "Single";
  private now = 0; // the sum of all ticks
  private since = 0; // when the phase began; Switching keeps that of Stopping
  private conditions: Conditions = {};
  private pendingActions: Action[] = [];
  private droppedCopies: Parcel<T>[] = [];
  /** How long nothing was sent in the last move, in ms. */
  paused = 0;

  private plain = false; // the new instance does not support FENCE
  private joined = false; // everything that the new connection is too late for has arrived on the old one
  private switched = false; // everything sent on the old connection is published
  private cut = false; // the owner was told to end the old connection

  private recording = false; // messages to many are remembered, because a move is near
  private recent = new Recent();
  private drops = new Copies(); // expected on the only connection, or on the old one

  // What one move holds.
  private from = new SideState<T>();
  private to = new SideState<T>();
  private dropsNew = new Copies(); // expected on the new connection
  private released = 0; // messages of the new connection up to this one can be handed out
  private copied = 0; // messages of the old connection up to this one have no copy to come
  private waits = 0; // the message of the old connection that waits for its copy
  private waitsSince = 0; // when its wait began
  private fenced = false; // all further messages of the old connection have a copy
  private impatient = false; // a message has waited too long; none waits until the new connection identifies or gets a FENCE

  get phase(): Phase {
    return this.state;
  }

  /** Returns the actions since the last call, in their order. */
  actions(): Action[] {
    const all = this.pendingActions;
    if (all.length > 0) this.pendingActions = [];
    return all;
  }

  /** Makes the Machine remember messages that are handed out, so that their copies on a new connection are recognized. */
  record(): void {
    this.recording = true;
    this.recent = new Recent();
  }

  stopRecording(): void {
    this.recording = false;
    this.recent = new Recent();
  }

  /**
   * Begins a move. The owner calls it before the new connection identifies: from then on there may be messages to the new one
   * alone, which must precede later messages of the same sender to both. The phase must be Single.
   */
  begin(): void {
    this.reset();
    for (const key of this.recent.all()) this.dropsNew.add(key, 0);
    this.plain = this.joined = this.switched = this.cut = false;
    this.paused = 0;
    this.conditions = {};
    this.enter("Opening");
  }

  /** Reports that the new connection has identified, and whether its instance supports FENCE. */
  identified(fences: boolean): void {
    if (this.state !== "Opening") {
      this.plain ||= !fences;
      return;
    }
    this.plain = !fences;
    this.impatient = this.impatient && this.plain;
    this.enter("Joining");
    this.advance();
  }

  /** Reports that the old connection has stopped sending. */
  stopped(): void {
    if (this.state !== "Stopping") return;
    this.state = "Switching";
    this.advance();
  }

  observe(c: Conditions): void {
    this.conditions = c;
    this.advance();
  }

  /**
   * Reports that time has passed. The owner leaves out times in which its process was paused, because what arrived in the
   * meantime is unread.
   */
  tick(elapsed: number): void {
    this.now += elapsed;
    this.advance();
  }

  /**
   * Reports the end of a connection. It returns true if messages may be lost: the old connection ended before everything had
   * arrived on it. Then next returns mark, if there is one, behind the messages of the old connection.
   */
  ended(side: Side, mark?: T): boolean {
    if (this.state === "Single" || this.side(side).ended) return false;
    this.side(side).ended = true;
    const lost = side === "old" && this.before("Lingering") && !this.joined;
    if (side === "new" && !this.before("Stopping") && this.before("Leaving")) this.act("StartSending", "old");
    else if (side === "old" && this.before("Lingering")) this.act("StartSending", "new");
    if (lost && mark !== undefined) {
      this.from.push({ kind: "mark", key: 0, sender: "", toMany: false, size: 0, value: mark, n: 0, at: this.now });
    }
    this.state = "Merging";
    return lost;
  }

  // Messages.

  /** Reports whether a connection must not be read, because too many of its messages are held. */
  full(side: Side): boolean {
    return this.state !== "Single" && this.side(side).full;
  }

  /** Reports whether messages to many need their key. */
  get needsKey(): boolean {
    return this.state !== "Single" || this.recording || !this.drops.empty;
  }

  /** Reports a message that arrived on a connection; without a move, on the old one. */
  receive(side: Side, msg: Parcel<T>): Verdict {
    if (msg.key !== 0 && (side === "old" ? this.drops : this.dropsNew).consume(msg.key, this.now)) return "drop";
    if (this.state === "Single") {
      this.note(msg.key);
      return "deliver";
    }
    const on = this.side(side);
    on.push({ ...msg, kind: "message", n: ++on.arrived, at: this.now });
    this.wantFences();
    return "hold";
  }

  /**
   * Returns the next message to hand out; undefined if there is none now. When all messages of a move with an ended connection
   * are handed out, the phase is Single.
   */
  next(): Parcel<T> | undefined {
    if (this.state === "Single") return undefined;
    const { from, to } = this;
    for (let h = from.front; ; h = from.front) {
      const first = to.front;
      if (first && first.n <= this.released) return this.nextOfNew(first);
      if (!h) break;
      if (h.kind === "fence") {
        this.released = h.n;
        this.fenced = true;
        from.shift();
      } else if (h.kind === "mark" || toOne(h)) {
        return from.shift();
      } else {
        return this.nextOfBoth(h);
      }
    }
    if (from.ended) {
      if (to.front) return this.nextOfNew(to.front);
      this.drops = this.dropsNew.leftover(this.now + lateTime);
      this.end();
    } else if (to.ended) {
      return this.nextOfLost();
    }
    return undefined;
  }

  /** Returns the messages that next has dropped since the last call, because copies of them are handed out. */
  dropped(): Parcel<T>[] {
    const all = this.droppedCopies;
    if (all.length > 0) this.droppedCopies = [];
    return all;
  }

  // FENCEs.

  /**
   * Reports that a connection is about to write a FENCE with the given id. It returns false if that is of no use; the FENCE must
   * then not be written.
   */
  fenceSent(side: Side, id: string): boolean {
    if (!this.fencing) return false;
    const on = this.side(side);
    on.fences.add({
      id,
      reach: on.arrived,
      at: this.now,
      last: side === "old" && !this.before("Switching"),
      clear: side === "new" && this.state === "Clearing",
    });
    return true;
  }

  /** Reports that a FENCE of the other connection has arrived on a connection. */
  fenceArrived(side: Side): void {
    if (!this.fencing) return;
    const f = (side === "new" ? this.from : this.to).fences.arrived();
    if (f && side === "new") {
      this.copied = f.reach;
      this.impatient = false;
      this.dropsNew.forget(f.reach);
      this.switched ||= f.last;
      if (f.last && this.state === "Switching") this.changeOver();
    } else if (f) {
      this.joined = true;
      this.drops.forget(f.reach);
      this.from.push({ kind: "fence", key: 0, sender: "", toMany: false, size: 0, value: undefined as T, n: f.reach, at: this.now });
      if (this.state === "Joining") this.stop();
      else if (this.state === "Clearing" && f.clear) this.leave();
    }
    this.advance();
  }

  /** Reports that the hub has refused a FENCE of a connection. It is sent again. */
  fenceRefused(side: Side, id: string): void {
    this.side(side).fences.refused(id, this.now);
    this.advance();
  }

  // The phases.

  private before(phase: Phase): boolean {
    return phases.indexOf(this.state) < phases.indexOf(phase);
  }

  private side(side: Side): SideState<T> {
    return side === "old" ? this.from : this.to;
  }

  private reset(): void {
    this.from = new SideState();
    this.to = new SideState();
    this.dropsNew = new Copies();
    this.released = this.copied = this.waits = this.waitsSince = 0;
    this.fenced = this.impatient = false;
  }

  private end(): void {
    this.reset();
    this.state = "Single";
  }

  private act(kind: Action["kind"], side: Side): void {
    this.pendingActions.push({ kind, side, after: this.now - this.since });
  }

  private enter(phase: Phase): void {
    this.state = phase;
    this.since = this.now;
  }

  /** Enters the next phase if its condition is met without a FENCE, and asks for FENCEs. */
  private advance(): void {
    this.step();
    this.wantFences();
  }

  private step(): void {
    const here = this.now - this.since;
    const { due, hurry, silent } = this.conditions;
    switch (this.state) {
      case "Joining":
        if (this.late) {
          this.act("Doubt", "old");
          this.stop();
        }
        break;
      case "Stopping":
        if (this.overdue) this.cutOld();
        break;
      case "Switching":
        if (this.late) {
          this.act("Doubt", "new");
          this.changeOver();
        }
        break;
      case "Lingering":
        if (hurry || (!due && here >= settleTime)) this.enter("Clearing");
        break;
      case "Clearing":
        if (hurry || here >= clearTimeout) this.leave();
        break;
      case "Leaving":
        if (silent && here >= leaveTimeout) this.cutOld();
    }
  }

  /** Reports whether to wait for a FENCE no longer. */
  private get late(): boolean {
    return this.plain || this.overdue;
  }

  /** Reports whether the phase has lasted too long. */
  private get overdue(): boolean {
    const here = this.now - this.since;
    return here >= fenceTimeout || (this.conditions.hurry === true && here >= hurryTime);
  }

  private cutOld(): void {
    if (this.cut) return;
    this.cut = true;
    this.act("End", "old");
  }

  private stop(): void {
    this.enter("Stopping");
    this.act("StopSending", "old");
  }

  private changeOver(): void {
    this.paused = this.now - this.since;
    this.enter("Lingering");
    this.act("StartSending", "new");
  }

  private leave(): void {
    this.enter("Leaving");
    this.act("Leave", "old");
  }

  /** Whether the connections can exchange FENCEs. */
  private get fencing(): boolean {
    return !this.before("Joining") && this.before("Merging") && !this.plain;
  }

  /** Asks for FENCEs if messages or the phase wait for them. */
  private wantFences(): void {
    if (!this.fencing) return;
    const { from, to, now } = this;
    // The old connection sends FENCEs only behind its last message.
    const copyDue = from.front?.n === this.waits && this.waits > this.copied;
    if (!this.before("Switching") && (copyDue || !this.switched) && from.fences.due(now)) this.act("SendFence", "old");
    const orderDue =
      to.alone > 0 || (to.front !== undefined && now - to.front.at > fenceInterval) || now - to.fences.last > fenceRenewal;
    if ((orderDue || !this.joined || this.state === "Clearing") && to.fences.due(now)) this.act("SendFence", "new");
  }

  // Merging.

  /** Remembers a message to many that is handed out. */
  private note(key: number): void {
    if (this.recording && key !== 0) this.recent.add(key);
  }

  /** Returns the first message of the new connection, which nothing can precede. */
  private nextOfNew(h: Held<T>): Parcel<T> {
    if (h.key !== 0 && !this.from.ended) this.drops.add(h.key, h.n); // its copy is still to arrive on the old one
    this.note(h.key);
    return this.to.shift();
  }

  /**
   * Returns the first message of the old connection, h, or a message of the new one that precedes it; undefined if that is not
   * known yet.
   */
  private nextOfBoth(h: Held<T>): Parcel<T> | undefined {
    const at = this.to.copyOf(h.key);
    if (at >= 0) {
      const before = this.to.aloneBefore(at, h.sender);
      if (before >= 0) return this.to.removeAt(before);
      this.droppedCopies.push(this.to.removeAt(at));
    } else if (h.n > this.copied) {
      if (this.awaitsCopy(h)) return undefined;
      this.dropsNew.add(h.key, h.n);
    }
    this.note(h.key);
    return this.from.shift();
  }

  /** Reports whether the first message of the old connection must wait because its copy may still arrive. */
  private awaitsCopy(h: Held<T>): boolean {
    const { from, to } = this;
    if (this.impatient || to.ended || (from.ended && !this.joined)) return false;
    let most = holdTime;
    if (this.state === "Opening" || this.plain || (from.ended && !this.switched && !this.fenced)) most = identifyHold;
    else if (to.full) most = fullHold;
    if (this.waits !== h.n) {
      this.waits = h.n;
      this.waitsSince = this.now;
      this.wantFences();
    }
    this.impatient = this.now - this.waitsSince >= most;
    return !this.impatient;
  }

  /** Returns the messages that only the new connection got, after it ended before the old one. */
  private nextOfLost(): Parcel<T> | undefined {
    for (let h = this.to.front; h; h = this.to.front) {
      this.to.shift();
      if (toOne(h)) return h;
    }
    this.drops.until = this.now + lateTime;
    this.end();
    return undefined;
  }
}

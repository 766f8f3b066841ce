import { appendAnnouncement, type Delivery } from "./dispatch.js";
import { asError, ClientError } from "./errors.js";
import type { Message } from "./message.js";
import { type Action, type Conditions, Machine, type Phase, type Side } from "./move/machine.js";
import { goodbyeTimeout, type Session } from "./session.js";
import { Stream } from "./stream.js";
import { op } from "./wire.js";

/** How often the timeouts of held messages are checked, in ms. */
const pumpTick = 100;

/** How often a move checks its timeouts, in ms. */
export const moveTick = 10;

/** How long a connection that is left waits for the answers to the requests that came over it last, in ms. */
const dutyTime = 2_000;

/** The time between two ticks that shows that this process was paused, in ms. */
const longGap = 1_000;

type Item = Message | Delivery[];

/**
 * Merges what a client receives on its connections into one sequence without duplicates, and executes the actions of its
 * Machine. Without a move it hands messages out as they are read. During a move pump hands them out.
 */
export class MovingStream extends Stream {
  private readonly machine = new Machine<Item>();
  private readonly seed = Math.floor(Math.random() * 2 ** 32);
  private sessions: Partial<Record<Side, Session>> = {}; // of the current move
  private later: Session | undefined; // opened after a move whose messages are still being handed out
  private ticked = performance.now(); // the machine's last tick
  private frozen = false; // close ends both sessions, which change no more
  private ticker: ReturnType<typeof setInterval> | undefined; // while messages of a move are being handed out
  private pumping = false; // pump is running
  private behind: Delivery[] = []; // behind these messages
  private readonly stale = new Set<Session>(); // groups were subscribed to on another session of a move alone

  // Moves.

  /** Makes the stream remember messages that it hands out, so that their copies on the next connection are recognized. */
  startRecording(): void {
    this.machine.record();
  }

  stopRecording(): void {
    this.machine.stopRecording();
  }

  /** Starts a move between two sessions. It must be called before the new session identifies. */
  begin(from: Session, to: Session): void {
    this.tick();
    this.sessions = { old: from, new: to };
    this.machine.begin();
    this.ticker ??= setInterval(() => {
      this.tick();
      this.perform();
      this.pump();
    }, pumpTick);
  }

  /** Reports that the new session has identified. */
  newIdentified(): void {
    this.tick();
    this.machine.identified(this.sessions.new?.has("drain") === true);
    this.perform();
  }

  /** Whether all messages of the last move are handed out. */
  override get quiet(): boolean {
    return this.ticker === undefined;
  }

  override get phase(): Phase {
    return this.machine.phase;
  }

  /** The connection that the client is about to leave, which still receives. */
  override get left(): Session | undefined {
    return ["Lingering", "Clearing"].includes(this.machine.phase) ? this.sessions.old : undefined;
  }

  /** How long sends were paused in the last move, in ms. */
  get paused(): number {
    return this.machine.paused;
  }

  /** Makes the stream change no session any more, and returns the phase of the move. */
  freeze() {
    this.frozen = true;
    return this.machine.phase;
  }

  /** Ends the sessions of a move. */
  override cutOff(err: Error): void {
    this.sessions.old?.end(err);
    this.sessions.new?.end(err);
  }

  /** Reports what the client knows of the old connection, and the time. */
  observe(c: Conditions): void {
    this.tick();
    this.machine.observe(c);
    this.perform();
    this.pump();
  }

  /**
   * Reports the end of a session of the move. It returns true if messages may be lost; the announcements then follow the messages of
   * the old connection.
   */
  override ended(s: Session | undefined, announcements?: Delivery[]): boolean {
    const side = this.sideOf(s);
    if (!side) return false;
    const lost = this.machine.ended(side, announcements);
    if (lost && this.sessions.new) this.core.identity = this.sessions.new.identity; // announced behind the old messages
    this.perform();
    this.pump();
    return lost;
  }

  /** The same for the new session, unless the old one has been left. Then it returns false. */
  newEnded(): boolean {
    if (this.machine.phase === "Leaving") return false;
    this.ended(this.sessions.new);
    return true;
  }

  /** Reports that a session sends nothing more. */
  override stopped(s: Session): void {
    if (this.sideOf(s) !== "old") return;
    this.machine.stopped();
    this.perform();
  }

  // FENCEs.

  /** The receiver of a FENCE that the session is about to write; undefined if there is no use for one. */
  override nextFence(s: Session, id: string): string | undefined {
    const side = this.sideOf(s);
    if (!side || !this.machine.fenceSent(side, id)) return undefined;
    return this.sessions[other(side)]?.identity.id;
  }

  override fenceArrived(s: Session, sender: string): void {
    const side = this.sideOf(s);
    // Any client may send a FENCE to this one. The new session has no id before Joining.
    if (!side || this.machine.phase === "Opening" || sender !== this.sessions[other(side)]?.identity.id) return;
    this.tick();
    this.machine.fenceArrived(side);
    this.perform();
    this.pump();
  }

  override fenceRefused(s: Session, id: string): void {
    const side = this.sideOf(s);
    if (!side) return;
    this.machine.fenceRefused(side, id);
    this.perform();
  }

  // Messages.

  /** Queues an announcement behind the messages of the last move. */
  override announce(d: Delivery): void {
    if (this.quiet) this.core.dispatcher.announce(d);
    else appendAnnouncement(this.behind, d, 0);
  }

  /**
   * Handles a message that the session has read. It returns false if the message has to wait, and calls Session.readOn when it need not
   * any more. Forced, it takes the message in any case: its session has ended.
   */
  override receive(s: Session, m: Message, force: boolean): boolean {
    if (this.core.quitting) return true;
    const side = this.sideOf(s);
    if (!side && !this.quiet) {
      if (force) this.behind.push({ message: m });
      else this.later = s;
      return force;
    }
    if (side && !force && this.machine.full(side)) return false;
    const single = this.machine.phase === "Single";
    if (single && !force && this.core.dispatcher.full && this.core.wants(m)) return false;
    if (this.isEcho(m)) return true;
    const { needsKey } = this.machine;
    if (needsKey) this.tick();
    const key = needsKey && m.toMany ? hash(m.raw, this.seed) : 0;
    const verdict = this.machine.receive(side ?? "old", { key, sender: m.sender, toMany: m.toMany, size: m.raw.length, value: m });
    if (needsKey) this.perform();
    if (verdict === "deliver") this.core.give(m);
    else if (verdict === "hold") this.pump();
    else this.core.requests?.duties.dropCopy(m);
    return true;
  }

  /** Lets sessions read on that had to wait for room in the queue to handlers. */
  override roomInQueue(): void {
    this.pump();
    this.core.session?.readOn();
    this.sessions.old?.readOn();
    this.sessions.new?.readOn();
    this.later?.readOn();
  }

  /** Hands out the messages of a move, until one of its connections has ended and all messages are handed out. */
  private pump(): void {
    if (this.pumping || this.quiet) return;
    this.pumping = true;
    while (!this.core.dispatcher.full && !this.core.quitting) {
      const m = this.machine.next();
      for (const { value } of this.machine.dropped()) if (!Array.isArray(value)) this.core.requests?.duties.dropCopy(value);
      this.perform();
      if (!m) break;
      if (Array.isArray(m.value)) for (const d of m.value) this.core.dispatcher.announce(d);
      else this.core.give(m.value);
    }
    this.pumping = false;
    if (this.machine.phase === "Single" || this.core.quitting) this.finish();
    this.sessions.old?.readOn();
    this.sessions.new?.readOn();
  }

  /** Ends the move and hands out what waits behind its messages. */
  private finish(): void {
    clearInterval(this.ticker);
    this.ticker = undefined;
    const { later, behind } = this;
    const left = Object.values(this.sessions);
    if (this.machine.phase === "Single") this.sessions = {};
    this.later = undefined;
    this.behind = [];
    for (const d of behind) {
      if (d.message) this.core.give(d.message);
      else this.core.dispatcher.announce(d);
    }
    for (const s of [...left, later]) s?.readOn();
    this.core.wake();
  }

  /**
   * Reports the time to the machine. In a move it leaves out a pause of this process, such as SIGSTOP: what arrived in the meantime is
   * still unread.
   */
  private tick(): void {
    const now = performance.now();
    const elapsed = now - this.ticked;
    this.ticked = now;
    this.machine.tick(elapsed > longGap && this.machine.phase !== "Single" ? moveTick : elapsed);
  }

  /** The session's side of the move; undefined if it has none. */
  private sideOf(s: Session | undefined): Side | undefined {
    if (this.machine.phase === "Single" || !s) return undefined;
    if (s === this.sessions.old) return "old";
    return s === this.sessions.new ? "new" : undefined;
  }

  // Actions.

  /** Executes the machine's actions. */
  private perform(): void {
    for (const a of this.machine.actions()) {
      const s = this.sessions[a.side];
      if (a.kind === "Doubt") this.logDoubt(a);
      else if (!s || this.frozen) continue;
      else if (a.kind === "SendFence") s.writeFence();
      else if (a.kind === "StopSending") s.setMode("waiting");
      else if (a.kind === "StartSending") this.use(s);
      else if (a.kind === "Leave") this.leave(s);
      else queueMicrotask(() => { s.end(endReason(a)); }); // it hands out what has arrived
    }
  }

  /** Says goodbye on a session, once the last answers that are owed over it are written, or after dutyTime. */
  private leave(s: Session, until = performance.now() + dutyTime): void {
    const wait = this.core.requests?.duties.count(s) && performance.now() < until && !s.error && !this.core.closing;
    if (wait) setTimeout(() => { this.leave(s, until); }, moveTick);
    else s.setMode("leaving");
  }

  /** Reports a SUBSCRIBE on a session. The one that is being left has it not. */
  override subscribed(s: Session): void {
    if (this.left && this.left !== s) this.stale.add(this.left);
  }

  /** Makes a session, which sends again after a move that failed, what the client became meanwhile. */
  private async catchUp(s: Session): Promise<void> {
    const { memberships } = this.core;
    const done = await memberships.begin();
    try {
      await (await memberships.load()).ask(op.subscribe, memberships.self, s);
      await memberships.rest(s);
    } catch (err) {
      s.end(asError(err)); // the next connection has them
    } finally {
      done();
    }
  }

  private logDoubt(a: Action): void {
    const to = this.sessions.new;
    const why = to?.has("drain") ? `no FENCE arrived within ${Math.round(a.after)} ms` : "the new instance does not support FENCE";
    this.core.log.warn?.(`moving without a guarantee against loss: ${why}`, { on: a.side, node: to?.identity.node });
  }

  /** Makes a session the one that sends. */
  private use(s: Session): void {
    if (this.core.identity !== s.identity) {
      this.core.identity = s.identity;
      const found = this.core.found(s);
      if (found) this.core.dispatcher.announce(found);
    }
    this.core.memberships.use(s);
    if (this.stale.delete(s)) void this.catchUp(s);
    s.setMode("sending");
  }
}

const other = (side: Side): Side => (side === "old" ? "new" : "old");

/** Why the machine ends the old connection. */
const endReason = (a: Action): Error =>
  new ClientError("SILENT", `the old connection was cut: ${a.after < goodbyeTimeout ? "its writes are" : "after DISCONNECT it was"} blocked`);

/** A hash of 53 bits, which is not 0. */
function hash(text: string, seed: number): number {
  let a = 0xdeadbeef ^ seed;
  let b = 0x41c6ce57 ^ seed;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 2654435761);
    b = Math.imul(b ^ c, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return Math.max(4294967296 * (2097151 & b) + (a >>> 0), 1);
}

export { Mover } from "./mover.js";

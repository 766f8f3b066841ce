import type { Call } from "./call.js";
import type { Core } from "./core.js";
import { asError, ClientError, DisconnectError, HubError } from "./errors.js";
import { Liveness } from "./liveness.js";
import { Message } from "./message.js";
import type { Identity } from "./options.js";
import { openSocket } from "#platform";
import type { Socket } from "./platform/socket.js";
import { Notice } from "./notice.js";
import { unlessAborted } from "./wait.js";
import { malformed, newID, number, object, op, parse, text, type Wire } from "./wire.js";

/** How long the hub may take to close the connection after DISCONNECT, in ms. */
export const goodbyeTimeout = 5_000;

/** More than the hub adds to a client's message: id and sender. */
const receiveMargin = 4 << 10;

/** Beyond so many bytes that are not written yet, further messages wait in the queue. */
const highWater = 256 << 10;

/**
 * The bounds of what has arrived and can't be handled yet. A platform that lets a client stop reading never gets there. Else the
 * client ends the connection, like a hub that has a slow consumer.
 */
const unreadMessages = 4_096;
const unreadLength = 8 << 20;

const pingFrame = '{"op":3}';
const pongFrame = '{"op":4}';
const ackBegin = '{"op":7,';
const goodbyeFrame = '{"op":2}';
const movedFrame = '{"op":2,"data":"MOVED"}'; // another connection has what this one does not answer

/** Begins the ids of FENCEs, so that an ERROR about a FENCE can be recognized. */
const fencePrefix = "fence:";

/**
 * What a session may write: nothing from the queue; the queue; DISCONNECT and nothing more, while it reads on; the same on a
 * connection that the move does not need; DISCONNECT and a close frame; the same behind the queue.
 */
export type Mode = "waiting" | "sending" | "leaving" | "revoking" | "closing" | "finishing";

/** One connection, from dialing to its end. */
export class Session {
  identity: Identity = { id: "", node: "", ping: 0, sessionStarted: new Date(0), maxMessageBytes: 0, features: [] };
  /** The last DRAIN, and whether the client has not acted on it yet. */
  notice: Notice | undefined;
  drained = false;
  /** In a move: the id on the connection that is left. */
  replaces: string | undefined;
  /** Why it has ended; undefined before. */
  error: Error | undefined;
  /** It has ended, and everything that arrived on it is handled. */
  done = false;

  private socket: Socket | undefined;
  private mode: Mode = "waiting";
  private reason = ""; // of the hub's DISCONNECT
  private gotIdentity: ((w: Wire) => void) | undefined; // waits for the answer to IDENTIFY
  private failed: ((err: Error) => void) | undefined; // waits for the end before that

  private identified = false; // the answer to IDENTIFY has arrived; what follows waits for start
  private started = false;
  private unread: string[] = []; // arrived while the first of them has to wait
  private unreadLength = 0;
  private stalled = false; // handlers block reading

  private readonly liveness = new Liveness();
  private heard = 0;
  private heardAt = 0;
  private blockedAt: number | undefined; // when the buffer was found full
  private ticker: ReturnType<typeof setInterval> | undefined;
  private goodbye: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly core: Core,
    readonly token: string,
  ) {}

  has(feature: string): boolean {
    return this.identity.features.includes(feature);
  }

  /** How long nothing has arrived, in ms. */
  get silence(): number {
    this.listen();
    return performance.now() - this.heardAt;
  }

  /** Whether handlers block reading, so that silence says nothing about the hub. */
  get isStalled(): boolean {
    return this.stalled;
  }

  // Opening.

  /** Opens the WebSocket. */
  async dial(signal: AbortSignal): Promise<void> {
    const { settings } = this.core;
    const ended = new Promise<never>((_, reject) => (this.failed = reject));
    const opened = new Promise<void>((resolve, reject) => {
      openSocket(
        settings.url,
        settings,
        {
          open: resolve,
          text: (raw) => {
            this.onText(raw);
          },
          drained: () => {
            this.blockedAt = undefined;
            this.flush();
          },
          end: (code, reason, error) => {
            this.onEnd(code, reason, error);
          },
        },
        settings.maxReceiveBytes,
      ).then((socket) => {
        if (this.error || signal.aborted) socket.terminate();
        else this.socket = socket;
      }, reject);
    });
    await unlessAborted(Promise.race([opened, ended]), signal);
    this.heardAt = performance.now();
  }

  /** Sends IDENTIFY and waits for its answer. Before it the hub sends only PING, PONG and DISCONNECT. */
  async identify(data: Record<string, unknown>, signal: AbortSignal): Promise<void> {
    const answer = new Promise<Wire>((resolve, reject) => {
      this.gotIdentity = resolve;
      this.failed = reject;
    });
    const rest = this.core.memberships.complete(data);
    this.write(JSON.stringify({ op: op.identify, data: { token: this.token || undefined, ...data, replaces: this.replaces } }));
    this.identity = parseIdentity((await unlessAborted(answer, signal)).data);
    this.socket?.limit(Math.max(this.core.settings.maxReceiveBytes, this.identity.maxMessageBytes + receiveMargin));
    await unlessAborted(this.core.memberships.rest(this, rest), signal);
  }

  /** Begins to read messages and to watch the hub. The first mode is waiting. */
  start(): void {
    this.started = true;
    const { ping } = this.identity;
    if (ping > 0) this.ticker = setInterval(() => { this.checkAlive(ping); }, Math.max(ping / 4, 1));
    this.heardAt = performance.now();
    this.readOn(); // what arrived behind the answer to IDENTIFY
  }

  // Reading.

  private onText(raw: string): void {
    if (raw.startsWith(ackBegin) && this.core.pending.empty) return; // of plain sends, which are many
    if (this.identified && !this.started) this.readEarly(raw);
    else if (this.unread.length > 0) this.keep(raw);
    else this.read(raw, false);
  }

  /** Keeps what arrives before start, but for answers to SUBSCRIBE and PINGs. */
  private readEarly(raw: string): void {
    try {
      const w = parse(raw);
      if (w.op === op.ping || this.core.memberships.changes?.awaits(w)) this.handle(w, raw, false);
      else this.keep(raw);
    } catch (err) {
      this.end(asError(err));
    }
  }

  /** Handles a message, or keeps it if it has to wait. */
  private read(raw: string, force: boolean): boolean {
    try {
      if (this.handle(parse(raw), raw, force)) return true;
    } catch (err) {
      this.end(asError(err));
      return true;
    }
    this.keep(raw);
    return false;
  }

  private keep(raw: string): void {
    this.unread.push(raw);
    this.unreadLength += raw.length;
    if (this.started) this.socket?.pause?.();
    if (this.unread.length <= unreadMessages && this.unreadLength <= unreadLength) return;
    const dropped = this.unread.length;
    this.unread = [];
    this.end(new ClientError("SLOW_CONSUMER", `handlers are too slow: ${dropped} messages dropped`));
  }

  /** Continues with what waits. The stream calls it when there may be room. */
  readOn(): void {
    if (this.unread.length === 0 || this.error) return;
    if (this.drainUnread(false)) {
      this.stalled = false;
      this.heardAt = performance.now();
      this.socket?.resume?.();
    }
  }

  /** Handles what waits. It returns false if the first message has to wait. */
  private drainUnread(force: boolean): boolean {
    const all = this.unread;
    this.unread = [];
    this.unreadLength = 0;
    for (let i = 0; i < all.length; i++) {
      const raw = all[i] ?? "";
      if (this.error && !force) break;
      if (this.read(raw, force)) continue;
      for (const rest of all.slice(i + 1)) this.keep(rest);
      return false;
    }
    return true;
  }

  /** Handles a message. It returns false if that has to wait, unless forced. */
  private handle(w: Wire, raw: string, force: boolean): boolean {
    switch (w.op) {
      case op.event: {
        if (!this.identified) return true;
        const m = new Message(w, raw, this.core);
        if (m.expected > 0) {
          if (this.mustLoad(force)) return false;
          this.core.requests?.duties.owe(this, m);
        }
        return this.receive(m, force);
      }
      case op.reply: {
        if (!this.identified) return true;
        const m = new Message(w, raw, this.core);
        // A REPLY to many may arrive on two connections, so it goes through the stream.
        const call = m.toMany ? undefined : this.core.pending.request(m.id);
        if (!call) return this.receive(m, force);
        call.reply(m, this.core.settings.receiveQueue);
        return true;
      }
      case op.settled:
        if (this.mustLoad(force)) return false;
        this.core.requests?.settled(this, w);
        return true;
      case op.cancel:
        this.core.requests?.duties.cancelled(this, w);
        return true;
      case op.identify:
        this.identified = true;
        this.gotIdentity?.(w);
        return true;
      case op.ping:
        this.write(pongFrame);
        return true;
      case op.disconnect:
        this.reason = typeof w.data === "string" && w.data ? w.data : "NO_REASON";
        this.expectEnd();
        return true;
      case op.error:
        this.handleError(w);
        return true;
      case op.ack:
        this.handleAck(w);
        return true;
      case op.subscribe:
      case op.unsubscribe:
        this.core.memberships.changed(this, w);
        return true;
      case op.presence: {
        const data = object(w.data, "PRESENCE");
        const watch = this.core.watches.get(text(data.group, "group"));
        if (watch && this.core.dispatcher.full && !force) {
          this.stalled = true;
          return false;
        }
        watch?.take(this, data);
        return true;
      }
      case op.drain:
        if (this.has("drain")) {
          this.notice = new Notice(w.data);
          this.drained = true;
          this.core.wake();
        }
        return true;
      case op.fence:
        this.core.stream.fenceArrived(this, w.sender);
        return true;
      default: // A PONG has done its work by arriving. Unknown opcodes belong to later versions.
        return true;
    }
  }

  /** Whether a message must wait until the code for requests is loaded. */
  private mustLoad(force: boolean): boolean {
    if (force || this.core.requests !== undefined) return false;
    this.stalled = true;
    void this.core.loadRequests().then(() => { this.readOn(); });
    return true;
  }

  private receive(m: Message, force: boolean): boolean {
    const handled = this.core.stream.receive(this, m, force);
    if (!handled) this.stalled = true;
    return handled;
  }

  private handleError(w: Wire): void {
    const data = object(w.data, "ERROR");
    const code = typeof data.code === "string" ? data.code : malformed("ERROR");
    const explanation = typeof data.message === "string" ? data.message : "";
    const call = this.core.pending.writtenBy(this, w.id);
    if (call) {
      this.core.pending.remove(call);
      call.fail(new HubError(code, explanation, w.id, call.event, call.to));
      return;
    }
    if (w.id.startsWith(fencePrefix)) {
      this.core.stream.fenceRefused(this, w.id);
      return;
    }
    const sent = this.core.sent.find(w.id);
    this.core.refused(new HubError(code, explanation, w.id, sent?.event, sent?.to));
  }

  private handleAck(w: Wire): void {
    const nodes = number(object(w.data, "ACK").nodes, "ACK");
    const call = this.core.pending.writtenBy(this, w.id);
    if (call?.kind !== "acked") return;
    this.core.pending.remove(call);
    call.complete(nodes);
  }

  // Writing.

  setMode(mode: Mode): void {
    if (this.error) return;
    this.mode = mode;
    if (mode === "sending" || mode === "finishing") this.core.sending = this;
    switch (mode) {
      case "waiting":
        this.core.stream.stopped(this);
        break;
      case "leaving":
        // The new connection may have passed copies of what is due.
        this.write(this.core.requests?.duties.count(this) ? goodbyeFrame : movedFrame);
        break;
      case "revoking":
        this.mode = "leaving";
        this.write(movedFrame);
        break;
      case "closing":
        this.sayGoodbye();
        break;
      default:
        this.flush();
    }
  }

  /** Writes a message that is not in the queue. */
  write(frame: string): void {
    try {
      this.socket?.send(frame);
    } catch (err) {
      this.end(new ClientError("CONNECTION", "write failed", err));
    }
  }

  /** Whether it writes from the queue. */
  get sends(): boolean {
    return this.mode === "sending" || this.mode === "finishing";
  }

  /** Whether anything can be written. */
  get writable(): boolean {
    return !this.error && this.mode !== "leaving";
  }

  /** Writes what belongs to a request of this connection, whichever connection sends. */
  writeAside(frame: object): void {
    if (this.writable) this.write(JSON.stringify(frame));
  }

  /** Writes from the queue as long as it may and the socket takes it. */
  flush(): void {
    if (this.blockedAt !== undefined) return; // until it is drained
    while (this.sends) {
      if (!this.socket || this.error) return;
      if (this.socket.buffered > highWater) {
        this.blockedAt = performance.now();
        this.socket.awaitDrain();
        return;
      }
      const call = this.core.queue.shift();
      if (!call) break;
      this.writeCall(call);
    }
    if (this.mode === "finishing" && !this.error) this.sayGoodbye();
  }

  /** Writes a message from the queue, or one of this connection. */
  writeCall(call: Call): void {
    if (call.via && call.via !== this) {
      call.via.writeCall(call);
      return;
    }
    call.written = true;
    if (!this.writable) {
      call.failWith("REQUEST_OVER", "the connection that the request came from has ended");
    } else if (call.kind === "acked" && !this.has("acks")) {
      call.failWith("NO_ACKS", "the hub grants no acks");
    } else if (call.isTooBig(this.identity.maxMessageBytes)) {
      // it has failed
    } else if (call.kind !== "plain" && !this.core.pending.add(call, this)) {
      call.failWith("DUPLICATE_ID", "another message with the same id awaits its outcome");
    } else {
      this.core.sent.add(call);
      this.write(call.frame);
      if (call.kind === "plain") call.complete();
    }
  }

  /** Writes a FENCE to the other connection of a move. */
  writeFence(): void {
    const id = fencePrefix + newID();
    const to = this.core.stream.nextFence(this, id);
    if (to) this.write(JSON.stringify({ op: op.fence, id, intent: { target: "DIRECT", identifier: to } }));
  }

  private sayGoodbye(): void {
    if (this.mode === "leaving") return;
    this.mode = "leaving";
    this.write(goodbyeFrame);
    this.socket?.close();
    this.expectEnd();
  }

  // The end.

  /** Ends the connection if it has not ended by itself after goodbyeTimeout. */
  private expectEnd(): void {
    this.goodbye ??= setTimeout(() => {
      this.end(this.reason ? new DisconnectError(this.reason, 0) : new ClientError("SILENT", "the hub did not close"));
    }, goodbyeTimeout);
  }

  private listen(): void {
    const heard = this.socket?.heard ?? 0;
    if (heard === this.heard) return;
    this.heard = heard;
    this.heardAt = performance.now();
  }

  /**
   * Sends a PING to a hub that was silent for a ping interval, and ends the session if the hub stays silent. While handlers block
   * reading, silence means nothing. The session then sends PONGs, so that the hub applies its rules for slow consumers and not
   * its ping timeout.
   */
  private checkAlive(ping: number): void {
    const now = performance.now();
    if (this.blockedAt !== undefined && now - this.blockedAt > this.core.settings.writeTimeout) {
      this.end(new ClientError("SILENT", `the hub did not read for ${this.core.settings.writeTimeout} ms`));
    } else if (this.stalled) {
      this.liveness.heard();
      this.write(pongFrame);
    } else {
      const silent = this.silence;
      const verdict = this.liveness.check(now, silent, ping);
      if (verdict === "ask") this.write(pingFrame);
      else if (verdict === "give up") {
        this.end(new ClientError("SILENT", `the hub was silent for ${Math.round(silent)} ms`));
      }
    }
  }

  private onEnd(code: number, reason: string, error: Error | undefined): void {
    const said = this.reason || reason;
    this.end(said || !error ? new DisconnectError(said, code) : error);
  }

  /** Ends the session. Only the first call has an effect. */
  end(err: Error): void {
    if (this.error) return;
    this.error = err;
    clearInterval(this.ticker);
    clearTimeout(this.goodbye);
    this.socket?.terminate();
    this.failed?.(err);
    this.stalled = false;
    this.drainUnread(true);
    this.core.pending.failAll(this, err);
    this.core.memberships.changes?.ended(this);
    for (const watch of this.core.watches.values()) watch.ended(this);
    this.core.requests?.duties.ended(this, err);
    for (const hold of this.core.holds.values()) hold.poke();
    this.done = true;
    this.core.wake();
  }
}

function parseIdentity(data: unknown): Identity {
  const w = object(data, "answer to IDENTIFY");
  const id = typeof w.id === "string" && w.id ? w.id : malformed("answer to IDENTIFY");
  const ping = number(w.ping, "answer to IDENTIFY");
  const maxMessageBytes = number(w.max_message_bytes, "answer to IDENTIFY");
  if (ping < 0 || maxMessageBytes < 0) malformed("answer to IDENTIFY");
  return {
    id,
    ping,
    maxMessageBytes,
    node: text(w.node, "node"),
    sessionStarted: new Date(text(w.session_started, "session_started")),
    features: Array.isArray(w.features) ? w.features.map(String) : [],
  };
}

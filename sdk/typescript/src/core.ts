import { Backoff, crowdedDelay } from "./backoff.js";
import { Call, type CallKind, Pending, type RequestOptions, type SendOptions, SendQueue, SentLog } from "./call.js";
import { type Delivery, Dispatcher } from "./dispatch.js";
import { asError, ClientError, cut, DisconnectError, HandshakeError, type HubError } from "./errors.js";
import { Memberships } from "./groups.js";
import type { Hold } from "./hold.js";
import type { Failure, Message, Replier, ReplyOptions } from "./message.js";
import type { Identity, Logger, Settings } from "./options.js";
import type { Mover } from "./mover.js";
import type { MovingStream } from "./moving.js";
import type { Notice } from "./notice.js";
import type { Watch } from "./presence.js";
import type { Requests } from "./requests.js";
import { Session } from "./session.js";
import { unlessAborted, within } from "./wait.js";
import { Stream } from "./stream.js";
import { envelope, newID, op, type Targets, type To, utf8Length } from "./wire.js";

// The waits after a refusal of the token are random between half of a bound and the bound, which doubles, in ms.
const minAuthWait = 5_000;
const maxAuthWait = 300_000;

/** The longest time of a request, in ms. */
const hour = 3_600_000;
/** How much earlier than the program the hub gives up a request at most, in ms. */
const settleMargin = 50;

interface Moving {
  stream: MovingStream;
  Mover: typeof Mover;
}

/** A token that the hub has refused before. */
class RefusedAgain extends Error {
  constructor(readonly refusal: Error) {
    super(refusal.message);
  }
}

const consoleLog: Logger = {
  error: (text, details) => {
    console.error(`mastersocket: ${text}`, details);
  },
};

/** What a Client consists of: one connection after the other, and what outlives them. */
export class Core implements Replier {
  readonly log: Logger;
  readonly queue = new SendQueue();
  readonly pending = new Pending();
  readonly sent = new SentLog();
  stream: Stream;
  readonly memberships: Memberships;
  readonly watches = new Map<string, Watch>();
  readonly holds = new Map<string, Hold>();
  readonly dispatcher: Dispatcher;
  /** The code for requests; null if it can't be loaded, undefined if it was not needed yet. */
  requests: Requests | null | undefined;

  /** Of the current or last session; in a move, of the session that sends. */
  identity: Identity | undefined;
  /** The current session outside of moves. */
  session: Session | undefined;
  /** The session that sends from the queue, if there is one now. */
  sending: Session | undefined;
  /** close was called: no further handler is called. */
  quitting = false;
  /** close says goodbye: no further call is accepted. */
  closing = false;
  /** Why the client has ended. */
  error: Error | undefined;

  /** Settled by the first IDENTIFY, or by the end. */
  readonly ready: Promise<void>;
  /** Resolved with the reason when the client has ended. */
  readonly closed: Promise<Error>;

  private isReady = false;
  private nowReady: () => void = () => undefined;
  private neverReady: (err: Error) => void = () => undefined;
  private nowClosed: (err: Error) => void = () => undefined;

  private readonly kill = new AbortController();
  private readonly cancelOpen = new AbortController(); // of an attempt to connect, when closing
  private waking: (() => void) | undefined;

  private moving: Promise<Moving | undefined> | undefined;
  private loading: Promise<void> | undefined; // of requests
  private lastError: Error | undefined; // of the last attempt to connect
  private reconnectDelay = 0;
  private refusedToken: string | undefined;
  private refusal: Error | undefined; // of refusedToken
  private authWait = 0; // the last bound of the wait after a refusal
  private lastReport = -Infinity; // when an ERROR was logged

  constructor(readonly settings: Settings) {
    this.log = settings.log ?? consoleLog;
    this.ready = new Promise((resolve, reject) => {
      this.nowReady = resolve;
      this.neverReady = reject;
    });
    this.closed = new Promise((resolve) => (this.nowClosed = resolve));
    this.dispatcher = new Dispatcher(settings.receiveQueue, settings.onMessage, this.log, () => {
      this.stream.roomInQueue();
    });
    for (const [event, handler] of Object.entries(settings.on ?? {})) if (handler) this.dispatcher.on(event, handler);
    this.stream = new Stream(this);
    this.memberships = new Memberships(this);
    void this.run();
  }

  get life(): AbortSignal {
    return this.kill.signal;
  }

  // One connection after the other. run is the only one that waits with wakeUp.

  /** Makes run look at what has changed. */
  wake(): void {
    this.waking?.();
  }

  /** Waits for wake, or for ms. */
  wakeUp(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
      this.waking = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Opens one session after the other until the client is closed or refused for good. It never waits for handlers. */
  private async run(): Promise<void> {
    const backoff = new Backoff(this.settings);
    for (;;) {
      let failure: Error;
      try {
        failure = await this.runSession(backoff);
      } catch (err) {
        failure = asError(err);
        if (!this.closing) this.lastError = failure;
      }
      if (this.isFinal(failure)) {
        if (this.isReady) this.logAlways("gave up", { error: failure });
        this.finish(failure instanceof RefusedAgain ? failure.refusal : failure);
        return;
      }
      const wait = this.closing ? 0 : this.nextWait(failure, backoff);
      for (const until = performance.now() + wait; !this.closing; ) {
        const left = until - performance.now();
        if (left <= 0) break;
        await this.wakeUp(left);
      }
      if (this.closing) {
        this.finish(new ClientError("CLOSED", "client closed"));
        return;
      }
    }
  }

  private finish(err: Error): void {
    this.error = err;
    for (let call = this.queue.shift(); call; call = this.queue.shift()) this.unsent(call);
    this.memberships.changes?.wake();
    this.neverReady(err);
    this.nowClosed(err);
    void (this.quitting ? Promise.resolve() : this.dispatcher.rest()).then(() => {
      this.kill.abort(err);
    });
  }

  private unsent(call: Call): void {
    call.failWith("CLOSED", "not sent: client closed", this.error);
  }

  /** Opens a session, follows its moves, and returns why the last session ended. */
  private async runSession(backoff: Backoff): Promise<Error> {
    this.reconnectDelay = 0;
    const opened = await this.memberships.begin();
    let s: Session;
    try {
      s = this.session = await this.open(undefined, undefined);
    } catch (err) {
      opened();
      throw err;
    }
    const began = performance.now();
    this.lastError = undefined;
    this.stream.addOwnID(s.identity.id);
    this.identity = s.identity;
    this.log.info?.("connected", { url: this.settings.url, id: s.identity.id, node: s.identity.node });
    const found = this.found(s);
    if (found) this.stream.announce(found);
    this.isReady = true;
    this.nowReady();
    this.memberships.use(s);
    opened();
    s.setMode("sending");
    s.start();
    if (s.has("drain")) void this.loadMoving();
    s = await this.follow(s);
    const err = s.error ?? new ClientError("CONNECTION", "the connection broke");
    this.reconnectDelay = s.notice?.reconnectDelay(this.settings.maxBackoff) ?? 0;
    // Short sessions don't reset the backoff: a hub may accept clients and drop them at once.
    if (performance.now() - began >= this.settings.maxBackoff) backoff.reset();
    const lost = this.lost(err);
    if (lost && !this.quitting) this.stream.announce(lost);
    return err;
  }

  /** Waits for the end of the session and of those to which the client moves from it. It returns the last one. */
  private async follow(first: Session): Promise<Session> {
    let s = first;
    for (let finishing = false; !s.done; ) {
      if (this.closing) {
        if (!finishing) s.setMode("finishing");
        finishing = true;
      } else if (s.drained && s.notice) {
        s.drained = false;
        s = this.session = await this.move(s, s.notice);
        continue;
      }
      await this.wakeUp();
    }
    return s;
  }

  /** Loads the code for moves. It is not needed to connect, so that a page need not wait for it. */
  private loadMoving(): Promise<Moving | undefined> {
    const load = async () => {
      try {
        const moving = await import("./moving.js");
        const stream = new moving.MovingStream(this);
        stream.follow(this.stream);
        this.stream = stream;
        return { stream, Mover: moving.Mover };
      } catch (err) {
        this.log.warn?.("moves can't be loaded: DRAIN is ignored", { error: asError(err) });
        return undefined;
      }
    };
    return (this.moving ??= load());
  }

  /** Follows a DRAIN. It returns the session to continue with. */
  private async move(s: Session, notice: Notice): Promise<Session> {
    const moving = await this.loadMoving();
    return moving ? new moving.Mover(this, s, notice, moving.stream).move() : s;
  }

  /** The hook for the beginning of a session; undefined for none. */
  found({ identity }: Session): Delivery | undefined {
    const { onConnect } = this.settings;
    return onConnect && { hook: () => { onConnect(identity); }, announces: "found" };
  }

  /** The hook for a lost connection; undefined for none. */
  lost(err: Error): Delivery | undefined {
    const { onDisconnect } = this.settings;
    return onDisconnect && { hook: () => { onDisconnect(err); }, announces: "lost" };
  }

  /**
   * Dials and identifies within connectTimeout. If old is given, the token must differ from it. dialed is called before IDENTIFY.
   */
  async open(old: string | undefined, dialed: ((s: Session) => void) | undefined): Promise<Session> {
    const attempt = new AbortController();
    const stop = () => {
      attempt.abort(new ClientError("CLOSED", "client closed"));
    };
    const timer = setTimeout(() => {
      attempt.abort(new ClientError("CONNECTION", `no connection within ${this.settings.connectTimeout} ms`));
    }, this.settings.connectTimeout);
    this.cancelOpen.signal.addEventListener("abort", stop);
    let s: Session | undefined;
    try {
      const token = await unlessAborted(this.token(attempt.signal), attempt.signal);
      if (old && token === old) throw new ClientError("CONNECTION", "the token is still the one that expires");
      s = new Session(this, token);
      await s.dial(attempt.signal);
      dialed?.(s);
      await s.identify(this.identifyData(), attempt.signal);
      this.refusal = this.refusedToken = undefined;
      this.authWait = 0;
      return s;
    } catch (err) {
      const failure = asError(err);
      if (s && isRefusal(failure)) {
        this.refusedToken = s.token;
        this.refusal = failure;
      }
      s?.end(failure);
      throw failure;
    } finally {
      clearTimeout(timer);
      this.cancelOpen.signal.removeEventListener("abort", stop);
    }
  }

  /** The token for a new connection. With stopOnAuthError, one that the hub has refused is not tried again. */
  private async token(signal: AbortSignal): Promise<string> {
    const { token, stopOnAuthError } = this.settings;
    const now = typeof token === "function" ? await token(signal) : (token ?? "");
    if (typeof token === "function" && !now) throw new ClientError("CONNECTION", "the token is empty");
    if (stopOnAuthError && this.refusal && now === this.refusedToken && now) throw new RefusedAgain(this.refusal);
    return now;
  }

  private identifyData(): Record<string, unknown> {
    const { group, name, version, echo, acks, drain } = this.settings;
    const features = ["errors", "groups", "presence", "exclusive", "requests", ...(acks === false ? [] : ["acks"]), ...(drain === false ? [] : ["drain"])];
    return { group, name, version, features, ...(echo === false && { echo }) };
  }

  /** Whether err ends the client. */
  private isFinal(err: Error): boolean {
    if (this.closing) return false;
    if (!this.isReady) {
      if (this.settings.failFast || (err instanceof HandshakeError && err.permanent)) return true;
      if (err instanceof ClientError && err.code === "OPTIONS") return true;
    }
    return err instanceof RefusedAgain || (this.settings.stopOnAuthError === true && typeof this.settings.token !== "function" && isRefusal(err));
  }

  /** Returns and logs how long to wait after err. */
  private nextWait(err: Error, backoff: Backoff): number {
    if (isRefusal(err)) {
      this.authWait = Math.min(Math.max(2 * this.authWait, minAuthWait), maxAuthWait);
      const wait = (this.authWait / 2) * (1 + Math.random());
      this.logAlways("the hub refuses the token or a group", { error: err, nextAttemptIn: wait });
      return wait;
    }
    const wait = backoff.next() + this.reconnectDelay + crowdedDelay(err);
    this.log.warn?.("not connected", { error: err, nextAttemptIn: wait });
    return wait;
  }

  /** Logs what must not go unnoticed. */
  private logAlways(text: string, details: Record<string, unknown>): void {
    (this.log.error ? this.log : consoleLog).error?.(text, details);
  }

  // Received messages.

  /** Whether m answers a request or has a handler. */
  wants(m: Message): boolean {
    return (m.isReply && this.pending.request(m.id) !== undefined) || this.dispatcher.wants(m);
  }

  /** Hands the message to the request that it answers, or to its handlers. */
  give(m: Message): void {
    const call = m.isReply ? this.pending.request(m.id) : undefined;
    if (call) call.reply(m, this.settings.receiveQueue);
    else if (this.dispatcher.wants(m)) this.dispatcher.add({ message: m });
    else m.pass();
  }

  /** Reports an ERROR that belongs to no call. */
  refused(err: HubError): void {
    const { onError } = this.settings;
    if (onError) this.dispatcher.add({ hook: () => { onError(err); } });
    else if (performance.now() - this.lastReport >= 1_000) {
      this.lastReport = performance.now();
      this.log.warn?.("a message was not delivered", { error: err });
    }
  }

  // Sending.

  /** Queues a message. The call is completed with its outcome. via is the session that must write it. */
  send(code: number, kind: CallKind, to: Targets, event: string, data: unknown, options?: SendOptions, members?: object, via?: Session): Call {
    const id = options?.id ?? newID();
    const call = new Call(kind, id, event, to, envelope(code, id, to, event, data, members, options?.except));
    call.via = via;
    if (options?.signal?.aborted) call.fail(asError(options.signal.reason));
    else if (this.error || this.closing) this.unsent(call);
    else if (call.isTooBig(this.identity?.maxMessageBytes ?? 0)) {
      // it has failed
    } else if (via && !via.sends) {
      via.writeCall(call);
    } else if (!this.queue.push(call)) {
      call.failWith("QUEUE_FULL", "too many messages wait");
    } else {
      this.sending?.flush();
    }
    if (options && !call.completed && (options.signal || options.timeout !== undefined)) this.limit(call, options);
    return call;
  }

  /** Sends an EVENT, and returns its outcome, also of what the hub would refuse. */
  sendEvent(kind: CallKind, to: Targets, event: string, data: unknown, options?: SendOptions): Promise<unknown> {
    try {
      return this.send(op.event, kind, to, event, data, options).done;
    } catch (err) {
      return Promise.reject(asError(err));
    }
  }

  /** Sends a request, whose replies wait in the call. The hub gives it up a little before the program, which so learns of it. */
  ask(to: To, event: string, data: unknown, options: RequestOptions = {}): Call {
    const { timeout = hour, retry, key } = options;
    if (typeof to !== "string" || "except" in options) throw new ClientError("INVALID", "a request has one target, and no exceptions");
    if (key !== undefined && (key === "" || utf8Length(key) > 128)) throw new ClientError("INVALID", "a key has 1 to 128 bytes");
    const ms = Math.trunc(Math.min(timeout - Math.min(timeout / 10, settleMargin), hour));
    return this.send(op.event, "request", to, event, data, options, {
      expect: { timeout_ms: Math.max(ms, 1) || 1, ...(to.startsWith("ANY") && { retry, key }) },
    });
  }

  /** Loads the code for requests, of which a program without them has no need. */
  loadRequests(): Promise<void> {
    const load = async () => {
      try {
        this.requests = new (await import("./requests.js")).Requests(this);
      } catch (err) {
        this.requests = null;
        this.loading = undefined;
        this.log.warn?.("requests can't be loaded", { error: asError(err) });
      }
    };
    return (this.loading ??= load());
  }

  /** The code for requests. */
  async tracker(): Promise<Requests> {
    await this.loadRequests();
    if (!this.requests) throw new ClientError("UNSUPPORTED", "the code for requests can't be loaded");
    return this.requests;
  }

  /** Fails the call when its signal is aborted or its time is over. */
  private limit(call: Call, { signal, timeout }: SendOptions): void {
    const giveUp = (reason: unknown) => {
      if (!call.written) this.queue.withdraw(call);
      if (!call.written || call.kind === "request") {
        call.fail(asError(reason));
      } else {
        this.pending.remove(call);
        call.failWith("OUTCOME_UNKNOWN", "no answer came in time", reason);
      }
    };
    const stop = () => {
      giveUp(signal?.reason);
    };
    const late = () => {
      giveUp(new DOMException(`event ${cut(call.event, 80)}: the time is over`, "TimeoutError"));
    };
    const timer = timeout === undefined ? undefined : setTimeout(late, timeout);
    signal?.addEventListener("abort", stop);
    call.clean = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    };
  }

  async reply(m: Message, data: unknown, options?: ReplyOptions, error?: Failure): Promise<void> {
    const { duty } = m;
    if (duty?.over) throw new ClientError("REQUEST_OVER", `event ${cut(m.event, 80)}: the request is over`);
    const more = options?.more;
    const call = this.send(op.reply, "plain", `DIRECT:${m.sender}`, m.event, data, { ...options, id: m.id }, { more, error }, duty?.session);
    if (!call.error && !more) duty?.end();
    await call.done;
  }

  async fail(m: Message, error: unknown): Promise<void> {
    return (await this.tracker()).fail(m, error);
  }

  // The end.

  /** Ends gracefully; see Client.close. */
  async close(timeout: number): Promise<void> {
    const until = performance.now() + timeout;
    this.quitting = true;
    const inTime = await within(this.dispatcher.stop(), timeout);
    for (const hold of this.holds.values()) hold.end(new ClientError("CLOSED", "client closed"));
    this.closing = true;
    this.cancelOpen.abort();
    this.wake();
    if (!inTime) this.cutOff();
    if (!(await within(this.closed, until - performance.now()))) {
      this.cutOff();
      await this.closed;
    }
    this.kill.abort(this.error);
    if (!inTime) throw new ClientError("CLOSED", "close: connection cut, a handler is still running");
  }

  /** Ends at once, as when connect was aborted. */
  abort(): void {
    this.quitting = this.closing = true;
    void this.dispatcher.stop();
    this.cancelOpen.abort();
    this.wake();
    this.cutOff();
  }

  private cutOff(): void {
    const err = new ClientError("CLOSED", "client closed");
    this.stream.cutOff(err);
    this.session?.end(err);
  }

  /** Why there was no first connection in time. */
  notConnected(reason: unknown): Error {
    const err = asError(reason);
    if (this.lastError && err.cause === undefined) err.cause = this.lastError;
    return err;
  }
}

/** Whether the hub refused the token or a group. */
const isRefusal = (err: Error): boolean => err instanceof DisconnectError && err.reason === "IDENTIFY_FAILED";

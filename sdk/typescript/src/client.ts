import type { RequestOptions, SendOptions } from "./call.js";
import { Core } from "./core.js";
import { asError, ClientError } from "./errors.js";
import type { ChangeData } from "./groups.js";
import type { Hold } from "./hold.js";
import type { Message } from "./message.js";
import type { PresenceChange, Watch } from "./presence.js";
import type { Answers } from "./requests.js";
import type { Wait } from "./wait.js";
import { type Events, type Handler, type Identity, type Options, prepare } from "./options.js";
import { op, type Targets, type To } from "./wire.js";

/** How long close waits by default, in ms. */
const closeTimeout = 10_000;

/**
 * Connects to the hub and resolves when it has identified. Without a connection it tries on until the signal is aborted; only an
 * answer that shows a wrong URL, or with failFast any failure, rejects at once.
 */
export async function connect<E extends Events = Events>(options: Options<E>, wait?: { signal?: AbortSignal }): Promise<Client<E>> {
  const core = new Core(prepare(options));
  const signal = wait?.signal;
  const stop = () => {
    core.abort();
  };
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop);
  try {
    await core.ready;
  } catch (err) {
    throw signal?.aborted ? core.notConnected(signal.reason) : asError(err);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
  return new Client<E>(core);
}

/**
 * A service's connection to the hub. It reconnects when the connection is lost and moves when the hub asks for it. Make one with
 * connect.
 */
export class Client<E extends Events = Events> {
  /** @internal */
  constructor(private readonly core: Core) {}

  /** The hub's answer to the last IDENTIFY. Its id is valid until the client reconnects or moves. */
  get identity(): Identity {
    if (!this.core.identity) throw new ClientError("CONNECTION", "not connected yet");
    return this.core.identity;
  }

  /** Resolves with the reason when the client has ended, by close or by itself. */
  get closed(): Promise<Error> {
    return this.core.closed;
  }

  /**
   * Sends an EVENT. It resolves when the message is written to an identified connection. Without a connection it waits for one.
   * If the hub then refuses the message, onError is called. data is written as by JSON.stringify; undefined means no data.
   */
  send<K extends keyof E & string>(to: Targets, event: K, data?: E[K], options?: SendOptions): Promise<void> {
    return this.core.sendEvent("plain", to, event, data, options) as Promise<void>;
  }

  /**
   * Sends an EVENT and resolves when the hub has handed it to every instance that has a receiver, with their number. If no client
   * matches, it rejects with NO_RECEIVER. Calls are sent in their order, so many may be under way at once.
   */
  sendAcked<K extends keyof E & string>(to: Targets, event: K, data?: E[K], options?: SendOptions): Promise<number> {
    return this.core.sendEvent("acked", to, event, data, options) as Promise<number>;
  }

  /**
   * Sends an EVENT and resolves with the first REPLY to it. It rejects as soon as no answer can come any more: with a RequestError,
   * which says who did not answer and why, when the receivers have passed, gone, or not been there; with a RemoteError if the handler
   * failed; with OUTCOME_UNKNOWN when the connection is lost. `timeout`, or an hour, is the handler's deadline too, and the handler
   * is told if `signal` is aborted. A hub of an earlier release tells of no receiver at most: give it a timeout.
   */
  async request<R = unknown, K extends keyof E & string = string>(to: To, event: K, data?: E[K], options?: RequestOptions): Promise<Message<R>> {
    const call = this.core.ask(to, event, data, options);
    return (await this.core.tracker()).first(call) as Promise<Message<R>>;
  }

  /**
   * Sends an EVENT and resolves with all REPLYs, and with who did not answer and why: when all receivers have answered, passed or gone,
   * or when `timeout` is over. Errors of handlers are in the replies. It rejects if the request can't be made, the connection is lost,
   * or `signal` is aborted.
   */
  async requestAll<R = unknown, K extends keyof E & string = string>(to: To, event: K, data?: E[K], options?: RequestOptions): Promise<Answers<R>> {
    const call = this.core.ask(to, event, data, options);
    return (await this.core.tracker()).all(call) as Promise<Answers<R>>;
  }

  /**
   * Sends an EVENT when the loop over its result begins, and yields the REPLYs as they arrive, until all receivers have answered, passed
   * or gone; if not all have answered, a RequestError follows. With `replies` the loop ends after so many. It may be left at any time:
   * the request is cancelled then. At most `receiveQueue` replies wait for the loop; one more ends it with TOO_MANY_REPLIES.
   */
  async *stream<R = unknown, K extends keyof E & string = string>(
    to: To,
    event: K,
    data?: E[K],
    options?: RequestOptions & { replies?: number },
  ): AsyncGenerator<Message<R>, void, undefined> {
    const call = this.core.ask(to, event, data, options);
    yield* (await this.core.tracker()).replies(call, options?.replies ?? "whole") as AsyncGenerator<Message<R>, void, undefined>;
  }

  /**
   * Adds a handler for EVENTs with the name, behind existing ones, and returns a function that removes it. It does not get messages
   * that arrived before; the option `on` is for handlers that must not miss any.
   */
  on<K extends keyof E & string>(event: K, handler: Handler<E[K]>): () => void {
    return this.core.dispatcher.on(event, handler as Handler);
  }

  /**
   * The EVENTs with the name, from the first call of next until the loop is left or the client has ended. While the loop does not ask
   * for the next message, further ones wait, as they do for a slow handler.
   */
  async *messages<K extends keyof E & string>(event: K): AsyncGenerator<Message<E[K]>, void, undefined> {
    let give: ((m: Message<E[K]> | undefined) => void) | undefined;
    let taken: (() => void) | undefined;
    let waiting: Message<E[K]> | undefined;
    let ended = false;
    const isEnded = () => ended;
    const stop = () => {
      ended = true;
      taken?.();
      give?.(undefined);
    };
    const remove = this.on(event, (m) => {
      if (ended) return undefined;
      const done = new Promise<void>((resolve) => (taken = resolve));
      if (give) give(m);
      else waiting = m;
      give = undefined;
      return done;
    });
    this.core.life.addEventListener("abort", stop);
    try {
      while (!isEnded()) {
        const next = waiting ?? (await new Promise<Message<E[K]> | undefined>((resolve) => (give = resolve)));
        waiting = undefined;
        if (!next) return;
        yield next;
        taken?.();
      }
    } finally {
      remove();
      stop();
      this.core.life.removeEventListener("abort", stop);
    }
  }

  /** The groups that the client is in, the option `group` first. */
  get groups(): string[] {
    return this.core.memberships.all;
  }

  /**
   * Makes the client a member of further groups and resolves once it is: no message that is sent to them from then on is missed. It
   * joins all of them or, with a GroupError, none. Without a connection it waits for one. The groups stay after a reconnect or a
   * move.
   */
  subscribe(groups: string | string[], options?: Wait): Promise<void> {
    return this.change(op.subscribe, { groups: [groups].flat() }, options);
  }

  /** Takes the client out of groups. The option `group` can't be left. */
  unsubscribe(groups: string | string[], options?: Wait): Promise<void> {
    return this.change(op.unsubscribe, { groups: [groups].flat() }, options);
  }

  /** Replaces the option `meta`, what the client says of itself. */
  setMeta(meta: Record<string, string>, options?: Wait): Promise<void> {
    return this.change(op.subscribe, { meta }, options);
  }

  /**
   * Sets the client's share of the ANYs to its groups in relation to those of their other members: 0 to 100, 1 by default. With 0 it
   * gets none, and all else.
   */
  setWeight(weight: number, options?: Wait): Promise<void> {
    return this.change(op.subscribe, { weight }, options);
  }

  private async change(code: number, data: ChangeData, options?: Wait): Promise<void> {
    await (await this.core.memberships.load()).change(code, data, options);
  }

  /**
   * Makes the client a watcher of a group and resolves once it is known who is in it. The client need not be a member, but its token
   * needs the right to watch the group. onChange is called for each change, and once when the members are known.
   */
  async watch(group: string, onChange?: (change: PresenceChange, watch: Watch) => void, options?: Wait): Promise<Watch> {
    return (await import("./presence.js")).watch(this.core, group, onChange, options);
  }

  /**
   * Claims an exclusive group, which has one holder in the whole cluster, and resolves when this client is the holder. Those who wait
   * get it in the order in which they asked. The hold stays in a move; it is lost when the connection breaks for longer than a
   * holder may be silent (about 2 s).
   */
  async hold(group: string, options?: Wait): Promise<Hold> {
    return (await import("./hold.js")).hold(this.core, group, options);
  }

  /**
   * Ends gracefully: calls no further handler, waits for the running one, writes what was sent before, and says goodbye to the hub.
   * After `timeout` ms (default 10 s) it cuts the connection. A handler must not wait for close, which waits for the handler.
   */
  async close(options?: { timeout?: number }): Promise<void> {
    await this.core.close(options?.timeout ?? closeTimeout);
  }

  /** The same as close, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

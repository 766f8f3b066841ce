import type { Core } from "./core.js";
import type { Delivery } from "./dispatch.js";
import type { Message } from "./message.js";
import type { Phase } from "./move/machine.js";
import type { Session } from "./session.js";

/** How many of its former ids a client recognizes as its own. */
const ownIDs = 8;

/**
 * What a client receives, on its way from a connection to the handlers. This one has one connection after the other; MovingStream,
 * which is loaded once there is a connection, can move between two.
 */
export class Stream {
  protected mine: string[] = []; // the client's own ids; only with echo: false

  constructor(protected readonly core: Core) {}

  /* eslint-disable @typescript-eslint/class-literal-property-style -- MovingStream computes them */
  /** Whether all messages of the last move are handed out. */
  get quiet(): boolean {
    return true;
  }

  get phase(): Phase {
    return "Single";
  }

  /* eslint-enable @typescript-eslint/class-literal-property-style */

  /** The connection that the client is about to leave, which still receives. */
  get left(): Session | undefined {
    return undefined;
  }

  /** Adds an id under which the client sends or is about to send. */
  addOwnID(id: string): void {
    if (this.core.settings.echo !== false) return;
    this.mine = [...this.mine.filter((known) => known !== id), id].slice(-ownIDs);
  }

  /** Continues what another stream has begun. */
  follow(other: Stream): void {
    this.mine = other.mine;
  }

  /**
   * Handles a message that the session has read. It returns false if the message has to wait, and calls Session.readOn when it need not
   * any more. Forced, it takes the message in any case: its session has ended.
   */
  receive(_s: Session, m: Message, force: boolean): boolean {
    if (this.core.quitting || this.isEcho(m)) return true;
    if (!force && this.core.dispatcher.full && this.core.wants(m)) return false;
    this.core.give(m);
    return true;
  }

  /** Whether m is an echo from another connection of this client. It is passed. */
  protected isEcho(m: Message): boolean {
    const echo = m.toMany && this.mine.includes(m.sender);
    if (echo) m.pass();
    return echo;
  }

  /** Lets sessions read on that had to wait for room in the queue to handlers. */
  roomInQueue(): void {
    this.core.session?.readOn();
  }

  /** Queues an announcement behind the messages of the last move. */
  announce(d: Delivery): void {
    this.core.dispatcher.announce(d);
  }

  /* eslint-disable @typescript-eslint/no-empty-function, @typescript-eslint/no-unused-vars -- without a move there is nothing to do */
  ended(_s: Session | undefined, _announcements?: Delivery[]): boolean {
    return false;
  }

  subscribed(_s: Session): void {}

  stopped(_s: Session): void {}

  nextFence(_s: Session, _id: string): string | undefined {
    return undefined;
  }

  fenceArrived(_s: Session, _sender: string): void {}

  fenceRefused(_s: Session, _id: string): void {}

  cutOff(_err: Error): void {}
}

/** The bounds of what a move holds back of each connection. Beyond them the owner must not read the connection. */
const heldMessages = 4096;
const heldBytes = 8 << 20;

/** How long a FENCE may be on its way before another one is sent. All times are in ms. */
const fencePatience = 1_000;
/** The first FENCEs are sent as soon as they are useful, because a move takes milliseconds. */
const fenceBurst = 8;
/** The following ones are sent at a rate well below the hub's limit of 100 per second. */
export const fenceInterval = 25;

/** A message as a Machine sees it. */
export interface Parcel<T> {
  /** Of a message to many: the same for all its copies, and not 0; see Machine.needsKey. */
  key: number;
  sender: string;
  /** It arrives on both connections. */
  toMany: boolean;
  size: number;
  /** The owner's. */
  value: T;
}

/** A message that waits to be handed out. The queue of the old connection may also have FENCEs and a mark. */
export interface Held<T> extends Parcel<T> {
  kind: "message" | "fence" | "mark";
  /** The message's number on its connection; of a FENCE: its reach on the other connection. */
  n: number;
  at: number;
}

/** Reports whether a held message arrives on one connection alone. */
export const toOne = (h: Held<unknown>): boolean => h.kind === "message" && !h.toMany;

/** A FENCE on its way to the other connection. */
interface Fence {
  id: string;
  /** How many messages had arrived when it was sent. */
  reach: number;
  at: number;
  /** No message follows it on this connection. */
  last: boolean;
  /** It was sent in the phase Clearing. */
  clear: boolean;
}

/** The FENCEs that one connection has sent in a move. They arrive in the order in which they were sent. */
export class Fences {
  private onWay: Fence[] = [];
  private count = 0;
  private next = 0; // not before this
  /** When the last one was sent. */
  last = 0;

  add(one: Fence): void {
    this.last = one.at;
    this.onWay.push(one);
    if (++this.count > fenceBurst) this.next = one.at + fenceInterval;
  }

  /**
   * Returns the FENCE that has arrived. If an earlier one was lost, it returns the earlier one, whose reach is smaller and
   * therefore safe.
   */
  arrived(): Fence | undefined {
    return this.onWay.shift();
  }

  refused(id: string, now: number): void {
    this.onWay = this.onWay.filter((one) => one.id !== id);
    this.next = now + fenceInterval;
  }

  /** Reports whether another FENCE may be sent. Only one is on its way at a time, unless one is lost. */
  due(now: number): boolean {
    const latest = this.onWay[this.onWay.length - 1];
    return !(latest && now - latest.at < fencePatience) && now >= this.next;
  }
}

/** One of the two connections of a move. */
export class SideState<T> {
  private queue: Held<T>[] = [];
  private head = 0;
  private bytes = 0;
  /** Held messages that arrive on this connection alone. */
  alone = 0;
  /** How many messages have arrived. */
  arrived = 0;
  /** No further message arrives. */
  ended = false;
  readonly fences = new Fences();

  get length(): number {
    return this.queue.length - this.head;
  }

  get full(): boolean {
    return this.length >= heldMessages || this.bytes >= heldBytes;
  }

  get front(): Held<T> | undefined {
    return this.queue[this.head];
  }

  push(h: Held<T>): void {
    this.queue.push(h);
    this.bytes += h.size;
    if (toOne(h)) this.alone++;
  }

  /** Removes the first message. There must be one. */
  shift(): Parcel<T> {
    return this.removeAt(0);
  }

  removeAt(i: number): Parcel<T> {
    const [h] = i === 0 ? [this.queue[this.head]] : this.queue.splice(this.head + i, 1);
    if (!h) throw new Error("nothing is held");
    if (i === 0 && ++this.head > 64 && 2 * this.head > this.queue.length) {
      this.queue = this.queue.slice(this.head);
      this.head = 0;
    }
    this.bytes -= h.size;
    if (toOne(h)) this.alone--;
    return h;
  }

  /** The index of the copy of a message to many; -1 for none. */
  copyOf(key: number): number {
    for (let i = this.head; i < this.queue.length; i++) {
      const h = this.queue[i];
      if (h?.kind === "message" && h.toMany && h.key === key) return i - this.head;
    }
    return -1;
  }

  /** The index of the sender's first message before i that arrived on this connection alone; -1 for none. */
  aloneBefore(i: number, sender: string): number {
    if (this.alone === 0) return -1;
    for (let at = 0; at < i; at++) {
      const h = this.queue[this.head + at];
      if (h && toOne(h) && h.sender === sender) return at;
    }
    return -1;
  }
}

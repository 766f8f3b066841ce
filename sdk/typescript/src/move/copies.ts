/** The most messages that are remembered to recognize their copies. */
const maxCopies = 1 << 16;

/** A ring of the keys of the last messages to many that were handed out. */
export class Recent {
  private readonly keys: number[] = [];
  private at = 0; // index of the oldest key once keys is full

  add(key: number): void {
    if (this.keys.length < maxCopies) {
      this.keys.push(key);
      return;
    }
    this.keys[this.at] = key;
    this.at = (this.at + 1) % maxCopies;
  }

  /** The keys from the oldest to the newest. */
  all(): number[] {
    return [...this.keys.slice(this.at), ...this.keys.slice(0, this.at)];
  }
}

/**
 * Messages whose copies are expected on a connection and dropped there. Each message counts as often as it was handed out,
 * because a sender may send the same message several times.
 */
export class Copies {
  private readonly byKey = new Map<number, number[]>(); // the numbers of the messages, ascending
  private order: { key: number; n: number }[] = []; // oldest first; includes consumed ones
  private first = 0; // index of the oldest in order

  /** When they expire, in ms; 0 means never. */
  constructor(public until = 0) {}

  get empty(): boolean {
    return this.byKey.size === 0;
  }

  /** Adds the message with number n. Numbers must not descend. */
  add(key: number, n: number): void {
    const all = this.byKey.get(key);
    if (all) all.push(n);
    else this.byKey.set(key, [n]);
    this.order.push({ key, n });
    if (this.order.length - this.first > maxCopies) this.dropFirst();
  }

  /** Reports whether a copy of the message is expected, and removes it. */
  consume(key: number, now: number): boolean {
    if (this.empty) return false;
    if (this.until !== 0 && now > this.until) {
      this.byKey.clear();
      this.order = [];
      this.first = 0;
      return false;
    }
    if (!this.byKey.has(key)) return false;
    this.removeFirst(key);
    return true;
  }

  /** Removes the messages up to number n, whose copies can't arrive any more. */
  forget(n: number): void {
    for (let one = this.order[this.first]; one && one.n <= n; one = this.order[this.first]) this.dropFirst();
  }

  /** The remaining copies at the end of a move. They expire at until, or with the next move's first FENCE. */
  leftover(until: number): Copies {
    const left = new Copies(until);
    for (const { key, n } of this.order.slice(this.first)) {
      if (this.byKey.get(key)?.[0] !== n) continue;
      this.removeFirst(key);
      left.add(key, 0);
    }
    return left;
  }

  private dropFirst(): void {
    const one = this.order[this.first];
    if (!one) return;
    this.first++;
    if (this.first > 1024 && 2 * this.first > this.order.length) {
      this.order = this.order.slice(this.first);
      this.first = 0;
    }
    if (this.byKey.get(one.key)?.[0] === one.n) this.removeFirst(one.key);
  }

  private removeFirst(key: number): void {
    const all = this.byKey.get(key);
    if (all && all.length > 1) all.shift();
    else this.byKey.delete(key);
  }
}

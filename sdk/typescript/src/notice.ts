import { number, object } from "./wire.js";

/** The longest accepted time in a DRAIN, in ms. */
const maxNotice = 24 * 3_600_000;

/** A DRAIN: the hub asks the client to open another connection and then to leave this one. Times are of performance.now. */
export class Notice {
  readonly reason: string;
  readonly arrived = performance.now();
  /** When to open the other connection. */
  readonly due: number;
  /** When the hub disconnects; undefined for never. */
  readonly deadline: number | undefined;

  constructor(data: unknown) {
    const w = object(data, "DRAIN");
    const within = (ms: unknown) => Math.min(Math.max(number(ms, "DRAIN"), 0), maxNotice);
    const deadline = within(w.deadline_ms);
    this.reason = typeof w.reason === "string" ? w.reason : "";
    this.due = this.arrived + within(w.after_ms);
    this.deadline = deadline > 0 ? this.arrived + deadline : undefined;
  }

  /** Whether the client may stay, because the hub does not end the connection. */
  get optional(): boolean {
    return this.deadline === undefined;
  }

  /** When the connection must be left, shortly before the hub ends it; undefined for never. */
  get leaveBy(): number | undefined {
    return this.deadline === undefined ? undefined : this.deadline - Math.min((this.deadline - this.arrived) / 10, 1_000);
  }

  /**
   * The additional wait before a reconnect if the connection ended after the DRAIN. At the deadline the hub disconnects all
   * remaining clients at once. Each waits for its slot again, so that they don't reconnect faster than their slots allow. Slots
   * beyond most are folded into it by modulo, which keeps the clients spread.
   */
  reconnectDelay(most: number): number {
    return this.optional || this.reason === "expiry" ? 0 : (this.due - this.arrived) % most;
  }
}

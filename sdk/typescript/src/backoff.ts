import { DisconnectError } from "./errors.js";

/** The longest random time that is added to a wait if the hub is overloaded, in ms. */
const crowdedWait = 5_000;

/** Random waits between 0 and a bound ("full jitter"). The bound doubles with each from the least to the most, in ms. */
export class Backoff {
  private bound: number;

  constructor(private readonly limits: { minBackoff: number; maxBackoff: number }) {
    this.bound = limits.minBackoff;
  }

  next(): number {
    const wait = Math.random() * this.bound;
    this.bound = Math.min(2 * this.bound, this.limits.maxBackoff);
    return wait;
  }

  reset(): void {
    this.bound = this.limits.minBackoff;
  }
}

/** The additional wait if the hub is overloaded, so that clients must reconnect more slowly. */
export function crowdedDelay(err: unknown): number {
  const crowded = err instanceof DisconnectError && ["TRY_AGAIN_LATER", "RATE_LIMITED", "SLOW_CONSUMER"].includes(err.reason);
  return crowded ? Math.random() * crowdedWait : 0;
}

/** How long a hub has at least to answer a PING, in ms. A longer ping interval gives it nearly half of that. */
const leastAnswerTime = 900;

/** What to do about a peer's silence. */
export type Verdict = "alive" | "ask" | "give up";

/**
 * Decides about a silent peer. It is checked every quarter of a ping interval, so that it gives a peer up within two intervals of
 * 2 s or more, and only if the peer had time to answer a PING: a check that comes late shows that this process was paused, and the answer may be unread.
 */
export class Liveness {
  private checked: number | undefined; // the last check
  private asked: number | undefined; // the first PING since the peer was heard or this process was paused

  heard(): void {
    this.checked = this.asked = undefined;
  }

  check(now: number, silent: number, ping: number): Verdict {
    const paused = this.checked !== undefined && now - this.checked > ping / 2 + 1_000;
    this.checked = now;
    if (paused || silent <= ping) this.asked = undefined;
    if (silent <= ping) return "alive";
    if (this.asked === undefined) this.asked = now;
    else if (now - this.asked >= Math.max(0.45 * ping, leastAnswerTime)) return "give up";
    return "ask";
  }
}

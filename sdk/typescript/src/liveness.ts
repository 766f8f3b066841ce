/** How long after twice its ping interval a silent hub is given up, in ms. */
const silenceGrace = 5_000;

/** What to do about a peer's silence. */
export type Verdict = "alive" | "ask" | "give up";

/**
 * Decides about a silent peer. It is checked every quarter of a ping interval, and gives a peer up only if it had time to answer a
 * PING: a check that comes late shows that this process was paused, and the answer may be unread.
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
    else if (silent > 2 * ping + silenceGrace && now - this.asked > ping / 2 + silenceGrace) return "give up";
    return "ask";
  }
}

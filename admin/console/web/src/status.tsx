import { useEffect, useState } from "preact/hooks";
import { cluster, type State } from "./history";
import { duration, plural } from "./format";
import type { Tone } from "./ui";

/** troubles lists the problems of the hub as a whole, the worst first. */
function troubles({ latest, failure, failingSince }: State): { tone: Tone; text: string }[] {
  const out: { tone: Tone; text: string }[] = [];
  if (failure) {
    const since = duration(performance.now() - failingSince);
    out.push({ tone: "bad", text: `${failure.title} (for ${since}). The page shows the state before that, and tries again` });
  }
  const missing = latest?.missing ?? [];
  if (missing.length > 0) {
    const text =
      missing.length === 1
        ? `Instance ${missing[0]} does not answer: its clients are missing from lists and sums`
        : `Instances ${missing.join(", ")} do not answer: their clients are missing from lists and sums`;
    out.push({ tone: "bad", text });
  }
  for (const n of latest?.nodes ?? []) {
    if (!n.broker.available) out.push({ tone: "bad", text: `${n.name} can't reach the broker` });
    if (n.gated) out.push({ tone: "warn", text: `${n.name} has paused reading from clients: it is overloaded` });
    if (n.draining) out.push({ tone: "warn", text: `${n.name} is draining` });
  }
  return out;
}

/** StatusStrip is the line above every page: whether the page is live and complete. */
export function StatusStrip() {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const state = cluster.value;
  const found = troubles(state);
  const n = state.latest?.nodes.length ?? 0;
  const tone = found.some((t) => t.tone === "bad") ? "bad" : found.length > 0 ? "warn" : "good";
  return (
    <div class={`strip ${state.latest || state.failure ? tone : "quiet"}`} role="status" aria-live="polite">
      <i class="dot" aria-hidden="true" />
      {found.length > 0 ? (
        <span class="troubles">
          {found.map((t) => (
            <span key={t.text}>{t.text}.</span>
          ))}
        </span>
      ) : state.latest ? (
        <span>
          Live · {n === 1 ? "1 instance" : `all ${plural(n, "instance")} answer`}
          {state.gone.map(({ node }) => (
            <span key={node.id}>
              {" "}
              · <bdi>{node.name}</bdi> has left
            </span>
          ))}
        </span>
      ) : (
        <span>Asking the hub…</span>
      )}
    </div>
  );
}

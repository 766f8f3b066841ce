import { useEffect, useState } from "preact/hooks";
import { cluster, type State } from "./history";
import { duration, plural } from "./format";
import type { Tone } from "./ui";

/** troubles lists what is wrong with the hub as a whole, the worst first. */
function troubles({ latest, failure, failingSince }: State): { tone: Tone; text: string }[] {
  const out: { tone: Tone; text: string }[] = [];
  if (failure) {
    const since = duration(performance.now() - failingSince);
    out.push({ tone: "bad", text: `${failure.title} (for ${since}). What is shown is as old as that; trying again` });
  }
  const missing = latest?.missing ?? [];
  if (missing.length > 0) {
    const are = missing.length === 1 ? `Instance ${missing[0]} does` : `Instances ${missing.join(", ")} do`;
    out.push({ tone: "bad", text: `${are} not answer: its clients are not in what is shown` });
  }
  for (const n of latest?.nodes ?? []) {
    if (!n.broker.available) out.push({ tone: "bad", text: `${n.name} can't reach the broker` });
    if (n.gated) out.push({ tone: "warn", text: `${n.name} reads nothing from clients until it has caught up` });
    if (n.draining) out.push({ tone: "warn", text: `${n.name} is draining` });
  }
  return out;
}

/** StatusStrip is the line above every page: whether what is shown is live and complete. */
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
              · <bdi>{node.name}</bdi> is gone
            </span>
          ))}
        </span>
      ) : (
        <span>Asking the hub…</span>
      )}
    </div>
  );
}

import { useState } from "preact/hooks";
import { useAction } from "../action";
import { api } from "../api";
import { count, duration, plural } from "../format";
import type { Node, Rebalance } from "../types";
import { Badge, Confirm, Failed, Field, Missing, Notice } from "../ui";
import { readOnly } from "../session";

/** clientsOf returns the clients that can be told to move: those of the hub's own protocol. */
const clientsOf = (n: Node) => n.connections["service"] ?? 0;

/** expected computes, as the hub does, the surplus of each instance over its share. */
function expected(nodes: Node[], atMost: number): { node: Node; surplus: number }[] {
  const all = nodes.reduce((n, node) => n + clientsOf(node), 0);
  const stay = nodes.filter((n) => !n.draining);
  const share = Math.ceil(all / Math.max(1, stay.length));
  return stay.map((node) => ({ node, surplus: Math.min(atMost || Infinity, clientsOf(node) - share) })).filter(({ surplus }) => surplus > 0);
}

export function RebalancePanel({ self, nodes }: { self: Node; nodes: Node[] }) {
  const [over, setOver] = useState("");
  const [atMost, setAtMost] = useState("");
  const [asking, setAsking] = useState(false);
  const most = Number(atMost) || 0;
  const action = useAction(() => api.rebalance(over.trim(), most));
  const yes = async () => {
    await action.act();
    setAsking(false);
  };
  const full = expected(nodes, most);
  return (
    <section class="panel" aria-labelledby="rebalance-title">
      <h2 id="rebalance-title">Rebalance the cluster</h2>
      <form
        class="form"
        aria-label="Rebalance"
        onSubmit={(e) => {
          e.preventDefault();
          setAsking(true);
        }}
      >
        <p class="hint">Instances with more than their share of the clients tell the surplus to connect again, one after the other. Draining instances take no part.</p>
        <Field label="Over" hint="Such as 30s or 5m. Empty: at drain-rate, or over drain-timeout.">
          <input type="text" value={over} onInput={(e) => setOver(e.currentTarget.value)} placeholder="drain-rate" maxLength={32} autocomplete="off" spellcheck={false} />
        </Field>
        <Field label="At most, per instance">
          <input type="number" min={1} max={16777216} value={atMost} onInput={(e) => setAtMost(e.currentTarget.value)} placeholder="all of the surplus" />
        </Field>
        <div class="buttons">
          <button type="submit" disabled={self.draining || readOnly.value}>
            Rebalance…
          </button>
          {self.draining && <small class="dim">A draining instance can't begin it: open the console of another one.</small>}
        </div>
        <div aria-live="polite">{action.result && <Outcome result={action.result} />}</div>
        {action.failure && <Failed failure={action.failure} once />}
      </form>
      <Confirm open={asking} title="Rebalance the cluster?" action="Rebalance" busy={action.busy} onYes={yes} onNo={() => setAsking(false)}>
        {full.length === 0 ? (
          <p>No instance has more than its share: no client would be told to move.</p>
        ) : (
          <p>
            Now{" "}
            {full.map(({ node, surplus }, i) => (
              <span key={node.id}>
                {i > 0 && ", "}
                <bdi>{node.name}</bdi> tells {count(surplus)} of its {plural(clientsOf(node), "client")}
              </span>
            ))}{" "}
            to connect again.
          </p>
        )}
        <p>Clients that asked for DRAIN move without a gap; others are disconnected with SERVER_RESTART. The load balancer decides where they connect.</p>
      </Confirm>
    </section>
  );
}

function Outcome({ result: r }: { result: Rebalance }) {
  return (
    <>
      <Missing names={r.missing} what="clients" />
      <Notice tone="good">
        {r.told === 0 ? (
          <strong>No client was told to move: no instance has more than its share.</strong>
        ) : (
          <>
            <strong>Told to move: {plural(r.told, "client")}</strong>, the last within {duration(1000 * r.over_seconds)}.
          </>
        )}{" "}
        The share is {count(r.share)}.
        <ul>
          {r.nodes.map((n) => (
            <li key={n.id}>
              <bdi>{n.name}</bdi>: {n.draining ? <Badge tone="warn">draining</Badge> : `${count(n.told)} of ${plural(n.clients, "client")}`}
            </li>
          ))}
        </ul>
      </Notice>
    </>
  );
}

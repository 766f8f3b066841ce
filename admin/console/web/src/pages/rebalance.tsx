import { useState } from "preact/hooks";
import { useAction } from "../action";
import { api } from "../api";
import { count, duration, plural } from "../format";
import type { Node, Rebalance } from "../types";
import { Badge, Confirm, Failed, Field, Missing, Notice } from "../ui";

/** clientsOf returns how many clients can be told to move: those of the hub's own protocol. */
const clientsOf = (n: Node) => n.connections["service"] ?? 0;

/** expected works out, as the hub does, who has more than its share of the clients, and how many more. */
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
        <p class="hint">Instances that have more than their share of the clients tell the surplus to connect anew, one after the other. All instances take part, save those that are draining.</p>
        <Field label="Each over" hint="Such as 30s or 5m. Empty: at drain-rate, or else over drain-timeout.">
          <input type="text" value={over} onInput={(e) => setOver(e.currentTarget.value)} placeholder="drain-rate" maxLength={32} autocomplete="off" spellcheck={false} />
        </Field>
        <Field label="Clients of each, at most">
          <input type="number" min={1} max={16777216} value={atMost} onInput={(e) => setAtMost(e.currentTarget.value)} placeholder="all of the surplus" />
        </Field>
        <div class="buttons">
          <button type="submit" disabled={self.draining}>
            Rebalance…
          </button>
          {self.draining && <small class="dim">Not from an instance that is draining: open the console of another.</small>}
        </div>
        <div aria-live="polite">{action.result && <Outcome result={action.result} />}</div>
        {action.failure && <Failed failure={action.failure} once />}
      </form>
      <Confirm open={asking} title="Rebalance the cluster?" action="Rebalance" busy={action.busy} onYes={yes} onNo={() => setAsking(false)}>
        {full.length === 0 ? (
          <p>As far as this page knows no instance has more than its share: nobody would be told to go.</p>
        ) : (
          <p>
            As things are,{" "}
            {full.map(({ node, surplus }, i) => (
              <span key={node.id}>
                {i > 0 && ", "}
                <bdi>{node.name}</bdi> tells {count(surplus)} of its {plural(clientsOf(node), "client")}
              </span>
            ))}{" "}
            to connect anew.
          </p>
        )}
        <p>Clients that know DRAIN move without a gap; others are disconnected with SERVER_RESTART. Where they connect to is up to the load balancer.</p>
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
          <strong>Nobody was told to go: no instance has more than its share.</strong>
        ) : (
          <>
            <strong>Told to go: {plural(r.told, "client")}</strong>, the last within {duration(1000 * r.over_seconds)}.
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

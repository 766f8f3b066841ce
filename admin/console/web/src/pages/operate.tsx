import { useEffect, useRef, useState } from "preact/hooks";
import { useAction } from "../action";
import { api } from "../api";
import { clock, count, duration, none, plural, sum } from "../format";
import { cluster, connectionsOf } from "../history";
import { Scroll } from "../scroll";
import type { Node, Reload } from "../types";
import { Badge, Confirm, Failed, Field, Head, Loading, Missing, Notice } from "../ui";
import { RebalancePanel } from "./rebalance";
import { readOnly } from "../session";

export function Operate() {
  const { latest, failure } = cluster.value;
  const self = latest?.nodes.find((n) => n.self);
  const [chosen, choose] = useState("");
  const node = latest?.nodes.find((n) => n.id === chosen) ?? self;
  return (
    <>
      <Head title="Operate" sub="Every action is in the hub's log, with the token's name." />
      {failure && <Failed failure={failure} />}
      {latest && self && node ? (
        <>
          <Missing names={latest.missing} what="clients" />
          <Instances nodes={latest.nodes} chosen={node} choose={choose} />
          <div class="columns">
            <DrainPanel key={`drain ${node.id}`} node={node} others={latest.nodes.length - 1} />
            <ReloadPanel key={`reload ${node.id}`} node={node} />
            <RebalancePanel self={self} nodes={latest.nodes} />
          </div>
        </>
      ) : (
        !failure && <Loading rows={8} />
      )}
    </>
  );
}

interface InstancesProps {
  nodes: Node[];
  chosen: Node; // for drain and reload
  choose: (id: string) => void;
}

/** Instances shows how the clients are spread, and the progress of drains. */
function Instances({ nodes, chosen, choose }: InstancesProps) {
  const most = Math.max(1, ...nodes.map((n) => sum(n.connections)));
  return (
    <section class="panel">
      <h2>Instances</h2>
      <Scroll label="Instances">
        <table>
          <thead>
            <tr>
              <th scope="col">Instance</th>
              <th scope="col">Operate</th>
              <th scope="col">State</th>
              <th scope="col" class="r">
                Clients
              </th>
              <th scope="col">
                <span class="hide">Share of the largest</span>
              </th>
              <th scope="col">Drain</th>
            </tr>
          </thead>
          <tbody>
            {nodes.map((n) => (
              <tr key={n.id}>
                <th scope="row">
                  <a href={`/clients?node=${encodeURIComponent(n.name)}`} title={`Its clients. Id ${n.id}`}>
                    <bdi>{n.name}</bdi>
                  </a>
                  {n.self && <small class="dim"> this one</small>}
                </th>
                <td>
                  <input type="radio" name="instance" checked={n.id === chosen.id} onChange={() => choose(n.id)} aria-label={`Operate ${n.name}`} />
                </td>
                <td>{n.draining ? <Badge tone="warn">draining</Badge> : <Badge tone="good">serving</Badge>}</td>
                <td class="r num">{count(sum(n.connections))}</td>
                <td class="share">
                  <meter min={0} max={most} value={sum(n.connections)} aria-hidden="true" />
                </td>
                <td class="wide">{n.draining ? <Leaving node={n} /> : <span class="dim">{none}</span>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

/** Leaving is the progress of a drain. */
function Leaving({ node }: { node: Node }) {
  const left = connectionsOf(node);
  const all = cluster.value.leaving.get(node.id) ?? left;
  return (
    <span class="leaving">
      <progress max={Math.max(1, all)} value={all === 0 ? 1 : all - left} aria-label={`Connections that have left ${node.name}`} />
      <span class="num">{left === 0 ? "no connections left" : `${count(all - left)} of ${count(all)} have left`}</span>
    </span>
  );
}

/** useFocusOn returns a reference to an element that takes the focus when on becomes true. */
function useFocusOn<T extends HTMLElement>(on: boolean) {
  const ref = useRef<T>(null);
  useEffect(() => {
    if (on) ref.current?.focus({ preventScroll: true });
  }, [on]);
  return ref;
}

function DrainPanel({ node, others }: { node: Node; others: number }) {
  const [over, setOver] = useState("");
  const [asking, setAsking] = useState(false);
  const drain = useAction(() => api.drain(node.id, over.trim()));
  const heading = useFocusOn<HTMLHeadingElement>(drain.result !== undefined && !asking);
  const name = <bdi>{node.name}</bdi>;
  const clients = connectionsOf(node);
  const yes = async () => {
    await drain.act();
    setAsking(false);
  };
  return (
    <section class="panel" aria-labelledby="drain-title">
      <h2 id="drain-title" tabIndex={-1} ref={heading}>
        Drain {name}
      </h2>
      {node.draining || drain.result ? (
        <div class="form">
          <Leaving node={node} />
          <p class="hint" role="status">
            {drain.result && (drain.result.began ? `Its connections are told to move over ${duration(1000 * drain.result.over_seconds)}. ` : "A drain had begun before. ")}
            {clients === 0 ? "All connections have ended. " : ""}
            {name} accepts no more connections and runs until SIGTERM. It serves again after a restart.
          </p>
        </div>
      ) : (
        <form
          class="form"
          aria-label="Drain"
          onSubmit={(e) => {
            e.preventDefault();
            setAsking(true);
          }}
        >
          <p class="hint">
            Takes {name} out of service, as before a restart. Select another instance above.
          </p>
          <Field label="Over" hint="Such as 30s or 2m. Empty: the setting drain-timeout.">
            <input type="text" value={over} onInput={(e) => setOver(e.currentTarget.value)} placeholder="drain-timeout" maxLength={32} autocomplete="off" spellcheck={false} />
          </Field>
          <div class="buttons">
            <button type="submit" class="danger" disabled={drain.busy || readOnly.value}>
              {`Drain ${node.name}…`}
            </button>
          </div>
          {drain.failure && <Failed failure={drain.failure} once />}
        </form>
      )}
      <Confirm open={asking} title={`Drain ${node.name}?`} action={`Drain ${node.name}`} busy={drain.busy} onYes={yes} onNo={() => setAsking(false)}>
        <p>
          {name} accepts no more connections, is no longer ready, and tells its {plural(clients, "connection")} to move{over.trim() && `, over ${over.trim()}`}. This can't be undone: it serves again after
          a restart. Other instances are not affected.
        </p>
        {others === 0 && (
          <p>
            <strong>There is no other instance</strong> for its clients to move to.
          </p>
        )}
      </Confirm>
    </section>
  );
}

function ReloadPanel({ node }: { node: Node }) {
  const reload = useAction(() => api.reload(node.id));
  return (
    <section class="panel" aria-labelledby="reload-title">
      <h2 id="reload-title">
        Reload <bdi>{node.name}</bdi>
      </h2>
      <div class="form">
        <p class="hint">
          Makes <bdi>{node.name}</bdi> reload its configuration files, as SIGHUP does: all changes or none. Clients with a revoked token are disconnected.
        </p>
        <div class="buttons">
          <button type="button" onClick={reload.act} aria-disabled={reload.busy} disabled={readOnly.value}>
            {reload.busy ? "Reloading…" : `Reload ${node.name}`}
          </button>
        </div>
        <div aria-live="polite">{reload.result && <Reloaded result={reload.result} />}</div>
        {reload.failure && <Failed failure={reload.failure} once />}
      </div>
    </section>
  );
}

function Reloaded({ result: r }: { result: Reload }) {
  const lists: [string, string[]][] = [
    ["Applied", r.changed],
    ["Tokens added", r.tokens_added],
    ["Tokens changed", r.tokens_changed],
    ["Tokens revoked", r.tokens_revoked],
    ["Need a restart", r.need_restart],
  ];
  const some = lists.filter(([, names]) => names.length > 0);
  return (
    <Notice tone={r.need_restart.length > 0 ? "warn" : "good"}>
      <strong>{some.length === 0 ? "Nothing has changed." : r.changed.length === 0 ? "Nothing was applied." : "Reloaded."}</strong> <span class="num">Read at {clock(new Date(r.at))}.</span>
      {some.map(([what, names]) => (
        <div key={what}>
          {what}: <bdi>{names.join(", ")}</bdi>
        </div>
      ))}
    </Notice>
  );
}

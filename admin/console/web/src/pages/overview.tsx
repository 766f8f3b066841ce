import { Chart } from "../chart";
import { amount, byteRate, bytes, count, duration, lag, none, plural, rate, sum, words } from "../format";
import { cluster, hubNow, since, type Gone, type Rates } from "../history";
import { Scroll } from "../scroll";
import type { Counts, Node } from "../types";
import { Badge, Failed, Head, Loading, Nothing, Stat } from "../ui";

const span = 300;

/** Loop lag in seconds that is highlighted. */
const laggard = 0.05;

export function Overview() {
  const { latest, rates, total, failure, series, gone } = cluster.value;
  if (!latest) {
    return (
      <>
        <Head title="Overview" />
        {failure ? <Failed failure={failure} /> : <Loading rows={8} />}
      </>
    );
  }
  const { nodes } = latest;
  const add = (f: (n: Node) => number) => nodes.reduce((n, node) => n + f(node), 0);
  const clients = add((n) => sum(n.connections));
  const drops = merge(nodes.map((n) => n.drops));
  const disconnects = merge(nodes.map((n) => n.disconnects));
  const types = merge(nodes.map((n) => n.connections));
  const queue = add((n) => n.queue_bytes);
  return (
    <>
      <Head title="Overview" sub="All instances together. Rates are of the last second." />
      <dl class="stats">
        <Stat label="Clients" value={count(clients)} note={`${count(add((n) => n.unidentified))} unidentified`} />
        <Stat label="Messages in" value={rate(total?.received)} note={<>{byteRate(total?.bytesIn)} received; <a href="/top">who sends most</a></>} />
        <Stat label="Deliveries" value={rate(total?.deliveries)} note={`${byteRate(total?.bytesOut)} sent`} />
        <Stat label="Drops" value={rate(total?.drops)} note={`${count(sum(drops))} since start`} tone={total && total.drops > 0 ? "warn" : undefined} />
        <Stat label="Unsent" value={bytes(queue)} note={queue > 0 ? <a href="/clients?view=slowest">find the slow clients</a> : "no client has a backlog"} />
      </dl>
      <div class="charts">
        <Chart
          title="Messages"
          times={series.time}
          span={span}
          format={(n) => `${amount(n)}/s`}
          lines={[
            { label: "in", values: series.received, color: "--series-1" },
            { label: "delivered", values: series.deliveries, color: "--series-2" },
          ]}
        />
        <Chart
          title="Traffic"
          binary
          times={series.time}
          span={span}
          format={(n) => `${bytes(n)}/s`}
          lines={[
            { label: "received", values: series.bytesIn, color: "--series-1" },
            { label: "sent", values: series.bytesOut, color: "--series-2" },
          ]}
        />
        <Chart title="Clients" whole times={series.time} span={span} format={count} lines={[{ label: "connected", values: series.clients, color: "--series-1" }]} />
        <Chart title="Drops" times={series.time} span={span} format={(n) => `${amount(n)}/s`} lines={[{ label: "dropped", values: series.drops, color: "--series-3" }]} />
      </div>
      <Instances nodes={nodes} rates={rates} missing={latest.missing} gone={gone} />
      <div class="columns">
        <Reasons title="Drops by reason" about="Messages that did not reach a receiver." counts={drops} rates={total?.dropsBy} empty="No drops since the instances started." />
        <Reasons title="Disconnects by reason" about="Sessions that ended." counts={disconnects} rates={total?.disconnectsBy} empty="No disconnects since the instances started." />
        <Types counts={types} all={clients} />
      </div>
    </>
  );
}

function merge(all: Counts[]): Counts {
  const out: Counts = {};
  for (const counts of all) for (const [k, v] of Object.entries(counts)) out[k] = (out[k] ?? 0) + v;
  return out;
}

function Instances({ nodes, rates, missing, gone }: { nodes: Node[]; rates: Map<string, Rates>; missing: string[]; gone: Gone[] }) {
  return (
    <section class="panel">
      <h2 class="split">
        Instances <a href="/operate">drain, rebalance, reload</a>
      </h2>
      <Scroll label="Instances">
        <table>
          <thead>
            <tr>
              <th scope="col">Instance</th>
              <th scope="col">State</th>
              <th scope="col">Broker</th>
              <th scope="col" class="r">Clients</th>
              <th scope="col" class="r">Groups</th>
              <th scope="col" class="r">In</th>
              <th scope="col" class="r">Delivered</th>
              <th scope="col" class="r">Drops</th>
              <th scope="col" class="r">Unsent</th>
              <th scope="col" class="r" title="99th percentile of the turns of its busiest event loop">Loop lag p99</th>
              <th scope="col" class="r">Up for</th>
              <th scope="col">Version</th>
            </tr>
          </thead>
          <tbody>
            {nodes.map((n) => (
              <Instance key={n.id} node={n} rates={rates.get(n.id)} />
            ))}
            {missing.map((name) => (
              <tr key={`missing ${name}`}>
                <th scope="row">
                  <bdi>{name}</bdi>
                </th>
                <td colSpan={11}>
                  <Badge tone="bad">no answer</Badge> <span class="dim">within 1 s. Its clients are missing from this page. Check the instance and its connection to the broker.</span>
                </td>
              </tr>
            ))}
            {gone.map(({ node, at }) => (
              <tr key={`gone ${node.id}`}>
                <th scope="row">
                  <bdi class="dim">{node.name}</bdi>
                </th>
                <td colSpan={11}>
                  <Badge tone="quiet">left</Badge>{" "}
                  <span class="dim num">
                    {duration(Math.max(0, hubNow() - at))} ago: stopped, crashed or cut off. It had {plural(sum(node.connections), "client")}.
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function Instance({ node: n, rates: r }: { node: Node; rates: Rates | undefined }) {
  return (
    <tr>
      <th scope="row">
        <a href={`/clients?node=${encodeURIComponent(n.name)}`} title={`Its clients. Id ${n.id}`}>
          <bdi>{n.name}</bdi>
        </a>
        {n.self && <small class="dim"> this one</small>}
      </th>
      <td>{n.draining ? <Badge tone="warn">draining</Badge> : n.gated ? <Badge tone="warn">overloaded</Badge> : <Badge tone="good">serving</Badge>}</td>
      <td class="broker">
        <BrokerState node={n} />
      </td>
      <td class="r num">{count(sum(n.connections))}</td>
      <td class="r num">{count(n.groups)}</td>
      <td class="r num">{rate(r?.received)}</td>
      <td class="r num">{rate(r?.deliveries)}</td>
      <td class={`r num ${r && r.drops > 0 ? "warn" : ""}`}>{rate(r?.drops)}</td>
      <td class="r num">{bytes(n.queue_bytes)}</td>
      <td class={`r num ${n.loop_turn_p99_seconds > laggard ? "warn" : ""}`}>{n.loop_turn_p99_seconds > 0 ? lag(n.loop_turn_p99_seconds) : none}</td>
      <td class="r num">{duration(since(n.started))}</td>
      <td class="mono">{n.version}</td>
    </tr>
  );
}

/** BrokerState shows the connection to the other instances. Without Redis there is no round trip. */
function BrokerState({ node: { broker } }: { node: Node }) {
  if (broker.available && broker.round_trip_seconds === 0) return <span class="dim">none</span>;
  if (broker.available) {
    return (
      <>
        <Badge tone="good">available</Badge>{" "}
        <span class="num dim">in {lag(broker.round_trip_seconds)}</span>
      </>
    );
  }
  return (
    <>
      <Badge tone="bad">unavailable</Badge>{" "}
      <span class="dim">
        for {duration(since(broker.since))}
        {broker.error && `: ${broker.error}`}
      </span>
    </>
  );
}

function Reasons({ title, about, counts, rates, empty }: { title: string; about: string; counts: Counts; rates: Counts | undefined; empty: string }) {
  const rows = Object.entries(counts)
    .filter(([, n]) => n > 0)
    .sort(([a, n], [b, m]) => m - n || a.localeCompare(b));
  return (
    <section class="panel">
      <h2>{title}</h2>
      {rows.length === 0 ? (
        <Nothing title={empty} />
      ) : (
        <table>
          <caption class="hide">{about}</caption>
          <thead>
            <tr>
              <th scope="col">Reason</th>
              <th scope="col" class="r">Now</th>
              <th scope="col" class="r">Since start</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([reason, n]) => (
              <tr key={reason}>
                <th scope="row">{words(reason)}</th>
                <td class="r num">{rate(rates?.[reason])}</td>
                <td class="r num">{count(n)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Types({ counts, all }: { counts: Counts; all: number }) {
  const rows = Object.entries(counts).sort(([a, n], [b, m]) => m - n || a.localeCompare(b));
  return (
    <section class="panel">
      <h2>Clients by type</h2>
      {all === 0 ? (
        <Nothing title="No client is connected.">
          Connect one: <code>mastersocket sub --group demo</code>
        </Nothing>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">Type</th>
              <th scope="col" class="r">Share</th>
              <th scope="col" class="r">Clients</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([type, n]) => (
              <tr key={type}>
                <th scope="row">
                  <a href={`/clients?type=${encodeURIComponent(type)}`}>{type}</a>
                </th>
                <td class="r num">{Math.round((100 * n) / Math.max(1, all))} %</td>
                <td class="r num">{count(n)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

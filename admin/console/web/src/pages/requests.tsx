import { Chart } from "../chart";
import { amount, bytes, count, lag, none, rate, sum } from "../format";
import { addCounts, cluster, type Rates } from "../history";
import { Scroll } from "../scroll";
import type { Counts, Node } from "../types";
import { Failed, Head, Loading, Nothing, Stat } from "../ui";

const span = 300;

/** The outcomes, in the order of the table. */
const outcomes: { name: string; label: string; about: string }[] = [
  { name: "answered", label: "answered", about: "every receiver answered" },
  { name: "answered_in_part", label: "answered in part", about: "some receivers passed, or went" },
  { name: "unanswered", label: "unanswered", about: "all receivers passed, or went" },
  { name: "undelivered", label: "undelivered", about: "no client got it that can answer" },
  { name: "timed_out", label: "timed out", about: "receivers did not answer in time" },
  { name: "cancelled", label: "cancelled", about: "its sender wanted no answer any more" },
];

/** Share of the memory for requests above which it is highlighted. */
const most = 0.8;

/** unanswered returns how many requests ended without an answer. Those that were cancelled are not meant. */
const unanswered = ({ unanswered = 0, undelivered = 0, timed_out = 0 }: Counts) => unanswered + undelivered + timed_out;

/** mean returns the mean time of requests, given their number and the sum of their times in seconds. */
const mean = (n: number | undefined, seconds: number | undefined) => (n && seconds !== undefined ? lag(seconds / n) : none);

export function Requests() {
  const { latest, rates, total, failure, series } = cluster.value;
  if (!latest) {
    return (
      <>
        <Head title="Requests" />
        {failure ? <Failed failure={failure} /> : <Loading rows={8} />}
      </>
    );
  }
  const { nodes } = latest;
  const settled = nodes.reduce((all, n) => addCounts(all, n.requests.settled), {});
  const seconds = nodes.reduce((all, n) => addCounts(all, n.requests.settle_seconds), {});
  const open = nodes.reduce((n, node) => n + node.requests.open, 0);
  const failing = total && unanswered(total.settledBy);
  const fullest = nodes.reduce((worst, n) => (share(n) > share(worst) ? n : worst), nodes[0]!);
  return (
    <>
      <Head title="Requests" sub="Events that their senders expect answers to, on all instances. Rates are of the last second." />
      <dl class="stats">
        <Stat label="Open" value={count(open)} note="not settled yet" />
        <Stat label="Settled" value={rate(total && sum(total.settledBy))} note={`${count(sum(settled))} since start`} />
        <Stat label="Without an answer" value={rate(failing)} note={`${count(unanswered(settled))} since start`} tone={failing ? "warn" : undefined} />
        <Stat
          label="Time to settle"
          value={mean(total && sum(total.settledBy), total && sum(total.settleSeconds))}
          note={`${mean(sum(settled), sum(seconds))} since start`}
        />
        <Stat
          label="Memory"
          value={bytes(nodes.reduce((n, node) => n + node.requests.memory_bytes, 0))}
          note={fullest.requests.memory_limit_bytes > 0 ? `${percent(share(fullest))} of the limit` : "no limit is set"}
          tone={share(fullest) > most ? "warn" : undefined}
        />
      </dl>
      <div class="charts">
        <Chart
          title="Settled"
          times={series.time}
          span={span}
          format={(n) => `${amount(n)}/s`}
          lines={[
            { label: "answered", values: series.answered, color: "--series-2" },
            { label: "others", values: series.failed, color: "--series-3" },
          ]}
        />
        <Chart title="Open" whole times={series.time} span={span} format={count} lines={[{ label: "open", values: series.open, color: "--series-1" }]} />
      </div>
      <Outcomes settled={settled} seconds={seconds} now={total} />
      <Instances nodes={nodes} rates={rates} />
    </>
  );
}

/** share returns how much of an instance's memory for requests is used. */
const share = ({ requests: r }: Node) => (r.memory_limit_bytes > 0 ? r.memory_bytes / r.memory_limit_bytes : 0);

const percent = (part: number) => `${Math.round(100 * part)} %`;

function Outcomes({ settled, seconds, now }: { settled: Counts; seconds: Counts; now: Rates | undefined }) {
  return (
    <section class="panel">
      <h2>Requests by outcome</h2>
      {sum(settled) === 0 ? (
        <Nothing title="No request has been settled since the instances started.">
          Send one: <code>mastersocket request --to GROUP:demo --event info</code>
        </Nothing>
      ) : (
        <Scroll label="Requests by outcome">
          <table>
            <thead>
              <tr>
                <th scope="col">Outcome</th>
                <th scope="col" class="r">Now</th>
                <th scope="col" class="r" title="Mean time from a request to its end">Time, now</th>
                <th scope="col" class="r">Since start</th>
                <th scope="col" class="r" title="Mean time from a request to its end">Time, since start</th>
                <th scope="col">Meaning</th>
              </tr>
            </thead>
            <tbody>
              {outcomes.map(({ name, label, about }) => (
                <tr key={name}>
                  <th scope="row">{label}</th>
                  <td class="r num">{rate(now && (now.settledBy[name] ?? 0))}</td>
                  <td class="r num">{mean(now?.settledBy[name], now?.settleSeconds[name])}</td>
                  <td class="r num">{count(settled[name] ?? 0)}</td>
                  <td class="r num">{mean(settled[name], seconds[name])}</td>
                  <td class="dim">{about}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}

function Instances({ nodes, rates }: { nodes: Node[]; rates: Map<string, Rates> }) {
  return (
    <section class="panel">
      <h2>Instances of the senders</h2>
      <Scroll label="Instances of the senders">
        <table>
          <thead>
            <tr>
              <th scope="col">Instance</th>
              <th scope="col" class="r">Open</th>
              <th scope="col" class="r">Settled</th>
              <th scope="col" class="r">Without an answer</th>
              <th scope="col" class="r">Time to settle</th>
              <th scope="col" class="r">Memory</th>
            </tr>
          </thead>
          <tbody>
            {nodes.map((n) => {
              const r = rates.get(n.id);
              const failing = r && unanswered(r.settledBy);
              return (
                <tr key={n.id}>
                  <th scope="row">
                    <a href={`/clients?node=${encodeURIComponent(n.name)}`} title={`Its clients. Id ${n.id}`}>
                      <bdi>{n.name}</bdi>
                    </a>
                  </th>
                  <td class="r num">{count(n.requests.open)}</td>
                  <td class="r num">{rate(r && sum(r.settledBy))}</td>
                  <td class={`r num ${failing ? "warn" : ""}`}>{rate(failing)}</td>
                  <td class="r num">{mean(r && sum(r.settledBy), r && sum(r.settleSeconds))}</td>
                  <td class={`r num ${share(n) > most ? "warn" : ""}`}>
                    {bytes(n.requests.memory_bytes)}
                    {n.requests.memory_limit_bytes > 0 && <span class="dim"> of {bytes(n.requests.memory_limit_bytes)}</span>}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

import { useRef, useState } from "preact/hooks";
import { api, Failure } from "../api";
import { Chart } from "../chart";
import { amount, byteRate, bytes, count, duration, idle, moment, none, plural, rate } from "../format";
import { cluster, since } from "../history";
import { usePoll } from "../poll";
import { groupPath } from "../route";
import { behind } from "../table";
import { Said } from "../text";
import type { Client } from "../types";
import { Confirm, Failed, Field, Head, Loading, Nothing, Notice, Stat } from "../ui";
import { readOnly } from "../session";

const every = 1000;
const kept = 300;

interface Past {
  at: number; // seconds
  client: Client;
}

/** usePast keeps the answers about the client of the last minutes. */
function usePast(client: Client | undefined, at: number): Past[] {
  const past = useRef<Past[]>([]);
  const last = past.current.at(-1);
  if (client && last?.client !== client) {
    past.current = [...past.current.slice(-kept + 1), { at: (performance.timeOrigin + at) / 1000, client }];
  }
  return past.current;
}

/** slope returns the growth of a figure per second, over the last samples. */
function slope(past: Past[], of: (c: Client) => number, over = 1): number | undefined {
  const now = past.at(-1);
  const then = past.at(-1 - over) ?? past[0];
  if (!now || !then || now.at <= then.at) return undefined;
  return (of(now.client) - of(then.client)) / (now.at - then.at);
}

export function ClientPage({ id }: { id: string }) {
  const { data, failure, at, again } = usePoll((signal) => api.client(id, { signal }), id, every);
  const past = usePast(data, at);
  const client = past.at(-1)?.client;
  const gone = failure?.status === 404 || failure?.status === 422; // 422: not an id
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<Failure>();
  const [kicked, setKicked] = useState(false);

  const disconnect = async () => {
    setBusy(true);
    setRefused(undefined);
    try {
      await api.disconnect(id);
      setKicked(true);
    } catch (error) {
      if (error instanceof Failure && error.status === 404) setKicked(false);
      else setRefused(error as Failure);
    }
    setBusy(false);
    setAsking(false);
    again();
  };

  return (
    <>
      <Head title={client?.name ? <Said value={client.name} /> : "Client"} sub={<span class="mono">{id}</span>}>
        <a class="button" href={`/tail?client=${encodeURIComponent(id)}`}>
          Watch it
        </a>
        <a class="button" href={`/events?client=${encodeURIComponent(id)}`}>
          Its events
        </a>
        {!readOnly.value && (
          <>
            <a class="button" href={`/publish?target=DIRECT&identifier=${encodeURIComponent(id)}`}>
              Send to it
            </a>
            <button type="button" class="danger" onClick={() => setAsking(true)} disabled={!client || gone || kicked}>
              Disconnect…
            </button>
          </>
        )}
      </Head>
      {refused && <Failed failure={refused} />}
      {kicked ? (
        <Notice tone="good">
          <strong>Disconnected.</strong> The client got the reason KICKED. It may connect again with another id. <a href="/clients">Back to all clients</a>.
        </Notice>
      ) : gone && client ? (
        <Notice tone="warn">
          <strong>This client has disconnected.</strong> Below is its last known state. <a href="/clients">Back to all clients</a>.
        </Notice>
      ) : (
        failure && !gone && <Failed failure={failure} />
      )}
      {client ? (
        <Details client={client} past={past} stale={gone || kicked} />
      ) : gone ? (
        <section class="panel">
          <Nothing title="No client has this id.">
            It has disconnected, or its instance does not answer. A client that connects again gets another id. <a href="/clients">Show all clients</a>.
          </Nothing>
        </section>
      ) : (
        !failure && <Loading rows={8} />
      )}
      <Confirm open={asking} title="Disconnect this client?" action="Disconnect" busy={busy} onYes={disconnect} onNo={() => setAsking(false)}>
        <p>
          {client?.name ? <Said value={client.name} /> : "The client"} on <bdi>{client?.node}</bdi> gets the reason <code>KICKED</code> and its connection is closed.
          {client && client.queue_bytes > 0 && ` Its ${bytes(client.queue_bytes)} of unsent messages may be lost.`} Most clients connect again; revoke the token to keep one out.
        </p>
      </Confirm>
    </>
  );
}

function Details({ client: c, past, stale }: { client: Client; past: Past[]; stale: boolean }) {
  const times = past.map((p) => p.at);
  const steps = past.map((_, i) => past.slice(Math.max(0, i - 1), i + 1));
  return (
    <div class={stale ? "stack stale" : "stack"}>
      {!stale && <Verdict client={c} past={past} />}
      <dl class="stats">
        <Stat label="Unsent" value={bytes(c.queue_bytes)} note={growth(slope(past, (x) => x.queue_bytes, 5))} tone={c.queue_bytes >= behind ? "warn" : undefined} />
        <Stat label="Messages to it" value={rate(stale ? undefined : slope(past, (x) => x.messages_out))} note={`${count(c.messages_out)} in total`} />
        <Stat label="Bytes to it" value={byteRate(stale ? undefined : slope(past, (x) => x.bytes_out))} note={`${bytes(c.bytes_out)} in total`} />
        <Stat label="Messages from it" value={rate(stale ? undefined : slope(past, (x) => x.messages_in))} note={`${count(c.messages_in)} in total`} />
        <Stat label="Last heard" value={`${idle(c.idle_ms)} ago`} note={`${bytes(c.bytes_in)} received in total`} />
      </dl>
      <div class="charts">
        <Chart title="Unsent" binary times={times} span={kept} format={bytes} lines={[{ label: "backlog", values: past.map((p) => p.client.queue_bytes), color: "--series-3" }]} />
        <Chart
          title="Messages"
          times={times}
          span={kept}
          format={(n) => `${amount(n)}/s`}
          lines={[
            { label: "from it", values: steps.map((s) => slope(s, (x) => x.messages_in) ?? null), color: "--series-1" },
            { label: "to it", values: steps.map((s) => slope(s, (x) => x.messages_out) ?? null), color: "--series-2" },
          ]}
        />
      </div>
      <div class="columns two">
        <Facts client={c} />
        <div>
          <GroupList client={c} stale={stale} />
          <Meta meta={c.meta} />
        </div>
      </div>
    </div>
  );
}

function growth(perSecond: number | undefined): string {
  if (perSecond === undefined) return " ";
  if (Math.abs(perSecond) < 1) return "steady";
  return perSecond > 0 ? `grows by ${byteRate(perSecond)}` : `shrinks by ${byteRate(-perSecond)}`;
}

/** A client without progress for this many milliseconds counts as not reading. */
const stall = 3000;

/** Verdict explains why a client is slow, if it is. */
function Verdict({ client: c, past }: { client: Client; past: Past[] }) {
  if (c.queue_bytes < behind) return null;
  const grows = slope(past, (x) => x.queue_bytes, 5) ?? 0;
  const leaves = Math.max(0, slope(past, (x) => x.bytes_out, 5) ?? 0);
  const stalled = c.stalled_ms > stall;
  const node = cluster.value.latest?.nodes.find((n) => n.name === c.node);
  return (
    <Notice tone="warn">
      <strong>This client is slow.</strong> {bytes(c.queue_bytes)} are unsent
      {stalled ? `, and it has read nothing for ${duration(c.stalled_ms)}: it does not read, or can't be reached.` : `; it reads ${byteRate(leaves)} of the ${byteRate(leaves + Math.max(0, grows))} sent to it.`} The hub disconnects it as
      SLOW_CONSUMER when its backlog passes <code>--send-queue-bytes</code>
      {node && ` (${bytes(node.send_queue_bytes)})`}, or when nothing leaves for <code>--write-timeout</code>
      {node && ` (${duration(1000 * node.write_timeout_seconds)})`}. It should read faster, or join fewer groups.
    </Notice>
  );
}

function Facts({ client: c }: { client: Client }) {
  return (
    <section class="panel">
      <h2>Client</h2>
      <dl class="facts">
        <dt>Id</dt>
        <dd class="mono">{c.id}</dd>
        <dt>Name</dt>
        <dd>{c.name ? <Said value={c.name} wide /> : none}</dd>
        <dt>Version</dt>
        <dd>{c.version ? <Said value={c.version} wide /> : none}</dd>
        <dt>Type</dt>
        <dd>{c.type}</dd>
        <dt>Instance</dt>
        <dd>
          <a href={`/clients?node=${encodeURIComponent(c.node)}`}>
            <bdi>{c.node}</bdi>
          </a>
        </dd>
        <dt>Address</dt>
        <dd class="mono">{c.address || none}</dd>
        <dt>Token</dt>
        <dd>{c.token ? <Said value={c.token} wide /> : none}</dd>
        <dt>Open requests</dt>
        <dd class="num">{c.open_requests > 0 ? `${count(c.open_requests)}: it waits for answers` : "0"}</dd>
        <dt>Owed answers</dt>
        <dd class="num">{c.owed_answers > 0 ? `${plural(c.owed_answers, "request")} of others` : "0"}</dd>
        <dt>Connected since</dt>
        <dd class="num">
          {moment(new Date(c.connected_since))} <span class="dim">({duration(since(c.connected_since))})</span>
        </dd>
      </dl>
    </section>
  );
}

/** GroupList shows the client's groups, and moves it in and out of them. The first one is that of its IDENTIFY. */
function GroupList({ client: c, stale }: { client: Client; stale: boolean }) {
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<Failure>();
  const change = async (carryOut: (id: string, group: string) => Promise<Client>, group: string) => {
    setBusy(true);
    setRefused(undefined);
    try {
      await carryOut(c.id, group); // the next answer about the client shows it
      setName("");
    } catch (error) {
      setRefused(error as Failure);
    }
    setBusy(false);
  };
  return (
    <section class="panel">
      <h2>Groups</h2>
      {c.groups.length === 0 ? (
        <Nothing title="This client is in no group." />
      ) : (
        <ul class="tags">
          {c.groups.map((group, i) => (
            <li key={group}>
              <a href={groupPath(group)}>
                <Said value={group} wide />
              </a>
              {i > 0 && !stale && !readOnly.value && (
                <button type="button" class="link" aria-label={`Take the client out of ${group}`} disabled={busy} onClick={() => change(api.leave, group)}>
                  ×
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
      {refused && <Failed failure={refused} once />}
      {!stale && !readOnly.value && (
        <form
          class="form"
          aria-label="Groups"
          onSubmit={(e) => {
            e.preventDefault();
            if (name) void change(api.join, name);
          }}
        >
          <Field label="Put it into a group" hint="One that its token may join.">
            <input type="text" value={name} onInput={(e) => setName(e.currentTarget.value)} maxLength={128} autocomplete="off" spellcheck={false} />
          </Field>
          <button type="submit" disabled={busy || name === ""}>
            Join
          </button>
        </form>
      )}
    </section>
  );
}

function Meta({ meta }: { meta: Record<string, string> }) {
  const rows = Object.entries(meta).sort(([a], [b]) => (a < b ? -1 : 1));
  return (
    <section class="panel">
      <h2>Meta</h2>
      {rows.length === 0 ? (
        <Nothing title="This client sent no meta." />
      ) : (
        <dl class="facts">
          {rows.map(([k, v]) => (
            <>
              <dt key={k}>
                <Said value={k} wide />
              </dt>
              <dd>
                <Said value={v} wide />
              </dd>
            </>
          ))}
        </dl>
      )}
    </section>
  );
}

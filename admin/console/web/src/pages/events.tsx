import { api, query } from "../api";
import { clock, moment, plural, words } from "../format";
import { cluster } from "../history";
import { Pager, usePages } from "../pager";
import { usePoll } from "../poll";
import { clientPath, go, groupPath, place } from "../route";
import { Scroll } from "../scroll";
import { Search } from "../search";
import { Id, Said } from "../text";
import type { LogEntry } from "../types";
import { Badge, Failed, Field, Head, Loading, Missing, Nothing, type Tone } from "../ui";

const every = 1000;
const limit = 100;

/** The choices of kinds: all of them, groups of kinds, and each by itself. */
const kinds: { value: string; label: string }[] = [
  { value: "", label: "everything" },
  { value: "identify_failed,slow_consumer,kicked,broker,node,drain,rebalance,reload,operation", label: "all but connects and disconnects" },
  { value: "connected", label: "connected" },
  { value: "disconnected,slow_consumer,kicked", label: "disconnected, for any reason" },
  { value: "slow_consumer", label: "slow consumers" },
  { value: "kicked", label: "kicked" },
  { value: "identify_failed", label: "failed to identify" },
  { value: "broker,node", label: "broker and instances" },
  { value: "drain,rebalance,reload,operation", label: "operations" },
];

const tones: Record<string, Tone> = { connected: "good", identify_failed: "warn", slow_consumer: "bad", kicked: "warn", node: "bad" };

/** tone returns the colour of an event's kind. */
const tone = (e: LogEntry): Tone => {
  if (e.kind === "broker") return e.reason === "AVAILABLE" ? "good" : "bad";
  if (e.reason === "REFUSED" || e.reason === "refused") return "warn";
  return tones[e.kind] ?? "quiet";
};

export function Events() {
  const asked = place.value.query;
  const filter = Object.fromEntries(["kind", "name", "token", "group", "address", "client", "node"].map((name) => [name, asked.get(name) ?? ""]));
  const key = JSON.stringify(filter);
  const pages = usePages(key);
  const cursor = pages.cursor;
  const { data, failure } = usePoll((signal) => api.log({ ...filter, limit, ...(cursor && { cursor }) }, { signal }), `${key}\n${cursor ?? ""}`, every);
  const set = (change: { [name: string]: string }) => go(`/events${query({ ...filter, ...change })}`, true);
  const entries = data?.entries ?? [];
  const nodes = cluster.value.latest?.nodes ?? [];
  return (
    <>
      <Head title="Events" sub="What happened of late on all instances. Each keeps its last 10,000 usual connects and disconnects, and its last 2,000 other events." />
      <form class="filters" role="search" aria-label="Events" onSubmit={(e) => e.preventDefault()}>
        <Field label="What">
          <select value={filter.kind} onChange={(e) => set({ kind: e.currentTarget.value })}>
            {kinds.map((k) => (
              <option key={k.value} value={k.value}>
                {k.label}
              </option>
            ))}
          </select>
        </Field>
        <Field label="Client's name begins with" grow>
          <Search value={(filter.name ?? "").replace(/\*$/, "")} onSearch={(text) => set({ name: text && `${text}*` })} placeholder="billing" primary />
        </Field>
        <Field label="Token" grow>
          <Search value={filter.token ?? ""} onSearch={(token) => set({ token })} placeholder="any" />
        </Field>
        <Field label="First group" grow>
          <Search value={filter.group ?? ""} onSearch={(group) => set({ group })} placeholder="any" />
        </Field>
        <Field label="Address" grow>
          <Search value={filter.address ?? ""} onSearch={(address) => set({ address })} placeholder="any" />
        </Field>
        <Field label="Instance">
          <select value={filter.node} onChange={(e) => set({ node: e.currentTarget.value })}>
            <option value="">all</option>
            {nodes.map((n) => (
              <option key={n.id} value={n.name}>
                {n.name}
              </option>
            ))}
          </select>
        </Field>
        <a class="button" href="/events" aria-disabled={Object.values(filter).every((v) => v === "")}>
          Clear
        </a>
      </form>
      {filter.client && (
        <p>
          Only events of the client <a class="mono" href={clientPath(filter.client)}>{filter.client}</a>.
        </p>
      )}
      {failure && <Failed failure={failure} />}
      <Missing names={data?.missing} what="events" />
      <section class="panel">
        {!data ? (
          !failure && <Loading rows={8} />
        ) : entries.length === 0 ? (
          <Nothing title="No event matches.">{Object.values(filter).some(Boolean) ? <a href="/events">Show all events</a> : "Nothing has happened since the instances started."}</Nothing>
        ) : (
          <Table entries={entries} />
        )}
        <Pager pages={pages} next={data?.next} count={plural(entries.length, "event")} />
      </section>
    </>
  );
}

function Table({ entries }: { entries: LogEntry[] }) {
  return (
    <Scroll label="Events, newest first">
      <table>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Instance</th>
            <th scope="col">Event</th>
            <th scope="col">Reason</th>
            <th scope="col">Client</th>
            <th scope="col">Token</th>
            <th scope="col">Group</th>
            <th scope="col">Address</th>
            <th scope="col">Detail</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((e) => (
            <Row key={`${e.node}\n${e.seq}\n${e.at}`} entry={e} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Row({ entry: e }: { entry: LogEntry }) {
  const at = new Date(e.at);
  return (
    <tr>
      <td class="num" title={moment(at)}>
        {clock(at, true)}
      </td>
      <td>
        <bdi>{e.node}</bdi>
      </td>
      <th scope="row">
        <Badge tone={tone(e)}>{words(e.kind)}</Badge>
      </th>
      <td>{e.reason && <Said value={words(e.reason)} />}</td>
      <td>
        {e.client && (
          <a href={clientPath(e.client)} title={e.client}>
            {e.name ? <Said value={e.name} /> : <span class="dim">no name</span>} <Id value={e.client} />
          </a>
        )}
      </td>
      <td>
        {e.token && <Said value={e.token} />} {e.subject && <Said value={e.subject} />}
      </td>
      <td>
        {e.group && (
          <a href={groupPath(e.group)}>
            <Said value={e.group} />
          </a>
        )}
      </td>
      <td class="num">{e.address}</td>
      <td class="dim">
        {e.detail && <Said value={e.detail} />} {e.by && <span>by <Said value={e.by} /></span>}{" "}
        {e.omitted ? <span title="Events of this kind that were too many to be recorded">+{plural(e.omitted, "more event")}</span> : null}
      </td>
    </tr>
  );
}

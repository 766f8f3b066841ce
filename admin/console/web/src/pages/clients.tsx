import { useEffect, useState } from "preact/hooks";
import { api, Failure, query, type ClientFilter } from "../api";
import { clock, count, plural } from "../format";
import { cluster } from "../history";
import { Pager, usePages } from "../pager";
import { usePoll } from "../poll";
import { go, place } from "../route";
import { Search } from "../search";
import { ClientTable } from "../table";
import type { Client } from "../types";
import { Failed, Field, Head, Loading, Missing, Nothing, Notice } from "../ui";

/** Delay from a response to the next request: a new client appears within a second. */
const every = 350;
const limit = 100;

const names = ["name", "group", "type", "node"] as const;
type Filter = { [name in (typeof names)[number]]?: string };

/** asked returns the API's filter: the name is a prefix. */
const asked = ({ name, ...rest }: Filter): ClientFilter => (name ? { ...rest, name: name.endsWith("*") ? name : `${name}*` } : rest);

function filterOf(params: URLSearchParams): Filter {
  const f: Filter = {};
  for (const name of names) {
    const v = params.get(name);
    if (v) f[name] = v;
  }
  return f;
}

export function Clients() {
  const filter = filterOf(place.value.query);
  const slowest = place.value.query.get("view") === "slowest";
  const key = query(filter);
  return (
    <>
      <Head title="Clients" sub="Identified connections on all instances.">
        <a class="button" href={`/clients${query({ ...filter, view: slowest ? "" : "slowest" })}`}>
          {slowest ? "Back to the list" : "Find the slowest clients"}
        </a>
      </Head>
      <Filters filter={filter} />
      {slowest ? <Slowest key={key} filter={filter} /> : <List filter={filter} />}
    </>
  );
}

function Filters({ filter }: { filter: Filter }) {
  const nodes = cluster.value.latest?.nodes ?? [];
  const types = [...new Set(nodes.flatMap((n) => Object.keys(n.connections)))].sort();
  const set = (name: keyof Filter, value: string) => {
    const now = place.peek().query;
    go(`/clients${query({ ...filterOf(now), view: now.get("view") ?? "", [name]: value })}`, true);
  };
  const known = (list: string[], value: string | undefined) => (value && !list.includes(value) ? [...list, value] : list);
  return (
    <form class="filters" role="search" aria-label="Clients" onSubmit={(e) => e.preventDefault()}>
      <Field label="Name begins with" grow>
        <Search value={filter.name ?? ""} onSearch={(text) => set("name", text)} placeholder="billing" primary />
      </Field>
      <Field label="Group" grow>
        <Search value={filter.group ?? ""} onSearch={(text) => set("group", text)} placeholder="any" />
      </Field>
      <Field label="Type">
        <select value={filter.type ?? ""} onChange={(e) => set("type", e.currentTarget.value)}>
          <option value="">any</option>
          {known(types, filter.type).map((t) => (
            <option key={t}>{t}</option>
          ))}
        </select>
      </Field>
      <Field label="Instance">
        <select value={filter.node ?? ""} onChange={(e) => set("node", e.currentTarget.value)}>
          <option value="">any</option>
          {known(nodes.map((n) => n.name), filter.node).map((n) => (
            <option key={n}>{n}</option>
          ))}
        </select>
      </Field>
      <a class="button" href="/clients" aria-disabled={!query(filter)}>
        Clear
      </a>
    </form>
  );
}

function List({ filter }: { filter: Filter }) {
  const key = query(filter);
  const pages = usePages(key);
  const cursor = pages.cursor;
  const { data, failure } = usePoll((signal) => api.clients({ ...asked(filter), limit, ...(cursor && { cursor }) }, { signal }), `${key} ${cursor ?? ""}`, every);
  const clients = data?.clients ?? [];
  return (
    <>
      {failure && <Failed failure={failure} />}
      <Missing names={data?.missing} what="clients" />
      <section class="panel">
        {!data ? (
          !failure && <Loading rows={8} />
        ) : clients.length === 0 ? (
          <NoClient filtered={key !== ""} />
        ) : (
          <ClientTable clients={clients} label="Clients" />
        )}
        <Pager pages={pages} next={data?.next} count={plural(clients.length, "client")} />
      </section>
    </>
  );
}

function NoClient({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Nothing title="No client matches.">
        The group must match exactly; the name matches from its beginning. <a href="/clients">Show all clients</a>.
      </Nothing>
    );
  }
  return (
    <Nothing title="No client is connected.">
      Connect one: <code>mastersocket sub --group demo</code>
    </Nothing>
  );
}

/** Bounds of the search for the slowest. */
const pageSize = 500;
const most = 200; // pages
const kept = 50;

interface Search {
  seen: number;
  found: Client[];
  missing: string[];
  done: boolean;
  cut: boolean;
  at: Date;
}

/** Slowest reads all clients with a backlog, page by page, and keeps those with the largest. */
function Slowest({ filter }: { filter: Filter }) {
  const [turn, setTurn] = useState(0);
  const [search, setSearch] = useState<Search>();
  const [failure, setFailure] = useState<Failure>();
  useEffect(() => {
    const stop = new AbortController();
    setFailure(undefined);
    searchAll(filter, stop.signal, setSearch).catch((error: unknown) => {
      if (!stop.signal.aborted) setFailure(error instanceof Failure ? error : new Failure(0, "Something went wrong", String(error)));
    });
    return () => stop.abort();
  }, [turn]);
  return (
    <>
      {failure && <Failed failure={failure} />}
      <Missing names={search?.missing} what="clients" />
      {search?.cut && <Notice tone="warn">Only the first {count(search.seen)} clients with a backlog were examined. Narrow the search by instance or group.</Notice>}
      <section class="panel">
        {search && search.found.length > 0 ? (
          <ClientTable clients={search.found} label="Slowest clients" />
        ) : search?.done ? (
          <Nothing title="No client has a backlog.">Every client has read all that was sent to it.</Nothing>
        ) : (
          !failure && <Loading rows={8} />
        )}
        <div class="pager" role="status">
          <span class="num">
            {search && `${plural(search.seen, "client")} with a backlog${search.done ? ` at ${clock(search.at)}` : " so far…"}`}
          </span>
          <button type="button" onClick={() => setTurn(turn + 1)} disabled={!search?.done && !failure}>
            Search again
          </button>
        </div>
      </section>
    </>
  );
}

async function searchAll(filter: Filter, signal: AbortSignal, tell: (s: Search) => void) {
  let found: Client[] = [];
  let seen = 0;
  let cursor: string | undefined;
  const missing = new Set<string>();
  for (let page = 1; !signal.aborted; page++) {
    const answer = await api.clients({ ...asked(filter), min_queue_bytes: 1, limit: pageSize, ...(cursor && { cursor }) }, { signal });
    const clients = answer.clients;
    seen += clients.length;
    answer.missing?.forEach((name) => missing.add(name));
    found = [...found, ...clients].sort((a, b) => b.queue_bytes - a.queue_bytes).slice(0, kept);
    cursor = answer.next || undefined;
    const done = !cursor || page === most;
    tell({ seen, found, missing: [...missing], done, cut: done && cursor !== undefined, at: new Date() });
    if (done) return;
  }
}

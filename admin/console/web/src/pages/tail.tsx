import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { bytes, clock, count } from "../format";
import { pretty } from "../json";
import { clientPath, groupPath, place } from "../route";
import { kept, Stream, type Entry, type Watch } from "../tail";
import { Scroll } from "../scroll";
import { Id, Said, SaidBlock } from "../text";
import { Badge, Failed, Field, Head, Nothing } from "../ui";

const limits = [5, 20, 50, 100];
const ops: Record<string, string> = { "0": "EVENT", "5": "REPLY" };
const encoder = new TextEncoder();
const sizeOf = (text: string) => encoder.encode(text).length;

export function Tail() {
  const query = place.value.query;
  const asked = query.get("group") ?? "";
  const client = query.get("client") ?? "";
  const token = query.get("token") ?? "";
  const [watch, setWatch] = useState<Watch>({ group: asked, client, token, global: false, event: "", perSecond: 20 });
  const stream = useMemo(() => new Stream(), []);
  const [search, setSearch] = useState("");
  const selected = useSignal<Entry | undefined>(undefined);
  const [paused, setPaused] = useState(false);
  const [over, setOver] = useState(false);
  useEffect(() => {
    if (asked || client || token) stream.start(watch);
    return () => stream.stop();
  }, []);
  useEffect(() => stream.hold(paused || over), [paused, over]);

  const phase = stream.phase.value;
  const running = phase !== "stopped";
  const ready = watch.global || watch.group !== "" || client !== "" || token !== "";
  const change = (next: Partial<Watch>) => setWatch({ ...watch, ...next });
  const submit = (event: Event) => {
    event.preventDefault();
    if (running) return stream.stop();
    if (!ready) return;
    stream.clear();
    selected.value = undefined;
    setPaused(false);
    stream.start(watch);
  };
  return (
    <>
      <Head title="Live tail" sub="A sample of the events, as clients receive them. A tail never slows the hub: it leaves out and counts what exceeds the limit." />
      <form class="filters" aria-label="What to watch" onSubmit={submit}>
        {client || token ? (
          <p>
            All messages from and to {client ? <a class="mono" href={clientPath(client)}>{client}</a> : <>the clients of the token <Said value={token} /></>}.{" "}
            <a href="/tail">Watch a group</a>
          </p>
        ) : (
          <>
            <Field label="Group" grow>
              <input
                type="text"
                data-search
                value={watch.global ? "" : watch.group}
                disabled={watch.global || running}
                onInput={(e) => change({ group: e.currentTarget.value })}
                placeholder={watch.global ? "every client" : "billing"}
                maxLength={128}
                autocomplete="off"
                spellcheck={false}
              />
            </Field>
            <label class="check">
              <input type="checkbox" checked={watch.global} disabled={running} onChange={(e) => change({ global: e.currentTarget.checked })} />
              <span>GLOBAL messages</span>
            </label>
          </>
        )}
        <Field label="Event" grow>
          <input type="text" value={watch.event} disabled={running} onInput={(e) => change({ event: e.currentTarget.value })} placeholder="any" maxLength={128} autocomplete="off" spellcheck={false} />
        </Field>
        <Field label="At most">
          <select value={watch.perSecond} disabled={running} onChange={(e) => change({ perSecond: Number(e.currentTarget.value) })}>
            {limits.map((n) => (
              <option key={n} value={n}>
                {n}/s
              </option>
            ))}
          </select>
        </Field>
        <button type="submit" class={running ? "" : "primary"} disabled={!running && !ready}>
          {running ? "Stop" : "Watch"}
        </button>
      </form>
      {stream.failure.value && <Failed failure={stream.failure.value} />}
      <div class="tail">
        <section class="panel">
          <Bar stream={stream} paused={paused} over={over} setPaused={setPaused} search={search} setSearch={setSearch} />
          <List stream={stream} search={search} selected={selected.value} select={(e) => (selected.value = e)} setOver={setOver} />
        </section>
        <Detail entry={selected.value} />
      </div>
    </>
  );
}

interface BarProps {
  stream: Stream;
  paused: boolean;
  over: boolean;
  setPaused: (on: boolean) => void;
  search: string;
  setSearch: (text: string) => void;
}

function Bar({ stream, paused, over, setPaused, search, setSearch }: BarProps) {
  const phase = stream.phase.value;
  const held = paused || over;
  const state = {
    stopped: <Badge tone="quiet">stopped</Badge>,
    connecting: <Badge tone="quiet">connecting</Badge>,
    waiting: <Badge tone="warn">connecting again</Badge>,
    live: held ? <Badge tone="warn">{paused ? "paused" : "held"}</Badge> : <Badge tone="good">live</Badge>,
  }[phase];
  return (
    <div class="bar">
      <span class="state" role="status">
        {state}
      </span>
      <span class="num dim counts" title={`Left out: events beyond the limit, or faster than this page could read them. The last ${kept} are kept.`}>
        {count(stream.seen.value)} events · {count(stream.skipped.value)} left out
      </span>
      <input type="search" class="small" aria-label="Show only events that contain" placeholder="contains…" value={search} onInput={(e) => setSearch(e.currentTarget.value)} autocomplete="off" spellcheck={false} />
      <button type="button" class="small" aria-pressed={paused} onClick={() => setPaused(!paused)}>
        {paused ? "Resume" : "Pause"}
      </button>
      <button type="button" class="small" onClick={() => stream.clear()}>
        Clear
      </button>
    </div>
  );
}

interface ListProps {
  stream: Stream;
  search: string;
  selected: Entry | undefined;
  select: (e: Entry) => void;
  setOver: (over: boolean) => void;
}

/** List shows the events. It stands still while the pointer is on its rows, so that a click hits the intended one. */
function List({ stream, search, selected, select, setOver }: ListProps) {
  const all = stream.entries.value;
  const wanted = search.toLowerCase();
  const entries = wanted ? all.filter((e) => e.text.toLowerCase().includes(wanted)) : all;
  const running = stream.phase.value !== "stopped";
  return (
    <Scroll fixed label="Events, newest first">
      {entries.length === 0 ? (
        all.length > 0 ? (
          <Nothing title="No event contains this text." />
        ) : running ? (
          <Nothing title="No events yet.">They appear here as soon as a client sends one.</Nothing>
        ) : (
          <Nothing title="Choose a group, or GLOBAL messages.">Then press Watch.</Nothing>
        )
      ) : (
        <Rows entries={entries} selected={selected} select={select} setOver={setOver} />
      )}
    </Scroll>
  );
}

type RowsProps = Pick<ListProps, "selected" | "select" | "setOver"> & { entries: Entry[] };

function Rows({ entries, selected, select, setOver }: RowsProps) {
  useEffect(() => () => setOver(false), []); // without rows there is nothing to hold
  return (
    <table class="events" onPointerEnter={(e) => e.pointerType === "mouse" && setOver(true)} onPointerLeave={() => setOver(false)}>
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">Event</th>
          <th scope="col">From</th>
          <th scope="col" class="r">
            Size
          </th>
          <th scope="col">Data</th>
        </tr>
      </thead>
      <tbody>
        {entries.map((e) => (
          <Line key={e.seq} entry={e} selected={e === selected} select={select} />
        ))}
      </tbody>
    </table>
  );
}

function Line({ entry: e, selected, select }: { entry: Entry; selected: boolean; select: (e: Entry) => void }) {
  return (
    <tr class={selected ? "selected" : ""} onClick={() => select(e)}>
      <td class="num">{clock(e.at, true)}</td>
      <th scope="row">
        <button type="button" class="link" aria-pressed={selected} onClick={() => select(e)}>
          {e.event ? <Said value={e.event} /> : <span class="dim">{ops[e.op] ?? "no name"}</span>}
        </button>
      </th>
      <td class="dim">{from(e)}</td>
      <td class="r num">{bytes(sizeOf(e.text))}</td>
      <td class="preview">
        <Said value={e.data} mono />
      </td>
    </tr>
  );
}

/** from says who sent an event, and where a client is watched, whether it is from that or to it. */
function from({ direction, sender, senderName, client, clientName }: Entry) {
  const who = (id: string, name: string) => (
    <span title={id}>
      {name ? <Said value={name} /> : ""} <Id value={id} />
    </span>
  );
  if (direction === "in") return who(client, clientName);
  const by = sender ? who(sender, senderName) : "the API";
  if (direction !== "out") return by;
  return (
    <>
      {by} to {who(client, clientName)}
    </>
  );
}

function Detail({ entry: e }: { entry: Entry | undefined }) {
  return (
    <section class="panel detail" aria-label="Selected event">
      <h2>{e ? <Said value={e.event || (ops[e.op] ?? "Event")} /> : "Event"}</h2>
      {!e ? (
        <Nothing title="No event selected.">Select one in the list to see its content.</Nothing>
      ) : (
        <>
          <dl class="facts">
            <dt>Operation</dt>
            <dd>{ops[e.op] ?? <Said value={e.op} />}</dd>
            <dt>Seen at</dt>
            <dd class="num">{clock(e.at, true)}</dd>
            <dt>Id</dt>
            <dd>
              <Said value={e.id} mono wide />
            </dd>
            <dt>From</dt>
            <dd class="mono">{e.sender || e.direction === "in" ? <a href={clientPath(e.sender || e.client)}>{e.sender || e.client}</a> : "the API"}</dd>
            {e.direction === "out" && (
              <>
                <dt>Got by</dt>
                <dd class="mono">
                  <a href={clientPath(e.client)}>{e.client}</a>
                </dd>
              </>
            )}
            <Intent text={e.text} />
          </dl>
          <SaidBlock value={pretty(e.text)} />
        </>
      )}
    </section>
  );
}

function Intent({ text }: { text: string }) {
  let intent: { target?: unknown; identifier?: unknown } = {};
  try {
    intent = (JSON.parse(text) as { intent?: typeof intent }).intent ?? {};
  } catch {
    return null; // the text is shown below
  }
  const identifier = typeof intent.identifier === "string" ? intent.identifier : "";
  return (
    <>
      <dt>To</dt>
      <dd>
        {String(intent.target ?? "")} {intent.target === "GROUP" ? <a href={groupPath(identifier)}><Said value={identifier} wide /></a> : <Said value={identifier} mono wide />}
      </dd>
    </>
  );
}

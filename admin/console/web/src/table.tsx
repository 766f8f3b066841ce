import { useState } from "preact/hooks";
import { brief, bytes, count, idle, none } from "./format";
import { since } from "./history";
import { clientPath, groupPath } from "./route";
import { Scroll } from "./scroll";
import { Said } from "./text";
import type { Client } from "./types";

/** A backlog of this many bytes marks a client as slow. */
export const behind = 64 << 10;

type Key = "name" | "type" | "node" | "since" | "idle" | "in" | "out" | "sent" | "queue";

const columns: { key: Key; label: string; figure?: boolean; about?: string }[] = [
  { key: "name", label: "Client" },
  { key: "type", label: "Type" },
  { key: "node", label: "Instance" },
  { key: "queue", label: "Unsent", figure: true, about: "Unsent bytes" },
  { key: "out", label: "Msgs to it", figure: true, about: "Messages written to it since it connected" },
  { key: "sent", label: "Bytes to it", figure: true, about: "Bytes written to it since it connected" },
  { key: "in", label: "Msgs from it", figure: true, about: "Messages from it since it connected" },
  { key: "idle", label: "Last heard", figure: true, about: "Time since the last bytes from it" },
  { key: "since", label: "Connected", figure: true, about: "Time since it identified" },
];

const value: Record<Key, (c: Client) => number | string> = {
  name: (c) => c.name.toLowerCase(),
  type: (c) => c.type,
  node: (c) => c.node,
  since: (c) => -Date.parse(c.connected_since),
  idle: (c) => c.idle_ms,
  in: (c) => c.messages_in,
  out: (c) => c.messages_out,
  sent: (c) => c.bytes_out,
  queue: (c) => c.queue_bytes,
};

function sorted(clients: Client[], key: Key, down: boolean): Client[] {
  const of = value[key];
  const sign = down ? -1 : 1;
  return [...clients].sort((a, b) => {
    const x = of(a);
    const y = of(b);
    return sign * (typeof x === "string" ? x.localeCompare(String(y)) : x - Number(y));
  });
}

/** ClientTable shows a page of clients, at first sorted by backlog. */
export function ClientTable({ clients, label }: { clients: Client[]; label: string }) {
  const [key, setKey] = useState<Key>("queue");
  const [down, setDown] = useState(true);
  const sort = (next: Key, figure: boolean) => {
    setDown(next === key ? !down : figure);
    setKey(next);
  };
  return (
    <Scroll label={label}>
      <table class="clients">
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.key} scope="col" class={c.figure ? "r" : ""} title={c.about} aria-sort={key === c.key ? (down ? "descending" : "ascending") : "none"}>
                <button type="button" onClick={() => sort(c.key, c.figure ?? false)}>
                  {c.label}
                  <i aria-hidden="true">{key === c.key ? (down ? "↓" : "↑") : ""}</i>
                </button>
              </th>
            ))}
            <th scope="col">Groups</th>
          </tr>
        </thead>
        <tbody>
          {sorted(clients, key, down).map((c) => (
            <Row key={c.id} client={c} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Row({ client: c }: { client: Client }) {
  const slow = c.queue_bytes >= behind;
  return (
    <tr class={slow ? "slow" : ""}>
      <th scope="row" class="who">
        <a href={clientPath(c.id)} title={c.id}>
          {c.name ? <Said value={c.name} /> : <span class="dim">no name</span>}
          <small class="mono">{c.id.slice(-12)}</small>
        </a>
      </th>
      <td>{c.type}</td>
      <td>
        <bdi>{c.node}</bdi>
      </td>
      <td class={`r num ${slow ? "warn" : ""}`}>{c.queue_bytes > 0 ? bytes(c.queue_bytes) : <span class="dim">0 B</span>}</td>
      <td class="r num">{count(c.messages_out)}</td>
      <td class="r num">{bytes(c.bytes_out)}</td>
      <td class="r num">{count(c.messages_in)}</td>
      <td class="r num">{idle(c.idle_ms)} ago</td>
      <td class="r num">{brief(since(c.connected_since))}</td>
      <td class="groups">
        <GroupLinks names={c.groups} />
      </td>
    </tr>
  );
}

function GroupLinks({ names }: { names: string[] }) {
  if (names.length === 0) return <>{none}</>;
  const shown = names.slice(0, 1);
  return (
    <>
      {shown.map((name) => (
        <a key={name} href={groupPath(name)}>
          <Said value={name} />
        </a>
      ))}
      {names.length > shown.length && <span class="dim">+{names.length - shown.length}</span>}
    </>
  );
}

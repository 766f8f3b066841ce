import { api, query } from "../api";
import { count, plural } from "../format";
import { Pager, usePages } from "../pager";
import { usePoll } from "../poll";
import { clientPath } from "../route";
import { ClientTable } from "../table";
import { Said } from "../text";
import { Failed, Head, Loading, Missing, Nothing, Stat } from "../ui";
import { readOnly } from "../session";

const every = 1000;
const limit = 100;

export function GroupPage({ name }: { name: string }) {
  const group = usePoll((signal) => api.group(name, { signal }), name, every);
  const empty = group.failure?.status === 404;
  const nodes = Object.entries(group.data?.nodes ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const exclusive = group.data?.exclusive;
  return (
    <>
      <Head title={<Said value={name} />} sub="Group">
        {!readOnly.value && (
          <a class="button" href={`/publish${query({ target: "GROUP", identifier: name })}`}>
            Publish to it
          </a>
        )}
        <a class="button primary" href={`/tail${query({ group: name })}`}>
          Watch live
        </a>
      </Head>
      {group.failure && !empty && <Failed failure={group.failure} />}
      <dl class="stats">
        <Stat label="Members" value={empty ? "0" : group.data ? count(group.data.members) : "–"} note={`on ${plural(nodes.length, "instance")}`} />
        {nodes.map(([node, n]) => (
          <Stat key={node} label={`on ${node}`} value={count(n)} note={`${Math.round((100 * n) / Math.max(1, group.data?.members ?? 1))} %`} />
        ))}
        {(group.data?.watchers ?? 0) > 0 && <Stat label="Watchers" value={count(group.data?.watchers ?? 0)} note="clients that see who is in it" />}
        {exclusive && <Stat label="Waiting to hold it" value={count(exclusive.waiting)} note={exclusive.term ? `term ${exclusive.term}` : "no holder"} />}
      </dl>
      {exclusive?.holder && (
        <p>
          Held by <a href={clientPath(exclusive.holder)}>{exclusive.holder}</a> on <Said value={exclusive.node ?? ""} />
        </p>
      )}
      <Members name={name} />
    </>
  );
}

function Members({ name }: { name: string }) {
  const pages = usePages(name);
  const cursor = pages.cursor;
  const { data, failure } = usePoll((signal) => api.clients({ group: name, limit, ...(cursor && { cursor }) }, { signal }), `${name}\n${cursor ?? ""}`, every);
  const clients = data?.clients ?? [];
  return (
    <>
      {failure && <Failed failure={failure} />}
      <Missing names={data?.missing} what="members" />
      <section class="panel">
        <h2>Members</h2>
        {!data ? (
          !failure && <Loading />
        ) : clients.length === 0 ? (
          <Nothing title="This group has no members.">It exists while at least one client is in it.</Nothing>
        ) : (
          <ClientTable clients={clients} label="Members" />
        )}
        <Pager pages={pages} next={data?.next} count={plural(clients.length, "client")} />
      </section>
    </>
  );
}

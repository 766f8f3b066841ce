import { api, query } from "../api";
import { count, plural } from "../format";
import { Pager, usePages } from "../pager";
import { usePoll } from "../poll";
import { go, groupPath, place } from "../route";
import { Search } from "../search";
import { Scroll } from "../scroll";
import { Said } from "../text";
import type { Group } from "../types";
import { Failed, Field, Head, Loading, Missing, Nothing } from "../ui";

const every = 1000;
const limit = 100;

export function Groups() {
  const prefix = place.value.query.get("prefix") ?? "";
  const pages = usePages(prefix);
  const cursor = pages.cursor;
  const { data, failure } = usePoll((signal) => api.groups({ prefix, limit, ...(cursor && { cursor }) }, { signal }), `${prefix}\n${cursor ?? ""}`, every);
  const groups = data?.groups ?? [];
  return (
    <>
      <Head title="Groups" sub="A group exists while at least one client is in it." />
      <form class="filters" role="search" aria-label="Groups" onSubmit={(e) => e.preventDefault()}>
        <Field label="Name begins with" grow>
          <Search value={prefix} onSearch={(text) => go(`/groups${query({ prefix: text })}`, true)} placeholder="billing" primary />
        </Field>
        <a class="button" href="/groups" aria-disabled={prefix === ""}>
          Clear
        </a>
      </form>
      {failure && <Failed failure={failure} />}
      <Missing names={data?.missing} what="members" />
      <section class="panel">
        {!data ? (
          !failure && <Loading rows={8} />
        ) : groups.length === 0 ? (
          <Nothing title={prefix ? "No group has a name with this beginning." : "There are no groups."}>
            {prefix ? <a href="/groups">Show all groups</a> : "A group exists while at least one client is in it."}
          </Nothing>
        ) : (
          <Table groups={groups} />
        )}
        <Pager pages={pages} next={data?.next} count={plural(groups.length, "group")} />
      </section>
    </>
  );
}

function Table({ groups }: { groups: Group[] }) {
  const largest = Math.max(...groups.map((g) => g.members), 1);
  return (
    <Scroll label="Groups">
      <table>
        <thead>
          <tr>
            <th scope="col">Group</th>
            <th scope="col" class="r">
              Members
            </th>
            <th scope="col">
              <span class="hide">Share of the largest</span>
            </th>
            <th scope="col">By instance</th>
            <th scope="col">
              <span class="hide">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map((g) => (
            <tr key={g.name}>
              <th scope="row" class="who">
                <a href={groupPath(g.name)}>
                  <Said value={g.name} />
                </a>
              </th>
              <td class="r num">{count(g.members)}</td>
              <td class="share">
                <meter min={0} max={largest} value={g.members} aria-hidden="true" />
              </td>
              <td>
                <ByNode nodes={g.nodes} />
              </td>
              <td class="r">
                <a href={`/tail${query({ group: g.name })}`}>watch</a>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function ByNode({ nodes }: { nodes: Group["nodes"] }) {
  const all = Object.entries(nodes).sort(([a], [b]) => a.localeCompare(b));
  return (
    <span class="bynode">
      {all.map(([name, n]) => (
        <span key={name}>
          <bdi>{name}</bdi> <b class="num">{count(n)}</b>
        </span>
      ))}
    </span>
  );
}

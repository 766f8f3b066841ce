import { useState } from "preact/hooks";
import { api, Failure } from "../api";
import { brief, count, none, plural } from "../format";
import { since } from "../history";
import { Pager, usePages } from "../pager";
import { usePoll } from "../poll";
import { clientPath, groupPath } from "../route";
import { Scroll } from "../scroll";
import { Said } from "../text";
import type { Team, TeamPage } from "../types";
import { Badge, Failed, Head, Loading, Missing, Nothing } from "../ui";

const every = 1000;
const limit = 100;

/** "off" means that the hub serves no teams. */
type Answer = TeamPage | "off";

/** ask requests a page of teams. */
async function ask(cursor: string | undefined, signal: AbortSignal): Promise<Answer> {
  try {
    return await api.teams({ limit, ...(cursor && { cursor }) }, { signal });
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return "off";
    throw error;
  }
}

export function Teams() {
  const pages = usePages("");
  const cursor = pages.cursor;
  const [off, setOff] = useState(false); // no polling then
  const { data, failure, again } = usePoll<Answer>(
    async (signal) => {
      const answer = await ask(cursor, signal);
      setOff(answer === "off");
      return answer;
    },
    cursor ?? "",
    off ? 0 : every,
  );
  const page = data === "off" ? undefined : data;
  const teams = page?.teams ?? [];
  return (
    <>
      <Head title="Teams" sub="Teams of the team-connection protocol." />
      {failure && <Failed failure={failure} />}
      <Missing names={page?.missing} what="connections and claims" />
      <section class="panel">
        {data === "off" ? (
          <Nothing title="This instance serves no teams.">
            The service type <code>team</code> is not enabled. Start the instances with <code>mastersocket serve --enable team</code>.{" "}
            <button type="button" onClick={again}>
              Ask again
            </button>
          </Nothing>
        ) : !page ? (
          !failure && <Loading rows={8} />
        ) : teams.length === 0 ? (
          <Nothing title="There are no teams.">
            A service announces one: <code>{'mastersocket pub --to GROUP:teams --event team.join \'{"team_id":1}\''}</code>
          </Nothing>
        ) : (
          <Table teams={teams} />
        )}
        {data !== "off" && <Pager pages={pages} next={page?.next} count={plural(teams.length, "team")} />}
      </section>
    </>
  );
}

function Table({ teams }: { teams: Team[] }) {
  return (
    <Scroll label="Teams">
      <table>
        <thead>
          <tr>
            <th scope="col">Team</th>
            <th scope="col">Connection</th>
            <th scope="col">Instance</th>
            <th scope="col">From</th>
            <th scope="col" class="r" title="Time since its connection opened">
              Connected
            </th>
            <th scope="col" class="r" title="Messages that the hub queued for the team's connections">
              Messages
            </th>
            <th scope="col" class="r" title="Messages with props in their text">
              Props
            </th>
            <th scope="col" title="The clients' last answers to a healthcheck, if they differ from the hub's counts">
              Clients say
            </th>
            <th scope="col" class="r" title="Time since the team was first announced">
              Known
            </th>
          </tr>
        </thead>
        <tbody>
          {teams.map((t) => (
            <Row key={t.id} team={t} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Row({ team: t }: { team: Team }) {
  const c = t.connection;
  return (
    <tr>
      <th scope="row" class="who">
        <a href={groupPath(`team.${t.id}`)} title="The group of its messages">
          <Said value={t.id} />
        </a>
      </th>
      <td>
        {c ? (
          <a href={clientPath(c.client)} title={c.client}>
            <Badge tone="good">open</Badge>
          </a>
        ) : (
          <Badge tone="quiet">none</Badge>
        )}
      </td>
      <td>{c ? <bdi>{c.node}</bdi> : none}</td>
      <td class="mono">{c?.address || none}</td>
      <td class="r num">{c ? brief(since(c.since)) : none}</td>
      <td class="r num">{count(t.message_count)}</td>
      <td class="r num">{count(t.props_count)}</td>
      <td>
        <Claims team={t} />
      </td>
      <td class="r num">{brief(since(t.since))}</td>
    </tr>
  );
}

/** Claims compares the clients' answers with the hub's counts. Messages in transit explain small differences. */
function Claims({ team: t }: { team: Team }) {
  if (t.claims.length === 0) return <span class="dim">nothing</span>;
  return (
    <span class="bynode">
      {t.claims.map((c) => {
        const same = c.connected === Boolean(t.connection) && c.message_count === t.message_count && c.props_count === t.props_count;
        return (
          <a key={c.client} href={clientPath(c.client)} title={`${c.client} on ${c.node}, ${brief(since(c.at))} ago`}>
            {same ? "the same" : `${c.connected ? "connected" : "not connected"}, ${plural(c.message_count, "message")}, ${count(c.props_count)} with props`}
          </a>
        );
      })}
    </span>
  );
}

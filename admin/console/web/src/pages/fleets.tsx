import { useState } from "preact/hooks";
import { useAction } from "../action";
import { api, Failure } from "../api";
import { brief, none, plural } from "../format";
import { since } from "../history";
import { usePoll } from "../poll";
import { clientPath } from "../route";
import { Scroll } from "../scroll";
import { Id, Said } from "../text";
import type { Fleet, FleetBot, FleetList, FleetOperation } from "../types";
import { Badge, Confirm, Failed, Head, Loading, Missing, Nothing, Notice } from "../ui";
import { readOnly } from "../session";

const every = 1000;

/** "off" means that the hub manages no fleets. */
type Answer = FleetList | "off";

async function ask(signal: AbortSignal): Promise<Answer> {
  try {
    return await api.fleets({ signal });
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return "off";
    throw error;
  }
}

export function Fleets() {
  const [off, setOff] = useState(false); // no polling then
  const { data, failure, again } = usePoll<Answer>(
    async (signal) => {
      const answer = await ask(signal);
      setOff(answer === "off");
      return answer;
    },
    "",
    off ? 0 : every,
  );
  const list = data === "off" ? undefined : data;
  return (
    <>
      <Head title="Fleets" sub="Bot processes of one program, of which one does the work." />
      {failure && <Failed failure={failure} />}
      <Missing names={list?.missing} what="fleets that they lead" />
      {data === "off" ? (
        <section class="panel">
          <Nothing title="This instance manages no fleets.">
            The service type <code>fleet</code> is not enabled. Start the instances with <code>mastersocket serve --enable fleet</code>.{" "}
            <button type="button" onClick={again}>
              Ask again
            </button>
          </Nothing>
        </section>
      ) : !list ? (
        !failure && (
          <section class="panel">
            <Loading rows={8} />
          </section>
        )
      ) : list.fleets.length === 0 ? (
        <section class="panel">
          <Nothing title="There are no fleets.">
            The file of <code>--fleet-file</code> names them.
          </Nothing>
        </section>
      ) : (
        list.fleets.map((f) => <Panel key={f.name} fleet={f} again={again} />)
      )}
    </>
  );
}

/** What an operator is about to do. */
interface Asked {
  operation: FleetOperation;
  client?: string;
}

const operations: { operation: FleetOperation; name: string; says: string }[] = [
  { operation: "deploy", name: "Deploy", says: "The agent fetches the newest version and spawns it. It takes over if it is newer and healthy." },
  { operation: "rollback", name: "Roll back", says: "The agent sets the program back to the last good version. Bots that run go on." },
  { operation: "try-again", name: "Try again", says: "The fleet is sane again, and a bot is spawned if none runs." },
];

const promotion = "It runs from now on. The bot that runs is told to stop first.";

function Panel({ fleet: f, again }: { fleet: Fleet; again: () => void }) {
  const [asked, setAsked] = useState<Asked>();
  const action = useAction(async () => {
    const result = asked!.client === undefined ? await api.operateFleet(f.name, asked!.operation) : await api.promote(f.name, asked!.client);
    again();
    return result;
  });
  const yes = async () => {
    await action.act();
    setAsked(undefined);
  };
  const about = operations.find((o) => o.operation === asked?.operation);
  const title = `fleet-${f.name}`;
  return (
    <section class="panel" aria-labelledby={title}>
      <h2 id={title}>
        {f.name} <State fleet={f} />
      </h2>
      <div class="form">
        <p class="hint">
          {f.leader === undefined ? "No instance leads it at the moment." : <>Led by <bdi>{f.leader}</bdi>.</>}{" "}
          {f.good ? (
            <>
              Last good version: <Said value={`${f.good.version} ${f.good.revision ?? ""}`.trim()} />.
            </>
          ) : (
            "No version has passed a health check yet."
          )}
        </p>
        {!f.sane && (
          <Notice tone="bad">
            <strong>Not sane.</strong> No bot is spawned until an operator says try again{f.alarm ? `: ${f.alarm.replaceAll("_", " ")}` : ""}.
          </Notice>
        )}
        {f.task && (
          <Notice tone="quiet">
            The agent works on: {f.task.task}, for {brief(since(f.task.at))}.
          </Notice>
        )}
        {f.wanted && (
          <Notice tone="warn">
            There was no agent for: {f.wanted.task}, {brief(since(f.wanted.at))} ago.
          </Notice>
        )}
        {action.failure && <Failed failure={action.failure} once />}
        <div class="buttons">
          {operations.map((o) => (
            <button key={o.operation} type="button" disabled={readOnly.value} onClick={() => setAsked({ operation: o.operation })}>
              {o.name}…
            </button>
          ))}
        </div>
      </div>
      {f.bots.length === 0 ? (
        <Nothing title="No bot is there." />
      ) : (
        <Bots fleet={f} onPromote={(client) => setAsked({ operation: "promote", client })} />
      )}
      <Confirm
        open={asked !== undefined}
        title={asked?.client !== undefined ? "Promote this bot?" : `${about?.name ?? ""} ${f.name}?`}
        action={about?.name ?? "Promote"}
        busy={action.busy}
        onYes={yes}
        onNo={() => setAsked(undefined)}
      >
        <p>{about?.says ?? promotion}</p>
      </Confirm>
    </section>
  );
}

function State({ fleet: f }: { fleet: Fleet }) {
  if (f.leader === undefined) return <Badge tone="warn">no leader</Badge>;
  if (!f.sane) return <Badge tone="bad">not sane</Badge>;
  return f.running === undefined ? <Badge tone="warn">none runs</Badge> : <Badge tone="good">runs</Badge>;
}

const tones = { running: "good", standby: "quiet", examined: "warn", identified: "warn", retired: "quiet" } as const;

function Bots({ fleet: f, onPromote }: { fleet: Fleet; onPromote: (client: string) => void }) {
  return (
    <Scroll label={`Bots of ${f.name}`}>
      <table>
        <caption class="hide">{plural(f.bots.length, "bot")}</caption>
        <thead>
          <tr>
            <th scope="col">Bot</th>
            <th scope="col">Version</th>
            <th scope="col">State</th>
            <th scope="col">
              <span class="hide">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {f.bots.map((b: FleetBot) => (
            <tr key={b.client}>
              <th scope="row" class="who">
                <a href={clientPath(b.client)} title={b.client}>
                  <Id value={b.client} />
                </a>
              </th>
              <td>{b.version ? <Said value={b.version} /> : none}</td>
              <td>
                <Badge tone={tones[b.state]}>{b.state}</Badge>
              </td>
              <td class="r">
                {!readOnly.value && (b.state === "standby" || b.state === "examined") && (
                  <button type="button" onClick={() => onPromote(b.client)}>
                    Promote…
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

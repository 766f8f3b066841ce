import { useEffect, useRef, useState } from "preact/hooks";
import { api, Failure, query } from "../api";
import { bytes, clock, count, plural, words } from "../format";
import { compact, problemOf } from "../json";
import { groupPath, place } from "../route";
import { Said } from "../text";
import type { Receipt, Target } from "../types";
import { Badge, Confirm, Failed, Field, Head, Nothing } from "../ui";
import { readOnly } from "../session";

const targets: { value: Target; label: string; about: string; identifier?: string }[] = [
  { value: "GROUP", label: "Group", about: "Every client in the group", identifier: "Group" },
  { value: "DIRECT", label: "One client", about: "The client with that id", identifier: "Client's id" },
  { value: "ANY", label: "Any one", about: "One client of the group, at random", identifier: "Group (empty: all clients)" },
  { value: "GLOBAL", label: "Everybody", about: "Every client, on every instance" },
];

/** Bound of a body, in bytes. */
const most = 64 << 10;
const remembered = 20;
const encoder = new TextEncoder();

interface Sent {
  seq: number;
  at: Date;
  event: string;
  target: Target;
  identifier: string;
  receipt: Receipt;
}

export function Publish() {
  const asked = place.value.query;
  const first = targets.find((t) => t.value === asked.get("target")) ?? targets[0]!;
  const [target, setTarget] = useState<Target>(first.value);
  const [identifier, setIdentifier] = useState(asked.get("identifier") ?? "");
  const [event, setEvent] = useState("");
  const [data, setData] = useState("{}");
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const [sent, setSent] = useState<Sent[]>([]);
  const form = useRef<HTMLFormElement>(null);
  const kind = targets.find((t) => t.value === target)!;

  const wrong = data.trim() === "" ? "" : problemOf(data);
  const intent = kind.identifier && identifier ? { target, identifier } : { target };
  // data is sent as typed, without white space: numbers keep their digits.
  const body = `{"event":${JSON.stringify(event)},"intent":${JSON.stringify(intent)}${compact(data) && `,"data":${compact(data)}`}}`;
  const size = encoder.encode(body).length;
  const incomplete = (target === "GROUP" || target === "DIRECT") && identifier === "";

  const send = async () => {
    setAsking(false);
    setBusy(true);
    setFailure(undefined);
    try {
      const receipt = await api.publish(body);
      setSent((all) => [{ seq: (all[0]?.seq ?? 0) + 1, at: new Date(), event, target, identifier, receipt }, ...all].slice(0, remembered));
    } catch (error) {
      setFailure(error instanceof Failure ? error : new Failure(0, "Something went wrong", String(error)));
    }
    setBusy(false);
  };
  const submit = (e: Event) => {
    e.preventDefault();
    if (busy || wrong || incomplete || size > most) return;
    if (target === "GLOBAL") setAsking(true);
    else void send();
  };
  const onKey = (e: KeyboardEvent) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      form.current?.requestSubmit();
    }
  };
  useEffect(() => history.replaceState(null, "", `/publish${query({ target, identifier })}`), [target, identifier]);

  return (
    <>
      <Head title="Publish" sub="Sends an event, routed like any other. Replies to its sender reach no client." />
      <div class="columns publish">
        <form class="panel form" ref={form} onSubmit={submit} onKeyDown={onKey} aria-label="Publish">
          <fieldset class="targets">
            <legend>To</legend>
            <div>
              {targets.map((t) => (
                <label key={t.value} title={t.about}>
                  <input type="radio" name="target" value={t.value} checked={t.value === target} onChange={() => setTarget(t.value)} />
                  <span>{t.label}</span>
                </label>
              ))}
            </div>
            <small>{kind.about}.</small>
          </fieldset>
          <Field label={kind.identifier ?? "Group or client"}>
            <input type="text" value={kind.identifier ? identifier : ""} disabled={!kind.identifier} onInput={(e) => setIdentifier(e.currentTarget.value)} maxLength={128} autocomplete="off" spellcheck={false} required={target === "GROUP" || target === "DIRECT"} />
          </Field>
          <Field label="Event">
            <input type="text" value={event} onInput={(e) => setEvent(e.currentTarget.value)} maxLength={128} autocomplete="off" spellcheck={false} placeholder="config.changed" />
          </Field>
          <Field label="Data (JSON)">
            <textarea class="mono" rows={9} value={data} onInput={(e) => setData(e.currentTarget.value)} spellcheck={false} aria-invalid={wrong !== ""} aria-describedby="data-state" />
          </Field>
          <p id="data-state" class={wrong || size > most ? "refused" : "hint"} aria-live="polite">
            {wrong ? `Not JSON: ${wrong}` : size > most ? `${bytes(size)}: the hub accepts at most ${bytes(most)}.` : `${bytes(size)} in total.`}
          </p>
          <div class="buttons">
            <button type="submit" class="primary" disabled={readOnly.value || busy || wrong !== "" || incomplete || size > most} aria-keyshortcuts="Control+Enter">
              {busy ? "Publishing…" : target === "GLOBAL" ? "Publish to everybody…" : "Publish"}
            </button>
            <small class="dim">Ctrl+Enter</small>
          </div>
          {failure && <Failed failure={failure} />}
        </form>
        <section class="panel" aria-live="polite">
          <h2>Receipts</h2>
          {sent.length === 0 ? (
            <Nothing title="No events published from this page yet.">A receipt shows how many clients on how many instances the event was queued for, and the drops.</Nothing>
          ) : (
            <ol class="receipts">
              {sent.map((s) => (
                <Card key={s.seq} sent={s} />
              ))}
            </ol>
          )}
        </section>
      </div>
      <Confirm open={asking} title="Publish to everybody?" action="Publish" onYes={send} onNo={() => setAsking(false)}>
        <p>
          Every client on every instance receives <strong>{event ? <Said value={event} /> : "an event without a name"}</strong>.
        </p>
      </Confirm>
    </>
  );
}

function Card({ sent: { at, event, target, identifier, receipt } }: { sent: Sent }) {
  const dropped = Object.entries(receipt.dropped).filter(([, n]) => n > 0);
  return (
    <li>
      <header>
        {receipt.clients === null ? <Badge tone="quiet">sent</Badge> : receipt.clients > 0 ? <Badge tone="good">{plural(receipt.clients, "client")}</Badge> : <Badge tone="warn">no client</Badge>}
        <strong>{event ? <Said value={event} /> : <span class="dim">no name</span>}</strong>
        <span class="dim">
          to {target}{" "}
          {target === "GROUP" ? (
            <a href={groupPath(identifier)}>
              <Said value={identifier} />
            </a>
          ) : (
            target !== "GLOBAL" && <Said value={identifier} />
          )}
        </span>
        <time class="num dim">{clock(at)}</time>
      </header>
      <p class="num">
        {receipt.clients === 0 && dropped.length > 0
          ? "It reached no client."
          : receipt.instances === null
          ? "The instances did not confirm it in time: it may still be delivered."
          : `Queued for ${receipt.clients === null ? "an unknown number of clients" : plural(receipt.clients, "client")} on ${plural(receipt.instances, "instance")}.`}{" "}
        {dropped.length > 0 ? `Dropped: ${dropped.map(([why, n]) => `${words(why)} (${count(n)})`).join(", ")}.` : "No drops."}
      </p>
      <p class="mono dim">{receipt.id}</p>
    </li>
  );
}

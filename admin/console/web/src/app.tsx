import { useEffect } from "preact/hooks";
import type { JSX } from "preact";
import { Mark, ThemeChoice } from "./brand";
import { cluster, watch } from "./history";
import { ClientPage } from "./pages/client";
import { Clients } from "./pages/clients";
import { Events } from "./pages/events";
import { Fleets } from "./pages/fleets";
import { GroupPage } from "./pages/group";
import { Groups } from "./pages/groups";
import { Login } from "./pages/login";
import { Operate } from "./pages/operate";
import { Overview } from "./pages/overview";
import { Publish } from "./pages/publish";
import { Requests } from "./pages/requests";
import { Tail } from "./pages/tail";
import { Teams } from "./pages/teams";
import { Top } from "./pages/top";
import { onLink, place } from "./route";
import { end, loggedIn, readOnly } from "./session";
import { StatusStrip } from "./status";
import { Head, Nothing } from "./ui";

/** The menu. An entry with a type is shown where that service type is enabled. */
const pages: { path: string; name: string; type?: string }[] = [
  { path: "/", name: "Overview" },
  { path: "/top", name: "Top talkers" },
  { path: "/clients", name: "Clients" },
  { path: "/groups", name: "Groups" },
  { path: "/teams", name: "Teams", type: "team" },
  { path: "/fleets", name: "Fleets", type: "fleet" },
  { path: "/requests", name: "Requests" },
  { path: "/events", name: "Events" },
  { path: "/tail", name: "Live tail" },
  { path: "/publish", name: "Publish" },
  { path: "/operate", name: "Operate" },
];

/** page returns the page at a path. The key gives each client and group a component of its own. */
function page(parts: string[]): JSX.Element {
  const [first, second] = parts;
  if (parts.length > 2) return <NotFound />;
  if (first === undefined) return <Overview />;
  if (first === "clients") return second === undefined ? <Clients /> : <ClientPage key={second} id={second} />;
  if (first === "groups") return second === undefined ? <Groups /> : <GroupPage key={second} name={second} />;
  if (second !== undefined) return <NotFound />;
  if (first === "teams") return <Teams />;
  if (first === "fleets") return <Fleets />;
  if (first === "events") return <Events />;
  if (first === "top") return <Top />;
  if (first === "requests") return <Requests />;
  if (first === "operate") return <Operate />;
  if (first === "tail") return <Tail key={place.value.query.toString()} />;
  if (first === "publish") return <Publish key={place.value.query.toString()} />;
  return <NotFound />;
}

function NotFound() {
  return (
    <>
      <Head title="No such page" />
      <Nothing title="Unknown address.">
        Go to the <a href="/">overview</a>.
      </Nothing>
    </>
  );
}

export function App() {
  useEffect(() => {
    document.addEventListener("click", onLink);
    document.addEventListener("keydown", onSlash);
    return () => {
      document.removeEventListener("click", onLink);
      document.removeEventListener("keydown", onSlash);
    };
  }, []);
  const first = place.value.parts[0];
  const name = pages.find((p) => p.path === `/${first ?? ""}`)?.name ?? "Console";
  useEffect(() => {
    document.title = `${loggedIn() ? name : "Log in"} · mastersocket`;
  });
  return loggedIn() ? <Shell /> : <Login />;
}

/** onSlash moves the focus to the search field. */
function onSlash(event: KeyboardEvent) {
  const at = event.target as HTMLElement;
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) return;
  const search = document.querySelector<HTMLInputElement>("[data-search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
}

function Shell() {
  useEffect(watch, []);
  const { parts } = place.value;
  const here = `/${parts[0] ?? ""}`;
  const self = cluster.value.latest?.nodes.find((n) => n.self);
  useEffect(() => scrollTo(0, 0), [parts.join("/")]);
  return (
    <div class="shell">
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <aside class="side">
        <a class="brand" href="/">
          <Mark />
          <span>mastersocket</span>
        </a>
        <nav aria-label="Pages">
          {pages.filter((p) => !p.type || here === p.path || p.type in (self?.connections ?? {})).map((p) => (
            <a key={p.path} href={p.path} aria-current={here === p.path ? "page" : undefined}>
              {p.name}
            </a>
          ))}
        </nav>
        <div class="foot">
          <ThemeChoice />
          <button type="button" class="ghost" onClick={() => end("")}>
            Log out
          </button>
          {readOnly.value && <p class="self">This token may only look.</p>}
          <p class="self">
            <bdi>{self?.name ?? " "}</bdi>
            <br />
            <span>{self?.version ?? " "}</span>
          </p>
        </div>
      </aside>
      <div class="body">
        <StatusStrip />
        <main id="main">{page(parts)}</main>
      </div>
    </div>
  );
}

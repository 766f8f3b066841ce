import { api, query } from "../api";
import { byteRate, rate } from "../format";
import { usePoll } from "../poll";
import { clientPath, go, groupPath, place } from "../route";
import { Scroll } from "../scroll";
import { Id, Said } from "../text";
import type { TopNamed, TopRates } from "../types";
import { Badge, Failed, Field, Head, Loading, Missing, Nothing } from "../ui";

const every = 1000;
const limit = 20;

const columns: { sort: keyof TopRates; label: string; show: (n: number) => string }[] = [
  { sort: "messages_in", label: "Msgs in", show: rate },
  { sort: "bytes_in", label: "Bytes in", show: byteRate },
  { sort: "messages_out", label: "Msgs out", show: rate },
  { sort: "bytes_out", label: "Bytes out", show: byteRate },
];

export function Top() {
  const sort = columns.find((c) => c.sort === place.value.query.get("sort"))?.sort ?? "messages_in";
  const window = place.value.query.get("window") === "5m" ? "5m" : "10s";
  const { data, failure } = usePoll((signal) => api.top({ sort, window, limit }, { signal }), `${sort} ${window}`, every);
  const set = (change: { sort?: string; window?: string }) => go(`/top${query({ sort, window, ...change })}`, true);
  const rates = (e: { rates_10s: TopRates; rates_5m: TopRates }) => (window === "5m" ? e.rates_5m : e.rates_10s);
  const figures = (e: { rates_10s: TopRates; rates_5m: TopRates }) =>
    columns.map((c) => (
      <td key={c.sort} class="r num">
        {c.show(rates(e)[c.sort])}
      </td>
    ));
  const heads = columns.map((c) => (
    <th key={c.sort} scope="col" class="r" aria-sort={c.sort === sort ? "descending" : "none"}>
      <button type="button" onClick={() => set({ sort: c.sort })}>
        {c.label}
        <i aria-hidden="true">{c.sort === sort ? "↓" : ""}</i>
      </button>
    </th>
  ));
  const named = (title: string, list: TopNamed[], link: (name: string) => string) => (
    <section class="panel">
      <h2>{title}</h2>
      {list.length === 0 ? (
        <Nothing title="No messages." />
      ) : (
        <Scroll label={title}>
          <table>
            <thead>
              <tr>
                <th scope="col">Name</th>
                {heads}
              </tr>
            </thead>
            <tbody>
              {list.map((e) => (
                <tr key={e.name}>
                  <th scope="row" class="who">
                    <a href={link(e.name)}>
                      <Said value={e.name} />
                    </a>
                  </th>
                  {figures(e)}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
  return (
    <>
      <Head title="Top talkers" sub="The clients, groups and tokens of all instances with the highest rates of messages." />
      <form class="filters" aria-label="What counts" onSubmit={(e) => e.preventDefault()}>
        <Field label="Sorted by">
          <select value={sort} onChange={(e) => set({ sort: e.currentTarget.value })}>
            {columns.map((c) => (
              <option key={c.sort} value={c.sort}>
                {c.label}
              </option>
            ))}
          </select>
        </Field>
        <Field label="Over the last">
          <select value={window} onChange={(e) => set({ window: e.currentTarget.value })}>
            <option value="10s">10 seconds</option>
            <option value="5m">5 minutes</option>
          </select>
        </Field>
      </form>
      {failure && <Failed failure={failure} />}
      <Missing names={data?.missing} what="clients, groups and tokens" />
      {!data ? (
        !failure && <Loading rows={8} />
      ) : (
        <>
          <section class="panel">
            <h2>Busiest clients</h2>
            {data.clients.length === 0 ? (
              <Nothing title="No messages.">Rates appear here as soon as a client sends or gets one.</Nothing>
            ) : (
              <Scroll label="Busiest clients">
                <table>
                  <thead>
                    <tr>
                      <th scope="col">Client</th>
                      {heads}
                      <th scope="col">Token</th>
                      <th scope="col">Instance</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.clients.map((c) => (
                      <tr key={c.id}>
                        <th scope="row" class="who">
                          <a href={c.connected ? clientPath(c.id) : `/events${query({ client: c.id })}`} title={c.id}>
                            {c.name ? <Said value={c.name} /> : <span class="dim">no name</span>} <Id value={c.id} />
                          </a>{" "}
                          {!c.connected && <Badge tone="quiet">gone</Badge>}
                        </th>
                        {figures(c)}
                        <td>
                          <Said value={c.token} />
                        </td>
                        <td>
                          <bdi>{c.node}</bdi>
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )}
          </section>
          {named("Busiest groups", data.groups, groupPath)}
          {named("Busiest tokens", data.tokens, (token) => `/events${query({ token })}`)}
        </>
      )}
    </>
  );
}

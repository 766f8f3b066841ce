import { end, headerOf, learn } from "./session";
import { quoted } from "./json";
import type { Client, ClientPage, Drain, Fleet, FleetList, FleetOperation, Group, GroupPage, LogPage, Nodes, Rebalance, Receipt, Reload, TeamPage, Top } from "./types";

/** Timeout of a request, in milliseconds. The hub itself waits 1 s for other instances. */
const timeout = 10_000;

/** Failure is a request without a successful response. status is 0 if there was no response. */
export class Failure extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly problems: string[] = [], // the details, one by one
  ) {
    super(detail || title);
  }
}

/** A problem document (RFC 9457). */
interface Problem {
  title?: string;
  detail?: string;
  errors?: { message?: string; location?: string }[];
}

async function failureOf(response: Response): Promise<Failure> {
  let problem: Problem = {};
  try {
    if (/\bjson\b/.test(response.headers.get("Content-Type") ?? "")) problem = (await response.json()) as Problem;
  } catch {
    // The status says enough.
  }
  const problems = (problem.errors ?? []).map((e) => [e.location, e.message].filter(Boolean).join(": "));
  return new Failure(response.status, problem.title || `Status ${response.status}`, problem.detail ?? "", problems);
}

export interface Call {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  body?: string;
  signal?: AbortSignal;
  token?: string; // instead of the session's
}

/** open sends a request and returns a successful response with its body unread. */
export async function open(path: string, call: Call = {}): Promise<Response> {
  const headers: Record<string, string> = { Authorization: headerOf(call.token) };
  if (call.body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method: call.method ?? "GET",
      headers,
      body: call.body ?? null,
      signal: call.signal ?? null,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (call.signal?.aborted) throw call.signal.reason;
    throw new Failure(0, "The hub does not answer", String((error as Error).message));
  }
  if (response.ok) {
    learn(response);
    return response;
  }
  const failure = await failureOf(response);
  if (failure.status === 401 && call.token === undefined) {
    end("The hub no longer accepts the token. The token was revoked or has expired, or the hub has restarted with another one.");
  }
  throw failure;
}

async function read<T>(path: string, call: Call = {}, parse: (text: string) => T = JSON.parse): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Failure(0, "The hub does not answer", `No answer within ${timeout / 1000} s`)), timeout);
  const stop = () => late.abort(call.signal?.reason);
  call.signal?.addEventListener("abort", stop);
  try {
    if (call.signal?.aborted) stop();
    const response = await open(path, { ...call, signal: late.signal });
    if (response.status === 204) return undefined as T;
    return parse(await response.text());
  } catch (error) {
    if (late.signal.aborted) throw late.signal.reason;
    if (error instanceof Failure) throw error;
    throw new Failure(0, "The response can't be read", String((error as Error).message));
  } finally {
    clearTimeout(timer);
    call.signal?.removeEventListener("abort", stop);
  }
}

/** query returns a query string of the values that are not empty. */
export function query(values: Record<string, string | number | undefined>): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== "") params.set(name, String(value));
  }
  const text = params.toString();
  return text && `?${text}`;
}

/** A * at the end of name matches any rest. */
export type ClientFilter = { group?: string; type?: string; node?: string; name?: string; min_queue_bytes?: number };
export type Page = { limit: number; cursor?: string };

const segment = encodeURIComponent;

export const api = {
  nodes: (call?: Call) => read<Nodes>("/v1/nodes", call),
  clients: (filter: ClientFilter & Page, call?: Call) => read<ClientPage>(`/v1/clients${query(filter)}`, call),
  client: (id: string, call?: Call) => read<Client>(`/v1/clients/${segment(id)}`, call),
  disconnect: (id: string) => read<void>(`/v1/clients/${segment(id)}`, { method: "DELETE" }),
  join: (id: string, group: string) => read<Client>(`/v1/clients/${segment(id)}/groups/${segment(group)}`, { method: "PUT" }),
  leave: (id: string, group: string) => read<Client>(`/v1/clients/${segment(id)}/groups/${segment(group)}`, { method: "DELETE" }),
  groups: (filter: { prefix?: string } & Page, call?: Call) => read<GroupPage>(`/v1/groups${query(filter)}`, call),
  log: (filter: { [name: string]: string | number }, call?: Call) => read<LogPage>(`/v1/log${query(filter)}`, call),
  top: (asked: { sort: string; window: string; limit: number }, call?: Call) => read<Top>(`/v1/top${query(asked)}`, call),
  group: (name: string, call?: Call) => read<Group>(`/v1/groups/${segment(name)}`, call),
  /** A numeric id of a team is returned as a string, which keeps all its digits. */
  teams: (page: Page, call?: Call) => read<TeamPage>(`/v1/teams${query(page)}`, call, (text) => JSON.parse(quoted(text, "id"))),
  fleets: (call?: Call) => read<FleetList>("/v1/fleets", call),
  operateFleet: (name: string, operation: FleetOperation) => read<Fleet>(`/v1/fleets/${segment(name)}/${operation}`, { method: "POST" }),
  promote: (name: string, client: string) => read<Fleet>(`/v1/fleets/${segment(name)}/promote`, { method: "POST", body: JSON.stringify({ client }) }),
  /** drain and reload take the id of an instance. */
  drain: (node: string, over: string) => read<Drain>(`/v1/drain${query({ node })}`, { method: "POST", body: JSON.stringify(over ? { over } : {}) }),
  rebalance: (over: string, atMost: number) =>
    read<Rebalance>("/v1/rebalance", { method: "POST", body: JSON.stringify({ ...(over && { over }), ...(atMost && { at_most: atMost }) }) }),
  reload: (node: string) => read<Reload>(`/v1/reload${query({ node })}`, { method: "POST" }),
  publish: (body: string) => read<Receipt>("/v1/events", { method: "POST", body }),
};

// Responses of the admin API, as far as the console uses them; GET /v1/openapi.json describes all. Counts begin at the
// start of the instance or of the client's connection; times are RFC 3339.

export interface Counts {
  [reason: string]: number;
}

export interface Broker {
  available: boolean;
  since: string;
  error: string | null;
  round_trip_seconds: number;
}

export interface Node {
  id: string;
  name: string;
  version: string;
  at: string; // of the answer
  started: string;
  self: boolean;
  draining: boolean;
  connections: Counts;
  unidentified: number;
  groups: number;
  messages_received: number;
  deliveries: number;
  drops: Counts;
  disconnects: Counts;
  queue_bytes: number;
  loop_turn_p99_seconds: number;
  gated: boolean;
  received_bytes: number;
  sent_bytes: number;
  send_queue_bytes: number; // setting: bound of a client's backlog
  write_timeout_seconds: number; // setting
  requests: Requests;
  broker: Broker;
}

/** Requests of an instance's clients. */
export interface Requests {
  open: number;
  memory_bytes: number;
  memory_limit_bytes: number; // setting; 0: none
  settled: Counts; // by outcome
  settle_seconds: Counts; // sums, by outcome
}

export interface Nodes {
  nodes: Node[];
  missing: string[];
}

export interface Client {
  id: string;
  node: string;
  type: string;
  name: string; // empty for none
  version: string;
  groups: string[];
  meta: { [key: string]: string };
  address: string;
  connected_since: string;
  idle_ms: number;
  messages_in: number;
  messages_out: number; // written to it completely
  bytes_in: number;
  bytes_out: number;
  queue_bytes: number; // unsent
  stalled_ms: number; // since the last unsent byte left
  token: string;
  open_requests: number; // of the client, that are not settled
  owed_answers: number; // requests of others that it has not answered
}

export interface ClientPage {
  clients: Client[];
  next: string | null;
  missing: string[];
}

export interface Group {
  name: string;
  members: number;
  nodes: Counts;
  watchers?: number; // clients that watch it; none in lists
  exclusive?: Exclusive; // of a group that is claimed exclusively
}

export interface Exclusive {
  holder?: string; // a client's id; none while no client holds it
  node?: string;
  term?: number;
  waiting: number;
}

export interface GroupPage {
  groups: Group[];
  next: string | null;
  missing: string[];
}

/** An event of the event log. What does not apply to it is missing. */
export interface LogEntry {
  at: string;
  node: string;
  seq: number;
  kind: string;
  client?: string;
  name?: string;
  token?: string;
  subject?: string;
  address?: string;
  group?: string; // the client's first
  reason?: string;
  detail?: string;
  by?: string; // name of the operator's token
  omitted?: number; // events before this one that were not recorded
}

export interface LogPage {
  entries: LogEntry[]; // newest first
  next: string | null;
  missing: string[];
}

/** Messages and bytes a second. */
export interface TopRates {
  messages_in: number;
  bytes_in: number;
  messages_out: number;
  bytes_out: number;
}

/** A busy group or token. */
export interface TopNamed {
  name: string;
  rates_10s: TopRates;
  rates_5m: TopRates;
}

export interface TopClient extends TopNamed {
  id: string;
  node: string;
  type: string;
  token: string;
  connected: boolean;
}

export interface Top {
  clients: TopClient[]; // the busiest first
  groups: TopNamed[];
  tokens: TopNamed[];
  missing: string[];
}

export interface Drain {
  node: string;
  connections: number; // still open
  over_seconds: number;
  began: boolean; // false: a drain had begun before
}

export interface Rebalance {
  share: number; // of one instance
  told: number;
  over_seconds: number;
  nodes: { id: string; name: string; clients: number; told: number; draining: boolean }[];
  missing: string[];
}

export interface Reload {
  at: string;
  changed: string[];
  tokens_added: string[];
  tokens_changed: string[];
  tokens_revoked: string[];
  need_restart: string[];
}

export interface Team {
  id: string;
  since: string;
  connection?: { node: string; client: string; address: string; since: string };
  message_count: number;
  props_count: number;
  claims: { node: string; client: string; at: string; connected: boolean; message_count: number; props_count: number }[];
}

export interface TeamPage {
  teams: Team[];
  next: string | null;
  missing: string[];
}

export interface FleetBot {
  client: string;
  version: string;
  state: "identified" | "standby" | "examined" | "running" | "retired";
}

export interface Fleet {
  name: string;
  leader?: string; // name of an instance
  running?: string; // id of a bot
  sane: boolean;
  alarm?: string;
  good?: { version: string; revision?: string };
  task?: { task: string; at: string };
  wanted?: { task: string; at: string };
  next_spawn?: string;
  bots: FleetBot[];
}

export interface FleetList {
  fleets: Fleet[];
  missing: string[];
}

export type FleetOperation = "promote" | "rollback" | "try-again" | "deploy";

export type Target = "GLOBAL" | "GROUP" | "DIRECT" | "ANY";

export interface Receipt {
  id: string;
  instances: number | null; // null: unknown
  clients: number | null;
  dropped: Counts;
}

// What the admin API answers: GET /v1/openapi.json has it all. Counts are those since the instance started, or the client
// connected; times are RFC 3339.

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
  at: string; // when it said this
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
  broker: Broker;
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
  messages_out: number; // that left for it whole
  bytes_in: number;
  bytes_out: number;
  queue_bytes: number; // that have not left
  stalled_ms: number; // since anything of that left
  token: string;
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
}

export interface GroupPage {
  groups: Group[];
  next: string | null;
  missing: string[];
}

export interface Drain {
  node: string;
  connections: number; // still open
  over_seconds: number;
  began: boolean; // false: it was draining already
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

export type Target = "GLOBAL" | "GROUP" | "DIRECT" | "ANY";

export interface Receipt {
  id: string;
  instances: number | null; // null: not known in time
  clients: number | null;
  dropped: Counts;
}

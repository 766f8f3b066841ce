// What the admin API answers. All counters count since the instance started; times are RFC 3339.

export interface Counts {
  [reason: string]: number;
}

export interface Broker {
  available: boolean;
  since?: string;
  error?: string;
  round_trip_seconds?: number;
}

export interface Node {
  id: string;
  name: string;
  version: string;
  at?: string; // when it said this
  started: string;
  self?: boolean;
  draining?: boolean;
  connections: Counts;
  unidentified: number;
  groups: number;
  messages_received: number;
  deliveries: number;
  drops: Counts;
  disconnects: Counts;
  queue_bytes: number;
  loop_turn_p99_seconds: number;
  gated?: boolean;
  received_bytes: number;
  sent_bytes: number;
  broker?: Broker | null;
}

export interface Nodes {
  at: string;
  nodes: Node[];
  missing?: string[] | null;
}

export interface Client {
  id: string;
  node: string;
  type: string;
  name?: string;
  version?: string;
  groups: string[] | null;
  meta?: { [key: string]: string } | null;
  address?: string;
  connected_since: string;
  idle_ms: number;
  messages_in: number;
  messages_out: number;
  bytes_in: number;
  bytes_out: number;
  queue_bytes: number;
  token: string;
}

export interface ClientPage {
  clients: Client[] | null;
  next?: string;
  missing?: string[] | null;
}

export interface Group {
  name: string;
  members: number;
  nodes: Counts;
}

export interface GroupPage {
  groups: Group[] | null;
  next?: string;
  missing?: string[] | null;
}

export type Target = "GLOBAL" | "GROUP" | "DIRECT" | "ANY";

export interface Receipt {
  id: string;
  instances?: number | null; // null: not known in time
  clients?: number | null;
  dropped?: Counts | null;
}

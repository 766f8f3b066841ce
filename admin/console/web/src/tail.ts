import { batch, signal } from "@preact/signals";
import { Failure, open, query } from "./api";
import { memberOf, plain } from "./json";
import { events } from "./sse";

/** How many events are kept. */
export const kept = 500;

/** The selection of a stream: a group, GLOBAL events, a client, or the clients of a token. */
export interface Watch {
  client: string; // its id
  token: string; // its name
  group: string;
  global: boolean;
  event: string;
  perSecond: number;
}

export interface Entry {
  seq: number;
  at: Date;
  text: string; // the envelope as the hub sent it
  op: string;
  event: string;
  sender: string;
  senderName: string; // empty if it is unknown
  direction: string; // of a client that is watched: in, from it, or out, to it
  client: string;
  clientName: string;
  id: string;
  data: string; // JSON
}

/** Counts are those since the stream was opened. */
interface Counts {
  seen: number;
  left_out: number;
}

type Phase = "stopped" | "connecting" | "live" | "waiting";

function stringOf(text: string, name: string): string {
  const raw = memberOf(text, name);
  if (raw === undefined) return "";
  try {
    const v: unknown = JSON.parse(raw);
    return typeof v === "string" ? v : "";
  } catch {
    return "";
  }
}

/** Stream receives the events of a selection and publishes them once a frame. */
export class Stream {
  readonly phase = signal<Phase>("stopped");
  readonly entries = signal<Entry[]>([]); // newest first
  readonly seen = signal(0); // events since the stream was opened
  readonly skipped = signal(0); // of these, left out by the hub
  readonly failure = signal<Failure | undefined>(undefined);
  readonly held = signal(false);

  private fresh: Entry[] = [];
  private seq = 0;
  private taken = 0; // of the present connection
  private frame = 0;
  private stopper: AbortController | undefined;

  start(watch: Watch) {
    this.stop();
    const stopper = new AbortController();
    this.stopper = stopper;
    this.failure.value = undefined;
    void this.follow(watch, stopper.signal);
  }

  stop() {
    this.stopper?.abort();
    this.stopper = undefined;
    this.phase.value = "stopped";
  }

  clear() {
    this.fresh = [];
    batch(() => {
      this.entries.value = [];
      this.seen.value = 0;
      this.skipped.value = 0;
    });
  }

  hold(held: boolean) {
    this.held.value = held;
    if (!held) this.show();
  }

  /** follow connects, and reconnects with backoff, until it is stopped. */
  private async follow(watch: Watch, stop: AbortSignal) {
    for (let failures = 0; !stop.aborted; failures++) {
      this.phase.value = failures === 0 ? "connecting" : "waiting";
      try {
        const response = await open(
          `/v1/tail${query({ client: watch.client, token: watch.token, group: watch.global || watch.client || watch.token ? "" : watch.group, global: watch.global ? "true" : "", event: watch.event, per_second: watch.perSecond })}`,
          { signal: stop },
        );
        this.phase.value = "live";
        this.failure.value = undefined;
        failures = 0;
        this.taken = 0;
        this.seen.value = 0;
        for await (const e of events(response.body!)) {
          if (stop.aborted) return;
          if (e.name === "counts") this.count(JSON.parse(e.data) as Counts);
          else if (e.name === "message") this.take(e.data);
        }
      } catch (error) {
        if (stop.aborted) return;
        const failure = error instanceof Failure ? error : new Failure(0, "The stream was interrupted", String((error as Error).message));
        this.failure.value = failure;
        if (failure.status >= 400 && failure.status < 500 && failure.status !== 429) {
          this.stop();
          return;
        }
      }
      if (stop.aborted) return;
      this.phase.value = "waiting";
      await new Promise((resolve) => setTimeout(resolve, Math.min(10_000, 500 * 2 ** failures)));
    }
  }

  private count({ seen, left_out }: Counts) {
    batch(() => {
      this.seen.value = Math.max(seen, this.seen.value); // later events are counted already
      this.skipped.value = left_out;
    });
  }

  private take(told: string) {
    const text = plain(memberOf(told, "message") ?? "");
    this.fresh.push({
      seq: ++this.seq,
      at: new Date(stringOf(told, "at")),
      text,
      op: memberOf(text, "op") ?? "",
      event: stringOf(text, "event"),
      sender: stringOf(text, "sender"),
      senderName: stringOf(told, "sender_name"),
      direction: stringOf(told, "direction"),
      client: stringOf(told, "client"),
      clientName: stringOf(told, "client_name"),
      id: stringOf(text, "id"),
      data: memberOf(text, "data") ?? "",
    });
    if (this.fresh.length > kept) this.fresh.shift();
    this.taken++;
    if (this.taken + this.skipped.value > this.seen.value) this.seen.value++;
    this.soon();
  }

  private soon() {
    if (this.held.value || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.held.value) this.show();
    });
  }

  private show() {
    if (this.fresh.length === 0) return;
    this.entries.value = [...this.fresh.reverse(), ...this.entries.value].slice(0, kept);
    this.fresh = [];
  }
}

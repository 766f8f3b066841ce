// Random moves in a model of a hub with two instances lose, duplicate and reorder nothing. Messages and FENCEs are delivered to
// each connection in order, with random delays.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Machine } from "../dist/move/machine.js";

// Random numbers that depend on the seed alone (mulberry32).
function randomOf(seed) {
  let a = seed * 2654435761;
  return (n) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

const other = { old: "new", new: "old" };

class World {
  m = new Machine();
  queue = { old: [], new: [] };
  member = { old: true, new: false }; // gets messages to many
  gone = { old: false, new: false };
  sending = { old: true, new: false };
  stopping = false;
  published = new Map(); // by sender: the last number
  moved = new Set(); // senders that address the new id
  want = new Set();
  got = new Set();
  toNew = new Set();
  last = new Map();
  recorded = []; // received without a move
  fences = 0;
  lost = false;
  left = false;

  constructor(seed) {
    this.random = randomOf(seed + 1);
  }

  // Sends a message of a random sender to many or to one.
  publish() {
    const sender = this.random(4);
    const n = (this.published.get(sender) ?? 0) + 1;
    this.published.set(sender, n);
    const value = { sender, n, id: `${sender}/${n}` };
    const msg = { key: 0, sender: String(sender), toMany: false, size: 1, value };
    if (this.random(2) === 0) {
      msg.toMany = true;
      for (const side of ["old", "new"]) if (this.member[side] && !this.gone[side]) this.queue[side].push({ msg });
      this.want.add(value.id);
      return;
    }
    // A sender never goes back to the old id.
    if (this.moved.has(sender) || (this.member.new && this.random(4) === 0) || this.left) this.moved.add(sender);
    const side = this.moved.has(sender) ? "new" : "old";
    if (this.gone[side] || (side === "old" && this.left)) return; // refused with NO_RECEIVER
    this.queue[side].push({ msg });
    this.want.add(value.id);
    if (side === "new") this.toNew.add(value.id);
  }

  // Delivers the first parcel to a connection.
  deliver(side) {
    if (this.gone[side] || this.m.full(side)) return;
    const p = this.queue[side].shift();
    if (!p) return;
    if (p.end) this.end(side);
    else if (p.fence) this.m.fenceArrived(side);
    else {
      const { sender, n } = p.msg.value;
      const key = p.msg.toMany && this.m.needsKey ? (sender + 1) * 2 ** 32 + n : 0;
      const on = this.m.phase === "Single" ? "old" : side; // the one that is left
      if (this.m.receive(on, { ...p.msg, key }) === "deliver") {
        this.recorded.push(p);
        this.hand(p.msg.value);
      }
    }
    this.perform();
  }

  end(side) {
    this.gone[side] = true;
    this.member[side] = false;
    if (this.m.ended(side)) this.lost = true;
  }

  hand({ sender, n, id }) {
    assert.ok(!this.got.has(id), `${id} is handed out twice`);
    this.got.add(id);
    if (this.lost || (this.toNew.has(id) && this.gone.new)) return; // no more is promised than with a reconnect
    assert.ok((this.last.get(sender) ?? 0) < n, `${id} is handed out after ${this.last.get(sender)}`);
    this.last.set(sender, n);
  }

  next() {
    for (;;) {
      const msg = this.m.next();
      this.perform();
      if (!msg) return;
      this.hand(msg.value);
    }
  }

  perform() {
    for (const { kind, side, after } of this.m.actions()) {
      const to = other[side];
      switch (kind) {
        case "SendFence": {
          if (this.gone[side] || (side === "old" && this.left)) break;
          const id = String(++this.fences);
          if (!this.m.fenceSent(side, id)) break;
          if (this.random(10) === 0 || this.gone[to] || !this.member[to]) this.m.fenceRefused(side, id);
          else this.queue[to].push({ fence: true });
          break;
        }
        case "StopSending":
          this.stopping = true;
          this.sending.old = false;
          break;
        case "StartSending":
          this.sending[side] = true;
          this.stopping = false;
          assert.ok(!this.sending[to] || this.gone[to], "both connections send");
          break;
        case "Leave":
          this.left = true;
          this.member.old = false;
          this.queue.old.push({ end: true });
          break;
        default:
          assert.fail(`${kind} ${side} after ${after} ms in ${this.m.phase}`);
      }
    }
  }

  // Something random happens.
  step(publishing) {
    switch (this.random(8)) {
      case 0:
      case 1:
        if (publishing) this.publish();
        break;
      case 2:
      case 3:
        this.deliver("old");
        break;
      case 4:
      case 5:
        this.deliver("new");
        break;
      case 6:
        this.next();
        break;
      default:
        if (!this.stopping) break;
        this.stopping = false;
        this.m.stopped();
        this.perform();
    }
    this.m.tick(this.random(2));
    this.perform();
  }

  // Opens the new connection. It gets the last messages that the old one has received during recording, and some or all of those that
  // are on their way to the old one.
  begin() {
    this.m.record();
    this.recorded = [];
    for (let i = this.random(40); i > 0; i--) this.step(true);
    this.m.begin();
    this.member.new = true;
    const all = [...this.recorded, ...this.queue.old].filter((p) => p.msg?.toMany);
    this.queue.new = all.slice(this.random(all.length + 1));
    this.perform();
  }

  // Makes a move. Something may break it at any step.
  move(broken) {
    for (let i = 0; i < 50; i++) this.step(true);
    this.begin();
    const identifyAt = this.random(30);
    for (let i = 0; i < 1000; i++) {
      if (i === identifyAt) {
        this.m.identified(true);
        this.perform();
      }
      if (broken()) return;
      this.step(true);
    }
    this.settle(broken);
  }

  // Lets everything on its way arrive, and time pass until the move is over.
  settle(broken) {
    for (let i = 0; i < 3000; i++) {
      if (broken()) return;
      this.step(false);
      if (this.random(4) === 0) {
        this.m.tick(3);
        this.perform();
      }
    }
    this.next();
  }

  checkComplete() {
    for (const id of this.want) assert.ok(this.got.has(id), `${id} is missing`);
  }
}

// Names the seed of a failure.
function each(seeds, f) {
  for (let seed = 0; seed < seeds; seed++) {
    try {
      f(seed);
    } catch (err) {
      err.message = `seed ${seed}: ${err.message}`;
      throw err;
    }
  }
}

test("moves without faults lose, duplicate and reorder nothing, and send on one connection at a time", () => {
  each(200, (seed) => {
    const w = new World(seed);
    w.move(() => false);
    assert.deepEqual([w.m.phase, w.gone.old, w.sending.new, w.lost], ["Single", true, true, false]);
    w.checkComplete();
  });
});

// If the new connection breaks at any time, the old one goes on, and nothing that it received or receives is lost. If the old one
// breaks, messages are lost only if that is reported.
test("moves with broken connections lose nothing in silence", () => {
  const phases = new Set();
  each(400, (seed) => {
    const w = new World(seed);
    const side = seed % 2 === 0 ? "old" : "new";
    const at = w.random(1500);
    let steps = 0;
    let broke = false;
    w.move(() => (broke = ++steps === at && w.m.phase !== "Single" && !w.gone.old && !w.gone.new));
    if (!broke || (side === "new" && w.left)) return; // nothing broke, or both are gone
    phases.add(`${side} ${w.m.phase}`);
    // What is on its way to the broken connection alone is lost.
    for (const { msg } of w.queue[side]) if (msg && !msg.toMany) w.want.delete(msg.value.id);
    w.end(side);
    w.perform();
    for (let i = 0; i < 50; i++) w.step(true);
    w.settle(() => false);
    assert.deepEqual([w.m.phase, w.sending[other[side]]], ["Single", true]);
    if (!w.lost) w.checkComplete();
  });
  assert.ok(phases.size >= 8, [...phases].join());
});

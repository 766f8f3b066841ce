// What the official client library of Socket.IO for JavaScript does with a hub. URL and TOKEN say where it is, CA names the file of
// the authority of its certificate. TRANSPORTS are those of clients that are to have no others. UPGRADES says whether a
// session that begins with polling moves to a WebSocket: always, never, or perhaps. Each check prints a line; the first that
// fails ends the process.
import { readFileSync } from "node:fs";
import { io } from "socket.io-client";

const url = process.env.URL;
const token = process.env.TOKEN;
const ca = process.env.CA && readFileSync(process.env.CA);
const transports = process.env.TRANSPORTS?.split(",") ?? ["polling", "websocket"];
const upgrades = process.env.UPGRADES ?? "always";
const sockets = [];

function connect(auth, options = {}) {
  const socket = io(url, { auth: { token, ...auth }, forceNew: true, ca, transports, ...options });
  sockets.push(socket);
  return socket;
}

function once(socket, event, ms = 20000) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} within ${ms} ms`)), ms);
    socket.once(event, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });
}

function check(what, holds, ...details) {
  if (!holds) {
    throw new Error(`${what}: ${details.map((d) => JSON.stringify(d)).join(" ")}`);
  }
  console.log(what);
}

function equal(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

async function opened(socket) {
  if (!socket.connected) {
    await once(socket, "connect");
  }
  return socket;
}

// count collects n calls of an event.
function collect(socket, event, n) {
  const all = [];
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${all.length} of ${n} ${event} came`)), 30000);
    socket.on(event, (...args) => {
      all.push(args);
      if (all.length === n) {
        clearTimeout(timer);
        resolve(all);
      }
    });
  });
}

async function run() {
  const worker = await opened(connect({ group: "workers" }, { transports: [transports.at(-1)] }));

  // From polling to WebSocket, with 200 events and 200 answers on the way.
  const mover = connect({ group: "movers", echo: false });
  const got = collect(worker, "moved", 200);
  worker.on("moved", (n) => worker.emit(`DIRECT:${mover.id}`, "back", n));
  const back = collect(mover, "back", 200);
  let began;
  const upgraded = new Promise((resolve) => {
    mover.io.once("open", () => {
      began = mover.io.engine.transport.name;
      mover.io.engine.once("upgrade", () => resolve(true));
      mover.io.engine.once("upgradeError", () => resolve(false));
      setTimeout(() => resolve(false), upgrades === "never" ? 0 : 20000).unref();
    });
  });
  await opened(mover);
  check("the session begins with polling", began === "polling", began);
  for (let i = 0; i < 200; i++) {
    mover.emit("GROUP:workers", "moved", i);
    if (i % 10 === 0) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
  const numbers = Array.from({ length: 200 }, (_, i) => [i]);
  check("200 events during the upgrade, in order", equal(await got, numbers));
  check("200 answers during the upgrade, in order", equal(await back, numbers));
  const moved = await upgraded;
  check(`the session has ${moved ? "moved to a WebSocket" : "gone on by polling"}`, upgrades === "perhaps" || moved === (upgrades === "always"));

  // Requests.
  worker.on("sum", (a, b, done) => done(a + b, "checked"));
  const [sum, note] = await new Promise((resolve) => mover.emit("ANY:workers", "sum", 1, 2, (...args) => resolve(args)));
  check("a request is answered", sum === 3 && note === "checked", sum, note);
  const none = await mover.timeout(10000).emitWithAck("ANY:nobody", "sum", 1);
  check("a request to nobody fails at once", none.error.code === "NO_RECEIVER", none);

  // Bytes.
  const bytes = once(worker, "bytes");
  mover.emit("GROUP:workers", "bytes", { file: Buffer.from([1, 2, 3]), name: "f" }, Buffer.from([4]));
  const [file, tail] = await bytes;
  check("bytes arrive as bytes", Buffer.isBuffer(file.file) && equal([...file.file], [1, 2, 3]) && file.name === "f" && equal([...tail], [4]));

  // Polling alone.
  const poller = await opened(connect({ group: "pollers" }, { transports: ["polling"] }));
  const polled = collect(poller, "n", 50);
  for (let i = 0; i < 50; i++) {
    worker.emit("GROUP:pollers", "n", i);
  }
  check("50 events by polling, in order", equal(await polled, numbers.slice(0, 50)));
  const big = once(worker, "big");
  poller.emit("GROUP:workers", "big", "x".repeat(20000));
  check("a large event by polling", (await big)[0].length === 20000);

  // Refusals.
  const stranger = connect({ token: "wrong-wrong-wrong-wrong", group: "workers" });
  const [refused] = await once(stranger, "connect_error");
  check("a wrong token is refused", refused.message === "IDENTIFY_FAILED", refused.message);

  // A storm.
  const storm = Array.from({ length: 150 }, () => connect({ group: "storm" }));
  const heard = Promise.all(storm.map((s) => once(s, "thunder")));
  await Promise.all(storm.map(opened));
  worker.emit("GROUP:storm", "thunder", 1);
  check("150 clients hear one event", (await heard).length === 150);
  console.log("done");
}

run()
  .then(() => 0)
  .catch((e) => {
    console.error(e);
    return 1;
  })
  .then((code) => {
    for (const s of sockets) {
      s.disconnect();
    }
    setTimeout(() => process.exit(code), 100);
  });

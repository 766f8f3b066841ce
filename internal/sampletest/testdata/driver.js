// Appended to the sample: sends numbers to the group "sink" until a line arrives on standard input, and prints the outcome
// of each as "OK n" or "NO n reason".

const [url, token] = process.argv.slice(2);
let sent = 0, open_ = 0, stopped = false;
const hub = connect({
  url, token, group: "senders",
  onReady: () => { console.log("READY"); throw new Error("onReady fails"); },
  onMessage: async (m) => { console.log("GOT", m.event); throw new Error("onMessage fails"); },
});
const outcome = (text) => {
  console.log(text);
  if (--open_ === 0 && stopped) { console.log("DONE", sent); process.exit(0); }
};
const timer = setInterval(() => {
  const n = ++sent;
  open_++;
  hub.send({ op: 0, event: "n", data: n, intent: { target: "GROUP", identifier: "sink" } })
    .then(() => outcome(`OK ${n}`), (e) => outcome(`NO ${n} ${e.message}`));
}, 5);
process.stdin.once("data", () => {
  clearInterval(timer);
  stopped = true;
  open_++;
  outcome("STOP");
});

// bot.py for the client library of JavaScript. MODULES is the folder where the library is installed.
import { createRequire } from "node:module";

const { io } = createRequire(process.env.MODULES + "/")("socket.io-client");
const auth = process.env.FLEET ? { auth: { token: process.env.TOKEN, fleet: process.env.FLEET } } : {};
const socket = io(process.env.URL, auth);
const health = process.env.HEALTH;

socket.on("connect", () => {
  console.log("connect");
  socket.emit("identify", { version: process.env.VERSION }, (...args) => console.log("ack", JSON.stringify(args)));
});
socket.on("connect_error", (e) => console.log("connect_error", e.message));
socket.on("disconnect", (reason) => console.log("disconnect", reason));
socket.on("hello", (data) => {
  console.log("hello", data.token ? "token" : "no token", data.process_commands);
  socket.emit("ready", {});
});
socket.on("cmd", ({ t, d }) => {
  console.log("cmd", t, d.reason ?? "");
  if (t === "health_check" && health !== "silent") {
    socket.emit("health_check", { OK: health === "ok", cogs: { main: true, "modules.utilities": health === "ok" }, percent: 100 });
  }
  if (t === "coma" || t === "shutdown") {
    socket.emit(t, {});
  }
});

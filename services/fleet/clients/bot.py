"""A bot as its authors write one: a namespace of the client library, and the calls of the original bot. URL says where the hub is,
VERSION what the bot is, HEALTH what it answers to a health check: ok, sick or silent. It prints what it is told."""

import asyncio
import os

import socketio

sio = socketio.AsyncClient()


class Fleet(socketio.AsyncClientNamespace):
    def on_connect(self):
        print("connect", flush=True)

    def on_disconnect(self):
        print("disconnect", flush=True)

    async def on_hello(self, data):
        print("hello", "token" if data.get("token") else "no token", data.get("process_commands"), flush=True)
        await sio.emit("ready", {})

    async def on_cmd(self, data):
        kind, data = data["t"], data["d"]
        print("cmd", kind, data.get("reason", ""), flush=True)
        if kind == "health_check" and os.environ["HEALTH"] != "silent":
            ok = os.environ["HEALTH"] == "ok"
            await sio.emit("health_check", {"OK": ok, "cogs": {"main": True, "modules.utilities": ok}, "percent": 100})
        if kind == "coma":
            await sio.emit("coma", {})
        if kind == "shutdown":
            await sio.emit("shutdown", {})


async def main():
    sio.register_namespace(Fleet())
    await sio.connect(os.environ["URL"])
    print("ack", await sio.call("identify", {"version": os.environ["VERSION"]}), flush=True)
    await sio.wait()


asyncio.run(main())

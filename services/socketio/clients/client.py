"""What the client library of Socket.IO for Python does with a hub. URL and TOKEN say where it is, SSL_CERT_FILE the authority of
its certificate. TRANSPORTS are those of clients that are to have no others."""

import asyncio
import os
import sys

import socketio

URL, TOKEN = os.environ["URL"], os.environ["TOKEN"]
TRANSPORTS = os.environ.get("TRANSPORTS", "polling,websocket").split(",")


def check(what, holds, *details):
    if not holds:
        raise AssertionError(f"{what}: {details}")
    print(what, flush=True)


async def connect(group, transports):
    sio = socketio.AsyncClient()
    await sio.connect(URL, auth={"token": TOKEN, "group": group}, wait_timeout=20, transports=transports)
    return sio


async def main():
    worker = await connect("pyworkers", TRANSPORTS[-1:])

    @worker.on("sum")
    async def add(a, b):
        return a + b, "checked"

    got, all_there = [], asyncio.Event()

    @worker.on("n")
    async def collect(n):
        got.append(n)
        if len(got) == 100:
            all_there.set()

    received = asyncio.Queue()

    @worker.on("bytes")
    async def keep(data):
        await received.put(data)

    client = await connect("pyclients", TRANSPORTS)  # polling, then WebSocket
    for n in range(100):
        await client.emit("GROUP:pyworkers", ("n", n))
    await asyncio.wait_for(all_there.wait(), 20)
    check("100 events, in order", got == list(range(100)), got)
    answer = await client.call("ANY:pyworkers", ("sum", 1, 2), timeout=20)
    check("a request is answered", list(answer) == [3, "checked"], answer)
    missing = await client.call("ANY:nobody", ("sum", 1, 2), timeout=20)
    check("a request to nobody fails at once", missing["error"]["code"] == "NO_RECEIVER", missing)
    await client.emit("GROUP:pyworkers", ("bytes", {"file": b"\x01\x02"}))
    data = await asyncio.wait_for(received.get(), 20)
    check("bytes arrive as bytes", data == {"file": b"\x01\x02"}, data)
    for sio in (client, worker):
        await sio.disconnect()
    print("done", flush=True)


try:
    asyncio.run(main())
except Exception as e:  # the traceback of the library's tasks is of no use
    print(repr(e), file=sys.stderr)
    sys.exit(1)

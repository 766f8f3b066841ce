"""Throughput of this SDK on one core, beside nats-py and python-socketio where they are installed.

    make build && cd sdk/python && python3 bench.py

Each measurement is a process of its own, bound to one core; servers and the other ends run on the others. The figures are
messages per second of the process's CPU time, so that they say what one core can do, whatever else the machine does. Rounds of
all clients are interleaved; the table has medians, and the median ratio of a round to nats-py's. NATS needs nats-server in PATH.
"masks in Python" is this SDK without the function in C that websockets has when pip installs it, and in Debian has not.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Optional

ROOT = pathlib.Path(__file__).resolve().parents[2]
BYTES = 250  # of data
DATA = {"n": 123456, "pad": "x" * (BYTES - len('{"n":123456,"pad":""}'))}
TEXT = json.dumps(DATA, separators=(",", ":"))
TOKEN = "a-secret-for-this-benchmark"
CLIENTS = ["mastersocket", "mastersocket, no acks", "mastersocket, masks in Python", "nats-py, JSON", "nats-py, bytes", "python-socketio"]


def show(line: Dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


class Meter:
    """Counts messages, and the CPU time that they took."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.left = messages
        self.began = 0.0
        self.done = asyncio.Event()

    def start(self) -> None:
        self.began = time.process_time()

    def count(self, *_: Any) -> None:
        if self.left == self.messages:
            self.start()
        self.left -= 1
        if self.left == 0:
            self.finish()
            self.done.set()

    def finish(self) -> None:
        show({"rate": self.messages / (time.process_time() - self.began)})


# The clients. Each has its own process.


async def run_mastersocket(url: str, what: str, n: int, acks: bool = True, masks_in_c: bool = True) -> None:
    import mastersocket as ms
    from mastersocket import _frames

    _frames._IN_C = _frames._IN_C and masks_in_c
    meter = Meter(n)
    async with ms.connect(url, token=TOKEN, group="bench", echo=False, acks=acks) as hub:
        if what == "receive":
            hub.on("bench", meter.count)
            show({"ready": hub.identity.id})
            await meter.done.wait()
            return
        hub.on("end", lambda m: meter.done.set())
        to = ms.group("sink")
        meter.start()
        for _ in range(n):
            await hub.send(to, "bench", DATA)
        await hub.send(ms.direct(hub.identity.id), "end")
        await meter.done.wait()  # the hub has read all
        meter.finish()


async def run_nats(url: str, what: str, n: int, encode: bool) -> None:
    import nats

    meter = Meter(n)
    nc = await nats.connect(url, pending_size=64 << 20)
    if what == "receive":

        async def handle(m: Any) -> None:
            if encode:
                json.loads(m.data)
            meter.count()

        await nc.subscribe("bench", cb=handle)
        await nc.flush()
        show({"ready": "bench"})
        await meter.done.wait()
    else:
        meter.start()
        for i in range(n):
            await nc.publish("sink", json.dumps(DATA).encode() if encode else TEXT.encode())
            if i % 256 == 0:
                await asyncio.sleep(0)
        await nc.flush(timeout=60)
        meter.finish()
    await nc.close()


async def run_socketio(url: str, what: str, n: int) -> None:
    import socketio

    meter = Meter(n)
    sio = socketio.AsyncClient()
    sio.on("bench", meter.count)
    await sio.connect(url, transports=["websocket"], wait_timeout=30)
    if what == "receive":
        await sio.emit("begin", n)
        await meter.done.wait()
    else:
        meter.start()
        for i in range(n):
            await sio.emit("sink", DATA)
            if i % 256 == 0:
                await asyncio.sleep(0)
        await sio.call("end", timeout=120)
        meter.finish()
    await sio.disconnect()


def run_client(name: str, url: str, what: str, n: int) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    asyncio.run({
        "mastersocket": lambda: run_mastersocket(url, what, n),
        "mastersocket, no acks": lambda: run_mastersocket(url, what, n, acks=False),
        "mastersocket, masks in Python": lambda: run_mastersocket(url, what, n, masks_in_c=False),
        "nats-py, JSON": lambda: run_nats(url, what, n, encode=True),
        "nats-py, bytes": lambda: run_nats(url, what, n, encode=False),
        "python-socketio": lambda: run_socketio(url, what, n),
    }[name]())


def run_socketio_server() -> None:
    import socketio
    from aiohttp import web

    sio = socketio.AsyncServer(async_mode="aiohttp", max_http_buffer_size=1 << 24)
    sio.on("sink", lambda sid, data: None)
    sio.on("end", lambda sid: 1)

    async def begin(sid: str, n: int) -> None:
        async def flood() -> None:
            for i in range(n):
                await sio.emit("bench", DATA, to=sid)
                if i % 64 == 0:
                    await asyncio.sleep(0)

        sio.start_background_task(flood)

    sio.on("begin", begin)
    app = web.Application()
    sio.attach(app)

    async def serve() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        show({"ready": f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"})  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    asyncio.run(serve())


# The other ends of the receivers: they send what is prepared, faster than any client reads.


def frame(text: str) -> bytes:
    """Return a masked WebSocket frame. A mask of zeros leaves the text as it is."""
    size = len(text)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, size)
    return head + bytes(4) + text.encode()


def flood(sock: socket.socket, message: bytes, n: int) -> None:
    batch = message * 64
    for _ in range(n // 64 + 1):
        sock.sendall(batch)


def address(url: str) -> Any:
    host, port = url.split("//")[1].split(":")
    return host, int(port)


def discard(sock: socket.socket) -> None:
    try:
        while sock.recv(1 << 16):
            pass
    except OSError:
        pass


def connect_mastersocket(url: str, group: str) -> socket.socket:
    """Connect to the hub, and discard what arrives."""
    sock = socket.create_connection(address(url))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode(),
    )
    sock.recv(4096)
    sock.sendall(frame(json.dumps({"op": 1, "data": {"token": TOKEN, "group": group}})))
    sock.recv(4096)
    threading.Thread(target=discard, args=[sock], daemon=True).start()
    return sock


def flood_mastersocket(url: str, ready: str, n: int) -> socket.socket:
    sock = connect_mastersocket(url, "senders")
    to = '{"target":"GROUP","identifier":"bench"}'
    flood(sock, frame(f'{{"op":0,"id":"00000000-0000-4000-8000-000000000000","event":"bench","intent":{to},"data":{TEXT}}}'), n)
    return sock


def flood_nats(url: str, ready: str, n: int) -> socket.socket:
    sock = socket.create_connection(address(url))
    sock.sendall(b'CONNECT {"verbose":false}\r\n')
    threading.Thread(target=discard, args=[sock], daemon=True).start()
    flood(sock, f"PUB {ready} {len(TEXT)}\r\n{TEXT}\r\n".encode(), n)
    return sock


# The servers.


class Server:
    def __init__(self, command: List[str], pattern: str, make_url: Callable[[str], str], cores: List[int]) -> None:
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env={**os.environ, "MASTERSOCKET_TOKEN": TOKEN},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        deadline = time.monotonic() + 30
        while True:
            self.log.seek(0)
            text = self.log.read().decode()
            found = re.search(pattern, text)
            if found:
                self.url = make_url(found[1])
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {text}")
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def start_servers(cores: List[int]) -> Dict[str, Server]:
    hub = Server(
        [str(ROOT / "bin/mastersocket"), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--send-queue-bytes", "256MiB",
            "--ping-interval", "1h",  # the receiver of what is sent answers no PINGs
        ],
        r"listener=hub addr=(\S+)", lambda a: "ws://" + a, cores,
    )
    servers = {name: hub for name in CLIENTS if name.startswith("mastersocket")}
    try:
        import nats  # noqa: F401
    except ImportError:
        print("nats-py is not installed", file=sys.stderr)
    else:
        program = shutil.which("nats-server")
        if program is None:
            print("there is no nats-server in PATH", file=sys.stderr)
        else:
            server = Server([program, "-a", "127.0.0.1", "-p", "-1"], r"client connections on (\S+)", lambda a: "nats://" + a, cores)
            servers["nats-py, JSON"] = servers["nats-py, bytes"] = server
    try:
        import socketio  # noqa: F401
    except ImportError:
        print("python-socketio is not installed", file=sys.stderr)
    else:
        servers["python-socketio"] = Server([sys.executable, __file__, "--serve-socketio"], r'"ready": "(\S+)"', str, cores)
    return servers


def measure(name: str, url: str, what: str, n: int, cores: List[int]) -> float:
    command = [sys.executable, __file__, "--client", name, "--url", url, "--what", what, "--messages", str(n)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    sock: Optional[socket.socket] = None
    try:
        assert client.stdout is not None
        for text in client.stdout:
            line = json.loads(text)
            if "rate" in line:
                return float(line["rate"])
            sock = (flood_mastersocket if name.startswith("mastersocket") else flood_nats)(url, line["ready"], n)
        raise RuntimeError(f"{name} has ended")
    finally:
        if sock is not None:
            sock.close()
        client.kill()
        client.wait()


def report(what: str, rates: Dict[str, List[float]]) -> None:
    print(f"\n| {what} of {BYTES} bytes | a second, on one core | × nats-py, JSON | from … to |\n| --- | --- | --- | --- |")
    base = rates.get("nats-py, JSON")
    for name, all_rates in rates.items():
        row = [name, f"{statistics.median(all_rates):,.0f}", "–", "–"]
        if base is not None:
            ratios = sorted(a / b for a, b in zip(all_rates, base))
            row[2:] = [f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f} … {ratios[-1]:.2f}"]
        print("| " + " | ".join(row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=50_000)
    for internal in ("--client", "--url", "--what"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    parser.add_argument("--serve-socketio", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.serve_socketio:
        run_socketio_server()
        return
    if a.client:
        run_client(a.client, a.url, a.what, a.messages)
        return
    others = sorted(os.sched_getaffinity(0))[1:] or sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, others)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    servers = start_servers(others)
    sink = connect_mastersocket(servers["mastersocket"].url, "sink")
    try:
        for what in ("send", "receive"):
            rates: Dict[str, List[float]] = {name: [] for name in CLIENTS if name in servers}
            for _ in range(a.rounds):
                for name in rates:
                    rates[name].append(measure(name, servers[name].url, what, a.messages, others))
            report(what + "s", rates)
    finally:
        sink.close()
        for server in servers.values():
            server.stop()


if __name__ == "__main__":
    main()

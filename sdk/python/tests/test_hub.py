"""Tests against a hub: the built command, which the environment variable MASTERSOCKET_BIN names, by default bin/mastersocket."""

from __future__ import annotations

import asyncio
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import unittest
from contextlib import suppress
from typing import Any, Awaitable, List, Optional, TypeVar

import mastersocket as ms

BINARY = os.environ.get("MASTERSOCKET_BIN") or str(pathlib.Path(__file__).parents[3] / "bin" / "mastersocket")
TOKEN = "a-secret-for-the-tests-of-this-file"
T = TypeVar("T")


def free_port() -> int:
    """Return a port that is free, and below the range from which the kernel takes those of outgoing connections."""
    while True:
        with socket.socket() as s:
            with suppress(OSError):
                s.bind(("127.0.0.1", random.randrange(12_000, 32_000)))
                return int(s.getsockname()[1])


class Hub:
    """A process of the hub."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.log = tempfile.TemporaryFile()

    async def start(self, *flags: str) -> str:
        """Start the hub, again on the port that it had, and return its URL."""
        begin = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(
            [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}", "--admin-listen", "off", "--drain-timeout", "1s", *flags],
            env={**os.environ, "MASTERSOCKET_TOKEN": TOKEN}, stdout=self.log, stderr=self.log,
        )
        for _ in range(6000):
            self.log.seek(begin)
            listening = re.search(rb"listener=hub addr=127\.0\.0\.1:(\d+)", self.log.read())
            if listening is not None:
                self.port = int(listening[1])
                return f"ws://127.0.0.1:{self.port}"
            if self.process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        self.log.seek(0)
        raise RuntimeError(f"the hub did not start: {self.log.read().decode()}")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


async def soon(wait: Awaitable[T], seconds: float = 60) -> T:
    return await asyncio.wait_for(wait, seconds)


class HubTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.hub = Hub()
        self.addCleanup(self.hub.log.close)
        self.addCleanup(self.hub.kill)
        self.url = await self.hub.start()

    async def connect(self, **options: Any) -> ms.Client:
        all_options: Any = {"token": TOKEN, "group": "workers", **options}
        client = await soon(ms.connect(self.url, **all_options)._connect())
        self.addAsyncCleanup(client.close)
        return client

    async def test_request_and_reply(self) -> None:
        a, b = await self.connect(), await self.connect(group="askers", echo=False)

        @a.on("sum")
        async def total(m: ms.Message) -> None:
            await m.reply(sum(m.data))

        self.assertEqual((await b.request(ms.any_of("workers"), "sum", [1, 2, 39], timeout=10)).data, 42)
        async with b.request_many(ms.group("workers"), "sum", [4, 5], expect=1, timeout=10) as replies:
            self.assertEqual([m.data async for m in replies], [9])
        with self.assertRaises(ms.NoReceiverError):
            await b.request(ms.group("nobody"), "sum", [], timeout=10)
        with self.assertRaises(ms.RequestError) as passed:
            await b.request(ms.any_of("workers"), "unknown", timeout=10)
        self.assertEqual(passed.exception.settlement, ms.Settlement(1, 0, 1, (), 0))
        with self.assertRaises(ms.TooBigError):
            await b.send(ms.GLOBAL, "big", "x" * 40000)
        self.assertEqual(await b.send_acked(ms.direct(a.identity.id), "x"), ms.Ack(1, None, False))

    async def test_requests_and_messages_come_in_the_order_of_the_calls(self) -> None:
        got: List[int] = []
        last = asyncio.Event()

        def note(m: ms.Message) -> None:
            got.append(m.data)
            if m.data == 99:
                last.set()

        async def answer(m: ms.Message) -> None:
            note(m)
            await m.reply()

        await self.connect(on={"tell": note, "ask": answer})
        b = await self.connect(group="askers")
        calls = [
            asyncio.ensure_future(
                b.request(ms.any_of("workers"), "ask", i, timeout=20) if i % 2 == 0 else b.send(ms.group("workers"), "tell", i)
            )
            for i in range(100)
        ]
        await soon(last.wait())
        await soon(asyncio.gather(*calls))
        self.assertEqual(got, list(range(100)))

    async def test_several_targets_and_exceptions(self) -> None:
        got: List[Any] = []
        ends = {"a": asyncio.Event(), "b": asyncio.Event()}

        def take(name: str) -> Any:
            def handle(m: ms.Message) -> None:
                got.append((name, m.data, str(m.intent)))
                if m.data == "last":
                    ends[name].set()

            return handle

        a = await self.connect(group="a", groups=["night"], on={"e": take("a")})
        b = await self.connect(group="b", groups=["c"], on={"e": take("b")})
        sender = await self.connect(group="senders")
        for to, data in (
            (ms.groups("b", "c"), 1),
            (ms.groups("a", "b").excluding("night"), 2),
            (ms.directs(a.identity.id, b.identity.id), 3),
            (ms.GLOBAL.excluding("a", b.identity.id), 4),
            (ms.group("a").excluding(a.identity.id), 5),
        ):
            await sender.send(to, "e", data)
        for name, end in ends.items():
            await sender.send(ms.group(name), "e", "last")
            await soon(end.wait())
        both = f"DIRECT:{a.identity.id},{b.identity.id}"
        self.assertEqual([m for m in got if m[0] == "b"], [
            ("b", 1, "GROUP:b,c"), ("b", 2, "GROUP:a,b -night"), ("b", 3, both), ("b", "last", "GROUP:b"),
        ])
        self.assertEqual([m for m in got if m[0] == "a"], [("a", 3, both), ("a", "last", "GROUP:a")])
        with self.assertRaises(ms.NoReceiverError):
            await sender.send_acked(ms.groups("d", "e"), "e")
        with self.assertRaises(ms.MessageError):
            await sender.request(ms.groups("a", "b"), "e", timeout=1)
        with self.assertRaises(ms.MessageError):
            sender.request_many(ms.GLOBAL.excluding("a"), "e")

    async def test_answers(self) -> None:
        a, b = await self.connect(name="a"), await self.connect(group="askers")
        cancelled = asyncio.Event()

        @a.answer("half")
        def half(m: ms.Message) -> float:
            if m.data == 13:
                raise ms.RemoteError("UNLUCKY", "not with me")
            return m.data / 2  # type: ignore[no-any-return]

        @a.answer("count")
        async def count(m: ms.Message) -> Any:
            for i in range(m.data):
                yield i

        @a.answer("sleep")
        async def sleep(m: ms.Message) -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        worker = ms.any_of("workers")
        self.assertEqual((await b.request(worker, "half", 84, timeout=10)).data, 42)
        with self.assertRaises(ms.RemoteError) as failed:
            await b.request(worker, "half", 13, timeout=10)
        self.assertEqual((failed.exception.code, failed.exception.sender), ("UNLUCKY", a.identity.id))
        with self.assertLogs("mastersocket", "ERROR"), self.assertRaises(ms.RemoteError) as failed:
            await b.request(worker, "half", "x", timeout=10)
        self.assertEqual(failed.exception.code, "ERROR")
        async with b.request_many(worker, "count", 5, timeout=10) as replies:
            self.assertEqual([(m.data, m.more) async for m in replies], [(i, i < 4) for i in range(5)])
        self.assertEqual(replies.settlement, ms.Settlement(1, 1, 0, (), 0))

        # The call's cancellation, and its deadline, reach the handler.
        asking = asyncio.ensure_future(b.request(worker, "sleep", timeout=60))
        while not a.duties.due(a.outbox.sender):  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
        asking.cancel()
        await soon(cancelled.wait())
        cancelled.clear()
        with self.assertRaises(asyncio.TimeoutError):
            await b.request(worker, "sleep", timeout=0.3)
        await soon(cancelled.wait())

        # A worker that goes does not leave its requester waiting.
        asking = asyncio.ensure_future(b.request(worker, "sleep", timeout=60))
        while not a.duties.due(a.outbox.sender):  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
        a.outbox.sender.end(ConnectionError("cut by the test"))  # type: ignore[union-attr]
        with self.assertRaises(ms.RequestError) as gone:
            await soon(asking)
        self.assertEqual([(m.name, m.reason) for m in gone.exception.settlement.missing], [("a", "LOST")])

    async def test_a_handler_that_fails(self) -> None:
        a, b = await self.connect(), await self.connect()
        got: asyncio.Future[Any] = a.loop.create_future()

        @a.on("e")
        def handle(m: ms.Message) -> None:
            if m.data is None:
                raise RuntimeError("bad data")
            got.set_result(m.data)

        with self.assertLogs("mastersocket", "ERROR"):
            await b.send(ms.direct(a.identity.id), "e")
            await b.send(ms.direct(a.identity.id), "e", 1)
            self.assertEqual(await soon(got), 1)

    async def test_groups(self) -> None:
        a, b = await self.connect(), await self.connect()
        got: List[Any] = []
        a.on("e", lambda m: got.append(m.data))
        await a.subscribe("x", "y")
        self.assertEqual(a.groups, ["workers", "x", "y"])
        await b.send_acked(ms.group("x"), "e", 1)
        await a.unsubscribe("x")
        with self.assertRaises(ms.NoReceiverError):
            await b.send_acked(ms.group("x"), "e", 2)
        with self.assertRaises(ms.GroupError) as refused:
            await a.unsubscribe("workers")
        self.assertEqual(refused.exception.code, "PRIMARY_GROUP")
        many = [f"g{i}" for i in range(300)]
        await a.subscribe(*many)

        # The groups are there after a crash of the hub, too.
        self.hub.kill()
        await self.hub.start()
        while True:
            try:
                await b.send_acked(ms.group("g299"), "e", 3)
                break
            except (ms.NoReceiverError, ms.OutcomeUnknownError):
                await asyncio.sleep(0.05)
        while got != [1, 3]:
            await asyncio.sleep(0.01)
        self.assertEqual(len(a.groups), 302)

    async def test_groups_that_need_several_messages(self) -> None:
        groups = [f"{i:0126}" for i in range(300)]  # 256 of them are more than the hub takes at once
        a = await self.connect(groups=groups)
        b = await self.connect(group="senders")
        self.assertEqual((await b.send_acked(ms.group(groups[-1]), "e")).instances, 1)
        self.assertEqual(len(a.groups), 301)

    async def test_presence(self) -> None:
        a, b = await self.connect(name="a"), await self.connect(group="watchers")
        async with await soon(b.watch("workers")) as watch:
            self.assertEqual([m.name for m in watch.members.values()], ["a"])
            changes = watch.__aiter__()
            self.assertEqual([m.name for m in (await soon(changes.__anext__())).joined], ["a"])
            with self.assertRaises(ValueError):
                await b.watch("workers")
            await a.set_meta({"k": "v"})
            self.assertEqual([m.meta for m in (await soon(changes.__anext__())).updated], [{"k": "v"}])
            c = await self.connect(name="c")
            self.assertEqual([m.name for m in (await soon(changes.__anext__())).joined], ["c"])
            self.assertEqual(sorted(m.name for m in watch.members.values()), ["a", "c"])
            await c.close()
            self.assertEqual([m.name for m, _ in (await soon(changes.__anext__())).left], ["c"])

    async def test_hold(self) -> None:
        a, b = await self.connect(), await self.connect()
        first = await soon(a.hold("leader"))
        waiting = asyncio.ensure_future(b.hold("leader"))
        await asyncio.sleep(0)
        self.assertTrue(first.held and first.term > 0)

        async def work() -> None:
            await asyncio.sleep(3600)

        working = asyncio.ensure_future(first.run(work()))
        until = first.valid_until
        while first.valid_until == until:  # it is renewed
            await asyncio.sleep(0.01)
        self.assertTrue(first.held and not waiting.done())
        await a.close()
        with self.assertRaises(ms.LostError):
            await soon(working)
        second = await soon(waiting)
        self.assertGreater(second.term, first.term)
        await second.release()
        self.assertFalse(second.held)

    async def test_crash(self) -> None:
        """Around a crash each acknowledged message has arrived, and the others have failed."""
        lost: List[BaseException] = []
        a, b = await self.connect(on_disconnect=lost.append), await self.connect(group="senders")
        got: List[int] = []
        a.on("n", lambda m: got.append(m.data))
        acked: List[int] = []
        failed = 0

        async def send() -> None:
            nonlocal failed
            for n in range(10**6):
                try:
                    await b.send_acked(ms.group("workers"), "n", n)
                    acked.append(n)
                except (ms.OutcomeUnknownError, ms.NoReceiverError):
                    failed += 1
                await asyncio.sleep(0.001)

        sending = asyncio.ensure_future(send())
        for _ in range(2):
            n = len(acked)
            while len(acked) < n + 100:
                await asyncio.sleep(0.01)
            self.hub.kill()
            await self.hub.start()
        n = len(acked)
        while len(acked) < n + 100:
            await asyncio.sleep(0.01)
        sending.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await sending
        for _ in range(6000):
            if got and got[-1] >= acked[-1]:
                break
            await asyncio.sleep(0.01)
        self.assertEqual(len(lost), 2)
        self.assertEqual(got, sorted(set(got)), "out of order, or twice")
        # A crash may take with it what it had acknowledged and not written: the last moments before each.
        missing = sorted(set(acked) - set(got))
        self.assertLess(len(missing), 50, missing)

    async def test_hub_that_hangs(self) -> None:
        """A hub that hangs is given up, and the client connects again when it goes on."""
        self.hub.kill()
        await self.hub.start("--ping-interval", "1s")
        lost: asyncio.Queue[BaseException] = asyncio.Queue()
        a = await self.connect(on_disconnect=lost.put_nowait)
        self.hub.signal(signal.SIGSTOP)
        try:
            self.assertIsInstance(await soon(lost.get(), 15), ms.SilentError)
        finally:
            self.hub.signal(signal.SIGCONT)
        await soon(a.send_acked(ms.group("workers"), "e"))

    async def test_close(self) -> None:
        a, b = await self.connect(), await self.connect()
        await a.send(ms.group("workers"), "last", 1)
        await a.close()
        await a.close()
        with self.assertRaises(ms.ClosedError):
            await a.send(ms.GLOBAL, "e")
        with self.assertRaises(ms.ClosedError):
            await a.subscribe("x")
        self.assertEqual({t for t in asyncio.all_tasks() if "Client" in repr(t) and not t.done()} & a._tasks, set())
        await b.close()


@unittest.skipIf(os.path.exists(BINARY), "the hub is built")
class MissingTest(unittest.TestCase):
    def test_hub_is_built(self) -> None:
        self.fail(f"there is no {BINARY}: make build makes it")


if not os.path.exists(BINARY):
    del HubTest

if __name__ == "__main__":
    unittest.main()

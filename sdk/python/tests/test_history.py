"""Tests of groups with history: with a hub, and of positions by themselves."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import tempfile
import unittest
from typing import Any, Dict, List, Mapping, Optional

import mastersocket as ms
from mastersocket import _history as history
from mastersocket import _wire as wire
from mastersocket._message import Message
from tests.test_hub import TOKEN, Hub, soon

RULES = '[{groups: "orders", messages: 10000, age: 1h, bytes: 64MiB}, {groups: "few", messages: 5, age: 1h, bytes: 64MiB}]'
ORDERS = ms.group("orders")


class Receiver:
    """Collects the data of messages."""

    def __init__(self) -> None:
        self.got: List[Any] = []
        self.offsets: List[Optional[int]] = []
        self._more = asyncio.Event()

    def __call__(self, m: ms.Message) -> None:
        self.got.append(m.data)
        self.offsets.append(m.offset)
        self._more.set()

    async def wait(self, data: Any) -> None:
        while data not in self.got:
            self._more.clear()
            await soon(self._more.wait())


class HistoryTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.hub = Hub()
        self.addCleanup(self.hub.log.close)
        self.addCleanup(self.hub.kill)
        self.url = await self.hub.start("--history", RULES)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "positions.json"

    async def connect(self, **options: Any) -> ms.Client:
        all_options: Any = {"token": TOKEN, "group": "orders", "min_backoff": 0.01, **options}
        client = await soon(ms.connect(self.url, **all_options)._connect())
        self.addAsyncCleanup(client.close)
        return client

    async def sender(self) -> ms.Client:
        return await self.connect(group="senders", history=False)

    async def test_what_was_missed_comes_after_a_reconnect(self) -> None:
        lost: List[BaseException] = []
        take = Receiver()
        a, b = await self.connect(on={"e": take}, on_disconnect=lost.append), await self.sender()
        self.assertEqual((await b.send_acked(ORDERS, "e", 0)).offset, 1)
        await take.wait(0)
        for n in range(1, 400):
            if n % 100 == 50:
                a.outbox.sender.end(ConnectionError("cut by the test"))  # type: ignore[union-attr]
            await b.send(ORDERS, "e", n)
            if n % 100 == 99:
                await take.wait(n)
        self.assertEqual((take.got, take.offsets, len(lost)), (list(range(400)), list(range(1, 401)), 4))
        position = a.position("orders")
        assert position is not None
        self.assertEqual(position.offset, 400)
        self.assertIsNone(b.position("orders"))

    async def test_a_program_goes_on_where_its_handlers_were(self) -> None:
        """A message is handled once its handler has returned. What close gives up comes again."""
        running = asyncio.Event()

        async def handle(m: ms.Message) -> None:
            if m.data == 3:
                running.set()
                await asyncio.sleep(3600)

        b = await self.sender()
        a = await self.connect(on={"e": handle}, positions=ms.PositionsFile(self.path))
        for n in range(6):
            await b.send_acked(ORDERS, "e", n)
        await soon(running.wait())
        await a.close(timeout=0.1)
        position = a.position("orders")
        assert position is not None
        self.assertEqual(position.offset, 3)
        kept = json.loads(self.path.read_text())
        self.assertEqual(kept, {"version": 1, "positions": {"orders": {"epoch": position.epoch, "offset": 3}}})

        take = Receiver()
        a = await self.connect(on={"e": take}, positions=ms.PositionsFile(self.path), recover={"orders": ms.Position()})
        await take.wait(5)
        self.assertEqual(take.got, [3, 4, 5])
        await a.close()
        self.assertEqual(json.loads(self.path.read_text())["positions"]["orders"]["offset"], 6)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    async def test_where_to_begin(self) -> None:
        b = await self.sender()
        for n in range(3):
            await b.send_acked(ORDERS, "e", n)
        every, later, now = Receiver(), Receiver(), Receiver()
        await self.connect(on={"e": every}, recover={"orders": ms.Position()})
        a = await self.connect(group="others", on={"e": later}, recover={"orders": ms.Position(offset=2)})
        await a.subscribe("orders")
        await self.connect(on={"e": now})
        await b.send_acked(ORDERS, "e", 3)
        for receiver, got in ((every, [0, 1, 2, 3]), (later, [2, 3]), (now, [3])):
            await receiver.wait(3)
            self.assertEqual(receiver.got, got)
        await a.unsubscribe("orders")
        self.assertIsNone(a.position("orders"))

    async def test_once(self) -> None:
        take = Receiver()
        await self.connect(on={"e": take})
        b, c = await self.sender(), await self.sender()
        first = await b.send_acked(ORDERS, "e", 1, id="order-1", once=True)
        self.assertEqual(await c.send_acked(ORDERS, "e", 1, id="order-1", once=True), ms.Ack(1, first.offset, True))
        await b.send(ORDERS, "e", 1, id="order-1", once=True)
        await b.send_acked(ORDERS, "e", 2)
        await take.wait(2)
        self.assertEqual(take.got, [1, 2])
        with self.assertRaises(ms.MessageError):
            await b.send(ORDERS, "e", 3, once=True)

    async def test_gap(self) -> None:
        told: List[Any] = []
        b = await self.connect(group="few")
        position = b.position("few")
        for n in range(20):
            await b.send_acked(ms.group("few"), "e", n)
        end = asyncio.Event()

        def handle(m: ms.Message) -> None:
            told.append(m.data)
            if m.data == 19:
                end.set()

        assert position is not None
        await self.connect(group="few", on={"e": handle}, on_gap=told.append, recover={"few": position})
        await soon(end.wait())
        gap, first = told[0], told[1]
        self.assertEqual((gap.group, gap.reason, gap.position.offset), ("few", "TRIMMED", first))
        self.assertGreater(first, 0)
        self.assertEqual(told[1:], list(range(first, 20)))

    async def test_iteration(self) -> None:
        """A message of an iteration is handled when the next one is asked for."""
        a, b = await self.connect(), await self.sender()
        events = a.events("e")
        first = asyncio.ensure_future(events.__anext__())
        await asyncio.sleep(0)
        await b.send(ORDERS, "e", 1)
        await b.send(ORDERS, "e", 2)
        self.assertEqual((await soon(first)).data, 1)
        self.assertEqual((a.position("orders") or ms.Position(offset=-1)).offset, 0)
        self.assertEqual((await soon(events.__anext__())).data, 2)
        await events.aclose()  # type: ignore[attr-defined]
        while (a.position("orders") or ms.Position()).offset < 2:
            await asyncio.sleep(0.01)

    async def test_positions_that_cannot_be_saved(self) -> None:
        class Store:
            fail, saved = 2, {}  # type: int, Dict[str, ms.Position]

            async def load(self) -> Mapping[str, ms.Position]:
                return {}

            async def save(self, positions: Mapping[str, ms.Position]) -> None:
                if self.fail:
                    self.fail -= 1
                    raise OSError("no space left")
                self.saved = dict(positions)

        store, failed, take = Store(), asyncio.Event(), Receiver()
        a = await self.connect(
            on={"e": take}, positions=store, positions_every=0.01, on_positions_error=lambda e: failed.set(),
        )
        b = await self.sender()
        await b.send_acked(ORDERS, "e", 1)
        await soon(failed.wait())
        while (store.saved.get("orders") or ms.Position()).offset < 1:
            await asyncio.sleep(0.01)
        await a.close()

        store.fail = 1000
        a = await ms.connect(self.url, token=TOKEN, group="orders", on={"e": take}, positions=store)
        await b.send_acked(ORDERS, "e", 2)
        await take.wait(2)
        with self.assertLogs("mastersocket", "ERROR"), self.assertRaises(ms.PositionsError):
            await a.close()

    async def test_positions_that_cannot_be_loaded(self) -> None:
        self.path.write_text("{")
        with self.assertRaises(ms.PositionsError):
            await soon(ms.connect(self.url, token=TOKEN, group="orders", positions=ms.PositionsFile(self.path))._connect())
        self.assertEqual(self.path.read_text(), "{")


class PositionsFileTest(unittest.IsolatedAsyncioTestCase):
    async def test_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "positions")
            store = ms.PositionsFile(path)
            self.assertEqual(store.load(), {})
            kept: List[Dict[str, ms.Position]] = [{"a": ms.Position("e", 7), "b": ms.Position(offset=1)}, {}]
            for positions in kept:
                await store.save(positions)
                self.assertEqual(store.load(), positions)
            for text in ("", "[]", '{"version":2,"positions":{}}', '{"version":1,"positions":{"a":{"offset":-1}}}', '{"version":1,"positions":[]}'):
                pathlib.Path(path).write_text(text)
                with self.subTest(text=text), self.assertRaises(ValueError):
                    store.load()
            with self.assertRaises(OSError):
                await ms.PositionsFile(os.path.join(folder, "missing", "positions")).save({})
            self.assertEqual(os.listdir(folder), ["positions"])


class ProgressTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.progress = history.Progress({"g": ms.Position("e1", 10)})

    def message(self, offset: Any, to: ms.Intent = ms.group("g")) -> Message:
        return Message(None, wire.Wire(wire.EVENT, "", "", None, "", to, {"offset": offset}), to, b"")  # type: ignore[arg-type]

    def turn(self, epoch: str, offset: int, gap: str = "", joined: bool = False, group: str = "g") -> history.Turn:
        turn = history.joined_turn(None, group, ms.Position(epoch, offset))  # type: ignore[arg-type]
        turn.gap, turn.joined = gap, joined
        return turn

    def take(self, *messages: Message) -> List[bool]:
        """Receive messages; tell which of them are new."""
        new = []
        for m in messages:
            new.append(self.progress.next(m))
            if new[-1] and m.mark is not None:
                self.progress.received(m.mark)
        return new

    def at(self, group: str = "g") -> Any:
        return self.progress.recover([group]).get(group)

    async def test_messages(self) -> None:
        m = self.message(11)
        self.assertEqual(self.take(self.message(10), m, self.message(11), self.message(12)), [False, True, False, True])
        self.assertEqual((self.at(), self.progress.position("g")), ({"epoch": "e1", "offset": 12}, ms.Position("e1", 10)))
        assert m.mark is not None
        self.progress.handled(m.mark)
        self.assertEqual(self.progress.all(), {"g": ms.Position("e1", 11)})
        for other in (self.message(1, ms.group("h")), self.message("1"), self.message(1, ms.GLOBAL), self.message(None)):
            self.assertEqual((self.progress.next(other), other.mark), (True, None))

    async def test_history(self) -> None:
        for epoch, offset, gap, new, want in (
            ("e1", 9, "", False, ("e1", 10)),  # the other connection of a move is behind
            ("e2", 10, "", True, ("e2", 10)),
            ("e2", 20, "TRIMMED", True, ("e2", 20)),
            ("e2", 20, "TRIMMED", False, ("e2", 20)),  # the other connection tells the same
            ("e2", 15, "UNAVAILABLE", False, ("e2", 20)),
            ("e3", 5, "EPOCH", True, ("e3", 5)),
            ("e3", 5, "EPOCH", False, ("e3", 5)),
        ):
            with self.subTest(epoch=epoch, offset=offset, gap=gap):
                self.assertEqual(self.take(self.turn(epoch, offset, gap)), [new])
                self.assertEqual(self.at(), {"epoch": want[0], "offset": want[1]})
        self.assertEqual(self.take(self.message(6)), [True])
        self.assertEqual(self.take(self.turn("e", 1, "TRIMMED", group="h"), self.turn("e", 1, group="h")), [True, False])

    async def test_joining_and_leaving(self) -> None:
        self.take(self.turn("e5", 50, joined=True), self.turn("e1", 7, joined=True, group="h"))
        self.assertEqual((self.at(), self.at("h")), ({"epoch": "e1", "offset": 10}, {"epoch": "e1", "offset": 7}))
        self.progress.leave(["h", "x"])
        self.assertEqual((self.at("h"), self.progress.position("h")), (None, None))
        begin = history.Progress({"g": ms.Position()})
        begin.next(self.turn("e1", 7, joined=True))
        m = self.message(3)
        begin.next(m)
        assert m.mark is not None
        self.assertEqual(m.mark.at, ms.Position("e1", 3))

    async def test_checks(self) -> None:
        for positions in ({"": ms.Position()}, {"g": ms.Position("x" * 65)}, {"g": ms.Position(offset=-1)}, {"g": ("e", 1)}, {"g": ms.Position(offset=1 << 53)}):
            with self.subTest(positions=positions), self.assertRaises(ValueError):
                history.check_positions(positions)  # type: ignore[arg-type]
        for data in ({"group": "g", "offset": "1"}, {"offset": 1}, {"group": "g", "offset": 1, "gap": 7}, {"group": "g", "offset": 1, "epoch": 1}, []):
            with self.subTest(data=data), self.assertRaises(wire.MalformedError):
                history.parse_turn(None, wire.Wire(wire.HISTORY, "", "", data, "", None, {}), b"")  # type: ignore[arg-type]


if __name__ == "__main__":
    unittest.main()

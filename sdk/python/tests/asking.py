"""Many clients that ask each other, for the tests with real hubs. sdk/conformance/README.md describes commands and outcomes."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Callable, Dict, List, Set

import mastersocket as ms

TIMEOUT = 20.0  # seconds
SLACK = 20.0  # what takes longer than this beyond the timeout hangs

KINDS = ("all", "retry", "any")  # to a group, to any member with a retry, to any member


def double(m: ms.Message) -> Any:
    return 2 * m.data


def reason_of(error: BaseException) -> str:
    if isinstance(error, ms.RequestError) and error.settlement.missing:
        return error.settlement.missing[0].reason
    if isinstance(error, ms.HubError):
        return error.code
    return "OUTCOME_UNKNOWN" if isinstance(error, ms.OutcomeUnknownError) else type(error).__name__


class Asking:
    def __init__(self, show: Callable[[Dict[str, Any]], None]) -> None:
        self.show = show
        self.hubs: List[ms.Client] = []
        self.sent = self.answered = self.wrong = self.hung = 0
        self.failed: Dict[str, int] = {}
        self.tasks: Set[asyncio.Future[None]] = set()
        self.halted = False

    async def connect(self, c: Dict[str, Any], i: int, teams: int) -> ms.Client:
        state = {"connected": False, "lost": False}

        def connected(_: ms.Identity) -> None:
            if state["connected"]:
                self.show({"event": "back" if state["lost"] else "moved"})
            state.update(connected=True, lost=False)

        hub = await ms.connect(
            c["url"], token=c["token"], group=f"team-{i % teams}", name=f"agent {i}", min_backoff=0.1, max_backoff=1.0,
            on_connect=connected, on_disconnect=lambda _: state.update(lost=True),
        )
        hub.answer("double", double)
        return hub

    async def start(self, c: Dict[str, Any]) -> Dict[str, Any]:
        teams = max(1, c["clients"] // 10)
        self.hubs = [await self.connect(c, i, teams) for i in range(c["clients"])]
        self.sender = asyncio.ensure_future(self.send(c["rate"], teams))
        return {}

    async def send(self, rate: float, teams: int) -> None:
        loop = asyncio.get_running_loop()
        began, n = loop.time(), 0
        while not self.halted:
            while n < (loop.time() - began) * rate:
                if len(self.tasks) < 4 * len(self.hubs):  # a program that fell behind does not send everything at once
                    task = asyncio.ensure_future(self.ask(self.hubs[n % len(self.hubs)], f"team-{random.randrange(teams)}", n))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                n += 1
            await asyncio.sleep(0.005)

    async def ask(self, hub: ms.Client, team: str, n: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.sent += 1
        try:
            if n % 3 == 0:
                await self.ask_all(hub, team, n)
            else:
                m = await hub.request(ms.any_of(team), "double", n, timeout=TIMEOUT, retry=n % 3 == 1)
                self.count(m.data == 2 * n)
        except Exception as e:
            self.fail(n, reason_of(e))
        if loop.time() - began > TIMEOUT + SLACK:
            self.hung += 1

    async def ask_all(self, hub: ms.Client, team: str, n: int) -> None:
        async with hub.request_many(ms.group(team), "double", n, timeout=TIMEOUT) as replies:
            data = [m.data async for m in replies]
        s = replies.settlement
        lost = 0 if s is None else sum(1 if m.id else m.count for m in s.missing)
        if s is None or s.replied != len(data) or s.receivers != s.replied + s.passed + s.more + lost:
            self.wrong += 1
        elif any(d != 2 * n for d in data):
            self.wrong += 1
        elif s.missing or not s.replied:
            self.fail(n, s.missing[0].reason if s.missing else "NO_ANSWER")
        else:
            self.answered += 1

    def count(self, right: bool) -> None:
        if right:
            self.answered += 1
        else:
            self.wrong += 1

    def fail(self, n: int, reason: str) -> None:
        reason = f"{KINDS[n % 3]} {reason}"
        self.failed[reason] = self.failed.get(reason, 0) + 1

    async def finish(self, _: Dict[str, Any]) -> Dict[str, Any]:
        self.halted = True
        await self.sender
        if self.tasks:
            waiting = (await asyncio.wait(self.tasks, timeout=TIMEOUT + SLACK))[1]
            self.hung += len(waiting)
        await asyncio.gather(*(hub.close() for hub in self.hubs))
        return {"sent": self.sent, "answered": self.answered, "wrong": self.wrong, "hung": self.hung, "failed": self.failed}

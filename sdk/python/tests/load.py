"""Many clients that exchange messages and record what they send and get, for the tests with real hubs.

sdk/conformance/README.md describes the lines on standard input and output. The record is that of internal/history.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from dataclasses import dataclass
from typing import Any, Coroutine, Dict, List, Optional, Set, TextIO, Tuple

import mastersocket as ms
from tests.asking import Asking

TARGETS = {"GLOBAL": 0, "GROUP": 1, "DIRECT": 2, "ANY": 3}
PENDING, ACCEPTED, REFUSED, UNSENT = range(4)
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
PADDING = 8
WORD = (1 << 64) - 1
ASK_TIMEOUT = 20.0  # seconds
UNDER_WAY = 4  # messages of one client

_EPOCH = time.time_ns() - time.monotonic_ns()


def now() -> int:
    """Return nanoseconds since 1970, which never decrease."""
    return _EPOCH + time.monotonic_ns()


def pad(sender: int, n: int) -> str:
    """Return the characters that show that a payload is intact: those of history.AppendPayload."""
    x = (((sender + 1) * 0x9E3779B97F4A7C15) ^ ((n + 1) * 0xBF58476D1CE4E5B9) ^ ((PADDING + 1) * 0x94D049BB133111EB)) & WORD or 1
    x ^= x >> 12
    x ^= x << 25 & WORD
    x ^= x >> 27
    word = x * 0x2545F4914F6CDD1D & WORD
    return "".join(ALPHABET[word >> 8 * i & 63] for i in range(PADDING))


def show(line: Dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


@dataclass
class Sent:
    at: int
    to: ms.Intent
    outcome: int = PENDING
    settled: int = 0
    code: str = ""

    def line(self) -> Dict[str, Any]:
        line = {"at": self.at, "target": TARGETS[self.to.target], "to": self.to.identifier, "outcome": self.outcome}
        return {**line, **({"settled": self.settled} if self.settled else {}), **({"code": self.code} if self.code else {})}


class Load:
    def __init__(self) -> None:
        self.agents: List[Agent] = []
        self.groups: List[str] = []
        self.failures: Dict[str, int] = {}
        self.frozen = False
        self.last_arrival = 0
        self.outcome_unknown = 0
        self.unanswered: Dict[str, int] = {}  # requests that had a receiver, by why that did not answer
        self.began = 0.0
        self.sending: Optional[asyncio.Task[None]] = None
        self.tasks: Set[asyncio.Task[None]] = set()

    def failed(self, what: str) -> None:
        self.failures[what] = self.failures.get(what, 0) + 1

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def start(self, o: Dict[str, Any]) -> Dict[str, Any]:
        self.groups = [f"team-{i}" for i in range(max(1, o["clients"] // 10))]
        self.agents = [Agent(self, i, self.groups[i % len(self.groups)]) for i in range(o["clients"])]
        await asyncio.gather(*(a.connect(o["url"], o["token"]) for a in self.agents))
        self.began = time.monotonic()
        self.sending = self.begin(self.send(o["rate"]))
        return {}

    async def send(self, rate: float) -> None:
        """Send, but not everything at once after a time in which that was not possible."""
        sent = 0
        while True:
            due = (time.monotonic() - self.began) * rate
            while sent < due:
                agent = self.agents[sent % len(self.agents)]
                sent += 1
                if agent.under_way < UNDER_WAY:
                    self.begin(agent.send())
            await asyncio.sleep(0.005)

    async def finish(self, o: Dict[str, Any]) -> Dict[str, Any]:
        assert self.sending is not None
        self.sending.cancel()
        took = time.monotonic() - self.began
        while any(a.under_way for a in self.agents) or now() - self.last_arrival < 1_000_000_000:  # the last ones are on their way
            await asyncio.sleep(0.05)
        self.frozen = True
        with open(o["file"], "w") as f:
            for a in self.agents:
                a.write(f)
        await asyncio.gather(*(a.client.close() for a in self.agents if a.client is not None))
        return {"took_ms": round(1000 * took), "outcome_unknown": self.outcome_unknown, "unanswered": self.unanswered, "failures": self.failures}


class FailureLog(logging.Handler):
    """Counts what the SDK logs as an error."""

    def __init__(self, load: Load) -> None:
        super().__init__(logging.ERROR)
        self._load = load

    def emit(self, record: logging.LogRecord) -> None:
        self._load.failed(record.getMessage())


class Agent:
    """One client, and the record of it."""

    def __init__(self, load: Load, index: int, group: str) -> None:
        self.load, self.index, self.group = load, index, group
        self.client: Optional[ms.Client] = None
        self.id = ""
        self.ids: Set[str] = set()
        self.names: List[Dict[str, Any]] = []
        self.absences: List[Dict[str, int]] = []
        self.sends: List[Sent] = []
        self.arrivals: List[Tuple[int, int, int]] = []
        self.stamps: Dict[int, List[str]] = {}
        self.oddities: List[str] = []
        self.known: Dict[int, str] = {}  # ids of others
        self.under_way = 0
        self.identifying = self.identified = self.dialed = 0

    async def connect(self, url: str, token: str) -> None:
        self.identifying = now()

        def fetch() -> str:
            if self.identified and not self.dialed:
                self.dialed = now()
            return token

        self.client = await ms.connect(
            url, group=self.group, token_source=fetch, name=f"agent {self.index}", min_backoff=0.1, max_backoff=1.0,
            on={"tell": self.got, "ask": self.asked}, on_message=lambda m: self.load.failed(f"stray {m.event}"),
            on_connect=self.connected, on_disconnect=self.disconnected, on_error=self.refused,
            logger=logging.getLogger("load"),
        )

    def connected(self, identity: ms.Identity) -> None:
        if self.load.frozen:
            return
        self.ids.add(identity.id)
        if not self.identified:
            self.id, self.identified = identity.id, now()
            return
        if self.absences and "to" not in self.absences[-1]:
            self.absences[-1]["to"] = now()
            show({"event": "back"})
        else:
            show({"event": "moved"})
        self.names.append({"id": identity.id, "at": self.dialed or now(), "known": now()})
        self.dialed = 0

    def disconnected(self, _: BaseException) -> None:
        if not self.load.frozen:
            self.absences.append({"from": now()})
            show({"event": "lost"})

    def got(self, m: ms.Message) -> None:
        if self.load.frozen:
            return
        s, n, text = m.data["s"], m.data["n"], m.data["pad"]
        if text != pad(s, n) or m.id != f"m{s}-{n}":
            self.oddities.append(f"message {m.id} has the payload {m.data}")
        stamps = self.stamps.setdefault(s, [])
        if m.sender not in stamps and len(stamps) < 4:
            stamps.append(m.sender)
        at = now()
        self.arrivals.append((at, s, n))
        self.known[len(self.arrivals) % 4] = m.sender
        self.load.last_arrival = at

    async def asked(self, m: ms.Message) -> None:
        self.got(m)
        try:
            await m.reply(m.data)
        except ms.RequestOverError:
            pass  # its connection has ended

    def refused(self, error: ms.HubError) -> None:
        self.settle(int(error.id.split("-")[1]), REFUSED, error.code)

    def settle(self, n: int, outcome: int, code: str = "") -> None:
        m = self.sends[n]
        if m.outcome == PENDING or (m.outcome == ACCEPTED and outcome == REFUSED):
            m.outcome, m.code, m.settled = outcome, code, now()

    def draw(self) -> ms.Intent:
        dice = random.random()
        if dice < 0.6:
            return ms.group(random.choice(self.load.groups))
        if dice < 0.8:
            return ms.any_of(random.choice(self.load.groups))
        if dice < 0.99 and self.known:
            return ms.direct(random.choice(list(self.known.values())))
        return ms.GLOBAL

    async def send(self) -> None:
        assert self.client is not None
        n, to = len(self.sends), self.draw()
        data, message_id = {"s": self.index, "n": n, "pad": pad(self.index, n)}, f"m{self.index}-{n}"
        self.sends.append(Sent(now(), to))
        self.under_way += 1
        try:
            # A client asks itself nothing: the outcomes of question and answer, which have the same id, could not be told apart.
            if to.target == "DIRECT" and random.random() < 0.5 and to.identifier not in self.ids:
                reply = await self.client.request(to, "ask", data, id=message_id, timeout=ASK_TIMEOUT)
                if reply.data != data:
                    self.load.failed("wrong answer")
            else:
                await self.client.send_acked(to, "tell", data, id=message_id)
            self.settle(n, ACCEPTED)
        except ms.HubError as e:
            self.settle(n, REFUSED, e.code)
        except ms.NoReceiverError:
            self.settle(n, REFUSED, "NO_RECEIVER")
        except ms.RequestError as e:  # it had a receiver, which may have got it
            self.load.outcome_unknown += 1
            reason = e.settlement.missing[0].reason if e.settlement.missing else "PASSED"
            self.load.unanswered[reason] = self.load.unanswered.get(reason, 0) + 1
            self.settle(n, REFUSED, "OUTCOME_UNKNOWN")
        except (ms.OutcomeUnknownError, asyncio.TimeoutError):
            self.load.outcome_unknown += 1
        except Exception as e:
            self.settle(n, UNSENT)
            self.load.failed(f"send: {e!r}")
        finally:
            self.under_way -= 1

    def write(self, f: TextIO) -> None:
        life = {
            "id": self.id, "groups": [self.group], "reports": True, "identifying": self.identifying, "identified": self.identified,
            "names": self.names, "absences": self.absences,
        }
        odd = {"count": len(self.oddities), "texts": self.oddities[:16]}
        lines: List[Dict[str, Any]] = [
            {"name": "agent", "life": life, "stamps": self.stamps, "odd": odd},
            {"sent": [m.line() for m in self.sends]},
            {"got": self.arrivals},
        ]
        for line in lines:
            f.write(json.dumps({"session": self.index, **line}) + "\n")


async def main() -> None:
    load, asking, loop = Load(), Asking(show), asyncio.get_running_loop()
    logger = logging.getLogger("load")
    logger.addHandler(FailureLog(load))
    logger.propagate = False
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        line = await reader.readline()
        if not line:
            break
        c = json.loads(line)
        try:
            run = {"start": load.start, "finish": load.finish, "start_asking": asking.start, "finish_asking": asking.finish}[c["cmd"]]
            show({"n": c["n"], "ok": await run(c)})
        except Exception as e:
            show({"n": c["n"], "error": {"kind": "other", "text": repr(e)}})


if __name__ == "__main__":
    asyncio.run(main())

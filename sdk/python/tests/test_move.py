"""Tests of the move: the table of docs/sdk.md, and random moves in a model of a hub."""

from __future__ import annotations

import pathlib
import random
import unittest
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Set, Tuple

from mastersocket._move import Action, Conditions, Incoming, Kind, Machine, Phase, Side, Verdict

SDK = pathlib.Path(__file__).parents[3] / "docs" / "sdk.md"

INPUTS: Dict[str, Callable[[Machine], Optional[bool]]] = {
    "begin": lambda m: m.begin(),
    "identified": lambda m: m.identified(),
    "identified, no FENCE": lambda m: m.identified(plain=True),
    "FENCE on old": lambda m: fence(m, Side.NEW),
    "FENCE on new": lambda m: fence(m, Side.OLD),
    "stopped": lambda m: m.stopped(),
    "10 s": lambda m: wait(m, 10, Conditions()),
    "200 ms, hurry": lambda m: wait(m, 0.2, Conditions(hurry=True)),
    "0 ms, hurry": lambda m: m.observe(Conditions(hurry=True)),
    "500 ms": lambda m: wait(m, 0.5, Conditions()),
    "500 ms, answers due": lambda m: wait(m, 0.5, Conditions(due=True)),
    "1 s": lambda m: wait(m, 1, Conditions()),
    "5 s, silent": lambda m: wait(m, 5, Conditions(silent=True)),
    "end of old": lambda m: m.ended(Side.OLD),
    "end of new": lambda m: m.ended(Side.NEW),
    "all handed out": lambda m: (m.next(), None)[1],
}

# How a move without faults reaches each phase.
PATH = [
    ("begin", "Opening"), ("identified", "Joining"), ("FENCE on old", "Stopping"), ("stopped", "Switching"),
    ("FENCE on new", "Lingering"), ("500 ms", "Clearing"), ("FENCE on old", "Leaving"), ("end of old", "Merging"),
]
ACTIONS = {
    Kind.SEND_FENCE: "SendFence", Kind.STOP_SENDING: "StopSending", Kind.START_SENDING: "StartSending", Kind.LEAVE: "Leave",
    Kind.END: "End", Kind.DOUBT: "Doubt",
}


def wait(m: Machine, seconds: float, conditions: Conditions) -> None:
    """Let time pass in two steps, of which the first is too short."""
    phase = m.phase
    m.observe(conditions)
    m.tick(seconds - 0.001)
    assert m.phase is phase, "too early"
    m.tick(0.001)


def fence(m: Machine, side: Side) -> None:
    """Let a FENCE of the connection arrive on the other one."""
    m.fence_sent(side, "f")
    m.fence_arrived(Side(1 - side))


def name(phase: Phase) -> str:
    return phase.name.capitalize()


def machine_in(phase: str) -> Machine:
    m = Machine()
    for step, _ in PATH:
        if name(m.phase) == phase:
            break
        INPUTS[step](m)
    m.actions()
    return m


def rows() -> List[List[str]]:
    _, found, table = SDK.read_text().partition("| phase | input | next phase | actions |\n| --- | --- | --- | --- |\n")
    assert found
    lines = table.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


class TableTest(unittest.TestCase):
    def test_table(self) -> None:
        """The machine does what the table in docs/sdk.md says."""
        all_rows = rows()
        self.assertGreater(len(all_rows), 30)
        for phase, step, following, actions in all_rows:
            with self.subTest(phase=phase, input=step):
                m = machine_in(phase)
                self.assertEqual(name(m.phase), phase)
                lost = INPUTS[step](m)
                did: List[str] = []
                for a in m.actions():
                    text = f"{ACTIONS[a.kind]} {a.side.name.lower()}"
                    # The table names only the FENCEs that a phase begins with.
                    if (a.kind is not Kind.SEND_FENCE or text in actions) and text not in did:
                        did.append(text)
                if lost:
                    did.append("lost")
                self.assertEqual((name(m.phase), ", ".join(did)), (following, actions))

    def test_unexpected_inputs(self) -> None:
        """Inputs that a phase does not expect change nothing."""
        expected = {(phase, step) for phase, step, _, _ in rows()}
        inputs = [
            "identified", "identified, no FENCE", "FENCE on old", "FENCE on new", "stopped", "0 ms, hurry", "end of old", "end of new",
        ]
        for phase in ["Single"] + [p for _, p in PATH]:
            for step in inputs:
                if (phase, step) in expected or (phase, step) == ("Joining", "FENCE on new"):
                    continue
                m = machine_in(phase)
                INPUTS[step](m)
                self.assertEqual(name(m.phase), phase, step)
                self.assertFalse([a for a in m.actions() if a.kind is not Kind.SEND_FENCE], (phase, step))
        m = Machine()
        self.assertIsNone(m.next())
        self.assertFalse(m.full(Side.OLD) or m.needs_key() or m.fence_sent(Side.OLD, "x"))


class Parcel(NamedTuple):
    """Something on its way to a connection."""

    message: Optional[Incoming] = None
    fence: bool = False
    end: bool = False


class World:
    """A model of a hub with two instances and of a client that moves between them.

    Messages and FENCEs are delivered to each connection in order, with random delays.
    """

    def __init__(self, test: unittest.TestCase, seed: int) -> None:
        self.test, self.random, self.m = test, random.Random(seed), Machine()
        self.queue: List[Deque[Parcel]] = [deque(), deque()]
        self.member = [True, False]  # gets messages to many
        self.gone = [False, False]
        self.sending = [True, False]
        self.stopping = self.lost = self.left = False
        self.published: Dict[int, int] = {}
        self.moved: Set[int] = set()  # senders that address the new id
        self.want: Set[Tuple[int, int]] = set()
        self.got: Set[Tuple[int, int]] = set()
        self.to_new: Set[Tuple[int, int]] = set()
        self.last: Dict[int, int] = {}
        self.recorded: List[Parcel] = []
        self.fences = 0

    def publish(self) -> None:
        """Send a message of a random sender to many or to one."""
        sender = self.random.randrange(4)
        n = self.published[sender] = self.published.get(sender, 0) + 1
        if self.random.random() < 0.5:
            message = Incoming(None, str(sender), True, 1, (sender, n))
            for side in (0, 1):
                if self.member[side] and not self.gone[side]:
                    self.queue[side].append(Parcel(message))
            self.want.add((sender, n))
            return
        if (self.member[1] and self.random.randrange(4) == 0) or self.left:
            self.moved.add(sender)  # and never goes back to the old id
        side = 1 if sender in self.moved else 0
        if self.gone[side] or (side == 0 and self.left):
            return  # refused with NO_RECEIVER
        self.queue[side].append(Parcel(Incoming(None, str(sender), False, 1, (sender, n))))
        self.want.add((sender, n))
        if side == 1:
            self.to_new.add((sender, n))

    def deliver(self, side: Side) -> None:
        if not self.queue[side] or self.gone[side] or self.m.full(side):
            return
        p = self.queue[side].popleft()
        if p.end:
            self.end(side)
        elif p.fence:
            self.m.fence_arrived(side)
        else:
            assert p.message is not None
            message = p.message
            if message.to_many and self.m.needs_key():
                message = message._replace(key=repr(message.value).encode())
            on = Side.OLD if self.m.phase is Phase.SINGLE else side
            if self.m.receive(on, message) is Verdict.DELIVER:
                self.recorded.append(p)
                self.hand(message)
        self.perform()

    def end(self, side: Side) -> None:
        self.gone[side], self.member[side] = True, False
        self.lost = self.m.ended(side) or self.lost

    def hand(self, message: Incoming) -> None:
        value = message.value
        self.test.assertNotIn(value, self.got, "handed out twice")
        self.got.add(value)
        if self.lost or (value in self.to_new and self.gone[1]):
            return  # no more is promised than with a reconnect
        self.test.assertLess(self.last.get(value[0], 0), value[1], "out of order")
        self.last[value[0]] = value[1]

    def next(self) -> None:
        while True:
            message = self.m.next()
            self.perform()
            if message is None:
                return
            self.hand(message)

    def perform(self) -> None:
        for a in self.m.actions():
            self.act(a)

    def act(self, a: Action) -> None:
        if a.kind is Kind.SEND_FENCE:
            if self.gone[a.side] or (a.side == Side.OLD and self.left):
                return
            self.fences += 1
            if not self.m.fence_sent(a.side, str(self.fences)):
                return
            to = 1 - a.side
            if self.random.randrange(10) == 0 or self.gone[to] or not self.member[to]:
                self.m.fence_refused(a.side, str(self.fences))
                self.perform()
            else:
                self.queue[to].append(Parcel(fence=True))
        elif a.kind is Kind.STOP_SENDING:
            self.stopping, self.sending[0] = True, False
        elif a.kind is Kind.START_SENDING:
            self.sending[a.side], self.stopping = True, False
            self.test.assertFalse(self.sending[1 - a.side] and not self.gone[1 - a.side], "both connections send")
        elif a.kind is Kind.LEAVE:
            self.left, self.member[0] = True, False
            self.queue[0].append(Parcel(end=True))
        else:
            self.test.fail(f"{a} in {self.m.phase}")

    def step(self, publishing: bool) -> None:
        """Let something random happen."""
        n = self.random.randrange(8)
        if n < 2:
            if publishing:
                self.publish()
        elif n < 4:
            self.deliver(Side.OLD)
        elif n < 6:
            self.deliver(Side.NEW)
        elif n == 6:
            self.next()
        elif self.stopping:
            self.stopping = False
            self.m.stopped()
            self.perform()
        self.m.tick(self.random.randrange(2) / 1000)
        self.perform()

    def begin(self) -> None:
        """Open the new connection. It gets some of the last messages to many, and of those on their way."""
        self.m.record()
        self.recorded = []
        for _ in range(self.random.randrange(40)):
            self.step(True)
        self.m.begin()
        self.gone[1], self.member[1] = False, True
        late = [p for p in [*self.recorded, *self.queue[0]] if p.message is not None and p.message.to_many]
        self.queue[1] = deque(late[self.random.randrange(len(late) + 1):])
        self.perform()

    def move(self, broken: Callable[[], bool]) -> None:
        """Make a move. Something may break it at any step."""
        for _ in range(50):
            self.step(True)
        self.begin()
        identify_at = self.random.randrange(30)
        for i in range(1000):
            if i == identify_at:
                self.m.identified()
                self.perform()
            if broken():
                return
            self.step(True)
        self.settle(broken)

    def settle(self, broken: Callable[[], bool]) -> None:
        """Let everything on its way arrive, and time pass until the move is over."""
        for _ in range(3000):
            if broken():
                return
            self.step(False)
            if self.random.randrange(4) == 0:
                self.m.tick(0.003)
                self.perform()
        self.next()


class PropertyTest(unittest.TestCase):
    def test_moves_are_lossless(self) -> None:
        """Random moves without faults lose, duplicate and reorder nothing, and send on one connection at a time."""
        for seed in range(60):
            with self.subTest(seed=seed):
                w = World(self, seed)
                w.move(lambda: False)
                self.assertEqual((w.m.phase, w.gone[0], w.sending[1], w.lost), (Phase.SINGLE, True, True, False))
                self.assertEqual(w.want - w.got, set())

    def test_broken_connections(self) -> None:
        """If one connection breaks, the other goes on; messages are lost only if that is reported."""
        broken_moves = 0
        for seed in range(120):
            with self.subTest(seed=seed):
                broken_moves += self.break_one(seed)
        self.assertGreater(broken_moves, 40)

    def break_one(self, seed: int) -> bool:
        w = World(self, seed)
        side, at = Side(seed % 2), w.random.randrange(1500)
        state: Dict[str, Any] = {"steps": 0, "broke": False}

        def broken() -> bool:
            state["steps"] += 1
            if state["steps"] == at and w.m.phase is not Phase.SINGLE and not any(w.gone):
                state["broke"] = True
            return bool(state["broke"])

        w.move(broken)
        if not state["broke"] or (side is Side.NEW and w.left):
            return False  # nothing broke, or both are gone
        for p in w.queue[side]:  # what is on its way to the broken connection alone is lost
            if p.message is not None and not p.message.to_many:
                w.want.discard(p.message.value)
        w.end(side)
        w.perform()
        for _ in range(50):
            w.step(True)
        w.settle(lambda: False)
        self.assertEqual((w.m.phase, w.sending[1 - side]), (Phase.SINGLE, True))
        if not w.lost:
            self.assertEqual(w.want - w.got, set())
        return True


if __name__ == "__main__":
    unittest.main()

"""The move from one connection to another as a state machine without a clock, a task or a socket.

The machine is the one that docs/sdk.md describes. Its owner reports inputs (a message, a FENCE, the end of a connection,
the time) and executes the actions that :meth:`Machine.actions` returns. Times are seconds; the machine counts only those
that :meth:`Machine.tick` reports.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import Any, Deque, List, NamedTuple, Optional

from ._held import FENCE_INTERVAL, FENCE_RENEWAL, MAX_COPIES, NOTHING, Copies, Fence, Held, Merge
from ._held import Incoming as Incoming
from ._held import Side as Side


class Phase(enum.IntEnum):
    """The progress of a move."""

    SINGLE = 0  # there is one connection, which sends
    OPENING = 1  # the new connection has not identified yet
    JOINING = 2  # waits until everything that the new connection is too late for has arrived on the old one
    STOPPING = 3  # waits until the old connection has stopped sending
    SWITCHING = 4  # nothing is sent until everything sent on the old connection is published
    LINGERING = 5  # the new connection sends; the old one stays for the answers that are due on it
    CLEARING = 6  # waits until everything on its way to the old connection has arrived
    LEAVING = 7  # the old connection is read to its end
    MERGING = 8  # one of the connections has ended; the held messages are handed out


class Kind(enum.IntEnum):
    """What the owner must do."""

    SEND_FENCE = 0  # write a FENCE to the other connection; see Machine.fence_sent
    STOP_SENDING = 1  # send nothing more on this connection, then call Machine.stopped
    START_SENDING = 2  # send on this connection, and on no other
    LEAVE = 3  # write DISCONNECT on this connection and nothing more
    END = 4  # cut this connection, which does not do what it should
    DOUBT = 5  # log that no FENCE arrived on this connection: messages may be lost or out of order


class Action(NamedTuple):
    kind: Kind
    side: Side
    after: float  # how long the phase had lasted


class Verdict(enum.IntEnum):
    """What becomes of a message that arrived."""

    DELIVER = 0  # hand it out at once
    HOLD = 1  # Machine.next returns it
    DROP = 2  # a copy was handed out


@dataclass
class Conditions:
    """What the owner knows of the old connection."""

    due: bool = False  # answers are due on it
    hurry: bool = False  # it should have been left
    silent: bool = False  # it was silent for LEAVE_TIMEOUT


FENCE_TIMEOUT = 10.0  # how long a move waits for a FENCE before it goes on without
HURRY_TIME = 0.2  # replaces FENCE_TIMEOUT once the old connection should have been left
SETTLE_TIME = 0.5  # how long the old connection lingers at least
CLEAR_TIMEOUT = 1.0  # how long a move waits for the FENCE that nothing is on its way to the old connection
LEAVE_TIMEOUT = 5.0  # how long the hub may take to end the old connection after DISCONNECT

# How long a message of the old connection waits for its copy on the new one without a FENCE.
_HOLD_TIME = 3.0
_IDENTIFY_HOLD = 1.0  # while no FENCE can be sent
_FULL_HOLD = 0.2  # while the new side is full, so that its copy can't be read

_LATE_TIME = 60.0  # how long copies are remembered after a move


class Machine:
    """The state of what a client receives, and of its move."""

    def __init__(self) -> None:
        self.phase = Phase.SINGLE
        self.paused = 0.0  # how long nothing was sent in the last move
        self._now = 0.0  # the sum of all ticks
        self._since = 0.0  # when the phase began; SWITCHING keeps that of STOPPING
        self._conditions = Conditions()
        self._actions: List[Action] = []
        self._plain = False  # the new instance does not support FENCE
        self._joined = False  # everything that the new connection is too late for has arrived on the old one
        self._switched = False  # everything sent on the old connection is published
        self._cut = False  # the owner was told to end the old connection
        self._recording = False  # messages to many are remembered, because a move is near
        self._recent: Deque[bytes] = deque(maxlen=MAX_COPIES)
        self._drops = Copies()  # expected on the only connection, or on the old one
        self._merge = Merge()
        self._dropped: List[Incoming] = []

    def dropped(self) -> List[Incoming]:
        """Return the messages that next has dropped since the last call, because copies of them were handed out."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def actions(self) -> List[Action]:
        """Return the actions since the last call, in their order."""
        actions, self._actions = self._actions, []
        return actions

    def _act(self, kind: Kind, side: Side) -> None:
        self._actions.append(Action(kind, side, self._now - self._since))

    def record(self) -> None:
        """Remember messages that are handed out, so that their copies on a new connection are recognized."""
        self._recording = True
        self._recent.clear()

    def stop_recording(self) -> None:
        self._recording = False
        self._recent.clear()

    def begin(self) -> None:
        """Begin a move. The owner calls it before the new connection identifies."""
        self._merge = Merge()
        for key in self._recent:
            self._merge.drops_new.add(key, 0)
        self._plain = self._joined = self._switched = self._cut = False
        self.paused = 0.0
        self._conditions = Conditions()
        self._enter(Phase.OPENING)

    def identified(self, plain: bool = False) -> None:
        """Report that the new connection has identified. plain: its instance does not support FENCE."""
        if self.phase != Phase.OPENING:
            return
        self._plain = plain
        self._merge.impatient = self._merge.impatient and plain
        self._enter(Phase.JOINING)
        self._advance()

    def stopped(self) -> None:
        """Report that the old connection has stopped sending."""
        if self.phase == Phase.STOPPING:
            self.phase = Phase.SWITCHING
            self._advance()

    def observe(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._advance()

    def tick(self, elapsed: float) -> None:
        """Report that time has passed. Leave out times in which the process was paused."""
        self._now += elapsed
        self._advance()

    def ended(self, side: Side, mark: Any = None) -> bool:
        """Report the end of a connection. The result is true if messages may be lost: the old connection ended before
        everything had arrived on it. Machine.next then returns mark as the value of a message behind those of the old one.
        """
        if self.phase == Phase.SINGLE or self._merge.side(side).ended:
            return False
        self._merge.side(side).ended = True
        lost = False
        if side == Side.NEW and Phase.STOPPING <= self.phase < Phase.LEAVING:
            self._act(Kind.START_SENDING, Side.OLD)
        elif side == Side.OLD and self.phase < Phase.LINGERING:
            self._act(Kind.START_SENDING, Side.NEW)
            lost = not self._joined
        if lost and mark is not None:
            self._merge.old.push(Held(NOTHING._replace(value=mark), 0, mark=True))
        self.phase = Phase.MERGING
        return lost

    def _enter(self, phase: Phase) -> None:
        self.phase, self._since = phase, self._now

    def _advance(self) -> None:
        self._step()
        self._want_fences()

    def _step(self) -> None:
        """Enter the next phase if its condition is met without a FENCE."""
        here = self._now - self._since
        hurry = self._conditions.hurry
        if self.phase == Phase.JOINING:
            if self._late():
                self._act(Kind.DOUBT, Side.OLD)
                self._stop()
        elif self.phase == Phase.STOPPING:
            if self._overdue() and not self._cut:
                self._cut = True
                self._act(Kind.END, Side.OLD)
        elif self.phase == Phase.SWITCHING:
            if self._late():
                self._act(Kind.DOUBT, Side.NEW)
                self._change_over()
        elif self.phase == Phase.LINGERING:
            if (not self._conditions.due and _reached(here, SETTLE_TIME)) or hurry:
                self._enter(Phase.CLEARING)
        elif self.phase == Phase.CLEARING:
            if _reached(here, CLEAR_TIMEOUT) or hurry:
                self._leave()
        elif self.phase == Phase.LEAVING:
            if _reached(here, LEAVE_TIMEOUT) and self._conditions.silent and not self._cut:
                self._cut = True
                self._act(Kind.END, Side.OLD)

    def _late(self) -> bool:
        return self._plain or self._overdue()

    def _overdue(self) -> bool:
        here = self._now - self._since
        return _reached(here, FENCE_TIMEOUT) or (self._conditions.hurry and _reached(here, HURRY_TIME))

    def _stop(self) -> None:
        self._enter(Phase.STOPPING)
        self._act(Kind.STOP_SENDING, Side.OLD)

    def _change_over(self) -> None:
        self.paused = self._now - self._since
        self._enter(Phase.LINGERING)
        self._act(Kind.START_SENDING, Side.NEW)

    def _leave(self) -> None:
        self._enter(Phase.LEAVING)
        self._act(Kind.LEAVE, Side.OLD)

    # FENCEs

    def _fencing(self) -> bool:
        return Phase.JOINING <= self.phase <= Phase.LEAVING and not self._plain

    def fence_sent(self, side: Side, fence_id: str) -> bool:
        """Report that a connection is about to write a FENCE. If the result is false, the FENCE must not be written."""
        if not self._fencing():
            return False
        on = self._merge.side(side)
        last = side == Side.OLD and self.phase >= Phase.SWITCHING
        clear = side == Side.NEW and self.phase == Phase.CLEARING
        on.fences.add(Fence(fence_id, on.arrived, self._now, last, clear))
        return True

    def fence_arrived(self, side: Side) -> None:
        """Report that a FENCE of the other connection has arrived on a connection."""
        if not self._fencing():
            return
        sent_by = self._merge.new if side == Side.OLD else self._merge.old
        # If an earlier one was lost, the reach of the earlier one is smaller and therefore safe.
        f = sent_by.fences.on_way.popleft() if sent_by.fences.on_way else None
        if f is not None and side == Side.NEW:
            self._merge.copied, self._merge.impatient = f.reach, False
            self._merge.drops_new.forget(f.reach)
            self._switched = self._switched or f.last
            if f.last and self.phase == Phase.SWITCHING:
                self._change_over()
        elif f is not None:
            self._joined = True
            self._merge.reached = f.reach
            self._drops.forget(f.reach)
            self._merge.old.push(Held(NOTHING, f.reach, fence=True))
            if self.phase == Phase.JOINING:
                self._stop()
            elif self.phase == Phase.CLEARING and f.clear:
                self._leave()
        self._advance()

    def fence_refused(self, side: Side, fence_id: str) -> None:
        """Report that the hub has refused a FENCE of a connection. It is sent again."""
        self._merge.side(side).fences.refused(fence_id, self._now)
        self._advance()

    def _want_fences(self) -> None:
        """Ask for FENCEs if messages or the phase wait for them."""
        if not self._fencing():
            return
        m, old, new = self._merge, self._merge.old, self._merge.new
        # The old connection sends FENCEs only behind its last message.
        waits = bool(old.held) and old.held[0].n == m.waits and m.waits > m.copied
        if self.phase >= Phase.SWITCHING and (waits or not self._switched) and old.fences.due(self._now):
            self._act(Kind.SEND_FENCE, Side.OLD)
        unreached = bool(new.held) and new.held[-1].n > m.reached
        waits = (
            (unreached and (new.alone > 0 or self._now - new.held[0].at > FENCE_INTERVAL))
            or self._now - new.fences.last > FENCE_RENEWAL
        )
        if (waits or not self._joined or self.phase == Phase.CLEARING) and new.fences.due(self._now):
            self._act(Kind.SEND_FENCE, Side.NEW)

    # Messages

    def full(self, side: Side) -> bool:
        """Report whether a connection must not be read, because too many of its messages are held."""
        return self.phase != Phase.SINGLE and self._merge.side(side).full()

    def needs_key(self) -> bool:
        """Report whether messages to many need their key. Computing it may be expensive."""
        return self.phase != Phase.SINGLE or self._recording or bool(self._drops.by_key)

    def receive(self, side: Side, message: Incoming) -> Verdict:
        """Report a message that arrived on a connection; without a move, on the old one."""
        drops = self._merge.drops_new if side == Side.NEW else self._drops
        if message.key is not None and drops.by_key and drops.consume(message.key, self._now):
            return Verdict.DROP
        if self.phase == Phase.SINGLE:
            self._note(message.key)
            return Verdict.DELIVER
        on = self._merge.side(side)
        on.arrived += 1
        on.push(Held(message, on.arrived, self._now))
        self._want_fences()
        return Verdict.HOLD

    def _note(self, key: Optional[bytes]) -> None:
        if self._recording and key is not None:
            self._recent.append(key)

    def next(self) -> Optional[Incoming]:
        """Return the next message to hand out, None if there is none now. When all messages of a move with an ended
        connection are handed out, the phase is SINGLE.
        """
        if self.phase == Phase.SINGLE:
            return None
        m = self._merge
        while True:
            if m.new.held and m.new.held[0].n <= m.released:
                return self._next_of_new()
            if not m.old.held:
                break
            h = m.old.held[0]
            if h.fence:
                m.released, m.fenced = h.n, True
                m.old.remove_at(0)
            elif h.mark or h.to_one:
                return m.old.remove_at(0)
            else:
                return self._next_of_both(h)
        if m.old.ended:
            if m.new.held:
                return self._next_of_new()
            self._drops = m.drops_new.leftover(self._now + _LATE_TIME)
            self._end()
        elif m.new.ended:
            return self._next_of_lost()
        return None

    def _end(self) -> None:
        self._merge = Merge()
        self.phase = Phase.SINGLE

    def _next_of_new(self) -> Incoming:
        """Return the first message of the new connection. Nothing can precede it."""
        h = self._merge.new.held[0]
        key = h.message.key
        if key is not None and not self._merge.old.ended:
            self._drops.add(key, h.n)  # its copy is still to arrive on the old one
        self._note(key)
        return self._merge.new.remove_at(0)

    def _next_of_both(self, h: Held) -> Optional[Incoming]:
        """Return the first message of the old connection, or one of the new one that precedes it; None if unknown yet."""
        new = self._merge.new
        at = new.copy_of(h.message.key)
        if at >= 0:
            before = new.alone_before(at, h.message.sender)
            if before >= 0:
                return new.remove_at(before)
            self._dropped.append(new.remove_at(at))
        elif h.n > self._merge.copied:
            if self._awaits_copy(h):
                return None
            if h.message.key is not None:
                self._merge.drops_new.add(h.message.key, h.n)
        self._note(h.message.key)
        return self._merge.old.remove_at(0)

    def _awaits_copy(self, h: Held) -> bool:
        """Report whether the first message of the old connection must wait because its copy may still arrive."""
        m = self._merge
        most = _HOLD_TIME
        if m.impatient or m.new.ended or (m.old.ended and not self._joined):
            return False
        if self.phase == Phase.OPENING or self._plain or (m.old.ended and not self._switched and not m.fenced):
            most = _IDENTIFY_HOLD  # no FENCE can tell
        elif m.new.full():  # neither the copy nor a FENCE can be read
            most = _FULL_HOLD
        if m.waits != h.n:
            m.waits, m.waits_since = h.n, self._now
            self._want_fences()
        m.impatient = _reached(self._now - m.waits_since, most)
        return not m.impatient

    def _next_of_lost(self) -> Optional[Incoming]:
        """Return the messages that only the new connection got, after it ended before the old one."""
        new = self._merge.new
        while new.held:
            alone = new.held[0].to_one
            message = new.remove_at(0)
            if alone:
                return message
            self._dropped.append(message)
        self._drops.until = self._now + _LATE_TIME
        self._end()
        return None


def _reached(duration: float, limit: float) -> bool:
    """Compare two times, of which one is a sum of floating-point ticks."""
    return duration >= limit - 1e-6

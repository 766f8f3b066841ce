"""What a move holds of its two connections: messages, the FENCEs that were sent, and the messages of which copies are expected."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Deque, Dict, NamedTuple, Optional


class Side(enum.IntEnum):
    """One of the two connections. Without a move there is only the old one."""

    OLD = 0
    NEW = 1


class Incoming(NamedTuple):
    """A message as the machine sees it."""

    key: Optional[bytes]  # of a message to many: the same for all its copies; None where needs_key is false
    sender: str
    to_many: bool  # it arrives on both connections
    size: int  # in bytes
    value: Any  # the owner's


# The rate of a connection's FENCEs: the first ones at once, the following ones well below the hub's limit of 100 a second.
_FENCE_BURST = 8
FENCE_INTERVAL = 0.025
FENCE_RENEWAL = 3.0  # the longest time between two FENCEs to the old connection
_FENCE_PATIENCE = 1.0  # how long a FENCE may be on its way before another one is sent

# The bounds of what a move holds back of each connection. Beyond them the owner must not read the connection.
_HELD_MESSAGES = 4096
_HELD_BYTES = 8 << 20

MAX_COPIES = 1 << 16  # the most messages that are remembered to recognize their copies


class Copies:
    """Messages whose copies are expected on a connection and dropped there, each as often as it was handed out."""

    def __init__(self, until: Optional[float] = None) -> None:
        self.by_key: Dict[bytes, Deque[int]] = {}  # the numbers of the messages, ascending
        self.order: Deque[tuple[bytes, int]] = deque()  # oldest first; includes consumed ones
        self.until = until  # when they expire; None for never

    def add(self, key: bytes, n: int) -> None:
        self.by_key.setdefault(key, deque()).append(n)
        self.order.append((key, n))
        if len(self.order) > MAX_COPIES:
            self._drop_first()

    def consume(self, key: bytes, now: float) -> bool:
        """Report whether a copy of the message is expected, and remove it."""
        if self.until is not None and now > self.until:
            self.by_key, self.order, self.until = {}, deque(), None
        if key not in self.by_key:
            return False
        self._remove_first(key)
        return True

    def forget(self, n: int) -> None:
        """Remove the messages up to number n, whose copies can't arrive any more."""
        while self.order and self.order[0][1] <= n:
            self._drop_first()

    def _drop_first(self) -> None:
        key, n = self.order.popleft()
        numbers = self.by_key.get(key)
        if numbers and numbers[0] == n:
            self._remove_first(key)

    def _remove_first(self, key: bytes) -> None:
        numbers = self.by_key[key]
        numbers.popleft()
        if not numbers:
            del self.by_key[key]

    def leftover(self, until: float) -> Copies:
        """Return the remaining copies at the end of a move; they expire at until, or with the next move's first FENCE."""
        left = Copies(until)
        for key, n in self.order:
            numbers = self.by_key.get(key)
            if numbers and numbers[0] == n:
                self._remove_first(key)
                left.add(key, 0)
        return left


@dataclass
class Fence:
    id: str
    reach: int  # how many messages had arrived when it was sent
    at: float
    last: bool  # no message follows it on this connection
    clear: bool  # it was sent in the phase CLEARING


class Fences:
    """The FENCEs that one connection has sent in a move. They arrive in the order in which they were sent."""

    def __init__(self) -> None:
        self.on_way: Deque[Fence] = deque()
        self.count = 0
        self.last = float("-inf")  # when the last one was sent
        self.next = float("-inf")  # not before this

    def add(self, one: Fence) -> None:
        self.last = one.at
        self.on_way.append(one)
        self.count += 1
        if self.count > _FENCE_BURST:
            self.next = one.at + FENCE_INTERVAL

    def refused(self, fence_id: str, now: float) -> None:
        self.on_way = deque(one for one in self.on_way if one.id != fence_id)
        self.next = now + FENCE_INTERVAL

    def due(self, now: float) -> bool:
        """Report whether another FENCE may be sent. Only one is on its way at a time, unless one is lost."""
        if self.on_way and now - self.on_way[-1].at < _FENCE_PATIENCE:
            return False
        return now >= self.next


@dataclass
class Held:
    """A message that waits to be handed out. The queue of the old connection may also have FENCEs and a mark."""

    message: Incoming
    n: int  # the message's number on its connection; of a FENCE: its reach on the other connection
    at: float = 0.0
    fence: bool = False
    mark: bool = False

    @property
    def to_one(self) -> bool:
        """Whether the message arrives on one connection alone."""
        return not self.fence and not self.mark and not self.message.to_many


NOTHING = Incoming(None, "", False, 0, None)


class Queue:
    """One of the two connections of a move."""

    def __init__(self) -> None:
        self.held: Deque[Held] = deque()
        self.bytes = 0
        self.alone = 0  # held messages that arrive on this connection alone
        self.arrived = 0  # how many messages have arrived
        self.ended = False  # no further message arrives
        self.fences = Fences()

    def full(self) -> bool:
        return len(self.held) >= _HELD_MESSAGES or self.bytes >= _HELD_BYTES

    def push(self, h: Held) -> None:
        self.held.append(h)
        self.bytes += h.message.size
        self.alone += h.to_one

    def remove_at(self, i: int) -> Incoming:
        h = self.held[i]
        del self.held[i]
        self.bytes -= h.message.size
        self.alone -= h.to_one
        return h.message

    def copy_of(self, key: Optional[bytes]) -> int:
        """Return the index of the copy of a message to many; -1 for none."""
        for i, h in enumerate(self.held):
            if h.message.to_many and h.message.key == key:
                return i
        return -1

    def alone_before(self, at: int, sender: str) -> int:
        """Return the index of the sender's first message before at that arrived on this connection alone; -1 for none."""
        if self.alone == 0:
            return -1
        for i, h in enumerate(self.held):
            if i >= at:
                break
            if h.to_one and h.message.sender == sender:
                return i
        return -1


@dataclass
class Merge:
    """What one move holds."""

    old: Queue = field(default_factory=Queue)
    new: Queue = field(default_factory=Queue)
    drops_new: Copies = field(default_factory=Copies)  # expected on the new connection
    released: int = 0  # messages of the new connection up to this one can be handed out
    reached: int = 0  # the same, once the FENCEs that wait in the old connection's queue are handed out
    copied: int = 0  # messages of the old connection up to this one have no copy to come
    waits: int = 0  # the message of the old connection that waits for its copy
    waits_since: float = 0.0  # when its wait began
    fenced: bool = False  # all further messages of the old connection have a copy
    impatient: bool = False  # a message has waited too long; none waits until the new connection identifies or a FENCE comes

    def side(self, side: Side) -> Queue:
        return self.new if side == Side.NEW else self.old

"""Groups with history: how far a client has received and handled them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

from . import _wire as wire
from ._intent import check_group, direct
from ._message import Message
from ._wire import Position

if TYPE_CHECKING:
    from ._client import Client

MAX_OFFSET = (1 << 53) - 1
_MAX_EPOCH_BYTES = 64
_EPOCH_LOST = "EPOCH"  # the reason of a gap that takes back what was received
_TO_ONE = direct("")  # a HISTORY is no copy of one on another connection
_NOTHING = wire.Wire(wire.HISTORY, "", "", None, "", None, {})


class Gap(NamedTuple):
    """Tells that messages of a group with history are missing, before those that its handlers get next."""

    group: str
    #: TRIMMED: they are not kept any more. EPOCH: what was received behind the position is void, as the hub's Redis lost it.
    #: UNAVAILABLE: they could not be read.
    reason: str
    position: Position


class Turn(Message):
    """What a HISTORY says, or the answer of a group that was joined. It keeps its place among the messages."""

    __slots__ = ("group", "position", "joined", "live", "gap")

    def __init__(self, client: Client, m: wire.Wire, raw: bytes, group: str, position: Position) -> None:
        super().__init__(client, m, _TO_ONE, raw)
        self.group = group
        self.position = position
        self.joined = False  # it is an answer
        self.live = False  # the client has everything up to here
        self.gap = ""  # the reason; empty for none


def joined_turn(client: Client, group: str, position: Position) -> Turn:
    """Return what tells where a group was joined."""
    turn = Turn(client, _NOTHING, b"", group, position)
    turn.joined = True
    return turn


def parse_turn(client: Client, m: wire.Wire, raw: bytes) -> Turn:
    """Read a HISTORY. Raises MalformedError."""
    position = wire.parse_position(m.data)
    group, gap = m.data.get("group"), m.data.get("gap")
    reason = gap.get("reason") if isinstance(gap, dict) else None
    if not isinstance(group, str) or (gap is not None and not isinstance(reason, str)):
        raise wire.MalformedError("malformed HISTORY from the hub")
    turn = Turn(client, m, raw, group, position)
    turn.live = m.data.get("live") is True and client.memberships.has(group)
    turn.gap = reason or ""
    return turn


def check_positions(positions: Mapping[str, Position]) -> None:
    """Check positions that don't come from the hub. Raises ValueError."""
    for group, at in positions.items():
        check_group(group)
        if not isinstance(at, Position) or type(at.offset) is not int or not 0 <= at.offset <= MAX_OFFSET:
            raise ValueError(f"position in {group[:50]!r}: want a Position with an offset of 0 to 2**53-1")
        if not isinstance(at.epoch, str) or len(at.epoch.encode("utf-8", "surrogatepass")) > _MAX_EPOCH_BYTES:
            raise ValueError(f"position in {group[:50]!r}: an epoch is text of at most {_MAX_EPOCH_BYTES} bytes")


def positions_json(positions: Mapping[str, Position]) -> Dict[str, Any]:
    """Return positions as they are on the wire, and in files."""
    return {group: {"epoch": at.epoch, "offset": at.offset} if at.epoch else {"offset": at.offset} for group, at in positions.items()}


class Place:
    """How far a client is in one group. Messages are received when they are queued for their handlers, and handled when these
    have returned.
    """

    def __init__(self, at: Position) -> None:
        self.received = self.handled = at
        self.epoch = at.epoch  # of the messages that come next
        self.gap: Optional[Tuple[str, Position]] = None  # the last one


class Mark(NamedTuple):
    """How far a client is in a group once a message is received, or handled."""

    place: Place
    at: Position


class Progress:
    """How far a client is in groups with history."""

    def __init__(self, begin: Mapping[str, Position]) -> None:
        self.places: Dict[str, Place] = {group: Place(at) for group, at in begin.items()}
        #: Set when positions were handled, or are to be forgotten.
        self.changed = asyncio.Event()

    def load(self, kept: Mapping[str, Position]) -> None:
        """Begin at these positions, which precede others."""
        self.places.update((group, Place(at)) for group, at in kept.items())

    def position(self, group: str) -> Optional[Position]:
        place = self.places.get(group)
        return None if place is None else place.handled

    def all(self) -> Dict[str, Position]:
        """Return what was handled of all groups."""
        return {group: place.handled for group, place in self.places.items()}

    def recover(self, groups: Iterable[str]) -> Dict[str, Any]:
        """Return from where on groups are to be recovered, as JSON."""
        at = {group: self.places[group].received for group in groups if group in self.places}
        return positions_json(at)

    def leave(self, groups: Iterable[str]) -> None:
        """Forget groups that the client is not in any more."""
        for group in groups:
            if self.places.pop(group, None) is not None:
                self.changed.set()

    def _join(self, group: str, to: Position) -> None:
        """Note where the client has joined a group, unless it begins somewhere else there."""
        place = self.places.get(group)
        if place is None:
            self.places[group] = Place(to)
            self.changed.set()
        elif not place.epoch:
            place.epoch = to.epoch

    def next(self, m: Message) -> bool:
        """Give a message, or what a HISTORY says, the mark that it leads to. The result is false for what was received before."""
        if isinstance(m, Turn):
            return self._next_turn(m)
        offset, intent = m.offset, m.intent
        if offset is None or intent.target != "GROUP":
            return True
        place = self.places.get(intent.identifier)
        if place is None:
            return True
        if offset <= place.received.offset:
            return False
        m.mark = Mark(place, Position(place.epoch, offset))
        return True

    def _next_turn(self, t: Turn) -> bool:
        """Do the same for a HISTORY. The two connections of a move may tell the same, and the second one late."""
        if t.joined:
            self._join(t.group, t.position)
            return False
        if t.live:
            self._join(t.group, t.position)
        place = self.places.get(t.group)
        if place is None:
            return bool(t.gap)
        gap = (t.gap, t.position)
        wanted = t.gap == _EPOCH_LOST or t.position.offset >= place.received.offset
        if not wanted or (t.gap and gap == place.gap):
            return False
        if t.gap:
            place.gap = gap
        t.mark = Mark(place, t.position)
        return True

    def received(self, mark: Mark) -> None:
        """Note that a message is queued for its handlers."""
        mark.place.received, mark.place.epoch = mark.at, mark.at.epoch

    def handled(self, mark: Mark) -> None:
        """Note that the handlers of a message have returned."""
        if mark.place.handled != mark.at:
            mark.place.handled = mark.at
            self.changed.set()

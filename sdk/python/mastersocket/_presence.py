"""Presence: who is in a group."""

from __future__ import annotations

import asyncio
import datetime
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, AsyncIterator, Deque, Dict, List, NamedTuple, Optional, Tuple

from . import _wire as wire
from ._errors import ClosedError

if TYPE_CHECKING:
    from ._client import Client
    from ._connection import Connection

_MAX_CHANGES = 1024  # that wait for an iteration; beyond it they are merged into one
_DEFAULT_WEIGHT = 1


class Member(NamedTuple):
    """A client in a watched group."""

    id: str  # changes when the member moves to another connection
    name: str
    version: str
    meta: Dict[str, str]
    weight: int  # its share of the ANYs of its groups
    node: str  # the name of its instance
    since: datetime.datetime  # of its IDENTIFY
    data: Dict[str, Any]  # all that the hub says of it


class Change(NamedTuple):
    """What changed in a watched group."""

    joined: Tuple[Member, ...] = ()
    #: The members, with the reasons: one of DISCONNECT, UNSUBSCRIBED, LOST or INSTANCE_LOST. The reason is empty for members
    #: that left while this client was not connected.
    left: Tuple[Tuple[Member, str], ...] = ()
    moved: Tuple[Tuple[str, Member], ...] = ()  # the old ids, and the members with their new ones
    updated: Tuple[Member, ...] = ()  # with another meta or weight
    #: Whether Watch.missing or Watch.count is other than before. If the group has become too large for its members to be told,
    #: the set is empty now, and nothing is in left.
    totals: bool = False

    def __bool__(self) -> bool:
        return any(self[:])


def _member(data: Any) -> Member:
    if not isinstance(data, dict) or not isinstance(data.get("id"), str):
        raise wire.MalformedError("malformed PRESENCE from the hub: a member without an id")
    meta, weight = data.get("meta"), data.get("weight")
    return Member(
        data["id"], str(data.get("name") or ""), str(data.get("version") or ""), meta if isinstance(meta, dict) else {},
        weight if type(weight) is int else _DEFAULT_WEIGHT, str(data.get("node") or ""), wire.parse_time(data.get("since")), data,
    )


def _list(data: Dict[str, Any], member: str) -> List[Any]:
    value = data.get(member) or []
    if not isinstance(value, list):
        raise wire.MalformedError(f"malformed PRESENCE from the hub: {member} is no list")
    return value


class _View:
    """What one connection has been told of a group."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.members: Dict[str, Member] = {}
        self.count: Optional[int] = None
        self.missing: List[str] = []
        self.whole = False  # it has the whole snapshot

    def apply(self, data: Dict[str, Any]) -> Change:
        """Apply a frame, and return what it changed in the set."""
        if "count" in data:
            count = data["count"]
            if type(count) is not int:
                raise wire.MalformedError("malformed PRESENCE from the hub: count is no number")
            self.members, self.count, self.whole = {}, count, True
        elif "members" in data:
            if self.whole:  # another snapshot begins
                self.members, self.count = {}, None
            self.members.update((m.id, m) for m in map(_member, _list(data, "members")))
            self.whole = data.get("complete") is True
        if "missing" in data:
            self.missing = [str(n) for n in _list(data, "missing")]
        return self._follow(data)

    def _follow(self, data: Dict[str, Any]) -> Change:
        left, moved = [], []
        for one in _list(data, "left"):
            who, reason = (str(one.get(k) or "") for k in ("id", "reason")) if isinstance(one, dict) else ("", "")
            gone = self.members.pop(who, None)
            if gone is not None:
                left.append((gone, reason))
        for one in _list(data, "moved"):
            if not isinstance(one, dict):
                raise wire.MalformedError("malformed PRESENCE from the hub: a move is no object")
            to = _member(one.get("to"))
            self.members.pop(str(one.get("from")), None)
            self.members[to.id] = to
            moved.append((str(one.get("from")), to))
        joined, updated = (tuple(map(_member, _list(data, what))) for what in ("joined", "updated"))
        self.members.update((m.id, m) for m in joined + updated)
        return Change(joined, tuple(left), tuple(moved), updated, "missing" in data or "count" in data)


class Watch:
    """The members of a group. Make one with Client.watch, and iterate over its changes if you like.

    The first change has all members as joined. The set stays as it is while there is no connection; after a reconnect the
    difference follows.
    """

    def __init__(self, client: Client, group: str) -> None:
        self._client = client
        self.group = group
        #: The members by id. Empty while the group is too large to be listed; then count says how large it is.
        self.members: Dict[str, Member] = {}
        #: How many members a group has that is too large to be listed; None for others.
        self.count: Optional[int] = None
        #: The instances that don't answer; what was known of their clients stands.
        self.missing: List[str] = []
        self._views: List[_View] = []  # in the order of their first frames
        self._shown: Optional[Connection] = None  # whose view is shown
        self._changes: Deque[Change] = deque()
        self._changed = asyncio.Event()
        self._ready: asyncio.Future[None] = client.loop.create_future()  # done once the set is known
        self._closed = False

    async def ready(self) -> None:
        """Wait for the first complete set. Raises ClosedError if the client ends before."""
        await asyncio.shield(self._ready)
        if self._shown is None:
            raise ClosedError(f"the client has ended while it waited for the members of {self.group!r}")

    def __aiter__(self) -> AsyncIterator[Change]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Change]:
        while True:
            while self._changes:
                yield self._changes.popleft()
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """Stop watching."""
        self.end()
        await self._client.presence.unwatch(self)

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def end(self) -> None:
        """End the iteration."""
        self._closed = True
        self._changed.set()
        if not self._ready.done():
            self._ready.set_result(None)

    def take(self, connection: Connection, data: Dict[str, Any]) -> None:
        """Apply a frame to what its connection has been told, and show it if that view counts."""
        view = next((v for v in self._views if v.connection is connection), None)
        if view is None:
            if not {"members", "count", "missing"} & data.keys():
                return  # of a watch that has ended
            view = _View(connection)
            self._views.append(view)
        follows = self._shown is connection and view.whole and "members" not in data and "count" not in data
        change = view.apply(data)
        if follows:
            self._show(view, change)
        else:
            self._choose()

    def forget(self, connection: Connection) -> None:
        """Forget what a connection was told. What another one was told, in a move, is shown from now on."""
        self._views = [v for v in self._views if v.connection is not connection]
        self._choose()

    def _choose(self) -> None:
        """Show what the newest connection has been told, if that is whole."""
        for view in reversed(self._views):
            if view.whole:
                self._show(view, self._difference(view))
                return

    def _difference(self, view: _View) -> Change:
        left = () if view.count is not None else tuple((m, "") for i, m in self.members.items() if i not in view.members)
        return Change(
            joined=tuple(m for i, m in view.members.items() if i not in self.members), left=left,
            updated=tuple(m for i, m in view.members.items() if i in self.members and self.members[i].data != m.data),
            totals=(self.count, self.missing) != (view.count, view.missing),
        )

    def _show(self, view: _View, change: Change) -> None:
        first = self._shown is None
        self._shown = view.connection
        self.members, self.count, self.missing = dict(view.members), view.count, list(view.missing)
        if not change and not first:
            return
        self._changes.append(change)
        if len(self._changes) > _MAX_CHANGES:
            self._merge()
        self._changed.set()
        if not self._ready.done():
            self._ready.set_result(None)

    def _merge(self) -> None:
        """Merge the two oldest changes, which an iteration is slow to take."""
        a, b = self._changes.popleft(), self._changes.popleft()
        self._changes.appendleft(Change(
            a.joined + b.joined, a.left + b.left, a.moved + b.moved, a.updated + b.updated, a.totals or b.totals,
        ))


class Presence:
    """The watched groups of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watches: Dict[str, Watch] = {}

    async def watch(self, group: str) -> Watch:
        if group in self._watches:
            raise ValueError(f"the client watches the group {group!r} already")
        watch = self._watches[group] = Watch(self._client, group)
        try:
            await self._client.memberships.change(wire.SUBSCRIBE, {"watch": [group]})
            await watch.ready()
        except asyncio.CancelledError:
            self._client.task(watch.close())
            raise
        except BaseException:
            watch.end()
            self._watches.pop(group, None)
            raise
        return watch

    async def unwatch(self, watch: Watch) -> None:
        if self._watches.get(watch.group) is watch:
            del self._watches[watch.group]
            with suppress(ClosedError):
                await self._client.memberships.change(wire.UNSUBSCRIBE, {"watch": [watch.group]})

    def received(self, connection: Connection, data: Any) -> None:
        """Handle a PRESENCE."""
        if not isinstance(data, dict) or not isinstance(data.get("group"), str):
            raise wire.MalformedError("malformed PRESENCE from the hub")
        watch = self._watches.get(data["group"])
        if watch is not None:
            watch.take(connection, data)

    def forget(self, connection: Connection) -> None:
        for watch in self._watches.values():
            watch.forget(connection)

    def end(self) -> None:
        for watch in self._watches.values():
            watch.end()

"""Presence: who is in a group."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, AsyncIterator, Deque, Dict, List, NamedTuple, Optional, Tuple

from . import _wire as wire

if TYPE_CHECKING:
    from ._client import Client
    from ._connection import Connection

_MAX_CHANGES = 1024  # that wait for an iteration; beyond it they are merged into one


class Member(NamedTuple):
    """A client in a watched group."""

    id: str
    name: str
    version: str
    meta: Dict[str, str]
    node: str  # the name of its instance
    data: Dict[str, Any]  # all that the hub says of it


class Change(NamedTuple):
    """What changed in a watched group."""

    joined: Tuple[Member, ...] = ()
    left: Tuple[Tuple[Member, str], ...] = ()  # the members, with the reasons
    moved: Tuple[Tuple[str, Member], ...] = ()  # the old ids, and the members with their new ones
    updated: Tuple[Member, ...] = ()


def _member(data: Any) -> Member:
    if not isinstance(data, dict) or not isinstance(data.get("id"), str):
        raise wire.MalformedError("malformed PRESENCE from the hub: a member without an id")
    meta = data.get("meta")
    return Member(
        data["id"], str(data.get("name") or ""), str(data.get("version") or ""), meta if isinstance(meta, dict) else {},
        str(data.get("node") or ""), data,
    )


class _View:
    """What one connection has been told of a group."""

    def __init__(self) -> None:
        self.members: Dict[str, Member] = {}
        self.count: Optional[int] = None
        self.missing: List[str] = []
        self.complete = False


class Watch:
    """The members of a group. Make one with Client.watch, and iterate over its changes if you like.

    The set stays as it is while there is no connection, and after a reconnect the differences are reported.
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
        self.users = 0
        self._changes: Deque[Change] = deque()
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()
        self._closed = False

    async def ready(self) -> None:
        """Wait for the first complete set."""
        await self._ready.wait()

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
        self._end()
        await self._client.presence.unwatch(self)

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _end(self) -> None:
        self._closed = True
        self._changed.set()
        self._ready.set()

    def _show(self, view: _View, change: Optional[Change]) -> None:
        """Make the view the set. Without a change the difference is reported."""
        if change is None:
            before = self.members
            change = Change(
                joined=tuple(m for i, m in view.members.items() if i not in before),
                left=tuple((m, "UNKNOWN") for i, m in before.items() if i not in view.members),
                updated=tuple(m for i, m in view.members.items() if i in before and before[i].data != m.data),
            )
        self.members, self.count, self.missing = dict(view.members), view.count, list(view.missing)
        if any(change) and self._ready.is_set():
            self._changes.append(change)
            if len(self._changes) > _MAX_CHANGES:
                self._merge()
        self._changed.set()
        self._ready.set()

    def _merge(self) -> None:
        """Merge the two oldest changes, which an iteration is slow to take."""
        a, b = self._changes.popleft(), self._changes.popleft()
        self._changes.appendleft(Change(a.joined + b.joined, a.left + b.left, a.moved + b.moved, a.updated + b.updated))


class Presence:
    """The watched groups of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watches: Dict[str, Watch] = {}
        self._views: Dict[Connection, Dict[str, _View]] = {}

    async def watch(self, group: str) -> Watch:
        watch = self._watches.get(group)
        if watch is None:
            watch = self._watches[group] = Watch(self._client, group)
            try:
                await self._client.memberships.change(wire.SUBSCRIBE, {"watch": [group]})
            except BaseException:
                self._watches.pop(group, None)
                raise
        watch.users += 1
        await watch.ready()
        return watch

    async def unwatch(self, watch: Watch) -> None:
        watch.users -= 1
        if watch.users <= 0 and self._watches.get(watch.group) is watch:
            del self._watches[watch.group]
            await self._client.memberships.change(wire.UNSUBSCRIBE, {"watch": [watch.group]})

    def expect(self, connection: Connection, groups: List[str]) -> None:
        """Note that snapshots of the groups follow on the connection."""
        views = self._views.setdefault(connection, {})
        for group in groups:
            views[group] = _View()

    def received(self, connection: Connection, data: Any) -> None:
        """Handle a PRESENCE."""
        if not isinstance(data, dict) or not isinstance(data.get("group"), str):
            raise wire.MalformedError("malformed PRESENCE from the hub")
        view = self._views.get(connection, {}).get(data["group"])
        if view is None:
            return
        change: Optional[Change] = None
        if "count" in data:
            view.count, view.members, view.complete = int(data["count"]), {}, True
        elif "members" in data:
            if view.complete:  # it was too large to be listed until now
                view.members, view.count, view.complete = {}, None, False
            view.members.update((m.id, m) for m in map(_member, data["members"]))
            view.complete = data.get("complete") is True
        elif "missing" in data:
            view.missing = [str(n) for n in data["missing"]]
        else:
            change = self._apply(view, data)
        watch = self._watches.get(data["group"])
        if watch is not None and view.complete and self._current(connection):
            watch._show(view, change)

    def _apply(self, view: _View, data: Dict[str, Any]) -> Change:
        joined = tuple(map(_member, data.get("joined") or ()))
        updated = tuple(map(_member, data.get("updated") or ()))
        left = []
        for one in data.get("left") or ():
            gone = view.members.pop(str(one.get("id")), None)
            if gone is not None:
                left.append((gone, str(one.get("reason") or "")))
        moved = []
        for one in data.get("moved") or ():
            to = _member(one.get("to"))
            view.members.pop(str(one.get("from")), None)
            view.members[to.id] = to
            moved.append((str(one.get("from")), to))
        view.members.update((m.id, m) for m in joined + updated)
        return Change(joined, tuple(left), tuple(moved), updated)

    def _current(self, connection: Connection) -> bool:
        """Report whether the connection is the one whose view counts."""
        sender = self._client.sender
        return sender is None or sender is connection

    def uses(self, connection: Connection) -> None:
        """Show what the connection that sends now has been told."""
        for group, view in self._views.get(connection, {}).items():
            watch = self._watches.get(group)
            if watch is not None and view.complete:
                watch._show(view, None)

    def forget(self, connection: Connection) -> None:
        self._views.pop(connection, None)

    def end(self) -> None:
        for watch in self._watches.values():
            watch._end()

"""The groups that a client is in, watches and holds, and the changes of these."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set

from . import _wire as wire
from ._errors import GroupError, NotGrantedError, OutcomeUnknownError, TooBigError

if TYPE_CHECKING:
    from ._client import Client
    from ._connection import Connection

_IDENTIFY_GROUPS = 32  # that IDENTIFY can name. Further ones are subscribed to behind it
_PART = 256  # groups in one SUBSCRIBE behind IDENTIFY
_ANSWER_TIME = 15.0  # how long the hub may take to answer a change, more than it takes at most, in seconds


class ConnectionLost(Exception):
    """The connection ended before the answer came."""


class _Open(NamedTuple):
    """A request that awaits its answer."""

    connection: Connection
    answer: asyncio.Future[Dict[str, Any]]


class Memberships:
    """The groups of a client, what it says of itself, and the changes of both.

    One change is carried out at a time, and none while a connection identifies until it sends: so the connection has all
    groups of the time at which it begins.
    """

    def __init__(self, client: Client) -> None:
        options = client.options
        self._client = client
        self._gate = asyncio.Lock()
        self.further = list(dict.fromkeys(g for g in options.groups if g != options.group))  # beyond the option group
        self.meta: Dict[str, str] = dict(options.meta)
        self.weight: Optional[int] = None
        self.watched: List[str] = []
        self._open: Dict[str, _Open] = {}
        self._stale: Set[Connection] = set()  # being left; what was subscribed to since is missing there

    async def begin(self) -> Callable[[], None]:
        """Wait until no change is carried out. None is until the result is called, which may be called again."""
        await self._gate.acquire()
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._gate.release()

        return release

    def identify(self, data: Dict[str, Any]) -> List[str]:
        """Complete the data of an IDENTIFY, and return the groups for which it has no room."""
        if self.meta:
            data["meta"] = self.meta
        if self.weight is not None:
            data["weight"] = self.weight
        first = _IDENTIFY_GROUPS - 1
        if self.further:
            data["groups"] = self.further[:first]
        if self.watched:
            data["watch"] = list(self.watched)
        return self.further[first:]

    async def join_again(self, connection: Connection, groups: Sequence[str]) -> None:
        """Join groups on another connection, with as many SUBSCRIBEs as they need."""
        most = _PART
        while groups:
            data = self._recovering(connection, {"groups": list(groups[:most])})
            self.check_granted(connection, data)
            try:
                await self.ask(connection, wire.SUBSCRIBE, data)
            except TooBigError:
                if most == 1:
                    raise
                most = min(most, len(groups)) // 2 or 1
                continue
            groups = groups[most:]

    def _recovering(self, connection: Connection, data: Dict[str, Any]) -> Dict[str, Any]:
        """Complete the data of a SUBSCRIBE by from where on its groups are to be recovered."""
        if "history" not in connection.identity.features:
            return data
        recover = self._client.progress.recover(data.get("groups", ()))
        return {**data, "recover": recover} if recover else data

    def has(self, group: str) -> bool:
        """Report whether the client is in the group."""
        return group == self._client.options.group or group in self.further

    async def change(self, op: int, data: Dict[str, Any]) -> None:
        """Carry out a change, on the next connection where the current one is lost."""
        while True:
            connection = await self.sender()
            release = await self.begin()
            try:
                if connection is self._client.outbox.sender:
                    await self._carry_out(connection, op, data)
                    return
            except ConnectionLost:
                continue
            finally:
                release()

    async def sender(self) -> Connection:
        """Return the connection that sends. Wait for one."""
        while True:
            self._client.check_running()
            if self._client.outbox.sender is not None:
                return self._client.outbox.sender
            await self._client.outbox.sender_changed()

    async def _carry_out(self, connection: Connection, op: int, data: Dict[str, Any]) -> None:
        self.check_granted(connection, data)
        old = self._client.stream.left()
        if op == wire.UNSUBSCRIBE and old is not None:  # it still receives
            try:
                await self.ask(old, op, data)
            except ConnectionLost:
                pass
        new = {"groups": [g for g in data["groups"] if not self.has(g)]} if op == wire.SUBSCRIBE and "groups" in data else {}
        await self.ask(connection, op, {**self._recovering(connection, new), **data})
        self._apply(op, data)
        if op == wire.SUBSCRIBE and old is not None:
            self._stale.add(old)

    def check_granted(self, connection: Connection, data: Dict[str, Any]) -> None:
        needed = {"groups"} | ({"presence"} if "watch" in data else set()) | ({"exclusive"} if "exclusive" in data else set())
        missing = needed - set(connection.identity.features)
        if missing:
            raise NotGrantedError(f"the hub does not grant {', '.join(sorted(missing))}: it is of an earlier release")

    def _apply(self, op: int, data: Dict[str, Any]) -> None:
        """Note a change that the hub has carried out."""
        for member, names in (("groups", self.further), ("watch", self.watched)):
            for name in data.get(member, ()):
                if op == wire.UNSUBSCRIBE and name in names:
                    names.remove(name)
                elif op == wire.SUBSCRIBE and name not in names and (member != "groups" or name != self._client.options.group):
                    names.append(name)
        if op == wire.UNSUBSCRIBE:
            self._client.progress.leave(data.get("groups", ()))
        if "meta" in data:
            self.meta = data["meta"]
        if "weight" in data:
            self.weight = data["weight"]

    async def ask(self, connection: Connection, op: int, data: Dict[str, Any]) -> Dict[str, Any]:
        """Send a request on a connection and return the data of its answer."""
        request_id = "groups:" + str(uuid.uuid4())
        frame = wire.groups_frame(op, request_id, data)
        limit = connection.identity.max_message_bytes
        if 0 < limit < len(frame):
            raise TooBigError(f"the request has {len(frame)} bytes, the hub accepts at most {limit}")
        if connection.ended:
            raise ConnectionLost
        answer: asyncio.Future[Dict[str, Any]] = connection.loop.create_future()
        self._open[request_id] = _Open(connection, answer)
        connection.write(frame)
        try:
            waits: Set[asyncio.Future[Any]] = {answer, connection.done}
            await asyncio.wait(waits, timeout=_ANSWER_TIME, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._open[request_id]
        if answer.done():
            return answer.result()
        if connection.done.done():
            raise ConnectionLost
        raise OutcomeUnknownError(f"no answer for {_ANSWER_TIME:g} s")

    def received(self, connection: Connection, m: wire.Wire) -> None:
        """Handle an answer, or what the hub says of a change that this client did not ask for."""
        data = m.data
        if not isinstance(data, dict):
            raise wire.MalformedError("malformed answer to a change of groups")
        connection.joined(wire.parse_joined(data.get("history")))
        if not m.id:
            groups = data.get("groups")
            if isinstance(groups, list) and all(isinstance(g, str) for g in groups):
                self._apply(m.op, {"groups": groups})
                self._client.options.logger.info("an operator changed the groups: op %d, %s", m.op, groups)
            self._client.holds.told(connection, data.get("exclusive"))
            return
        waiting = self._open.get(m.id)
        if waiting is None or waiting.connection is not connection or waiting.answer.done():
            return
        error = data.get("error")
        if isinstance(error, dict):
            code, group, explanation = (str(error.get(k) or "") for k in ("code", "group", "message"))
            waiting.answer.set_exception(GroupError(code, group, explanation))
        else:
            waiting.answer.set_result(data)

    def uses(self, connection: Connection) -> None:
        """Note that a connection sends. After a move that failed it lacks what was subscribed to meanwhile."""
        if connection in self._stale:
            self._stale.discard(connection)
            self._client.task(self._catch_up(connection))

    async def _catch_up(self, connection: Connection) -> None:
        release = await self.begin()
        try:
            data: Dict[str, Any] = {"meta": self.meta}
            if self.weight is not None:
                data["weight"] = self.weight
            if self.watched:
                data["watch"] = list(self.watched)
            await self.ask(connection, wire.SUBSCRIBE, data)
            await self.join_again(connection, self.further)
        except ConnectionLost:
            pass
        except Exception as e:
            connection.end(e)  # the next connection has the groups
        finally:
            release()

    def forget(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._stale.discard(connection)

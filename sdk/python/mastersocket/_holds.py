"""Exclusive groups: one holder in the whole cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Coroutine, Dict, List, Optional, TypeVar

from . import _wire as wire
from ._errors import ClosedError, Error

if TYPE_CHECKING:
    from ._client import Client
    from ._connection import Connection

_RENEWAL = 1.0  # how often a holder asks whether it still holds, in seconds
_T = TypeVar("_T")


class LostError(Error):
    """The exclusive group is held no more, or it can't be sure any more that it is."""


class Hold:
    """An exclusive group that this client holds. Make one with Client.hold.

    The holder may act until valid_until by the event loop's clock, which the client moves on once a second. When it can't,
    the hold is lost.
    """

    def __init__(self, client: Client, group: str) -> None:
        self._client = client
        self.group = group
        #: Rises with each holder: a fencing token for a database. A move to another connection brings another one.
        self.term = 0
        self._valid_until = 0.0
        self._connection: Optional[Connection] = None
        self._held: asyncio.Future[None] = client.loop.create_future()
        self._lost: asyncio.Future[str] = client.loop.create_future()
        self._renewing: Optional[asyncio.Task[None]] = None

    @property
    def valid_until(self) -> float:
        """Until when the client may act, by the clock of the event loop (loop.time)."""
        return self._valid_until

    @property
    def held(self) -> bool:
        """Whether the client may act now."""
        return not self._lost.done() and self._client.loop.time() < self._valid_until

    async def lost(self) -> str:
        """Wait until the group is held no more. The result is the hub's reason, or what this client knows."""
        return await asyncio.shield(self._lost)

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine while the group is held. It is cancelled when the hold is lost, which raises LostError."""
        task = self._client.loop.create_task(work)
        waits: List[asyncio.Future[Any]] = [task, self._lost]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LostError(f"the group {self.group!r} is held no more: {self._lost.result()}")
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def release(self, to: str = "") -> None:
        """Give up the group, to the client with the id to if that one waits for it."""
        self._lose("released")
        data: Dict[str, Any] = {"exclusive": [self.group]}
        if to:
            data["to"] = to
        self._client.holds.drop(self)
        try:
            await self._client.memberships.change(wire.UNSUBSCRIBE, data)
        except ClosedError:
            pass  # the goodbye gives it up, too

    async def __aenter__(self) -> Hold:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    def _granted(self, connection: Connection, term: int, valid_until: float) -> None:
        if self._lost.done():
            return
        self._connection, self.term = connection, term
        self._valid_until = max(self._valid_until, valid_until)
        if self._renewing is None:
            self._renewing = self._client.task(self._renew())

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)
            self._valid_until = 0.0
        if self._renewing is not None and self._renewing is not asyncio.current_task():
            self._renewing.cancel()

    async def _renew(self) -> None:
        """Ask once a second whether the group is held still. The answer is valid from when the question was sent."""
        loop = self._client.loop
        try:
            while not self._lost.done():
                began = loop.time()
                connection = self._connection
                if connection is not None and not connection.ended:
                    asking = self._client.task(self._ask(connection, began))
                    await asyncio.wait([asking], timeout=_RENEWAL)
                await asyncio.sleep(max(began + _RENEWAL - loop.time(), 0))
                if self._held.done() and loop.time() >= self._valid_until:
                    self._lose("no answer in time")
        finally:
            self._client.holds.drop(self)

    async def _ask(self, connection: Connection, began: float) -> None:
        try:
            answer = await self._client.memberships.ask(connection, wire.SUBSCRIBE, {"exclusive": [self.group]})
        except Exception:
            return
        self._client.holds.answered(connection, answer, began)


class Holds:
    """The exclusive groups that a client holds or waits for."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._holds: Dict[str, Hold] = {}

    async def hold(self, group: str) -> Hold:
        if group in self._holds:
            raise ValueError(f"the client holds the group {group!r}, or waits for it")
        hold = self._holds[group] = Hold(self._client, group)
        try:
            connection, answer = await self._client.memberships.change(wire.SUBSCRIBE, {"exclusive": [group]})
            self.answered(connection, answer, None)
            waits: List[asyncio.Future[Any]] = [hold._held, self._client.ended]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not hold._held.done():
                raise ClosedError(f"the client has ended while it waited for the group {group!r}")
        except BaseException:
            self.drop(hold)
            if not self._client.closed:
                self._client.task(self._give_up(group))
            raise
        return hold

    async def _give_up(self, group: str) -> None:
        try:
            await self._client.memberships.change(wire.UNSUBSCRIBE, {"exclusive": [group]})
        except Error:
            pass

    def drop(self, hold: Hold) -> None:
        if self._holds.get(hold.group) is hold:
            del self._holds[hold.group]

    def answered(self, connection: Connection, data: Dict[str, Any], sent: Optional[float]) -> None:
        """Handle what the hub says of exclusive groups. sent is when the question was sent; None for no question."""
        groups = data.get("exclusive")
        if not isinstance(groups, dict):
            return
        for group, state in groups.items():
            hold = self._holds.get(group)
            if hold is None or not isinstance(state, dict):
                continue
            if state.get("held") is True and type(state.get("term")) is int:
                valid = state.get("valid_ms")
                until = sent + valid / 1000 if sent is not None and type(valid) is int else 0.0
                hold._granted(connection, state["term"], until)
                if until > 0 and not hold._held.done():
                    hold._held.set_result(None)
            elif connection is hold._connection and state.get("reason"):
                hold._lose(str(state["reason"]))  # the hub has it wait again, as the last
                self.drop(hold)
                self._client.task(self._give_up(group))

    def hand_over(self, old: Connection, new: Connection) -> None:
        """In a move: let the new connection, which waits for them, have the groups that the old one holds."""
        for hold in self._holds.values():
            if hold._connection is old and not hold._lost.done():
                old.write(wire.groups_frame(
                    wire.UNSUBSCRIBE, "hand-over:" + hold.group[:40], {"exclusive": [hold.group], "to": new.identity.id},
                ))
                hold._connection = new

    def forget(self, connection: Connection) -> None:
        """Handle the end of a connection. A hold is lost with it, once its time is over."""
        for hold in list(self._holds.values()):
            if hold._connection is connection and not hold._lost.done():
                hold._lose("the connection was lost")
                if hold.group in self._client.memberships.exclusive:
                    self._client.memberships.exclusive.remove(hold.group)

    def end(self) -> None:
        for hold in list(self._holds.values()):
            hold._lose("the client has ended")

"""Exclusive groups: one holder in the whole cluster."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Coroutine, Dict, List, Optional, Set, TypeVar

from . import _wire as wire
from ._connection import Connection, Mode
from ._errors import ClosedError, Error
from ._groups import ConnectionLost

if TYPE_CHECKING:
    from ._client import Client

_RENEWAL = 1.0  # how often a holder asks for how long it may act, in seconds
_REPEAT = 10.0  # how often one that waits asks how it stands: a notice is not lost, but who knows
_HAND_OVER_TIME = 1.0  # the most that a move spends on exclusive groups
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
        self._connection: Optional[Connection] = None  # that holds the group, or waits for it
        self._moved = False  # the connection was handed the group, and has not been told for how long it may act
        self._successor = ""
        self._expiry: Optional[asyncio.TimerHandle] = None
        self._news = asyncio.Event()  # the hub has said something, or the hold is lost
        self._lost: asyncio.Future[str] = client.loop.create_future()
        self._gone: asyncio.Future[None] = client.loop.create_future()  # the hub has been told of the end, or can't be

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
        """Give up the group, to the client with the id to if that one waits for it. It returns when the hub has answered."""
        self._successor = to
        self.lose("released")
        await self.wait_gone()

    async def __aenter__(self) -> Hold:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    async def wait_gone(self) -> None:
        """Wait until the hub has been told of the end, or can't be."""
        waits: Set[asyncio.Future[Any]] = {self._gone, self._client.ended}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    @property
    def is_lost(self) -> bool:
        return self._lost.done()

    def is_on(self, connection: Connection) -> bool:
        """Report whether the connection holds the group."""
        return self._connection is connection and self.held

    def move_to(self, connection: Connection) -> None:
        """Note that the connection was handed the group."""
        self._connection, self._moved = connection, True

    def left(self, connection: Connection) -> None:
        """Note that the connection says goodbye, which gives up what was not handed over."""
        if self._connection is connection and self.term:
            self.lose("its connection was left")

    def told(self, connection: Connection, state: Dict[str, Any]) -> None:
        """Handle what the hub says unasked."""
        if state.get("held") is not True and self._connection is connection and self.term and not self._moved:
            self.lose(str(state.get("reason") or "the hub gives no reason"))
        self._news.set()

    def lose(self, reason: str) -> None:
        if self._lost.done():
            return
        self._lost.set_result(reason)
        self._valid_until = 0.0
        if self._expiry is not None:
            self._expiry.cancel()
        self._news.set()

    async def claim(self) -> None:
        """Wait for the first grant. A connection that is lost, or left, is replaced by the next one."""
        while not self._lost.done():
            connection = await self._client.memberships.sender()
            self._client.memberships.check_granted(connection, {"exclusive": [self.group]})
            self._connection = connection
            self._news.clear()
            with suppress(ConnectionLost):
                if await self._ask(connection):
                    return
                await self._await_news(connection)
        raise ClosedError(f"the client has ended while it waited for the group {self.group!r}")

    async def _await_news(self, connection: Connection) -> None:
        """Wait until it is time to ask again."""
        if self._client.outbox.sender is not connection:
            return
        news, changed = self._client.task(self._news.wait()), self._client.task(self._client.outbox.sender_changed())
        waits: Set[asyncio.Future[Any]] = {news, changed, connection.done, self._lost}
        try:
            await asyncio.wait(waits, timeout=_REPEAT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            changed.cancel()

    async def _ask(self, connection: Connection) -> bool:
        """Ask how the client stands with the group, and report whether it holds it."""
        sent = self._client.loop.time()
        answer = await self._client.memberships.ask(connection, wire.SUBSCRIBE, {"exclusive": [self.group]})
        groups = answer.get("exclusive")
        state = groups.get(self.group) if isinstance(groups, dict) else None
        if not isinstance(state, dict) or state.get("held") is not True:
            return False
        term, valid = state.get("term"), state.get("valid_ms")
        if type(term) is not int or type(valid) is not int or valid <= 0:
            return False
        if self._lost.done() or self._connection is not connection or connection.mode is Mode.LEAVING:
            return False
        if self.term and not self._moved and term != self.term:
            self.lose("another client held it meanwhile")  # what was begun under the old term must end
            return False
        self.term, self._moved = term, False
        self._valid_until = max(self._valid_until, sent + valid / 1000)  # valid from when the question was sent
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._client.loop.call_at(self._valid_until, self._expire)
        return self.held

    def _expire(self) -> None:
        self.lose("it was not confirmed in time")

    async def keep(self) -> None:
        """Ask once a second for how long the client may act, until the hold is lost. Then give the group up."""
        loop = self._client.loop
        try:
            due = loop.time() + _RENEWAL
            while not self._lost.done():
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), max(due - loop.time(), 0))
                self._news.clear()
                if loop.time() >= due:
                    due = loop.time() + _RENEWAL
                connection = self._connection
                if self._lost.done() or connection is None or connection.ended:
                    continue  # the timer ends it, unless it is handed over before
                asking = self._client.task(self._ask(connection))
                waits: Set[asyncio.Future[Any]] = {asking, self._lost}
                await asyncio.wait(waits, timeout=_RENEWAL, return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    asking.cancel()
                elif not asking.cancelled():
                    asking.exception()  # without an answer the former time stands
        finally:
            await self.withdraw()

    async def withdraw(self) -> None:
        """Give up the group, or the place: a claim that is left would be granted to a client that does not know of it."""
        connection = self._connection
        data: Dict[str, Any] = {"exclusive": [self.group]}
        if self._successor:
            data["to"] = self._successor
        try:
            if connection is not None and not connection.ended and not self._client.closing.done():
                await self._client.memberships.ask(connection, wire.UNSUBSCRIBE, data)
        except ConnectionLost:
            pass
        except Exception as e:
            self._client.options.logger.warning("the exclusive group %r was not given up: %s", self.group, e)
        finally:
            self._client.holds.drop(self)
            if not self._gone.done():
                self._gone.set_result(None)


class Holds:
    """The exclusive groups that a client holds or waits for."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._holds: Dict[str, Hold] = {}

    async def hold(self, group: str) -> Hold:
        while True:  # one that has ended and has yet to be given up
            other = self._holds.get(group)
            if other is None:
                break
            if not other.is_lost:
                raise ValueError(f"the client holds the group {group!r}, or waits for it")
            await other.wait_gone()
            self._client.check_running()
        hold = self._holds[group] = Hold(self._client, group)
        try:
            await hold.claim()
        except BaseException:
            hold.lose("the claim was given up")
            self._client.task(hold.withdraw())
            raise
        self._client.task(hold.keep())
        return hold

    def drop(self, hold: Hold) -> None:
        if self._holds.get(hold.group) is hold:
            del self._holds[hold.group]

    def told(self, connection: Connection, groups: Any) -> None:
        """Handle what the hub says of exclusive groups unasked."""
        if not isinstance(groups, dict):
            return
        for group, state in groups.items():
            hold = self._holds.get(group)
            if hold is not None and isinstance(state, dict):
                hold.told(connection, state)

    async def hand_over(self, old: Connection, new: Connection) -> None:
        """In a move: have the new connection take over what the old one holds. It asks, and the old one releases to it.

        The hub gives the group to no other client meanwhile. What can't be handed over is lost with the old connection.
        """
        holds = [h for h in self._holds.values() if h.is_on(old)]
        if not holds or "exclusive" not in new.identity.features:
            return
        groups = [h.group for h in holds]
        try:
            await asyncio.wait_for(self._hand_over(old, new, holds, groups), _HAND_OVER_TIME)
        except Exception as e:
            self._client.options.logger.warning("exclusive groups were not handed over: %s: %s", groups, e or type(e).__name__)

    async def _hand_over(self, old: Connection, new: Connection, holds: List[Hold], groups: List[str]) -> None:
        ask = self._client.memberships.ask
        await ask(new, wire.SUBSCRIBE, {"exclusive": groups})
        for hold in holds:
            hold.move_to(new)
        await ask(old, wire.UNSUBSCRIBE, {"exclusive": groups, "to": new.identity.id})

    def leave(self, connection: Connection) -> None:
        """End what the connection holds, ahead of its goodbye, after which others may act."""
        for hold in list(self._holds.values()):
            hold.left(connection)

    def end(self) -> None:
        for hold in list(self._holds.values()):
            hold.lose("the client has ended")

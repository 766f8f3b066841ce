"""The move to another connection after a DRAIN."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Callable, List, Optional, Tuple

from . import _move as machine
from ._backoff import Backoff
from ._connection import GOODBYE_TIMEOUT, Connection
from ._errors import DisconnectError, Error, SilentError
from ._stream import Announcement
from ._wire import MOVED_FRAME, Notice

if TYPE_CHECKING:
    from ._client import Client

_RECORD_TIME = 0.25  # how long messages are recorded before the new connection is dialed, in seconds
_MIN_RECORD_TIME = 0.1  # when there is hardly any time to move
_SAME_TRIES = 3  # how often a client may reach its old instance in a rebalance before it stays there
_MOVE_TRIES = 10  # the most failures of a rebalance
_ANSWER_TIME = 30.0  # how long answers are awaited on an old connection without a deadline
_TICK = 0.01
_INSTANCE_DIGITS = 8  # how many digits of a client's id name its instance


class _SameInstance(Error):
    """The new connection leads to the same instance."""


async def move(client: Client, old: Connection) -> Connection:
    """Follow a DRAIN. Return the connection to continue with, which may be the old one."""
    return await _Mover(client, old).run()


class _Mover:
    def __init__(self, client: Client, old: Connection) -> None:
        self._client = client
        self._loop = client.loop
        self._stream = client.stream
        self._old = old
        self._backoff = Backoff(client.options)
        self._same = self._tries = 0
        self._release: Callable[[], None] = lambda: None

    @property
    def _notice(self) -> Notice:
        assert self._old.notice is not None
        return self._old.notice

    async def run(self) -> Connection:
        try:
            if not await self._await_slot():
                return self._old
            while True:
                began = self._loop.time()
                error: Optional[BaseException] = None
                # Until the new connection sends, the groups stay as they are.
                self._release = await self._client.memberships.begin()
                try:
                    new = await self._connect()
                    connection, moved = await self._cross(new, began)
                    if moved:
                        return connection
                    error = new.error
                except Exception as e:
                    error = e
                finally:
                    self._release()
                if not await self._again(error):
                    return self._old
        finally:
            self._stream.stop_recording()

    async def _pause(self, seconds: float) -> bool:
        """Wait, or until the next DRAIN. The result is false if the old connection ended or the client was closed."""
        await asyncio.wait(
            {self._old.done, self._client.closing, self._old.drained}, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED,
        )
        return not self._old.done.done() and not self._client.closing.done()

    async def _await_due(self) -> bool:
        """Wait for the slot of the last DRAIN."""
        while self._notice.due > self._loop.time():
            if not await self._pause(self._notice.due - self._loop.time()):
                return False
        return not self._old.done.done() and not self._client.closing.done()

    async def _await_quiet(self) -> bool:
        """Wait until all messages of the last move are handed out."""
        await asyncio.wait(
            {self._stream.quiet, self._old.done, self._client.closing}, return_when=asyncio.FIRST_COMPLETED,
        )
        return self._stream.idle() and not self._old.done.done() and not self._client.closing.done()

    async def _await_slot(self) -> bool:
        n = self._notice
        self._client.options.logger.info("asked to move: %s, in %.1f s", n.reason, n.due - n.arrived)
        if not await self._await_due():
            return False
        # All clients add the same time to their slots, so that the slots stay apart.
        self._stream.record()
        if not await self._await_quiet():
            return False
        lead, by = _RECORD_TIME, self._notice.leave_by
        if by is not None:
            lead = min(lead, max((by - self._loop.time()) / 4, _MIN_RECORD_TIME))
        until = self._loop.time() + lead
        while self._loop.time() < until:
            if not await self._pause(until - self._loop.time()):
                return False
        return True

    async def _connect(self) -> Connection:
        """Open the new connection. If the old one ends in the meantime, the attempt serves as the reconnect."""
        expires = self._old.token if self._notice.reason == "expiry" else None
        dialed: List[Connection] = []

        def begin(connection: Connection) -> None:
            dialed.append(connection)
            self._stream.begin(self._old, connection)

        try:
            new = await self._client.open(expires, begin, self._old.identity.id)
        except BaseException:
            for connection in dialed:
                self._stream.ended(connection)
            raise
        if self._notice.optional and new.identity.id[:_INSTANCE_DIGITS] == self._old.identity.id[:_INSTANCE_DIGITS]:
            self._same += 1
            await self._turn_back(new)
            raise _SameInstance("the new connection leads to the same instance")
        await self._client.holds.hand_over(self._old, new)
        return new

    async def _turn_back(self, new: Connection) -> None:
        """Leave an unwanted new connection, and read it to its end: the hub may already have drawn it for an ANY."""
        new.leave(MOVED_FRAME)
        new.start()
        await asyncio.wait(
            {new.done, self._old.done, self._client.closing}, timeout=GOODBYE_TIMEOUT, return_when=asyncio.FIRST_COMPLETED,
        )
        new.end(DisconnectError("NO_REASON"))
        await asyncio.wait({new.done})
        self._stream.ended(new)

    async def _again(self, error: Optional[BaseException]) -> bool:
        """Wait, and report whether to connect once more."""
        n = self._notice
        if not isinstance(error, _SameInstance):
            self._tries += 1
        if n.optional and (self._same >= _SAME_TRIES or self._tries >= _MOVE_TRIES):
            self._client.options.logger.info("stays where it is: %s", error)
            return False
        wait = self._backoff.next(error)
        if n.leave_by is not None:
            wait = min(wait, max((n.leave_by - self._loop.time()) / 2, 0.1))
        self._client.options.logger.warning("could not move yet: %s; next attempt in %.1f s", error, wait)
        if not await self._pause(wait) or not await self._await_quiet():
            return False
        if self._notice is not n and not await self._await_due():
            return False
        by = self._notice.leave_by
        return by is None or self._loop.time() < by

    async def _cross(self, new: Connection, began: float) -> Tuple[Connection, bool]:
        """Change over to the new connection and return it, or the old one and False if only that one can go on."""
        client, stream, old = self._client, self._stream, self._old
        crossed = self._loop.time()
        stream.add_own_id(old.identity.id)  # again: failed attempts may have displaced it
        stream.add_own_id(new.identity.id)
        stream.new_identified()
        new.start()
        while True:
            if old.done.done():
                self._arrive(new, began)
                return new, True
            if new.done.done():
                return await self._go_back(new)
            if client.closing.done():
                await self._close_both(new)
                return new, True
            await asyncio.wait({old.done, new.done, client.closing}, timeout=_TICK, return_when=asyncio.FIRST_COMPLETED)
            if not old.done.done() and not new.done.done():
                stream.observe(machine.Conditions(
                    due=stream.phase is machine.Phase.LINGERING and client.due(old),
                    hurry=self._leave_by(new, crossed) < self._loop.time(),
                    silent=old.silence() >= machine.LEAVE_TIMEOUT and not old.stalled,
                ))
            if stream.phase >= machine.Phase.LINGERING:
                self._release()

    def _leave_by(self, new: Connection, crossed: float) -> float:
        """Return when the old connection must be left. It is earlier if the new one must be left soon, too."""
        by = self._notice.leave_by
        if by is None:
            by = crossed + _ANSWER_TIME
        n = new.notice
        if n is not None and n.leave_by is not None:
            by = min(by, n.arrived + (n.leave_by - n.arrived) / 2)
        return by

    def _arrive(self, new: Connection, began: float) -> None:
        """Complete a move whose old connection has ended."""
        error = self._old.error
        lost = self._stream.ended(self._old, [Announcement(lost=error), Announcement(identity=new.identity)])
        if lost:
            self._client.options.logger.warning("the old connection ended too early in a move; messages may be lost: %s", error)
        self._client.options.logger.info(
            "moved: id %s, instance %s, took %.3f s, sends waited %.4f s",
            new.identity.id, new.identity.node, self._loop.time() - began, self._stream.paused,
        )

    async def _go_back(self, new: Connection) -> Tuple[Connection, bool]:
        """Handle the end of the new connection. If the old one has already been left, both are gone."""
        self._client.options.logger.warning("the new connection was lost in a move: %s", new.error)
        if self._stream.phase is not machine.Phase.LEAVING:
            self._stream.ended(new)
            return self._old, False
        await asyncio.wait({self._old.done}, timeout=GOODBYE_TIMEOUT)
        self._old.end(SilentError(f"the hub was silent for {GOODBYE_TIMEOUT:g} s after DISCONNECT"))
        await asyncio.wait({self._old.done})
        self._stream.ended(self._old)  # before the new one, so that all its messages are handed out
        self._stream.ended(new)
        return new, True

    async def _close_both(self, new: Connection) -> None:
        """End both connections. The one that may send writes the queue."""
        sender, other = (new, self._old) if self._stream.phase >= machine.Phase.LINGERING else (self._old, new)
        self._client.outbox.finish(sender)
        other.goodbye()
        await asyncio.wait({sender.done})
        other.end(DisconnectError("NO_REASON"))
        await asyncio.wait({other.done})

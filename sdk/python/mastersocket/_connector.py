"""The connections of a client, one after the other: when it connects, reconnects, and gives up."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, Optional, Set, Tuple

from ._backoff import AuthBackoff, Backoff, delay_after, is_refusal
from ._connection import Connection, Mode
from ._errors import ClosedError, Error, HandshakeError, OptionsError, PositionsError
from ._mover import move
from ._stream import Announcement

if TYPE_CHECKING:
    from ._client import Client


class Connector:
    """Keeps a client connected."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._options = client.options
        self._loop = client.loop
        #: Done with the first IDENTIFY, or with the error because of which there is none.
        self.ready: asyncio.Future[None] = client.loop.create_future()
        #: Why the client has ended.
        self.error: Optional[BaseException] = None
        self.last_error: Optional[BaseException] = None  # of the last attempt
        self._refused: Tuple[str, Optional[BaseException]] = ("", None)  # the last token that was refused, and how
        self._refused_again = False
        self._auth_backoff = AuthBackoff()
        self._reconnect_delay = 0.0

    async def run(self) -> None:
        """Open one connection after the other until the client is closed or refused for good."""
        backoff = Backoff(self._options)
        try:
            try:
                await self._client.keeper.load()
            except PositionsError as e:
                self.error = e
                return
            while True:
                error = await self._run_connection(backoff)
                if self._client.closing.done():
                    self.error = ClosedError("the client was closed")
                    return
                if self._is_final(error):
                    self._options.logger.log(logging.ERROR if self.ready.done() else logging.INFO, "gave up: %s", error)
                    self.error = error
                    return
                await asyncio.wait({self._client.closing}, timeout=self._next_wait(error, backoff))
                if self._client.closing.done():
                    self.error = ClosedError("the client was closed")
                    return
        except asyncio.CancelledError:
            self.error = ClosedError("the client was closed, and its connection cut")
            raise
        finally:
            error = self.error or ClosedError("the client has ended")
            self._client.over(error)
            if not self.ready.done():
                self.ready.set_exception(error)
                self.ready.exception()

    def _next_wait(self, error: BaseException, backoff: Backoff) -> float:
        if is_refusal(error):
            wait = self._auth_backoff.next()
            self._options.logger.error("the hub refuses the token or a group: %s; next attempt in %.1f s", error, wait)
            return wait
        wait = backoff.next(error) + self._reconnect_delay
        self._options.logger.warning("not connected: %s; next attempt in %.1f s", error or type(error).__name__, wait)
        return wait

    async def _run_connection(self, backoff: Backoff) -> BaseException:
        """Open a connection, follow its moves, and return why the last one ended."""
        client = self._client
        self._reconnect_delay = 0.0
        release = await client.memberships.begin()
        try:
            connection = await self.open()
        except Exception as e:
            if not client.closing.done():
                self.last_error = e
            return e
        finally:
            release()
        self.last_error = None
        began = self._loop.time()
        client.stream.add_own_id(connection.identity.id)
        client.identity = connection.identity
        self._options.logger.info("connected: id %s, instance %s", connection.identity.id, connection.identity.node)
        client.stream.announce(Announcement(identity=connection.identity))
        if not self.ready.done():
            self.ready.set_result(None)
        connection.set_mode(Mode.SENDING)
        connection.start()
        connection = await self._follow(connection)
        self._reconnect_delay = delay_after(connection, self._options.max_backoff)
        # Short connections don't reset the backoff: a hub may accept clients and drop them at once.
        if self._loop.time() - began >= self._options.max_backoff:
            backoff.reset()
        if not client.quitting:
            client.stream.announce(Announcement(lost=connection.error))
        return connection.error

    async def _follow(self, connection: Connection) -> Connection:
        """Wait for the end of the connection and of those to which the client moves from it. Return the last one."""
        closing = self._client.closing
        while True:
            await asyncio.wait({connection.done, closing, connection.drained}, return_when=asyncio.FIRST_COMPLETED)
            if connection.done.done():
                return connection
            if closing.done():
                self._client.outbox.finish(connection)
                await asyncio.wait({connection.done})
                return connection
            connection = await move(self._client, connection)

    async def open(
        self, old_token: Optional[str] = None, dialed: Optional[Callable[[Connection], None]] = None, replaces: str = "",
    ) -> Connection:
        """Dial and identify. If old_token is given, the token must differ from it. dialed is called before IDENTIFY.

        replaces is the id of the connection that moves to this one.
        """
        connection: Optional[Connection] = None
        closing = self._client.closing
        opening: asyncio.Future[Connection] = self._loop.create_task(self._open(old_token, dialed, replaces))
        try:
            waits: Set[asyncio.Future[Any]] = {opening, closing}
            await asyncio.wait(waits, timeout=self._options.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                why = "the client was closed" if closing.done() else f"no answer within {self._options.connect_timeout:g} s"
                raise asyncio.TimeoutError(f"connect to {self._options.url}: {why}")
            connection = opening.result()
            return connection
        finally:
            if connection is None:
                opening.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await opening

    async def _open(
        self, old_token: Optional[str], dialed: Optional[Callable[[Connection], None]], replaces: str,
    ) -> Connection:
        token = await self._options.fetch_token()
        if old_token and token == old_token:
            raise Error("the token is still the one that expires")
        self._refused_again = False
        refused, error = self._refused
        if self._options.stop_on_auth_error and error is not None and token == refused:
            self._refused_again = True
            raise error
        connection = Connection(self._client, token)
        try:
            await connection.open()
            if dialed is not None:
                dialed(connection)
            await connection.identify(replaces)
        except BaseException as e:
            connection.end(e if isinstance(e, Exception) else ConnectionError("the attempt was given up"))
            if is_refusal(e):
                self._refused = (token, e)
            raise
        self._refused = ("", None)
        self._auth_backoff.reset()
        return connection

    def _is_final(self, error: BaseException) -> bool:
        """Report whether the error ends the client."""
        if not self.ready.done():
            if self._options.fail_fast or isinstance(error, OptionsError):
                return True
            if isinstance(error, HandshakeError) and error.permanent:
                return True
        if not self._options.stop_on_auth_error or not is_refusal(error):
            return False
        return self._options.token_source is None or self._refused_again

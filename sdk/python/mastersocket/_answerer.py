"""Handlers that answer by what a function returns."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, List

from ._errors import ClosedError, Error, OutcomeUnknownError, RemoteError, RequestOverError
from ._message import Message

if TYPE_CHECKING:
    from ._client import Client


class Answerer:
    """A handler that answers by what a function returns."""

    def __init__(self, client: Client, function: Callable[[Message], Any]) -> None:
        self._client = client
        self._function = function
        self._room = asyncio.Semaphore(client.options.receive_queue)

    async def __call__(self, m: Message) -> None:
        await self._room.acquire()
        self._client.task(self._run(m)).add_done_callback(lambda _: self._room.release())

    async def _run(self, m: Message) -> None:
        answering = self._client.task(self._answer(m))
        if m.is_request:
            over = self._client.task(m.over())
            await asyncio.wait({answering, over}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            answering.cancel()  # has no effect on a task that is done
        await asyncio.wait({answering})

    async def _answer(self, m: Message) -> None:
        try:
            result = self._function(m)
            if inspect.isasyncgen(result):
                await self._stream(m, result)
                return
            if inspect.isawaitable(result):
                result = await result
            await m.reply(result)
        except (RequestOverError, ClosedError, OutcomeUnknownError):
            pass  # the requester does not wait any more
        except RemoteError as e:
            await self._fail(m, e.code, e.explanation)
        except Exception as e:
            self._client.options.logger.exception("the answer to %r raised an exception", m)
            await self._fail(m, "ERROR", f"{type(e).__name__}: {e}")

    async def _stream(self, m: Message, values: AsyncIterator[Any]) -> None:
        """Send each value. The last one must say so, hence each is held until the next one comes."""
        last: List[Any] = []
        async for value in values:
            if last:
                await m.reply(last.pop(), more=True)
            last.append(value)
        await m.reply(*last)

    async def _fail(self, m: Message, code: str, explanation: str) -> None:
        with suppress(Error):
            await m.reply_error(code, explanation)

"""Requests, and the iteration over their REPLYs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Coroutine, Optional, Union

from . import _wire as wire
from ._errors import MessageError, Settlement, request_error
from ._intent import Intent
from ._message import Message

if TYPE_CHECKING:
    from ._client import Client

_SETTLE_MARGIN = 0.05  # how much earlier the hub gives up a request than its caller, at most, in seconds


class Replies:
    """The REPLYs to a request: an async context manager, and an iterator in it."""

    def __init__(
        self, client: Client, to: Intent, event: str, data: Any, expect: int, timeout: Optional[float],
        message_id: Optional[str], retry: bool = False, key: str = "",
    ) -> None:
        if isinstance(to, Intent) and not to.one_target:
            raise MessageError(f"event {event[:80]!r} to {to}: a request has one target, and no exceptions")
        self._client = client
        self._timeout = timeout
        self._call = client.outbox.call(wire.EVENT, message_id, to, event, data, "request", self._expectation(retry, key))
        self._call.replies = asyncio.Queue()
        self._call.limit = client.options.receive_queue
        self._call.future.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._expect = expect
        self._deadline: Optional[float] = None
        self._got = 0
        self._answered = False  # a reply came that no other of the same client follows
        #: What the hub says of the request at its end; None before, and if the hub is of an earlier release.
        self.settlement: Optional[Settlement] = None

    def _expectation(self, retry: bool, key: str) -> str:
        """Return the member expect. The hub gives up a little before this client, which so learns who did not answer."""
        seconds = 3600.0 if self._timeout is None else min(max(self._timeout, 0.0), 3600.0)
        text = f',"expect":{{"timeout_ms":{max(int(1000 * (seconds - min(seconds / 10, _SETTLE_MARGIN))), 1)}'
        text += ',"retry":true' if retry else ""
        text += f',"key":{wire.json_text(key)}' if key else ""
        return text + "}"

    async def __aenter__(self) -> Replies:
        if self._timeout is not None:
            self._deadline = self._client.loop.time() + self._timeout
        try:
            waits = self._client.outbox.enqueue(self._call)
            if waits is not None:
                await self._before_deadline(waits)
        except asyncio.TimeoutError:
            raise asyncio.TimeoutError(f"event {self._call.event[:80]!r}: not sent, there was no connection") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._answered or self._call.to.to_many:  # else it is over, or about to be
            self._client.outbox.cancel_request(self._call)
        self._client.outbox.withdraw(self._call)

    def __aiter__(self) -> Replies:
        return self

    async def __anext__(self) -> Message:
        if self.settlement is not None or (self._expect and self._got == self._expect):
            raise StopAsyncIteration
        assert self._call.replies is not None
        item: Union[Message, Settlement, BaseException]
        try:
            if self._call.replies.empty():
                item = await self._before_deadline(self._call.replies.get())
            else:
                item = self._call.replies.get_nowait()
        except asyncio.TimeoutError:
            if not self._expect and not self._call.queued:
                raise StopAsyncIteration from None
            why = "not sent, there was no connection" if self._call.queued else f"{self._got} of {self._expect} replies came"
            raise asyncio.TimeoutError(f"event {self._call.event[:80]!r}: {why}") from None
        if isinstance(item, Settlement):
            self.settlement = item
            if self._got < self._expect:
                raise request_error(self._call.event, self._call.to, item)
            raise StopAsyncIteration
        if isinstance(item, BaseException):
            raise item
        self._got += 1
        self._answered = self._answered or not item.more
        return item

    async def _before_deadline(self, wait: Coroutine[Any, Any, Any]) -> Any:
        if self._deadline is None:
            return await wait
        return await asyncio.wait_for(wait, max(self._deadline - self._client.loop.time(), 0))

"""What waits for the program's handlers, and the calls of them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Union

from ._errors import Error, HubError
from ._message import Message
from ._options import Handler
from ._stream import Announcement

if TYPE_CHECKING:
    from ._client import Client


class Inbox:
    """A queue of messages, and of what else the program is told, in one order. Handlers are called one at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._options = client.options
        self._handlers: Dict[str, List[Handler]] = {event: [h] for event, h in client.options.on.items()}
        self._most = client.options.receive_queue
        self._queue: Deque[Union[Message, Announcement, Callable[[], Any]]] = deque()
        self._more = asyncio.Event()
        self._waiting = False  # dispatch waits for it
        self._withheld, self._reported = 0, float("-inf")  # ERRORs that were not logged, and when one was

    def add(self, event: str, handler: Handler) -> None:
        self._handlers[event] = [*self._handlers.get(event, ()), handler]

    def remove(self, event: str, handler: Handler) -> None:
        left = [h for h in self._handlers.get(event, ()) if h is not handler]
        if left:
            self._handlers[event] = left
        else:
            self._handlers.pop(event, None)

    def full(self) -> bool:
        """Report whether handlers must catch up before more is handed out."""
        return len(self._queue) >= self._most

    def wake(self) -> None:
        """Have dispatch look at what has changed."""
        self._more.set()

    def give(self, message: Message) -> None:
        """Queue a message for its handlers. A request that has none is declined."""
        if (message.event in self._handlers and not message.is_reply) or self._options.on_message is not None:
            self._queue.append(message)
            if self._waiting:
                self._more.set()
        else:
            message.decline()
            self.pass_by(message)

    def pass_by(self, message: Message) -> None:
        """Note that a message that no handler gets is handled, in its turn."""
        if message.mark is not None:
            self.call(functools.partial(self._client.progress.handled, message.mark))

    def call(self, hook: Callable[[], Any]) -> None:
        """Queue the call of a hook."""
        self._queue.append(hook)
        self._more.set()

    def announce(self, announcement: Announcement) -> None:
        """Queue the call of on_connect or on_disconnect. It waits for no room: a handler may wait for the connection."""
        hook = self._options.on_connect if announcement.identity is not None else self._options.on_disconnect
        if hook is None:
            return
        # Beyond the bound, connections that came and went without a message are merged.
        last = self._queue[-1] if len(self._queue) > self._options.receive_queue else None
        if isinstance(last, Announcement) and (last.identity is None) == (announcement.identity is None):
            if announcement.identity is not None:
                self._queue[-1] = announcement
        else:
            self._queue.append(announcement)
        self._more.set()

    def report(self, error: HubError) -> None:
        """Tell the program of an ERROR that no call waits for, or log it, at most one a second."""
        if self._options.on_error is not None:
            self.call(functools.partial(self._options.on_error, error))
            return
        now = time.monotonic()
        if now - self._reported < 1:
            self._withheld += 1
            return
        self._options.logger.warning("a message was not delivered: %s (%d not logged before)", error, self._withheld)
        self._withheld, self._reported = 0, now

    async def dispatch(self) -> None:
        """Call handlers and hooks one at a time."""
        client = self._client
        while not client.quitting:
            if not self._queue:
                if client.ended.done() and client.stream.idle():
                    return
                self._more.clear()
                self._waiting = True
                await self._more.wait()
                self._waiting = False
                continue
            item = self._queue.popleft()
            if len(self._queue) == self._most - 1:
                client.stream.wake()
            if isinstance(item, Message):
                handlers = self._handlers.get(item.event) if not item.is_reply else None
                for h in handlers or ((self._options.on_message,) if self._options.on_message else ()):
                    try:
                        result = h(item)
                        if result is not None and inspect.isawaitable(result):
                            await result
                    except Exception as e:
                        await self._failed(item, e)
                if item.mark is not None:
                    client.progress.handled(item.mark)
            else:
                await self._invoke(item.call(self._options) if isinstance(item, Announcement) else item)

    async def _failed(self, message: Message, error: Exception) -> None:
        """Contain the exception of a handler. The sender of a request learns of it."""
        self._options.logger.exception("the handler of %r raised an exception", message)
        if message.is_request:
            with suppress(Error):
                await message.reply_error("ERROR", f"{type(error).__name__}: {error}")

    async def _invoke(self, hook: Callable[[], Any]) -> None:
        """Call a hook, and contain its exception."""
        try:
            result = hook()
            if inspect.isawaitable(result):
                await result
        except Exception:
            self._options.logger.exception("the hook raised an exception")

"""Messages from other clients, and the answers to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from . import _wire as wire
from ._errors import RemoteError, RequestOverError
from ._intent import Intent, direct

if TYPE_CHECKING:
    from ._client import Client
    from ._connection import Connection
    from ._history import Mark

_MAX_TIMEOUT_MS = 3_600_000
_MAX_EXPLANATION = 4096  # characters of an error that is sent to the requester


class Duty:
    """A request that this client owes an answer to."""

    def __init__(self, duties: Duties, key: Tuple[Connection, str, str], seconds: float) -> None:
        loop = key[0].loop
        self._duties = duties
        self.key = key
        self.deadline = loop.time() + seconds
        #: Done when no answer is wanted any more: cancelled, answered, passed, or too late.
        self.over: asyncio.Future[None] = loop.create_future()
        self._timer = loop.call_later(seconds, self.end)

    @property
    def connection(self) -> Connection:
        return self.key[0]

    def end(self) -> bool:
        """End the duty. The result is false if it had ended before."""
        if self.over.done():
            return False
        self.over.set_result(None)
        self._timer.cancel()
        self._duties.forget_one(self)
        return True


class Duties:
    """The requests that a client owes an answer to."""

    def __init__(self) -> None:
        self._open: Dict[Tuple[Connection, str, str], Duty] = {}

    def owe(self, connection: Connection, m: wire.Wire) -> Optional[Duty]:
        """Note a request that arrived on the connection; None for other messages."""
        expect = m.members.get("expect")
        if expect is None or not isinstance(expect, dict) or "requests" not in connection.identity.features:
            return None
        timeout = expect.get("timeout_ms")
        if type(timeout) is not int or timeout <= 0:
            return None
        key = (connection, m.sender, m.id)
        duty = self._open[key] = Duty(self, key, min(timeout, _MAX_TIMEOUT_MS) / 1000)
        return duty

    def forget_one(self, duty: Duty) -> None:
        if self._open.get(duty.key) is duty:
            del self._open[duty.key]

    def drop_copy(self, m: Message) -> None:
        """Handle that of two copies of a request, on the two connections of a move, m is not handed out.

        The other one is answered, and m passed. If nothing can be sent any more over the connection that the other one came
        from, m's is used.
        """
        mine = m._duty
        if mine is None or mine.over.done():
            return
        for other in self._open.values():
            if other.key[1:] == mine.key[1:] and other is not mine and not other.connection.writable:
                mine.end()
                self.forget_one(other)
                other.key = mine.key
                self._open[other.key] = other
                return
        m.decline()

    def cancelled(self, connection: Connection, sender: str, message_id: str) -> None:
        """Handle a CANCEL."""
        duty = self._open.get((connection, sender, message_id))
        if duty is not None:
            duty.end()

    def forget(self, connection: Connection) -> None:
        """End what came over a connection that has ended: no answer to it arrives any more."""
        for duty in [d for d in self._open.values() if d.connection is connection]:
            duty.end()

    def due(self, connection: Connection) -> bool:
        return any(d.connection is connection for d in self._open.values())


class Message:
    """A message from another client."""

    __slots__ = ("is_reply", "event", "data", "intent", "raw", "mark", "_client", "_duty", "_wire")

    def __init__(self, client: Client, m: wire.Wire, intent: Intent, raw: bytes, duty: Optional[Duty] = None) -> None:
        self._client = client
        self._duty = duty
        self._wire = m
        self.mark: Optional[Mark] = None  # how far the client is in a group with history once the handlers have returned
        #: Whether it is a REPLY, which must not be answered.
        self.is_reply = m.op == wire.REPLY
        #: The event's name.
        self.event = m.event
        #: The data, decoded; None if there is none. An integer of more than 4,300 digits is a decimal.Decimal.
        self.data = m.data
        #: How it was addressed.
        self.intent = intent
        #: The envelope as it arrived, in UTF-8.
        self.raw = raw

    @property
    def id(self) -> str:
        """Correlates an EVENT with its REPLYs."""
        return self._wire.id

    @property
    def sender(self) -> str:
        """The sender's id, set by the hub."""
        return self._wire.sender

    @property
    def members(self) -> Dict[str, Any]:
        """All members of the envelope, decoded."""
        return self._wire.members

    @property
    def offset(self) -> Optional[int]:
        """The message's number in a group with history; None for any other message."""
        offset = self._wire.members.get("offset")
        return offset if type(offset) is int and offset > 0 else None

    @property
    def error(self) -> Optional[RemoteError]:
        """Of a REPLY: why the handler failed; None if it did not."""
        if "error" not in self.members or not self.is_reply:
            return None
        e = self.members["error"]
        code, text = (e.get("code"), e.get("message")) if isinstance(e, dict) else (None, None)
        return RemoteError(code if isinstance(code, str) else "ERROR", text if isinstance(text, str) else "", self.sender)

    @property
    def more(self) -> bool:
        """Of a REPLY: whether its sender said that at least one more follows."""
        return self.is_reply and self.members.get("more") is True

    @property
    def attempt(self) -> int:
        """Of a request: which attempt it is; from 2 on another member had it before."""
        attempt = self.members.get("attempt") if self._duty is not None else None
        return attempt if type(attempt) is int else 1

    def __repr__(self) -> str:
        return f"<Message {self.event!r} {self.id!r} from {self.sender} to {self.intent}>"

    @property
    def is_request(self) -> bool:
        """Whether the sender is told if no answer comes."""
        return self._duty is not None

    @property
    def deadline(self) -> Optional[float]:
        """Until when an answer to a request is wanted, by the event loop's clock; None for other messages."""
        return None if self._duty is None else self._duty.deadline

    async def over(self) -> None:
        """Wait until no answer to the request is wanted any more: it is cancelled, answered, or its time is over."""
        if self._duty is not None:
            await asyncio.wait({self._duty.over})

    async def reply(self, data: Any = None, *, more: bool = False) -> None:
        """Send a REPLY to the message's sender, with the same id and event. more: at least one more REPLY follows.

        An answer to a request goes over the connection that the request came from. Raises RequestOverError once that has
        ended, or the request is over; other errors are those of Client.send.
        """
        await self._answer(data, ',"more":true' if more else "", not more)

    async def reply_error(self, code: str, explanation: str = "") -> None:
        """Send a REPLY that says that the handler failed. The requester gets a RemoteError."""
        text = explanation[:_MAX_EXPLANATION].encode("utf-8", "replace").decode()
        await self._answer(None, f',"error":{{"code":{wire.json_text(code)},"message":{wire.json_text(text)}}}', True)

    def decline(self) -> None:
        """Tell the hub that no answer to a request comes from this client. It does nothing for any other message."""
        if self._duty is not None and self._duty.end():
            self._duty.connection.write(wire.pass_frame(self.id, self.sender))

    async def _answer(self, data: Any, further: str, last: bool) -> None:
        duty = self._duty
        if duty is not None and duty.over.done():
            raise RequestOverError(f"event {self.event[:80]!r}: the request is over")
        await self._client.outbox.reply(self.id, direct(self.sender), self.event, data, further, None if duty is None else duty.connection)
        if duty is not None and last:
            duty.end()

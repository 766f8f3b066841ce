"""What the program sends: the queue, the connection that takes from it, and the calls that await their outcome."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Coroutine, Deque, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from . import _wire as wire
from ._connection import Connection, Mode
from ._errors import (
    ClosedError, DuplicateIDError, NoAcksError, OutcomeUnknownError, RequestOverError, Settlement, TooBigError,
    TooManyRepliesError, hub_error,
)
from ._intent import Intent
from ._message import Message

if TYPE_CHECKING:
    from ._client import Client

_BATCH = 256  # messages written before the event loop runs again
_ACK_BEGIN = b'{"op":7,"id":"'
_SENT = 1024  # messages remembered at least, so that an ERROR can name event and target


class Ack(NamedTuple):
    """The hub's answer to an acked message."""

    instances: int  # to which the hub has handed it: those that have a receiver
    offset: Optional[int]  # its number in a group with history; None for any other message
    duplicate: bool  # a message with this id had been sent before, with once; offset is that one's number


_UNACKED = Ack(0, None, False)  # of a message that was written


class Call:
    """A message from its send to its outcome."""

    __slots__ = ("id", "event", "to", "frame", "kind", "future", "connection", "replies", "limit", "queued")

    def __init__(self, message_id: str, event: str, to: Intent, frame: bytes, kind: str, future: asyncio.Future[Ack]) -> None:
        self.id, self.event, self.to, self.frame = message_id, event, to, frame
        self.kind = kind  # "plain": done when written; "acked": by ACK or ERROR; "request": by replies
        self.future = future
        self.connection: Optional[Connection] = None  # that wrote it
        self.replies: Optional[asyncio.Queue[Union[Message, Settlement, BaseException]]] = None
        self.limit = 0
        self.queued = False

    def complete(self, ack: Ack = _UNACKED, error: Optional[BaseException] = None) -> None:
        if not self.future.done():
            if error is None:
                self.future.set_result(ack)
            else:
                self.future.set_exception(error)
        if error is not None and self.replies is not None:
            self.replies.put_nowait(error)

    def reply(self, m: Message) -> None:
        assert self.replies is not None
        if self.replies.qsize() >= self.limit:
            self.limit = 0  # later ones are ignored
            self.complete(error=TooManyRepliesError(f"event {self.event[:80]!r}: too many unread replies"))
        else:
            self.replies.put_nowait(m)


class Outbox:
    """The calls of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = client.loop
        self._closing = client.closing
        self._capacity = client.options.send_queue
        #: The connection that sends what is queued.
        self.sender: Optional[Connection] = None
        self._sender_changed: asyncio.Future[None] = client.loop.create_future()
        self._queue: Deque[Call] = deque()
        self._room: Deque[Tuple[Call, asyncio.Future[None]]] = deque()  # calls that wait for room in the queue
        self._pending: Dict[str, Call] = {}  # written calls that await an answer, by id
        self._sent: Dict[str, Tuple[Intent, str]] = {}  # receivers and event by id
        self._sent_before: Dict[str, Tuple[Intent, str]] = {}  # what _sent was when it was full
        self._unyielded = 0
        self._prefix = secrets.token_urlsafe(12) + "-"  # of the ids of messages
        self._numbers = itertools.count(1)

    # The program's calls

    def call(
        self, op: int, message_id: Optional[str], to: Intent, event: str, data: Any, kind: str, further: str = "",
    ) -> Call:
        if message_id is None:
            message_id = f"{self._prefix}{next(self._numbers)}"
            encoded = f'"{message_id}"'
        else:
            encoded = wire.encode_id(message_id)
        frame = wire.envelope(op, encoded, to, event, data, further)
        return Call(message_id, event, to, frame, kind, self._loop.create_future())

    def try_send(self, to: Intent, event: str, data: Any) -> bool:
        """Write an EVENT at once, if nothing is in its way. The result is false if it has to be sent by send."""
        sender = self.sender
        if sender is None or self._queue or sender.congested or sender.ended or self._closing.done() or self._unyielded >= _BATCH:
            return False
        message_id, to_event = f"{self._prefix}{next(self._numbers)}", (to, event)
        frame = wire.event_frame(message_id, to_event, data)
        limit = sender.identity.max_message_bytes
        if 0 < limit < len(frame):
            raise _too_big(event, len(frame), limit)
        self._unyielded += 1
        if len(self._sent) >= _SENT:
            self._sent_before, self._sent = self._sent, {}
        self._sent[message_id] = to_event
        sender.write(frame)
        return True

    async def reply(
        self, message_id: str, to: Intent, event: str, data: Any, further: str, via: Optional[Connection],
    ) -> None:
        """Send a REPLY; over the connection via, if it is given."""
        call = self.call(wire.REPLY, message_id, to, event, data, "plain", further)
        if via is None or via is self.sender:
            await self.send(call)
            return
        self._check_size(call)
        if via.ended or via.mode is Mode.LEAVING:
            raise RequestOverError(f"event {event[:80]!r}: the connection that the request came from has ended")
        via.write(call.frame)

    async def send(self, call: Call) -> Ack:
        """Send a call and return its outcome."""
        waits = self.enqueue(call)
        if waits is not None:
            await waits
        if call.future.done():
            return call.future.result()
        try:
            return await call.future
        except asyncio.CancelledError:
            self.withdraw(call)
            raise

    def enqueue(self, call: Call) -> Optional[Coroutine[Any, Any, None]]:
        """Write the call, or queue it: in the order of these calls. It returns what the caller has to await then, if anything."""
        self._check_size(call)
        self._check_open(call)
        if len(self._queue) >= self._capacity:
            room: asyncio.Future[None] = self._loop.create_future()
            self._room.append((call, room))
            return self._await_room(call, room)
        sender = self.sender
        if not self._queue and sender is not None and not sender.congested:
            self._write(sender, call)
            self._unyielded += 1
            if self._unyielded >= _BATCH:
                self._unyielded = 0
                sender.flush()
                return asyncio.sleep(0)
        else:
            call.queued = True
            self._queue.append(call)
        return None

    async def _await_room(self, call: Call, room: asyncio.Future[None]) -> None:
        try:
            await room
        except asyncio.CancelledError:
            self.withdraw(call)
            raise
        self._check_open(call)

    def withdraw(self, call: Call) -> None:
        """Give up a call that is queued or awaits its outcome."""
        if call.queued:
            with suppress(ValueError):
                self._queue.remove(call)
        if self._pending.get(call.id) is call:
            del self._pending[call.id]

    def cancel_request(self, call: Call) -> None:
        """Tell the hub that no more answers are wanted, unless the request is over."""
        connection = call.connection
        if connection is not None and self._pending.get(call.id) is call and "requests" in connection.identity.features:
            if connection.mode is not Mode.LEAVING:
                connection.write(wire.cancel_frame(call.id))

    def _check_open(self, call: Call) -> None:
        if self._client.ended.done():
            raise ClosedError(f"event {call.event[:80]!r}: not sent: the client has ended") from self._client.error
        if self._client.closing.done():
            raise ClosedError(f"event {call.event[:80]!r}: not sent: the client was closed")

    def _check_size(self, call: Call) -> None:
        limit = self._client.identity.max_message_bytes
        if 0 < limit < len(call.frame):
            raise _too_big(call.event, len(call.frame), limit)

    # Writing

    def _write(self, connection: Connection, call: Call) -> None:
        if call.kind == "acked" and "acks" not in connection.identity.features:
            call.complete(error=NoAcksError(f"event {call.event[:80]!r}: the hub grants no acks"))
            return
        limit = connection.identity.max_message_bytes
        if 0 < limit < len(call.frame):
            call.complete(error=_too_big(call.event, len(call.frame), limit))
            return
        if call.kind != "plain":
            if call.id in self._pending:
                call.complete(error=DuplicateIDError(f"event {call.event[:80]!r}: the id {call.id!r} is in use"))
                return
            call.connection = connection
            self._pending[call.id] = call
        if len(self._sent) >= _SENT:
            self._sent_before, self._sent = self._sent, {}
        self._sent[call.id] = (call.to, call.event)
        connection.write(call.frame)
        if call.kind == "plain":
            call.complete()

    def _take(self, connection: Connection) -> None:
        """Write the first call of the queue."""
        call = self._queue.popleft()
        call.queued = False
        if not call.future.cancelled():
            self._write(connection, call)
        while self._room and len(self._queue) < self._capacity:
            waiting, room = self._room.popleft()
            if not room.done():
                waiting.queued = True
                self._queue.append(waiting)
                room.set_result(None)

    def drain_to(self, connection: Connection) -> None:
        """Write queued calls on the connection that sends, which has just become that, or takes more again."""
        if self.sender is not connection:
            self.sender = connection
            changed, self._sender_changed = self._sender_changed, self._loop.create_future()
            changed.set_result(None)
            self._client.memberships.uses(connection)
        while self._queue and not connection.congested and not connection.ended:
            self._take(connection)

    async def sender_changed(self) -> None:
        """Wait until another connection sends, or the client ends."""
        waits: Set[asyncio.Future[Any]] = {self._sender_changed, self._client.ended, self._client.closing}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    def stop_sending(self, connection: Connection) -> None:
        """Make the connection send nothing more from the queue."""
        if self.sender is connection:
            self.sender = None
        connection.set_mode(Mode.WAITING)

    def finish(self, connection: Connection) -> None:
        """Write the queue and say goodbye."""
        if connection.mode is not Mode.LEAVING:
            while self._queue and not connection.ended:
                self._take(connection)
        connection.goodbye()

    # Outcomes

    def due(self, connection: Connection) -> bool:
        """Report whether the outcomes of calls are due on the connection."""
        return any(c.connection is connection for c in self._pending.values())

    def request_of(self, message_id: str) -> Optional[Call]:
        """Return the request with this id that awaits REPLYs."""
        call = self._pending.get(message_id)
        return call if call is not None and call.replies is not None else None

    def without_ignored(self, messages: List[bytes]) -> List[bytes]:
        """Return messages without the ACKs, in the form of the hub, that no call waits for. Most are."""
        if not self._pending:
            return [text for text in messages if not text.startswith(_ACK_BEGIN)]
        return [text for text in messages if not (text.startswith(_ACK_BEGIN) and self._ignores(text))]

    def _ignores(self, text: bytes) -> bool:
        """Report whether no call waits for an ACK."""
        end = text.find(b'"', len(_ACK_BEGIN))
        return end > 0 and text[len(_ACK_BEGIN):end].decode("ascii", "replace") not in self._pending

    def acknowledged(self, connection: Connection, m: wire.Wire) -> None:
        """Handle an ACK."""
        nodes, offset = (m.data.get("nodes"), m.data.get("offset")) if isinstance(m.data, dict) else (None, None)
        if type(nodes) is not int or (offset is not None and type(offset) is not int):
            raise wire.MalformedError("malformed ACK from the hub")
        call = self._pending.get(m.id)
        if call is not None and call.connection is connection and call.kind == "acked":
            del self._pending[m.id]
            call.complete(Ack(nodes, offset, m.data.get("duplicate") is True))

    def settled(self, connection: Connection, m: wire.Wire) -> None:
        """Handle what became of a request."""
        settlement = wire.parse_settlement(m.data)
        call = self._pending.get(m.id)
        if call is not None and call.connection is connection and call.replies is not None:
            del self._pending[m.id]
            call.replies.put_nowait(settlement)

    def refused(self, connection: Connection, m: wire.Wire) -> None:
        """Handle an ERROR."""
        code = m.data.get("code") if isinstance(m.data, dict) else None
        if not isinstance(code, str):
            raise wire.MalformedError("malformed ERROR from the hub")
        explanation = m.data.get("message")
        to, event = self._sent.get(m.id) or self._sent_before.get(m.id) or (None, "")
        error = hub_error(m.id, code, explanation if isinstance(explanation, str) else "", event, to)
        call = self._pending.get(m.id)
        if call is not None and call.connection is connection:
            del self._pending[m.id]
            call.complete(error=error)
        elif not self._client.stream.fence_refused(connection, m.id):
            self._client.inbox.report(error)

    def forget(self, connection: Connection) -> None:
        """Handle the end of a connection: what awaits answers there fails."""
        if self.sender is connection:
            self.sender = None
        for call in [c for c in self._pending.values() if c.connection is connection]:
            del self._pending[call.id]
            error = OutcomeUnknownError(f"event {call.event[:80]!r}: outcome unknown: {connection.error}")
            error.__cause__ = connection.error
            call.complete(error=error)

    def end(self, error: BaseException) -> None:
        """Fail what waits, since no further connection follows."""
        waiting = [*self._queue, *self._pending.values()]
        self._queue.clear()
        self._pending.clear()
        for call in waiting:
            unsent = ClosedError(f"event {call.event[:80]!r}: not sent: the client has ended")
            unsent.__cause__ = error
            call.complete(error=unsent if call.connection is None else OutcomeUnknownError(f"event {call.event[:80]!r}: {error}"))
        for _, room in self._room:
            if not room.done():
                room.set_result(None)


def _too_big(event: str, size: int, limit: int) -> TooBigError:
    return TooBigError(f"event {event[:80]!r}: the message has {size} bytes, the hub accepts at most {limit}")

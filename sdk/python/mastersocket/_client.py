"""The client: it keeps a connection, queues what is sent, and hands out what arrives."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
import uuid
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Any, AsyncIterator, Callable, Coroutine, Deque, Dict, Generator, List, Mapping, Optional, Set, Tuple, TypeVar, Union, overload

from . import _wire as wire
from ._connection import Connection, Mode
from ._errors import (
    ClosedError, DisconnectError, DuplicateIDError, Error, HandshakeError, NoAcksError, OptionsError, OutcomeUnknownError,
    RemoteError, RequestOverError, Settlement, TooBigError, TooManyRepliesError, hub_error, request_error,
)
from ._groups import Memberships
from ._holds import Hold, Holds
from ._intent import Intent, check_group
from ._message import Duties, Message
from ._mover import move
from ._options import Handler, Options
from ._presence import Presence, Watch
from ._stream import Announcement, Stream

_CROWDED_WAIT = 5.0  # the longest random time added to the wait if the hub is overloaded
_MIN_AUTH_WAIT, _MAX_AUTH_WAIT = 5.0, 300.0  # the bounds of the waits after a refusal of the token
_BATCH = 256  # messages written before the event loop runs again
_SENT = 1024  # messages remembered, so that an ERROR can name event and target
_SETTLE_MARGIN = 0.05  # how much earlier the hub gives up a request than its caller, at most, in seconds
_IDENTIFY_REFUSED = "IDENTIFY_FAILED"


_H = TypeVar("_H", bound=Handler)


class Call:
    """A message from its send to its outcome."""

    __slots__ = ("id", "event", "to", "frame", "kind", "future", "connection", "replies", "limit", "queued")

    def __init__(self, message_id: str, event: str, to: Intent, frame: bytes, kind: str, future: asyncio.Future[int]) -> None:
        self.id, self.event, self.to, self.frame = message_id, event, to, frame
        self.kind = kind  # "plain": done when written; "acked": by ACK or ERROR; "request": by replies
        self.future = future
        self.connection: Optional[Connection] = None  # that wrote it
        self.replies: Optional[asyncio.Queue[Union[Message, Settlement, BaseException]]] = None
        self.limit = 0
        self.queued = False

    def complete(self, nodes: int = 0, error: Optional[BaseException] = None) -> None:
        if not self.future.done():
            if error is None:
                self.future.set_result(nodes)
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


class Backoff:
    """Waits that are uniform between 0 and a bound, which doubles."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._bound = options.min_backoff

    def next(self) -> float:
        wait = random.uniform(0, self._bound)
        self._bound = min(2 * self._bound, self._options.max_backoff)
        return wait

    def reset(self) -> None:
        self._bound = self._options.min_backoff


class Client:
    """A service's connection to the hub. It reconnects when the connection is lost, and moves when the hub asks for it.

    Make one with :func:`mastersocket.connect`. Its methods belong to the event loop in which it was made.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.loop = asyncio.get_running_loop()
        #: The hub's answer to the last IDENTIFY. Its id is valid until the client reconnects or moves.
        self.identity = wire.NOBODY
        self.closing: asyncio.Future[None] = self.loop.create_future()  # no further call is accepted
        self.quitting = False  # no further handler is called
        self.stream = Stream(self)
        self.memberships = Memberships(self)
        self.presence = Presence(self)
        self.holds = Holds(self)
        self.duties = Duties()
        self.sender: Optional[Connection] = None  # sends what is queued
        self._sender_changed: asyncio.Future[None] = self.loop.create_future()
        self._queue: Deque[Call] = deque()
        self._room: Deque[Tuple[Call, asyncio.Future[None]]] = deque()  # calls that wait for room in the queue
        self._pending: Dict[str, Call] = {}  # written calls that await an answer, by id
        self._sent: OrderedDict[str, Tuple[str, Intent]] = OrderedDict()
        self._handlers: Dict[str, List[Handler]] = {event: [h] for event, h in options.on.items()}
        self._streams: List[Tuple[str, asyncio.Queue[Message]]] = []
        self._inbox: Deque[Union[Message, Announcement, Callable[[], Any]]] = deque()
        self._more = asyncio.Event()
        self._ready: asyncio.Future[None] = self.loop.create_future()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self._error: Optional[BaseException] = None
        self._last_error: Optional[BaseException] = None
        self._refused: Tuple[str, Optional[BaseException]] = ("", None)
        self._auth_wait = 0.0
        self._reconnect_delay = 0.0
        self._unyielded = 0
        self._withheld, self._reported = 0, float("-inf")
        self._busy = False  # a handler runs
        self._tasks: Set[asyncio.Task[Any]] = set()
        self._running = self.task(self._run())
        self._dispatching = self.task(self._dispatch())

    def task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that ends with the client."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # The program's calls

    async def send(self, to: Intent, event: str, data: Any = None, *, id: Optional[str] = None) -> None:
        """Send an EVENT. It returns once the message is written to an identified connection, and waits for one.

        Bound the wait with :func:`asyncio.wait_for`: a cancelled call is not sent, unless it is on its way. If the hub then
        refuses the message, ``on_error`` is called.
        """
        await self._send(self._call(wire.EVENT, id, to, event, data, "plain"))

    async def send_acked(self, to: Intent, event: str, data: Any = None, *, id: Optional[str] = None) -> int:
        """Send an EVENT and return once the hub has handed it to every instance that has a receiver: their number.

        Raises NoReceiverError if no client matches the intent, OutcomeUnknownError if the connection broke meanwhile.
        """
        call = self._call(wire.EVENT, id, to, event, data, "acked")
        return await self._send(call)

    async def request(
        self, to: Intent, event: str, data: Any = None, *, timeout: Optional[float] = None, retry: bool = False, key: str = "",
        id: Optional[str] = None,
    ) -> Message:
        """Send an EVENT and return the first REPLY to it.

        It fails as soon as no answer can come any more: with a RequestError, which says who did not answer and why, when the
        receivers have passed, gone, or not been there; with a RemoteError if the handler failed; with OutcomeUnknownError when
        the connection is lost; and with asyncio.TimeoutError after timeout seconds, by default an hour. The handler gets the
        deadline, and the cancellation of this call.

        retry  with any_of: another member gets the request if the first goes without an answer; it may have begun to work on it
        key    with any_of: the member that the key names, the same one as long as the group does not change
        """
        async with Replies(self, to, event, data, 1, timeout, id, retry, key) as replies:
            async for m in replies:
                if m.error is not None:
                    raise m.error
                return m
        raise ClosedError("the client was closed")

    def request_many(
        self, to: Intent, event: str, data: Any = None, *, expect: int = 0, timeout: Optional[float] = None,
        id: Optional[str] = None,
    ) -> Replies:
        """Send an EVENT and iterate over the REPLYs: ``async with hub.request_many(…) as replies: async for m in replies:``.

        The iteration ends after expect replies or, if expect is 0, when no more can come; then ``replies.settlement`` says who
        did not answer and why. A request that ends before expect replies came raises RequestError. Leaving the block cancels
        the request.
        """
        return Replies(self, to, event, data, expect, timeout, id)

    @overload
    def on(self, event: str, handler: _H) -> _H: ...

    @overload
    def on(self, event: str) -> Callable[[_H], _H]: ...

    def on(self, event: str, handler: Any = None) -> Any:
        """Add a handler for EVENTs with the given name; also as a decorator. It returns the handler.

        It does not get messages that arrived before; the option ``on`` is for handlers that must not miss any. Handlers are
        called one at a time, in the order of the messages. One that takes long should start a task.
        """
        if handler is None:
            return functools.partial(self.on, event)
        self._handlers[event] = [*self._handlers.get(event, ()), handler]
        return handler

    @overload
    def answer(self, event: str, handler: _H) -> _H: ...

    @overload
    def answer(self, event: str) -> Callable[[_H], _H]: ...

    def answer(self, event: str, handler: Any = None) -> Any:
        """Answer EVENTs with the given name by what a function returns; also as a decorator.

        It may be a function, a coroutine function or an async generator, each of whose values is a REPLY. An exception is sent
        as an error; a RemoteError chooses its code. Each call is a task of its own, which is cancelled when the requester is
        not interested any more. At most ``receive_queue`` run at once.
        """
        if handler is None:
            return functools.partial(self.answer, event)
        self.on(event, Answerer(self, handler))
        return handler

    def off(self, event: str, handler: Handler) -> None:
        """Remove a handler."""
        left = [h for h in self._handlers.get(event, ()) if h is not handler]
        if left:
            self._handlers[event] = left
        else:
            self._handlers.pop(event, None)

    async def events(self, event: str) -> AsyncIterator[Message]:
        """Iterate over EVENTs with the given name, from the first one that arrives after the iteration begins.

        At most ``receive_queue`` messages wait; while they do, the handlers of all events wait too.
        """
        queue: asyncio.Queue[Message] = asyncio.Queue(self.options.receive_queue)

        async def put(m: Message) -> None:
            await queue.put(m)

        self.on(event, put)
        try:
            while True:
                get: asyncio.Future[Message] = self.loop.create_task(queue.get())
                waits: Set[asyncio.Future[Any]] = {get, self.ended}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if not get.done():
                    get.cancel()
                    return
                yield get.result()
        finally:
            self.off(event, put)
            while not queue.empty():  # a handler that waits for room goes on
                queue.get_nowait()

    @property
    def groups(self) -> List[str]:
        """The groups that the client is in, the one of the option ``group`` first."""
        return [self.options.group, *self.memberships.further]

    async def subscribe(self, *groups: str) -> None:
        """Join further groups. When it returns, nothing that is sent to them from then on is missed.

        It joins all of them or, with an error, none: GroupError if the hub refuses, NotGrantedError if it is of an earlier
        release. It waits for a connection, and the groups stay after a reconnect or a move.
        """
        for g in groups:
            check_group(g)
        await self.memberships.change(wire.SUBSCRIBE, {"groups": list(groups)})

    async def unsubscribe(self, *groups: str) -> None:
        """Leave groups. The hub then sends nothing more of what is sent to them. The option ``group`` can't be left."""
        await self.memberships.change(wire.UNSUBSCRIBE, {"groups": list(groups)})

    async def set_meta(self, meta: Mapping[str, str]) -> None:
        """Replace the option ``meta``: what the client says of itself to operators and to those who watch its groups."""
        await self.memberships.change(wire.SUBSCRIBE, {"meta": dict(meta)})

    async def set_weight(self, weight: int) -> None:
        """Set the client's share of the ANYs to its groups: 0 to 100, 1 by default. With 0 it gets none."""
        await self.memberships.change(wire.SUBSCRIBE, {"weight": weight})

    async def watch(self, group: str) -> Watch:
        """Watch who is in a group, which needs no membership: ``async with await hub.watch(group) as watch:``.

        It returns when the set is complete. The token needs the right to watch the group. Raises GroupError if the hub refuses,
        ValueError if this client watches the group already.
        """
        check_group(group)
        return await self.presence.watch(group)

    async def hold(self, group: str) -> Hold:
        """Wait until this client alone holds an exclusive group: ``async with await hub.hold(group) as hold:``.

        The others wait in the order in which they asked. The token needs the right to hold the group. Raises GroupError if the
        hub refuses, ValueError if this client holds the group, or waits for it, already.
        """
        check_group(group)
        return await self.holds.hold(group)

    async def close(self, timeout: float = 10.0) -> None:
        """Close the client.

        It calls no further handler and drops queued messages, waits for the running handler, which may still send and
        reply, writes what was sent before, and says goodbye to the hub. After timeout seconds it cuts the connection and
        cancels the handler. It may be called repeatedly, and by a handler.
        """
        self.quitting = True
        self._more.set()
        self.stream.wake()
        deadline = self.loop.time() + timeout
        if asyncio.current_task() is not self._dispatching:
            await asyncio.wait({self._dispatching}, timeout=timeout)
        self.holds.end()  # before the goodbye lets others act
        if not self.closing.done():
            self.closing.set_result(None)
        await asyncio.wait({self._running}, timeout=max(deadline - self.loop.time(), 0))
        me = asyncio.current_task()
        tasks = {t for t in self._tasks if t is not me and not t.done()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    @property
    def closed(self) -> bool:
        """Whether the client has ended, by close or by itself."""
        return self.ended.done()

    async def wait_closed(self) -> None:
        """Wait for the client's end. Raises the error if it ended by itself."""
        await asyncio.wait({self.ended})
        if self._error is not None and not isinstance(self._error, ClosedError):
            raise self._error

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Sending

    def _call(
        self, op: int, message_id: Optional[str], to: Intent, event: str, data: Any, kind: str, further: str = "",
    ) -> Call:
        message_id = str(uuid.uuid4()) if message_id is None else message_id
        frame = wire.envelope(op, message_id, to, event, data, further)
        return Call(message_id, event, to, frame, kind, self.loop.create_future())

    async def _reply(
        self, message_id: str, to: Intent, event: str, data: Any, further: str, via: Optional[Connection],
    ) -> None:
        call = self._call(wire.REPLY, message_id, to, event, data, "plain", further)
        if via is None or via is self.sender:
            await self._send(call)
            return
        self._check_size(call)
        if via.ended or via.mode is Mode.LEAVING:
            raise RequestOverError(f"event {event[:80]!r}: the connection that the request came from has ended")
        via.write(call.frame)

    async def _send(self, call: Call) -> int:
        await self._enqueue(call)
        if call.future.done():
            return call.future.result()
        try:
            return await call.future
        except asyncio.CancelledError:
            self._withdraw(call)
            raise

    async def _enqueue(self, call: Call) -> None:
        """Write the call, or queue it."""
        self._check_size(call)
        self._check_open(call)
        if len(self._queue) >= self.options.send_queue:
            room: asyncio.Future[None] = self.loop.create_future()
            self._room.append((call, room))
            try:
                await room
            except asyncio.CancelledError:
                self._withdraw(call)
                raise
            self._check_open(call)
            return
        sender = self.sender
        if not self._queue and sender is not None and not sender.congested:
            self._write(sender, call)
            self._unyielded += 1
            if self._unyielded >= _BATCH:
                self._unyielded = 0
                sender.flush()
                await asyncio.sleep(0)
        else:
            call.queued = True
            self._queue.append(call)

    def check_running(self) -> None:
        """Raise ClosedError if the client has ended or is being closed."""
        if self.ended.done() or self.closing.done():
            raise ClosedError("the client has ended") from self._error

    async def sender_changed(self) -> None:
        """Wait until another connection sends, or the client ends."""
        waits: Set[asyncio.Future[Any]] = {self._sender_changed, self.ended, self.closing}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    def _check_open(self, call: Call) -> None:
        if self.ended.done():
            raise ClosedError(f"event {call.event[:80]!r}: not sent: the client has ended") from self._error
        if self.closing.done():
            raise ClosedError(f"event {call.event[:80]!r}: not sent: the client was closed")

    def _check_size(self, call: Call) -> None:
        limit = self.identity.max_message_bytes
        if 0 < limit < len(call.frame):
            raise TooBigError(f"event {call.event[:80]!r}: the message has {len(call.frame)} bytes, the hub accepts at most {limit}")

    def _write(self, connection: Connection, call: Call) -> None:
        if call.kind == "acked" and "acks" not in connection.identity.features:
            call.complete(error=NoAcksError(f"event {call.event[:80]!r}: the hub grants no acks"))
            return
        limit = connection.identity.max_message_bytes
        if 0 < limit < len(call.frame):
            call.complete(error=TooBigError(f"event {call.event[:80]!r}: the message has {len(call.frame)} bytes, "
                                            f"the hub accepts at most {limit}"))
            return
        if call.kind != "plain":
            if call.id in self._pending:
                call.complete(error=DuplicateIDError(f"event {call.event[:80]!r}: the id {call.id!r} is in use"))
                return
            call.connection = connection
            self._pending[call.id] = call
        self._sent[call.id] = (call.event, call.to)
        if len(self._sent) > _SENT:
            self._sent.popitem(last=False)
        connection.write(call.frame)
        if call.kind == "plain":
            call.complete()

    def _withdraw(self, call: Call) -> None:
        """Give up a call that is queued or awaits its outcome."""
        if call.queued:
            with suppress(ValueError):
                self._queue.remove(call)
        if self._pending.get(call.id) is call:
            del self._pending[call.id]

    def writable(self, connection: Connection) -> None:
        """Write queued calls. The connection has just become the one that sends, or takes more again."""
        if connection.mode is not Mode.SENDING:
            self.stream.unblocked(connection)
            return
        if self.sender is not connection:
            self.sender = connection
            changed, self._sender_changed = self._sender_changed, self.loop.create_future()
            changed.set_result(None)
            self.memberships.uses(connection)
        while self._queue and not connection.congested and not connection.ended:
            self._take(connection)

    def _take(self, connection: Connection) -> None:
        call = self._queue.popleft()
        call.queued = False
        if not call.future.cancelled():
            self._write(connection, call)
        while self._room and len(self._queue) < self.options.send_queue:
            waiting, room = self._room.popleft()
            if not room.done():
                waiting.queued = True
                self._queue.append(waiting)
                room.set_result(None)

    def stop_sending(self, connection: Connection) -> None:
        """Make the connection send nothing more from the queue."""
        if self.sender is connection:
            self.sender = None
        connection.set_mode(Mode.WAITING)

    def start_sending(self, connection: Connection) -> None:
        """Make the connection the one that sends."""
        if self.identity is not connection.identity:
            self.identity = connection.identity
            self.announce(Announcement(identity=connection.identity))
        connection.set_mode(Mode.SENDING)

    def finish(self, connection: Connection) -> None:
        """Write the queue and say goodbye."""
        if connection.mode is not Mode.LEAVING:
            while self._queue and not connection.ended:
                self._take(connection)
        connection.goodbye()

    def due(self, connection: Connection) -> bool:
        """Report whether answers are due on the connection, in either direction."""
        return self.duties.due(connection) or any(c.connection is connection for c in self._pending.values())

    # Receiving

    def ready_for(self, connection: Connection, m: wire.Wire) -> bool:
        """Report whether the next message, m, can be handled; else Connection.process is called when it can."""
        if self._request_of(m) is not None:
            return True
        return self.stream.ready_for(connection) and len(self._inbox) < self.options.receive_queue

    def _request_of(self, m: wire.Wire) -> Optional[Call]:
        """Return the request that a REPLY to this client alone answers."""
        if m.op != wire.REPLY or m.intent is None or m.intent.to_many:
            return None
        call = self._pending.get(m.id)
        return call if call is not None and call.replies is not None else None

    def received(self, connection: Connection, m: wire.Wire, text: bytes) -> None:
        """Handle a message that a connection has read."""
        if m.op in (wire.EVENT, wire.REPLY):
            if m.intent is None or not m.sender:
                raise wire.MalformedError("malformed message from the hub: no intent or no sender")
            message = Message(self, m, m.intent, text, self.duties.owe(connection, m) if m.op == wire.EVENT else None)
            request = self._request_of(m)
            if request is not None:
                request.reply(message)
            else:
                self.stream.receive(connection, message)
        elif m.op in (wire.SUBSCRIBE, wire.UNSUBSCRIBE):
            self.memberships.received(connection, m)
        elif m.op == wire.PRESENCE:
            self.presence.received(connection, m.data)
        elif m.op == wire.FENCE:
            self.stream.fence_arrived(connection, m.sender)
        elif m.op == wire.SETTLED:
            self._settle(connection, m)
        elif m.op == wire.CANCEL:
            self.duties.cancelled(connection, m.sender, m.id)
        elif m.op == wire.ACK:
            self._acknowledged(connection, m)
        elif m.op == wire.ERROR:
            self._refuse(connection, m)

    def _settle(self, connection: Connection, m: wire.Wire) -> None:
        """Handle what became of a request."""
        settlement = wire.parse_settlement(m.data)
        call = self._pending.get(m.id)
        if call is not None and call.connection is connection and call.replies is not None:
            del self._pending[m.id]
            call.replies.put_nowait(settlement)

    def cancel_request(self, call: Call) -> None:
        """Tell the hub that no more answers are wanted, unless the request is over."""
        connection = call.connection
        if connection is not None and self._pending.get(call.id) is call and "requests" in connection.identity.features:
            if connection.mode is not Mode.LEAVING:
                connection.write(wire.cancel_frame(call.id))

    def _acknowledged(self, connection: Connection, m: wire.Wire) -> None:
        nodes = m.data.get("nodes") if isinstance(m.data, dict) else None
        if type(nodes) is not int:
            raise wire.MalformedError("malformed ACK from the hub")
        call = self._pending.get(m.id)
        if call is not None and call.connection is connection and call.kind == "acked":
            del self._pending[m.id]
            call.complete(nodes)

    def _refuse(self, connection: Connection, m: wire.Wire) -> None:
        """Handle an ERROR."""
        code = m.data.get("code") if isinstance(m.data, dict) else None
        if not isinstance(code, str):
            raise wire.MalformedError("malformed ERROR from the hub")
        explanation = m.data.get("message")
        event, to = self._sent.get(m.id, ("", None))
        error = hub_error(m.id, code, explanation if isinstance(explanation, str) else "", event, to)
        call = self._pending.get(m.id)
        if call is not None and call.connection is connection:
            del self._pending[m.id]
            call.complete(error=error)
        elif self.stream.fence_refused(connection, m.id):
            pass
        elif self.options.on_error is not None:
            self._inbox.append(functools.partial(self.options.on_error, error))
            self._more.set()
        else:
            self._log_error(error)

    def _log_error(self, error: Error) -> None:
        """Log an ERROR that belongs to no call, at most one a second."""
        now = time.monotonic()
        if now - self._reported < 1:
            self._withheld += 1
            return
        self.options.logger.warning("a message was not delivered: %s (%d not logged before)", error, self._withheld)
        self._withheld, self._reported = 0, now

    def give(self, message: Message) -> None:
        """Hand a message to the request that it answers, or to its handlers."""
        if message.is_reply:
            call = self._pending.get(message.id)
            if call is not None and call.replies is not None:
                call.reply(message)
                return
        if self.options.on_message is not None or (not message.is_reply and message.event in self._handlers):
            self._inbox.append(message)
            self._more.set()
        else:
            message.decline()

    def full(self) -> bool:
        """Report whether handlers must catch up before more is handed out."""
        return len(self._inbox) >= self.options.receive_queue

    def announce(self, announcement: Announcement) -> None:
        """Queue the call of on_connect or on_disconnect. It waits for no room: a handler may wait for the connection."""
        hook = self.options.on_connect if announcement.identity is not None else self.options.on_disconnect
        if hook is None:
            return
        # Beyond the bound, connections that came and went without a message are merged.
        last = self._inbox[-1] if len(self._inbox) > self.options.receive_queue else None
        if isinstance(last, Announcement) and (last.identity is None) == (announcement.identity is None):
            if announcement.identity is not None:
                self._inbox[-1] = announcement
        else:
            self._inbox.append(announcement)
        self._more.set()

    async def _dispatch(self) -> None:
        """Call handlers and hooks one at a time."""
        while not self.quitting:
            if not self._inbox:
                if self.ended.done() and self.stream.idle():
                    return
                self._more.clear()
                await self._more.wait()
                continue
            item = self._inbox.popleft()
            if len(self._inbox) == self.options.receive_queue - 1:
                self.stream.wake()
            if isinstance(item, Message):
                handlers = [] if item.is_reply else self._handlers.get(item.event, [])
                for h in handlers or ([self.options.on_message] if self.options.on_message else []):
                    await self._invoke(functools.partial(h, item), f"handler of {item!r}", item)
            elif isinstance(item, Announcement):
                await self._invoke(item.call(self.options), "hook")
            else:
                await self._invoke(item, "hook")

    async def _invoke(self, call: Callable[[], Any], what: str, message: Optional[Message] = None) -> None:
        """Call a handler or hook, and contain its exception. The sender of a request learns of it."""
        try:
            result = call()
            if inspect.isawaitable(result):
                await result
        except Exception as e:
            self.options.logger.exception("the %s raised an exception", what)
            if message is not None and message.is_request:
                with suppress(Error):
                    await message.reply_error("ERROR", f"{type(e).__name__}: {e}")

    # Connecting

    async def _run(self) -> None:
        """Open one connection after the other until the client is closed or refused for good."""
        backoff = Backoff(self.options)
        try:
            while True:
                error = await self._run_connection(backoff)
                if self.closing.done():
                    self._error = ClosedError("the client was closed")
                    return
                if self._is_final(error):
                    self.options.logger.log(40 if self._ready.done() else 20, "gave up: %s", error)
                    self._error = error
                    return
                await asyncio.wait({self.closing}, timeout=self._next_wait(error, backoff))
                if self.closing.done():
                    self._error = ClosedError("the client was closed")
                    return
        except asyncio.CancelledError:
            self._error = ClosedError("the client was closed, and its connection cut")
            raise
        finally:
            self._over()

    def _over(self) -> None:
        """Fail what waits, since no further connection follows."""
        error = self._error or ClosedError("the client has ended")
        self.stream.abandon()
        self.presence.end()
        self.holds.end()
        if not self.ended.done():
            self.ended.set_result(None)
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()
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
        self._more.set()

    def _next_wait(self, error: BaseException, backoff: Backoff) -> float:
        if is_refusal(error):
            self._auth_wait = min(max(2 * self._auth_wait, _MIN_AUTH_WAIT), _MAX_AUTH_WAIT)
            wait = random.uniform(self._auth_wait / 2, self._auth_wait)
            self.options.logger.error("the hub refuses the token or a group: %s; next attempt in %.1f s", error, wait)
            return wait
        wait = backoff.next() + self._reconnect_delay
        if is_crowded(error):
            wait += random.uniform(0, _CROWDED_WAIT)
        self.options.logger.warning("not connected: %s; next attempt in %.1f s", error or type(error).__name__, wait)
        return wait

    async def _run_connection(self, backoff: Backoff) -> BaseException:
        """Open a connection, follow its moves, and return why the last one ended."""
        self._reconnect_delay = 0.0
        release = await self.memberships.begin()
        try:
            connection = await self.open()
        except Exception as e:
            if not self.closing.done():
                self._last_error = e
            return e
        finally:
            release()
        self._last_error = None
        began = self.loop.time()
        self.stream.add_own_id(connection.identity.id)
        self.identity = connection.identity
        self.options.logger.info("connected: id %s, instance %s", connection.identity.id, connection.identity.node)
        self.stream.announce(Announcement(identity=connection.identity))
        if not self._ready.done():
            self._ready.set_result(None)
        connection.set_mode(Mode.SENDING)
        connection.start()
        connection = await self._follow(connection)
        self._reconnect_delay = _delay_after(connection, self.options.max_backoff)
        # Short connections don't reset the backoff: a hub may accept clients and drop them at once.
        if self.loop.time() - began >= self.options.max_backoff:
            backoff.reset()
        if not self.quitting:
            self.stream.announce(Announcement(lost=connection.error))
        return connection.error

    async def _follow(self, connection: Connection) -> Connection:
        """Wait for the end of the connection and of those to which the client moves from it. Return the last one."""
        while True:
            await asyncio.wait({connection.done, self.closing, connection.drained}, return_when=asyncio.FIRST_COMPLETED)
            if connection.done.done():
                return connection
            if self.closing.done():
                self.finish(connection)
                await asyncio.wait({connection.done})
                return connection
            connection = await move(self, connection)

    async def open(
        self, old_token: Optional[str] = None, dialed: Optional[Callable[[Connection], None]] = None, replaces: str = "",
    ) -> Connection:
        """Dial and identify. If old_token is given, the token must differ from it. dialed is called before IDENTIFY.

        replaces is the id of the connection that moves to this one.
        """
        connection: Optional[Connection] = None
        opening: asyncio.Future[Connection] = self.loop.create_task(self._open(old_token, dialed, replaces))
        try:
            waits: Set[asyncio.Future[Any]] = {opening, self.closing}
            await asyncio.wait(waits, timeout=self.options.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                why = "the client was closed" if self.closing.done() else f"no answer within {self.options.connect_timeout:g} s"
                raise asyncio.TimeoutError(f"connect to {self.options.url}: {why}")
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
        token = await self.options.fetch_token()
        if old_token and token == old_token:
            raise Error("the token is still the one that expires")
        refused, error = self._refused
        if self.options.stop_on_auth_error and error is not None and token == refused:
            raise error
        connection = Connection(self, token)
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
        self._refused, self._auth_wait = ("", None), 0.0
        return connection

    def connection_ended(self, connection: Connection) -> None:
        """Handle the end of a connection: what awaits answers there fails."""
        if self.sender is connection:
            self.sender = None
        self.memberships.forget(connection)
        self.presence.forget(connection)
        self.duties.forget(connection)
        for call in [c for c in self._pending.values() if c.connection is connection]:
            del self._pending[call.id]
            error = OutcomeUnknownError(f"event {call.event[:80]!r}: outcome unknown: {connection.error}")
            error.__cause__ = connection.error
            call.complete(error=error)

    def _is_final(self, error: BaseException) -> bool:
        """Report whether the error ends the client."""
        if not self._ready.done():
            if self.options.fail_fast or isinstance(error, OptionsError):
                return True
            if isinstance(error, HandshakeError) and error.permanent:
                return True
        if not self.options.stop_on_auth_error or not is_refusal(error):
            return False
        return self.options.token_source is None or error is self._refused[1] and self._refused_twice(error)

    def _refused_twice(self, error: BaseException) -> bool:
        twice = getattr(error, "_refused_before", False)
        error._refused_before = True  # type: ignore[attr-defined]
        return bool(twice)

    async def wait_ready(self) -> None:
        """Wait for the first IDENTIFY. If the wait is cancelled, the client ends."""
        try:
            await asyncio.shield(self._ready)
        except asyncio.CancelledError:
            self._running.cancel()
            if self._last_error is not None:
                self.options.logger.info("the wait for the first connection was cancelled; the last attempt: %s", self._last_error)
            await self.close(0)
            raise
        except BaseException:
            await self.close(0)
            raise


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
            pass  # nobody waits for the answer any more
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


class Replies:
    """The REPLYs to a request: an async context manager, and an iterator in it."""

    def __init__(
        self, client: Client, to: Intent, event: str, data: Any, expect: int, timeout: Optional[float],
        message_id: Optional[str], retry: bool = False, key: str = "",
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._call = client._call(wire.EVENT, message_id, to, event, data, "request", self._expectation(retry, key))
        self._call.replies = asyncio.Queue()
        self._call.limit = client.options.receive_queue
        self._call.future.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._expect = expect
        self._deadline: Optional[float] = None
        self._got = 0
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
            await self._before_deadline(self._client._enqueue(self._call))
        except asyncio.TimeoutError:
            raise asyncio.TimeoutError(f"event {self._call.event[:80]!r}: not sent, there was no connection") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if not (self._got == 1 and not self._call.to.to_many):  # else it is over, or about to be
            self._client.cancel_request(self._call)
        self._client._withdraw(self._call)

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
        return item

    async def _before_deadline(self, wait: Coroutine[Any, Any, Any]) -> Any:
        if self._deadline is None:
            return await wait
        return await asyncio.wait_for(wait, max(self._deadline - self._client.loop.time(), 0))


class Connecting:
    """What :func:`mastersocket.connect` returns: await it, or use it in ``async with``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._client: Optional[Client] = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def _connect(self) -> Client:
        self._client = Client(self._options)
        await self._client.wait_ready()
        return self._client

    async def __aenter__(self) -> Client:
        return await self._connect()

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()


def is_refusal(error: BaseException) -> bool:
    """Report whether the hub refused the token or a group."""
    return isinstance(error, DisconnectError) and error.reason == _IDENTIFY_REFUSED


def is_crowded(error: Optional[BaseException]) -> bool:
    """Report whether the hub is overloaded, so that clients must reconnect more slowly."""
    return isinstance(error, DisconnectError) and error.reason in ("TRY_AGAIN_LATER", "RATE_LIMITED", "SLOW_CONSUMER")


def _delay_after(connection: Connection, most: float) -> float:
    """Return the additional wait before a reconnect if the connection ended after a DRAIN.

    At the deadline the hub disconnects all remaining clients at once. Each waits for its slot again.
    """
    n = connection.notice
    if n is None or n.optional or n.reason == "expiry":
        return 0.0
    return (n.due - n.arrived) % most

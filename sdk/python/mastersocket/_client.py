"""The client: what a program calls. Its parts have modules of their own."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, AsyncIterator, Callable, Coroutine, Generator, List, Mapping, Optional, Set, TypeVar, overload

from . import _wire as wire
from ._answerer import Answerer
from ._connection import Connection, Mode
from ._connector import Connector
from ._errors import ClosedError, MessageError
from ._groups import Memberships
from ._history import Gap, Progress, Turn, parse_turn
from ._holds import Hold, Holds
from ._inbox import Inbox
from ._intent import Intent, check_group
from ._message import Duties, Message
from ._options import Handler, Options
from ._outbox import Ack, Call, Outbox
from ._positions import Keeper
from ._presence import Presence, Watch
from ._replies import Replies
from ._stream import Announcement, Stream
from ._wire import Position

_H = TypeVar("_H", bound=Handler)


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
        self.ended: asyncio.Future[None] = self.loop.create_future()  # there is no connection, and none follows
        self.quitting = False  # no further handler is called
        self.stream = Stream(self)
        self.memberships = Memberships(self)
        self.presence = Presence(self)
        self.holds = Holds(self)
        self.duties = Duties()
        self.progress = Progress(options.recover)
        self.outbox = Outbox(self)
        self.inbox = Inbox(self)
        self._connector = Connector(self)
        self._tasks: Set[asyncio.Task[Any]] = set()
        self._running = self.task(self._connector.run())
        self._dispatching = self.task(self.inbox.dispatch())
        self.keeper = Keeper(self, self._dispatching)

    def task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that ends with the client."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # The program's calls

    async def send(self, to: Intent, event: str, data: Any = None, *, id: Optional[str] = None, once: bool = False) -> None:
        """Send an EVENT. It returns once the message is written to an identified connection, and waits for one.

        Bound the wait with :func:`asyncio.wait_for`: a cancelled call is not sent, unless it is on its way. If the hub then
        refuses the message, ``on_error`` is called. once: see send_acked.
        """
        if id is not None or once or not self.outbox.try_send(to, event, data):
            await self.outbox.send(self.outbox.call(wire.EVENT, id, to, event, data, "plain", _once(id, once)))

    async def send_acked(
        self, to: Intent, event: str, data: Any = None, *, id: Optional[str] = None, once: bool = False,
    ) -> Ack:
        """Send an EVENT and return once the hub has handed it to every instance that has a receiver.

        With once and an id, a group with history takes one message with that id within 2 minutes, from any sender: sending it
        again is safe, also after OutcomeUnknownError.

        Raises NoReceiverError if no client matches the intent, OutcomeUnknownError if the connection broke meanwhile.
        """
        return await self.outbox.send(self.outbox.call(wire.EVENT, id, to, event, data, "acked", _once(id, once)))

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
        self.inbox.add(event, handler)
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
        self.inbox.remove(event, handler)

    async def events(self, event: str) -> AsyncIterator[Message]:
        """Iterate over EVENTs with the given name, from the first one that arrives after the iteration begins.

        At most ``receive_queue`` messages wait; while they do, the handlers of all events wait too. One of a group with history
        is handled when the next one is asked for, or the iteration is left.
        """
        queue: asyncio.Queue[Message] = asyncio.Queue(self.options.receive_queue)

        async def put(m: Message) -> None:
            await queue.put(m)
            if m.mark is not None:
                await queue.join()

        self.on(event, put)
        try:
            while True:
                get: asyncio.Future[Message] = self.loop.create_task(queue.get())
                waits: Set[asyncio.Future[Any]] = {get, self.ended}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if not get.done():
                    get.cancel()
                    return
                try:
                    yield get.result()
                finally:
                    queue.task_done()
        finally:
            self.off(event, put)
            while not queue.empty():  # a handler that waits for room goes on
                queue.get_nowait()
                queue.task_done()

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
        """Leave groups, and forget the positions in them. The hub then sends nothing more of what is sent to them.

        The option ``group`` can't be left.
        """
        await self.memberships.change(wire.UNSUBSCRIBE, {"groups": list(groups)})

    def position(self, group: str) -> Optional[Position]:
        """Return how far a group with history is handled: behind the last message whose handlers have returned; None for other
        groups.
        """
        return self.progress.position(group)

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
        cancels the handler. It may be called repeatedly, and by a handler. The last save of positions may take 5 s more; raises
        PositionsError if it fails.
        """
        self.quitting = True
        self.inbox.wake()
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
        if me is not self._dispatching:  # else the handler is not done with its message
            await self.keeper.end(deadline - self.loop.time())

    @property
    def closed(self) -> bool:
        """Whether the client has ended, by close or by itself."""
        return self.ended.done()

    async def wait_closed(self) -> None:
        """Wait for the client's end. Raises the error if it ended by itself."""
        await asyncio.wait({self.ended})
        if self.error is not None and not isinstance(self.error, ClosedError):
            raise self.error

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The parts

    @property
    def error(self) -> Optional[BaseException]:
        """Why the client has ended; None before."""
        return self._connector.error

    def check_running(self) -> None:
        """Raise ClosedError if the client has ended or is being closed."""
        if self.ended.done() or self.closing.done():
            raise ClosedError("the client has ended") from self.error

    async def open(
        self, old_token: Optional[str], dialed: Callable[[Connection], None], replaces: str,
    ) -> Connection:
        """Open the connection to which another one moves: see Connector.open."""
        return await self._connector.open(old_token, dialed, replaces)

    def start_sending(self, connection: Connection) -> None:
        """Make the connection the one that sends."""
        if self.identity is not connection.identity:
            self.identity = connection.identity
            self.inbox.announce(Announcement(identity=connection.identity))
        connection.set_mode(Mode.SENDING)

    def writable(self, connection: Connection) -> None:
        """Handle a connection that has just become the one that sends, or takes more again."""
        if connection.mode is Mode.SENDING:
            self.outbox.drain_to(connection)
        else:
            self.stream.unblocked(connection)

    def due(self, connection: Connection) -> bool:
        """Report whether answers are due on the connection, in either direction."""
        return self.duties.due(connection) or self.outbox.due(connection)

    def ready_for(self, connection: Connection, m: wire.Wire) -> bool:
        """Report whether the next message, m, can be handled; else Connection.process is called when it can."""
        if not self.stream.moving and not self.inbox.full():
            return True
        if self._request_of(m) is not None:
            return True
        return self.stream.ready_for(connection) and not self.inbox.full()

    def _request_of(self, m: wire.Wire) -> Optional[Call]:
        """Return the request that a REPLY to this client alone answers."""
        if m.op != wire.REPLY or m.intent is None or m.intent.to_many:
            return None
        return self.outbox.request_of(m.id)

    def received(self, connection: Connection, m: wire.Wire, text: bytes) -> None:
        """Handle a message that a connection has read."""
        if m.op == wire.EVENT or m.op == wire.REPLY:
            if m.intent is None or not m.sender:
                raise wire.MalformedError("malformed message from the hub: no intent or no sender")
            if m.op == wire.EVENT:
                duty = self.duties.owe(connection, m) if "expect" in m.members else None
                self.stream.receive(connection, Message(self, m, m.intent, text, duty))
                return
            message, request = Message(self, m, m.intent, text), self._request_of(m)
            if request is not None:
                request.reply(message)
            else:
                self.stream.receive(connection, message)
        elif m.op in (wire.SUBSCRIBE, wire.UNSUBSCRIBE):
            self.memberships.received(connection, m)
        elif m.op == wire.HISTORY:
            self.stream.receive(connection, parse_turn(self, m, text))
        elif m.op == wire.PRESENCE:
            self.presence.received(connection, m.data)
        elif m.op == wire.FENCE:
            self.stream.fence_arrived(connection, m.sender)
        elif m.op == wire.SETTLED:
            self.outbox.settled(connection, m)
        elif m.op == wire.CANCEL:
            self.duties.cancelled(connection, m.sender, m.id)
        elif m.op == wire.ACK:
            self.outbox.acknowledged(connection, m)
        elif m.op == wire.ERROR:
            self.outbox.refused(connection, m)

    def give(self, message: Message) -> None:
        """Hand a message to the request that it answers, or to its handlers."""
        if (self.progress.places or type(message) is not Message) and not self.progress.next(message):
            message.decline()  # it was received before
            return
        request = self.outbox.request_of(message.id) if message.is_reply else None
        if request is not None:
            request.reply(message)
            self.inbox.pass_by(message)
        elif isinstance(message, Turn):
            if message.gap:
                self._tell_gap(Gap(message.group, message.gap, message.position))
            self.inbox.pass_by(message)
        else:
            self.inbox.give(message)
        if message.mark is not None:
            self.progress.received(message.mark)

    def _tell_gap(self, gap: Gap) -> None:
        if self.options.on_gap is not None:
            self.inbox.call(functools.partial(self.options.on_gap, gap))
        else:
            self.options.logger.warning("group %r: messages are missing behind %d: %s", gap.group, gap.position.offset, gap.reason)

    def connection_ended(self, connection: Connection) -> None:
        """Handle the end of a connection."""
        self.outbox.forget(connection)
        self.memberships.forget(connection)
        self.presence.forget(connection)
        self.duties.forget(connection)

    def over(self, error: BaseException) -> None:
        """End the parts, since no further connection follows."""
        self.stream.abandon()
        self.presence.end()
        self.holds.end()
        if not self.ended.done():
            self.ended.set_result(None)
        self.outbox.end(error)
        self.inbox.wake()

    async def wait_ready(self) -> None:
        """Wait for the first IDENTIFY. If the wait is cancelled, the client ends."""
        try:
            await asyncio.shield(self._connector.ready)
        except asyncio.CancelledError:
            self._running.cancel()
            last = self._connector.last_error
            if last is not None:
                self.options.logger.info("the wait for the first connection was cancelled; the last attempt: %s", last)
            await self.close(0)
            raise
        except BaseException:
            await self.close(0)
            raise


def _once(message_id: Optional[str], once: bool) -> str:
    """Return the member once as JSON."""
    if once and message_id is None:
        raise MessageError("once needs an id of your own, which is unique in the group")
    return ',"once":true' if once else ""


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

"""One connection to the hub: the handshake, frames, liveness, and what is written when."""

from __future__ import annotations

import asyncio
import enum
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, List, Optional, Tuple, Union

import websockets.client
from websockets.uri import parse_uri

from . import _frames as frames
from . import _wire as wire
from ._history import joined_turn
from ._errors import DisconnectError, HandshakeError, OutcomeUnknownError, SilentError
from ._proxy import open_tunnel, proxy_for

if TYPE_CHECKING:
    from ._client import Client

# The handshake without I/O: ClientProtocol from release 11 of websockets on, ClientConnection before.
_Protocol: Any = getattr(websockets.client, "ClientProtocol", None) or websockets.client.ClientConnection

GOODBYE_TIMEOUT = 5.0  # how long the hub may take to close the connection after DISCONNECT
_LEAST_ANSWER_TIME = 0.9  # how long a hub has at least to answer a PING; a longer interval gives it nearly half of that
_MAX_HANDSHAKE_BYTES = 64 << 10  # of the answer to the handshake
_SHOWN_BODY_BYTES = 200
_OF_OTHERS = (wire.EVENT, wire.REPLY, wire.FENCE, wire.HISTORY)  # messages that other clients have sent, and what tells of them
_MAX_EARLY_BYTES = 16 << 20  # what arrives on a new connection while its further groups are subscribed to
_WRITE_BUFFER = 256 << 10  # bytes that wait for the network; beyond it nothing is taken from the queue
_RECEIVE_MARGIN = 4 << 10  # more than the hub adds to a client's message


class Mode(enum.Enum):
    """What a connection writes."""

    WAITING = 0  # nothing from the queue: another connection may
    SENDING = 1  # what the program sends; no other connection does
    LEAVING = 2  # nothing more: DISCONNECT is written, and the connection is read to its end


class _End(enum.Enum):
    """Marks the end of the stream behind the last message."""

    CLOSED = 0


class Connection(asyncio.Protocol):
    """A WebSocket connection, from dialing to its end. It belongs to the event loop's thread."""

    def __init__(self, client: Client, token: str) -> None:
        self.client = client
        self.token = token
        self.identity = wire.NOBODY
        self.loop = asyncio.get_running_loop()
        #: Done once the connection has ended and everything from it has been read.
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.error: BaseException = OutcomeUnknownError("the connection is open")  # why it ended
        self.notice: Optional[wire.Notice] = None  # the last DRAIN
        #: Done at the next DRAIN, which replaces it.
        self.drained: asyncio.Future[None] = self.loop.create_future()
        self.mode = Mode.WAITING
        self.congested = False  # the network takes no more for now
        self.ended = False
        self.heard = self.loop.time()  # when the hub was last heard
        self.stalled = False  # messages wait for handlers; silence then says nothing about the hub

        options = client.options
        self._handshake = _Protocol(parse_uri(options.url), origin=options.origin)
        self._answer = b""  # to the handshake, as far as it has arrived
        self._reader = frames.Reader(options.max_receive_bytes)
        self._writer = frames.Writer()
        self._writable = False  # after the handshake, and until the close frame
        self._close: Optional[frames.Closed] = None  # the hub's close frame
        self._transport: Optional[asyncio.Transport] = None
        self._upgraded: asyncio.Future[None] = self.loop.create_future()
        self._identified: asyncio.Future[None] = self.loop.create_future()
        self._backlog: Deque[Union[bytes, Tuple[wire.Wire, bytes], _End]] = deque()  # read, and not handled yet
        self._processing = False
        self._started = False
        self._early: Deque[Tuple[wire.Wire, bytes]] = deque()  # messages of others that arrived before start
        self._early_bytes = 0
        self._joined: List[Tuple[str, wire.Position]] = []  # where groups with history were joined before start
        self._reason = ""  # of the hub's DISCONNECT
        self._flushing = False
        self._timers: List[asyncio.TimerHandle] = []
        self._checked: Optional[float] = None  # the last check of liveness
        self._asked: Optional[float] = None  # the first PING since the hub was heard
        self._write_deadline: Optional[asyncio.TimerHandle] = None
        for future in (self.done, self._upgraded, self._identified):
            future.add_done_callback(_retrieve)

    # Opening

    async def open(self) -> None:
        """Dial, and finish the handshake of the WebSocket."""
        options, uri = self.client.options, self._handshake.wsuri
        context: Union[ssl.SSLContext, None] = None
        if uri.secure:
            context = options.ssl or ssl.create_default_context()
        proxy = proxy_for(options, uri.host, uri.port, uri.secure)
        if proxy is None:
            await self.loop.create_connection(lambda: self, uri.host, uri.port, ssl=context)
        else:
            sock = await open_tunnel(self.loop, proxy, uri.host, uri.port)
            try:
                await self.loop.create_connection(lambda: self, sock=sock, ssl=context, server_hostname=uri.host if context else None)
            except BaseException:
                sock.close()
                raise
        request = self._handshake.connect()
        for name, value in options.headers:
            request.headers[name] = value
        self._handshake.send_request(request)
        if self._transport is not None:
            self._transport.write(b"".join(self._handshake.data_to_send()))
        await self._upgraded

    async def identify(self, replaces: str = "") -> None:
        """Send IDENTIFY and wait for its answer, and subscribe to what it has no room for.

        replaces is the id of the connection that is moved here.
        """
        data = self.client.options.identify_data()
        data["token"] = self.token
        if replaces:
            data["replaces"] = replaces
        rest = self.client.memberships.identify(data)
        recover = self.client.progress.recover([data["group"], *data.get("groups", ())])
        if recover and self.client.options.history:
            data["recover"] = recover
        self.write(wire.identify_frame(data))
        await self._identified
        await self.client.memberships.join_again(self, rest)

    def start(self) -> None:
        """Begin to hand messages to the client, which was not possible before the answer to IDENTIFY."""
        self._backlog.extendleft(reversed(self._early))
        self._early.clear()
        self._started = True
        self.joined([])
        self.heard = self.loop.time()
        if self.identity.ping > 0:
            self._after(max(self.identity.ping / 4, 0.001), self._check_liveness)
        self.process()

    def joined(self, positions: List[Tuple[str, wire.Position]]) -> None:
        """Note where groups with history were joined. Before start it waits: what an old connection brings may precede it."""
        self._joined += positions
        if self._started:
            told, self._joined = self._joined, []
            for group, at in told:
                self.client.stream.receive(self, joined_turn(self.client, group, at))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        if self.ended:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        if self.ended:
            return
        if not self._upgraded.done():
            rest = self._read_answer(data)
            if rest is None:
                return
            data = rest
        messages: List[bytes] = []
        try:
            self._reader.read(data, messages)
            self._backlog.extend(self.client.outbox.without_ignored(messages))
        except frames.Closed as e:
            self._close = e
            self._end_reading(messages, e.code)
        except frames.FrameError as e:
            self._connection_error = ConnectionError(str(e))
            self._end_reading(messages, e.code)
        if self._reader.pings:
            self._answer_pings()
        self.process()

    def _read_answer(self, data: bytes) -> Optional[bytes]:
        """Read the answer to the handshake. Return the frames behind it, None if there are none to be read."""
        if len(self._answer) + len(data) > _MAX_HANDSHAKE_BYTES:
            self.end(wire.MalformedError("the answer to the handshake is too large"))
            return None
        fed, self._answer = len(self._answer), self._answer + data
        split = frames.split_handshake(self._answer)
        if split is None:
            self._handshake.receive_data(data)
        else:
            self._handshake.receive_data(split[0][fed:])
        for event in self._handshake.events_received():
            self._answered(event)
        return split[1] if split is not None and not self.ended and self._upgraded.done() else None

    def _answer_pings(self) -> None:
        for payload in self._reader.pings:
            if self._writable:
                self._writer.pong(payload)
        self._reader.pings.clear()
        self._flush()

    def _end_reading(self, messages: List[bytes], code: int) -> None:
        """Answer the hub's close frame, or its breach of the protocol. The messages before it are handled."""
        self._backlog.extend(messages)
        self._backlog.append(_End.CLOSED)
        if self._writable:
            self._writer.close(code)
            self._writable = False
            self._flush()

    def eof_received(self) -> bool:
        if not self._upgraded.done() and not self.ended:
            self._handshake.receive_eof()  # an answer without a length ends here
            for event in self._handshake.events_received():
                self._answered(event)
        return False

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self.ended:
            self._finish()
            return
        if not self._upgraded.done():
            self.end(exc or ConnectionError("the peer closed the connection during the handshake"))
            return
        self._backlog.append(_End.CLOSED)
        self._connection_error = self._connection_error or exc
        self.process(force=True)
        self._finish()

    _connection_error: Optional[Exception] = None

    def pause_writing(self) -> None:
        self.congested = True
        self._write_deadline = self._after(self.client.options.write_timeout, self._write_blocked)

    def resume_writing(self) -> None:
        self.congested = False
        if self._write_deadline is not None:
            self._write_deadline.cancel()
        if not self.ended:
            self.client.writable(self)

    def _write_blocked(self) -> None:
        self.end(OutcomeUnknownError(f"a write was blocked for {self.client.options.write_timeout:g} s"))

    # Reading

    def _answered(self, response: Any) -> None:
        """Handle the answer to the handshake."""
        if self._handshake.handshake_exc is None:
            if not self._upgraded.done():
                self._writable = True
                self._upgraded.set_result(None)
            return
        if response.status_code == 101:
            self.end(self._handshake.handshake_exc)
            return
        body = bytes(response.body or b"")[:_SHOWN_BODY_BYTES].decode("utf-8", "replace").strip()
        self.end(HandshakeError(response.status_code, response.headers.get("Server", ""), body))

    def process(self, force: bool = False) -> None:
        """Handle what was read until something has to wait. force: nothing waits, since the connection has ended."""
        if self._processing:
            return
        self._processing = True
        client = self.client
        try:
            while self._backlog and not self.ended:
                item = self._backlog[0]
                try:
                    if isinstance(item, bytes):
                        m, text = wire.parse(item), item
                    elif isinstance(item, _End):
                        self.end(self._why())
                        return
                    else:
                        m, text = item
                    if m.op in _OF_OTHERS:
                        if not self._started:
                            self._keep_early(m, text)
                            continue
                        if not force and m.op != wire.FENCE and not client.ready_for(self, m):
                            self._backlog[0] = (m, text)
                            self._set_stalled(True)
                            return
                        self._backlog.popleft()
                        client.received(self, m, text)
                    else:
                        self._backlog.popleft()
                        self._handle(m, text)
                except wire.MalformedError as e:
                    self._fail(str(e))
                    return
            self._set_stalled(False)
        finally:
            self._processing = False

    def _keep_early(self, m: wire.Wire, text: bytes) -> None:
        """Keep a message that arrived while further groups are subscribed to."""
        self._backlog.popleft()
        self._early.append((m, text))
        self._early_bytes += len(text)
        if self._early_bytes > _MAX_EARLY_BYTES:
            self._fail(f"more than {_MAX_EARLY_BYTES} bytes arrived before the answer to a SUBSCRIBE")

    def _set_stalled(self, stalled: bool) -> None:
        if stalled == self.stalled:
            return
        self.stalled = stalled
        self.heard = self.loop.time()
        if self._transport is None or self._transport.is_closing():
            return
        if stalled:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _handle(self, m: wire.Wire, text: bytes) -> None:
        if m.op == wire.PING:
            self.write(wire.PONG_FRAME)
        elif m.op == wire.DISCONNECT:
            self._reason = m.data if isinstance(m.data, str) and m.data else "NO_REASON"
            self._after(GOODBYE_TIMEOUT, self.end, DisconnectError(self._reason))
        elif not self._identified.done():
            if m.op == wire.IDENTIFY:
                self.identity = wire.parse_identity(m.data)
                self.joined(self.identity.history)
                self._reader.most = max(self._reader.most, self.identity.max_message_bytes + _RECEIVE_MARGIN)
                self._identified.set_result(None)
        elif m.op == wire.DRAIN:
            if "drain" in self.identity.features:
                self.notice = wire.parse_notice(m.data, self.loop.time())
                drained, self.drained = self.drained, self.loop.create_future()
                drained.set_result(None)
        elif m.op not in (wire.PONG, wire.IDENTIFY):
            self.client.received(self, m, text)

    def _why(self) -> BaseException:
        """Return why the stream of messages has ended."""
        close = self._close
        if close is not None or self._reason:
            code = close.code if close is not None else 0
            return DisconnectError(self._reason or (close.reason if close is not None else ""), 0 if code == 1005 else code)
        return self._connection_error or ConnectionError("the connection was closed without a reason")

    def _fail(self, why: str) -> None:
        self._backlog.clear()
        self.end(wire.MalformedError(why))

    # Writing

    def write(self, text: bytes) -> None:
        """Write a message. It leaves with others at the end of this turn of the event loop."""
        if self.ended or not self._writable:
            return
        self._writer.add(text)
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is None:
            return
        data = self._writer.take()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def flush(self) -> None:
        """Write at once what waits for the end of this turn."""
        if not self.ended:
            self._flush()

    def set_mode(self, mode: Mode) -> None:
        """Change what the connection writes, unless it is leaving."""
        if self.mode is Mode.LEAVING:
            return
        self.mode = mode
        if mode is Mode.SENDING:
            self.client.writable(self)

    def leave(self, frame: bytes) -> None:
        """Write a DISCONNECT and nothing more."""
        if self.mode is not Mode.LEAVING:
            self.mode = Mode.LEAVING
            self.client.holds.leave(self)
            self.write(frame)

    @property
    def writable(self) -> bool:
        """Whether anything can be written."""
        return not self.ended and self.mode is not Mode.LEAVING

    def goodbye(self) -> None:
        """Say goodbye, and close the connection when the hub has answered, or after GOODBYE_TIMEOUT."""
        if self.ended:
            return
        self.leave(wire.GOODBYE_FRAME)
        self._after(GOODBYE_TIMEOUT, self.end, DisconnectError("NO_REASON"))

    # Liveness

    def silence(self) -> float:
        """Return how long nothing was heard from the hub, in seconds."""
        return self.loop.time() - self.heard

    def _check_liveness(self) -> None:
        if self.ended:
            return
        now, ping = self.loop.time(), self.identity.ping
        self._after(max(ping / 4, 0.001), self._check_liveness)
        if self.stalled:
            self._asked = None
            self.write(wire.PONG_FRAME)
            return
        silent = now - self.heard
        # A check that comes late shows that this process was paused: the answer to a PING may be unread.
        paused = self._checked is not None and now - self._checked > ping / 2 + 1
        self._checked = now
        if paused or silent <= ping:
            self._asked = None
        if silent <= ping:
            return
        if self._asked is None:
            self._asked = now
        elif now - self._asked >= max(0.45 * ping, _LEAST_ANSWER_TIME):
            self.end(SilentError(f"the hub was silent for {silent:.1f} s and did not answer PINGs"))
            return
        self.write(wire.PING_FRAME)

    # The end

    def end(self, error: BaseException) -> None:
        """End the connection. Only the first call has an effect."""
        if self.ended:
            return
        self.flush()
        self.ended = True
        self.error = error
        for timer in self._timers:
            timer.cancel()
        for future in (self._upgraded, self._identified):
            if not future.done():
                future.set_exception(error)
        if self._transport is None:
            self._finish()
        elif isinstance(error, DisconnectError) and not self.congested:
            self._transport.close()  # what is written leaves, such as the answer to the close frame
        else:
            self._transport.abort()

    def _finish(self) -> None:
        """Report the end, when the transport is closed."""
        if not self.ended:
            self.end(ConnectionError("the connection was closed"))
        if not self.done.done():
            self.done.set_result(None)
            self.client.connection_ended(self)

    def _after(self, delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        timer = self.loop.call_later(delay, callback, *args)
        self._timers = [t for t in self._timers if not t.cancelled() and t.when() > self.loop.time()]
        self._timers.append(timer)
        return timer


def _retrieve(future: asyncio.Future[None]) -> None:
    """Keep asyncio from logging an exception that no task awaits, as its own connection is reported elsewhere."""
    if not future.cancelled():
        future.exception()

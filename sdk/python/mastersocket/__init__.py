"""A client of the mastersocket hub, for asyncio.

    import asyncio, os
    import mastersocket as ms

    async def main():
        async with ms.connect("ws://127.0.0.1:42069", token=os.environ["MASTERSOCKET_TOKEN"], group="workers") as hub:
            @hub.on("sum")
            async def total(m):
                await m.reply(sum(m.data))

            reply = await hub.request(ms.any_of("workers"), "sum", [1, 2], timeout=2)
            print(reply.data)

    asyncio.run(main())

The client reconnects by itself, notices a hub that hangs, and moves to another connection without loss when the hub asks
for it. It never sends a message twice.
"""

from __future__ import annotations

import logging
import ssl as _ssl
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

from ._client import Client, Connecting
from ._errors import (
    BrokerUnavailableError,
    ClosedError,
    DisconnectError,
    DuplicateIDError,
    Error,
    ForbiddenError,
    GroupError,
    HandshakeError,
    HubError,
    MessageError,
    NoAcksError,
    NoReceiverError,
    NotGrantedError,
    OptionsError,
    OutcomeUnknownError,
    Missing,
    PositionsError,
    OverloadedError,
    ReceiverGoneError,
    RemoteError,
    RequestError,
    RequestOverError,
    RequestTimeoutError,
    Settlement,
    SilentError,
    TooBigError,
    TooManyRepliesError,
    TooManyRequestsError,
)
from ._intent import GLOBAL, Intent, any_of, direct, directs, group, groups
from ._history import Gap
from ._holds import Hold, LostError
from ._message import Message
from ._options import Handler, Options, TokenSource
from ._outbox import Ack
from ._positions import Positions, PositionsFile
from ._presence import Change, Member, Watch
from ._wire import Identity, Position

__all__ = [
    "Ack", "GLOBAL", "BrokerUnavailableError", "Change", "Client", "ClosedError", "DisconnectError", "DuplicateIDError", "Error",
    "ForbiddenError", "Gap", "GroupError", "HandshakeError", "Hold", "HubError", "Identity", "Intent", "LostError", "Member",
    "Message", "MessageError", "Missing", "NoAcksError", "NoReceiverError", "NotGrantedError", "OptionsError",
    "OutcomeUnknownError", "OverloadedError", "Position", "Positions", "PositionsError", "PositionsFile", "ReceiverGoneError",
    "RemoteError", "RequestError", "RequestOverError",
    "RequestTimeoutError", "Settlement", "SilentError", "TooBigError", "TooManyRepliesError", "TooManyRequestsError", "Watch",
    "any_of", "connect", "direct", "directs", "group", "groups",
]


def connect(
    url: str,
    *,
    group: str,
    token: Optional[str] = None,
    token_source: Optional[TokenSource] = None,
    groups: Sequence[str] = (),
    name: str = "",
    version: str = "",
    meta: Optional[Mapping[str, str]] = None,
    echo: bool = True,
    acks: bool = True,
    drain: bool = True,
    on: Optional[Mapping[str, Handler]] = None,
    on_message: Optional[Handler] = None,
    on_error: Optional[Callable[[HubError], Any]] = None,
    on_connect: Optional[Callable[[Identity], Any]] = None,
    on_disconnect: Optional[Callable[[BaseException], Any]] = None,
    logger: Optional[logging.Logger] = None,
    headers: Sequence[Tuple[str, str]] = (),
    origin: Optional[str] = None,
    ssl: Optional[_ssl.SSLContext] = None,
    proxy: Optional[str] = None,
    connect_timeout: float = 15.0,
    min_backoff: float = 0.5,
    max_backoff: float = 30.0,
    write_timeout: float = 30.0,
    stop_on_auth_error: bool = False,
    fail_fast: bool = False,
    send_queue: int = 256,
    receive_queue: int = 256,
    max_receive_bytes: int = 1 << 20,
    history: bool = True,
    recover: Optional[Mapping[str, Position]] = None,
    positions: Optional[Positions] = None,
    positions_every: float = 1.0,
    on_positions_error: Optional[Callable[[BaseException], Any]] = None,
    on_gap: Optional[Callable[[Gap], Any]] = None,
) -> Connecting:
    """Connect to a hub and identify: ``hub = await connect(…)``, or ``async with connect(…) as hub:``.

    It tries until it succeeds or is cancelled; with fail_fast it tries once, with stop_on_auth_error it ends with a refused
    token. An answer to the handshake that shows a wrong URL ends it too (HandshakeError). Times are seconds.

    url                 ws:// or wss://; it must not contain the token, because URLs end up in logs
    group, groups       the group to join, and further ones
    token               identifies the service
    token_source        replaces token: a function, or coroutine function, that is called for each connection
    name, version, meta the service's name, version, and up to 16 texts more, for operators
    echo                whether the hub delivers the client's own messages to it that go to many
    acks                whether the hub acknowledges messages; send_acked needs it
    drain               whether the client moves when the hub asks for it
    on                  handlers of EVENTs by name; they get every message, those added later may miss some
    on_message          handles all other messages
    on_error            is called when the hub refuses a message that no call awaits; by default it is logged
    on_connect          is called after each IDENTIFY, before the messages of that connection
    on_disconnect       is called after each loss of a connection, except in a move without loss
    logger              gets no tokens and no data of messages
    headers, origin     of the handshake
    ssl                 for wss://, perhaps with a client certificate that replaces the token
    proxy               an HTTP proxy for CONNECT; by default that of the environment, "" for none
    connect_timeout     for one attempt, from dialing to the answer to IDENTIFY
    min_backoff         the longest wait before the first new attempt; it doubles up to max_backoff
    write_timeout       a write that is blocked for longer ends the connection
    send_queue          messages that wait to be written; further senders wait
    receive_queue       messages that wait for handlers; then nothing is read
    max_receive_bytes   the largest message accepted from the hub
    history             whether the client recovers what it missed in groups with history
    recover             where to begin in groups with history, also in those that are subscribed to later: behind these
                        positions. Position() is before everything that is kept; without one only what is sent from then on
    positions           keeps how far the handlers are in groups with history, such as a PositionsFile, so that the program goes
                        on there when it starts again. What it has of a group counts, and recover does not
    positions_every     the shortest time between two calls of its save, other than the last
    on_positions_error  is called when save fails, which is tried again; by default it is logged
    on_gap              is called where messages of a group with history are missing, before the handlers get those behind them
    """
    return Connecting(Options(
        url=url, group=group, token=token, token_source=token_source, groups=tuple(groups), name=name, version=version,
        meta=dict(meta or {}), echo=echo, acks=acks, drain=drain, on=dict(on or {}), on_message=on_message, on_error=on_error,
        on_connect=on_connect, on_disconnect=on_disconnect, logger=logger or logging.getLogger("mastersocket"),
        headers=tuple(headers), origin=origin, ssl=ssl, proxy=proxy, connect_timeout=connect_timeout, min_backoff=min_backoff,
        max_backoff=max_backoff, write_timeout=write_timeout, stop_on_auth_error=stop_on_auth_error, fail_fast=fail_fast,
        send_queue=send_queue, receive_queue=receive_queue, max_receive_bytes=max_receive_bytes, history=history,
        recover=dict(recover or {}), positions=positions, positions_every=positions_every, on_positions_error=on_positions_error,
        on_gap=on_gap,
    ))

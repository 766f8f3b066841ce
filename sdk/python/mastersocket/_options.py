"""The options of a client."""

from __future__ import annotations

import inspect
import logging
import ssl as ssl_module
from dataclasses import dataclass, field
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union
from urllib.parse import parse_qs, urlsplit

from ._errors import HubError, OptionsError
from ._history import Gap, check_positions
from ._intent import check_group
from ._message import Message
from ._positions import Positions
from ._wire import Identity, Position

#: Handles a message. A coroutine function is awaited before the next message is handled.
Handler = Callable[[Message], Any]
TokenSource = Callable[[], Union[str, Awaitable[str]]]


@dataclass(frozen=True)
class Options:
    """The options of :func:`mastersocket.connect`, which documents them."""

    url: str
    group: str
    token: Optional[str] = None
    token_source: Optional[TokenSource] = None
    groups: Sequence[str] = ()
    name: str = ""
    version: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    echo: bool = True
    acks: bool = True
    drain: bool = True
    on: Mapping[str, Handler] = field(default_factory=dict)
    on_message: Optional[Handler] = None
    on_error: Optional[Callable[[HubError], Any]] = None
    on_connect: Optional[Callable[[Identity], Any]] = None
    on_disconnect: Optional[Callable[[BaseException], Any]] = None
    logger: logging.Logger = logging.getLogger("mastersocket")
    headers: Sequence[Tuple[str, str]] = ()
    origin: Optional[Any] = None
    ssl: Optional[ssl_module.SSLContext] = None
    proxy: Optional[str] = None
    connect_timeout: float = 15.0
    min_backoff: float = 0.5
    max_backoff: float = 30.0
    write_timeout: float = 30.0
    stop_on_auth_error: bool = False
    fail_fast: bool = False
    send_queue: int = 256
    receive_queue: int = 256
    history: bool = True
    recover: Mapping[str, Position] = field(default_factory=dict)
    positions: Optional[Positions] = None
    positions_every: float = 1.0
    on_positions_error: Optional[Callable[[BaseException], Any]] = None
    on_gap: Optional[Callable[[Gap], Any]] = None
    max_receive_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        self._check_url()
        if (self.token is None) == (self.token_source is None) and self.ssl is None:
            raise OptionsError("want either token or token_source")
        if self.token is not None and self.token_source is not None:
            raise OptionsError("want either token or token_source")
        try:
            for g in (self.group, *self.groups):
                check_group(g)
        except ValueError as e:
            raise OptionsError(str(e)) from None
        for what, text, most in (("name", self.name, 128), ("version", self.version, 64)):
            if not isinstance(text, str) or len(text.encode()) > most:
                raise OptionsError(f"{what} must be text of at most {most} bytes")
        if len(self.meta) > 16 or any(
            not isinstance(k, str) or not isinstance(v, str) or len(k.encode()) > 64 or len(v.encode()) > 256
            for k, v in self.meta.items()
        ):
            raise OptionsError("meta may have 16 members, names of 64 bytes and values of 256 bytes")
        if not self.history and (self.recover or self.positions is not None):
            raise OptionsError("recover and positions need history")
        try:
            check_positions(self.recover)
        except ValueError as e:
            raise OptionsError(f"recover: {e}") from None
        if min(self.connect_timeout, self.min_backoff, self.write_timeout, self.positions_every) <= 0 or self.max_backoff < self.min_backoff:
            raise OptionsError("times must be positive, and max_backoff at least min_backoff")
        if min(self.send_queue, self.receive_queue, self.max_receive_bytes) <= 0:
            raise OptionsError("queues and sizes must be positive")

    def _check_url(self) -> None:
        # The URL is not shown: it may contain a password.
        try:
            url = urlsplit(self.url)
            port = url.port
        except (ValueError, TypeError, AttributeError):
            raise OptionsError("malformed URL; want ws://HOST:PORT or wss://HOST:PORT") from None
        if url.scheme not in ("ws", "wss") or not url.hostname or port == 0:
            raise OptionsError("want a URL such as ws://HOST:PORT or wss://HOST:PORT")
        if url.username is not None or url.password is not None:
            raise OptionsError("the URL must not contain a user or password; use token")
        if {"token", "access_token"} & set(parse_qs(url.query, keep_blank_values=True)):
            raise OptionsError("the URL must not contain a token; use token")
        if url.fragment:
            raise OptionsError("the URL must not have a fragment (RFC 6455, section 3)")

    @property
    def features(self) -> List[str]:
        """The features to ask for."""
        wanted = ["errors"]
        wanted += ["acks"] if self.acks else []
        wanted += ["drain"] if self.drain else []
        return [*wanted, "groups", "presence", "exclusive", "requests", *(["history"] if self.history else [])]

    def identify_data(self) -> Dict[str, Any]:
        """Return the data of IDENTIFY that stay the same."""
        data: Dict[str, Any] = {"group": self.group, "features": self.features}
        if self.name:
            data["name"] = self.name
        if self.version:
            data["version"] = self.version
        if not self.echo:
            data["echo"] = False
        return data

    async def fetch_token(self) -> str:
        """Return the token for a new connection."""
        if self.token_source is None:
            return self.token or ""
        token = self.token_source()
        if inspect.isawaitable(token):
            token = await token
        if not isinstance(token, str) or not token:
            raise OptionsError("the token source returned no token")
        return token

"""The errors of this package."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional, Tuple, Type

from ._intent import Intent


class Error(Exception):
    """The base of all errors of this package but :class:`OptionsError`, which is a ValueError too."""


class OptionsError(Error, ValueError):
    """An option is invalid."""


class MessageError(Error, ValueError):
    """The message breaks a rule of the protocol. It was not sent."""


class TooBigError(MessageError):
    """The message is larger than the hub accepts. It was not sent."""


class DuplicateIDError(MessageError):
    """Another message with the same id awaits its outcome. The message was not sent."""


class ClosedError(Error):
    """The client was closed or has ended by itself; then ``__cause__`` says why."""


class OutcomeUnknownError(Error):
    """A connection broke with the message on its way. Receivers may have got the message."""


class NoReceiverError(Error):
    """No client matches the intent."""


class BrokerUnavailableError(Error):
    """Other instances did not get the message."""


class RequestOverError(Error):
    """The answer was not sent: the request was answered or cancelled, its time is over, or its connection has ended."""


class NoAcksError(Error):
    """The hub grants no acks, or they were not asked for. The message was not sent."""


class NotGrantedError(Error):
    """The hub does not grant the feature that the call needs."""


class PositionsError(Error):
    """The positions in groups with history can't be loaded or saved; ``__cause__`` says why."""


class SilentError(Error):
    """The hub was silent for too long and did not answer PINGs. The connection was ended."""


class TooManyRepliesError(Error):
    """More than ``receive_queue`` replies to a request were unread."""


class HubError(Error):
    """The hub's answer to a message that it did not deliver. An unknown code has this class."""

    def __init__(self, message_id: str, code: str, explanation: str, event: str = "", intent: Optional[Intent] = None) -> None:
        self.id = message_id
        self.code = code
        self.explanation = explanation  # for people
        self.event = event
        self.intent = intent
        what = f"event {event[:80]!r} to {intent}" if intent is not None else f"message {message_id[:80]!r}"
        super().__init__(f"{what}: refused by the hub: {code}" + (f": {explanation}" if explanation else ""))


class ReceiverGoneError(HubError):
    """The receiver disconnected before delivery."""


class ForbiddenError(HubError):
    """The token may not send this intent."""


class OverloadedError(HubError):
    """A bounded buffer of the hub is full."""


class TooManyRequestsError(HubError):
    """The client, or the hub, has too many open requests, or this one would have too many receivers."""


class _NoReceiverHubError(HubError, NoReceiverError):
    """The hub's answer NO_RECEIVER."""


class _BrokerUnavailableHubError(HubError, BrokerUnavailableError):
    """The hub's answer BROKER_UNAVAILABLE."""


class _OutcomeUnknownHubError(HubError, OutcomeUnknownError):
    """The hub's answer OUTCOME_UNKNOWN: a connection between its instances broke."""


class _DuplicateIDHubError(HubError, DuplicateIDError):
    """The hub's answer DUPLICATE_ID."""


_BY_CODE: Dict[str, Type[HubError]] = {
    "NO_RECEIVER": _NoReceiverHubError,
    "RECEIVER_GONE": ReceiverGoneError,
    "FORBIDDEN": ForbiddenError,
    "BROKER_UNAVAILABLE": _BrokerUnavailableHubError,
    "OUTCOME_UNKNOWN": _OutcomeUnknownHubError,
    "DUPLICATE_ID": _DuplicateIDHubError,
    "TOO_MANY_REQUESTS": TooManyRequestsError,
    "OVERLOADED": OverloadedError,
}


def hub_error(message_id: str, code: str, explanation: str, event: str = "", intent: Optional[Intent] = None) -> HubError:
    """Return the error for a code."""
    return _BY_CODE.get(code, HubError)(message_id, code, explanation, event, intent)


class RemoteError(Error):
    """The error of the handler that answered a request. Raise it in a handler to choose the code."""

    def __init__(self, code: str, explanation: str = "", sender: str = "") -> None:
        self.code = code  # for programs
        self.explanation = explanation  # for people
        self.sender = sender  # the id of the client whose handler failed
        super().__init__(f"{code}: {explanation}" if explanation else code)


@dataclass(frozen=True)
class Missing:
    """An answer that a request did not get, or several of one instance of the hub."""

    id: str  # of the receiver; empty where it can't be named
    name: str  # that it gave in its options; empty for none
    node: str  # the name of an instance; empty for none
    reason: str  # such as LOST, TIMEOUT or INSTANCE_LOST; docs/protocol.md lists them
    count: int  # of receivers where they can't be named; else 0

    def __str__(self) -> str:
        who = [self.name, self.id, f"{self.count} receivers" if self.count else "", f"on {self.node}" if self.node else ""]
        return " ".join([w for w in who if w] + [self.reason])


class Settlement(NamedTuple):
    """What the hub says of a request at its end. receivers = replied + passed + missing receivers."""

    receivers: int  # clients that got the request
    replied: int  # of these, those that answered it
    passed: int  # of these, those that said that they don't
    missing: Tuple[Missing, ...]  # the others, 100 entries at most, and what was not delivered
    more: int  # missing ones without an entry


class RequestError(Error):
    """A request has no answer, or not all of them: no more can come.

    It is also a NoReceiverError, asyncio.TimeoutError, BrokerUnavailableError or OutcomeUnknownError if that is the reason.
    """

    def __init__(self, event: str, intent: Intent, settlement: Settlement) -> None:
        self.event = event
        self.intent = intent
        self.settlement = settlement
        s = settlement
        if s.replied:
            text = f"{s.replied} of {s.receivers} receivers answered"
        else:
            text = "no answer" if s.receivers or s.missing else "no receiver can answer"
        text += f"; {s.passed} passed" if s.passed else ""
        text += "".join(f"; {m}" for m in s.missing[:8])
        if len(s.missing) + s.more > 8:
            text += f"; {len(s.missing) + s.more - 8} more"
        super().__init__(f"event {event[:80]!r} to {intent}: {text}")


class _NoReceiverRequestError(RequestError, NoReceiverError):
    """No client got the request."""


class RequestTimeoutError(RequestError, asyncio.TimeoutError):
    """A receiver did not answer in time."""


class _BrokerUnavailableRequestError(RequestError, BrokerUnavailableError):
    """Other instances did not get the request."""


class _OutcomeUnknownRequestError(RequestError, OutcomeUnknownError):
    """An instance may have got the request, and did not say."""


def request_error(event: str, intent: Intent, s: Settlement) -> RequestError:
    """Return the error of a request with this end."""
    reasons = {m.reason for m in s.missing}
    cls: Type[RequestError] = RequestError
    if s.receivers == 0 and not reasons - {"NOT_DELIVERED"}:
        cls = _NoReceiverRequestError
    elif "TIMEOUT" in reasons:
        cls = RequestTimeoutError
    elif "BROKER_UNAVAILABLE" in reasons:
        cls = _BrokerUnavailableRequestError
    elif "OUTCOME_UNKNOWN" in reasons:
        cls = _OutcomeUnknownRequestError
    return cls(event, intent, s)


class GroupError(Error):
    """The hub's refusal of a change of groups."""

    def __init__(self, code: str, group: str, explanation: str) -> None:
        self.code = code  # such as TOO_MANY_GROUPS
        self.group = group  # the one at fault; empty if the hub names none
        self.explanation = explanation  # for people
        what = f"group {group[:150]!r}: " if group else ""
        super().__init__(f"{what}refused by the hub: {code}" + (f": {explanation}" if explanation else ""))


class DisconnectError(Error):
    """The hub's reason for ending a connection, such as SERVER_RESTART."""

    def __init__(self, reason: str, code: int = 0) -> None:
        self.reason = reason  # empty if there was none
        self.code = code  # of the WebSocket close frame; 0 if there was none
        text = f": {reason}" if reason else ""
        super().__init__(f"disconnected by the hub{text}" + (f" ({code})" if code else ""))


class HandshakeError(Error):
    """An HTTP answer other than 101 to the handshake, or other than 2xx to CONNECT."""

    def __init__(self, status: int, server: str, body: str, proxy: str = "") -> None:
        self.status = status
        self.server = server  # the header Server, which shows what has answered
        self.body = body  # the first bytes of the answer's body
        self.proxy = proxy  # the host of the forward proxy that refused CONNECT; empty for an answer to the handshake
        text = "refused" + (f" by the proxy {proxy}" if proxy else "") + f" with HTTP status {status}"
        text += f" by {server[:80]!r}" if server else ""
        text += f": {body!r}" if body else ""
        cause = self._cause()
        super().__init__(text + (f"; {cause}" if cause else ""))

    def _cause(self) -> str:
        if self.status == 407:
            return "the proxy requires credentials in its URL"
        if self.proxy:
            return "the proxy may not allow CONNECT to this host and port"
        if self.status == 426:
            return "a proxy on the way may have removed the upgrade to WebSocket"
        if self.status // 100 == 2:
            return "this is an HTTP server without WebSocket, such as a proxy's login page"
        if self.status // 100 == 3:
            return "redirects are not followed"
        return ""

    @property
    def permanent(self) -> bool:
        """Whether the answer shows a wrong URL, so that another attempt would most likely get the same answer."""
        return not self.proxy and (self.status in (400, 401, 403, 404, 405, 410) or self.status // 100 == 3)

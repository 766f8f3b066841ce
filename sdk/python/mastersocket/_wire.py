"""Envelopes: what the messages look like on the wire."""

from __future__ import annotations

import datetime
import decimal
import json
import re
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ._errors import MessageError, Missing, Settlement
from ._intent import Intent, check_intent

EVENT, IDENTIFY, DISCONNECT, PING, PONG, REPLY, ERROR, ACK = range(8)
SUBSCRIBE, UNSUBSCRIBE, PRESENCE, HISTORY, DRAIN, FENCE, SETTLED, CANCEL = range(8, 16)

PING_FRAME = b'{"op":3}'
PONG_FRAME = b'{"op":4}'
GOODBYE_FRAME = b'{"op":2}'
MOVED_FRAME = b'{"op":2,"data":"MOVED"}'  # another connection has what this one does not answer

_MAX_DEPTH = 63  # of data: the envelope is the first of 64 levels
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False)
_ascii_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
_scan: Callable[[str, int], Tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def _make_encode(encoder: json.JSONEncoder) -> Callable[[Any, int], Iterable[str]]:
    """Return what encodes a value, with 0 as the second argument, as parts of a text. Where there is an encoder in C, it is
    made once, and not for each value.
    """
    make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
    if make is None:
        return lambda value, _: (encoder.encode(value),)
    escape = json.encoder.encode_basestring_ascii if encoder.ensure_ascii else json.encoder.encode_basestring  # type: ignore[attr-defined]
    iterencode: Callable[[Any, int], Iterable[str]] = make(None, encoder.default, escape, None, ":", ",", False, False, False)
    return iterencode


_encode_parts = _make_encode(_encoder)
_encode_ascii_parts = _make_encode(_ascii_encoder)  # a third faster


def _encode(value: Any) -> str:
    return "".join(_encode_parts(value, 0))


def encode_data(data: object) -> str:
    """Return data as JSON. Raises MessageError for what is no JSON, or nested too deep for the hub."""
    try:
        text = "".join(_encode_ascii_parts(data, 0))
        if "\\u" in text:  # it has other characters, which are shorter in UTF-8
            text = _encode(data)
    except (TypeError, ValueError, RecursionError) as e:
        raise MessageError(f"data: {e}") from e
    if (text.find("{", 1) >= 0 or text.find("[", 1) >= 0) and _too_deep(text):  # find is faster than count
        raise MessageError(f"data: nested deeper than {_MAX_DEPTH} levels")
    return text


def _too_deep(text: str) -> bool:
    """Report whether JSON is nested deeper than the hub accepts."""
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return False
    depth = most = 0
    for c in _STRING.sub("", text):
        if c in "[{":
            depth += 1
            most = max(most, depth)
        elif c in "]}":
            depth -= 1
    return most > _MAX_DEPTH


def encode_text(what: str, text: object, least: int, most: int) -> str:
    """Return a member of the envelope as JSON. Raises MessageError beyond the limits, which count bytes of UTF-8."""
    if not isinstance(text, str):
        raise MessageError(f"{what} must be text, not {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as e:
        raise MessageError(f"{what}: {e}") from e
    if not least <= size <= most:
        raise MessageError(f"{what} has {size} bytes; want {least} to {most}")
    return _encode(text)


def encode_id(message_id: object) -> str:
    """Return the id of a message as JSON. Raises MessageError."""
    return encode_text("id", message_id, 1, 64)


def envelope(op: int, message_id: str, to: Intent, event: str, data: object, further: str = "") -> bytes:
    """Return a message in its wire format. The id is JSON, and so is further, which follows the intent: ',"expect":{}'.

    None as data means no data. Raises MessageError for what the hub would refuse.
    """
    address = _addresses.get((to, event)) or _address(to, event)
    body = f',"data":{encode_data(data)}' if data is not None else ""
    try:
        return f'{{"op":{op},"id":{message_id}{address}{further}{body}}}'.encode()
    except UnicodeEncodeError as e:
        raise MessageError(f"data: {e}") from e


def event_frame(message_id: str, to_event: Tuple[Intent, str], data: object) -> bytes:
    """Return an EVENT like envelope, with an id that needs no escapes: the short way of most messages."""
    address = _addresses.get(to_event) or _address(*to_event)
    if data is None:
        return f'{{"op":0,"id":"{message_id}"{address}}}'.encode()
    try:
        return f'{{"op":0,"id":"{message_id}"{address},"data":{encode_data(data)}}}'.encode()
    except UnicodeEncodeError as e:
        raise MessageError(f"data: {e}") from e


_MOST_ADDRESSES = 1024
_addresses: Dict[Tuple[Intent, str], str] = {}  # what was made of targets and events, as most are used again and again


def _address(to: Intent, event: str) -> str:
    """Return the members event and intent."""
    try:
        check_intent(to)
    except ValueError as e:
        raise MessageError(str(e)) from e
    identifier = f',"identifier":{_encode(to.identifier)}' if to.identifier else ""
    identifier += f',"identifiers":{_encode(to.identifiers)}' if to.identifiers else ""
    identifier += f',"except":{_encode(to.excluded)}' if to.excluded else ""
    address = f',"event":{encode_text("event", event, 0, 128)},"intent":{{"target":"{to.target}"{identifier}}}'
    if len(_addresses) >= _MOST_ADDRESSES:
        _addresses.clear()
    _addresses[to, event] = address
    return address


def identify_frame(data: Dict[str, Any]) -> bytes:
    """Return an IDENTIFY."""
    return _encode({"op": IDENTIFY, "data": data}).encode()


def groups_frame(op: int, message_id: str, data: Dict[str, Any]) -> bytes:
    """Return a SUBSCRIBE or UNSUBSCRIBE."""
    return _encode({"op": op, "id": message_id, "data": data}).encode()


def cancel_frame(message_id: str) -> bytes:
    """Return a CANCEL of a request."""
    return _encode({"op": CANCEL, "id": message_id}).encode()


def pass_frame(message_id: str, to: str) -> bytes:
    """Return what tells the hub that no answer to a request comes."""
    return _encode({"op": SETTLED, "id": message_id, "intent": {"target": "DIRECT", "identifier": to}}).encode()


def json_text(text: str) -> str:
    """Return a text as JSON."""
    return _encode(text)


def fence_frame(fence_id: str, to: str) -> bytes:
    """Return a FENCE to the client with the given id."""
    return _encode({"op": FENCE, "id": fence_id, "intent": {"target": "DIRECT", "identifier": to}}).encode()


class Wire(NamedTuple):
    """A message from the hub."""

    op: int
    id: str
    event: str
    data: Any
    sender: str
    intent: Optional[Intent]
    members: Dict[str, Any]  # all of them


_intents: Dict[Tuple[str, Optional[str]], Intent] = {}  # of messages that arrived, without several targets and exceptions


def _intent(target: str, identifier: Optional[str]) -> Intent:
    if len(_intents) >= _MOST_ADDRESSES:
        _intents.clear()
    intent = _intents[target, identifier] = Intent(target, identifier or "")
    return intent


def _selection(target: str, identifier: Optional[str], to: Dict[str, Any]) -> Intent:
    """Return an intent that has further members. A hub of an earlier release forwards anything in them."""
    several, excluded = (
        tuple(v) if isinstance(v, list) and all(type(name) is str for name in v) else ()
        for v in (to.get("identifiers"), to.get("except"))
    )
    return Intent(target, identifier or "", several, excluded)


def _loads(text: bytes) -> Any:
    """Decode JSON. An integer with more digits than Python converts becomes a decimal.Decimal."""
    decoded = text.decode()
    try:
        value, end = _scan(decoded, 0)
        if end == len(decoded):
            return value
    except (ValueError, StopIteration):
        pass  # space around it, or something is wrong
    try:
        return json.loads(decoded)
    except ValueError:
        return json.loads(decoded, parse_int=_big_int)


class MalformedError(Exception):
    """The peer does not speak the protocol."""


def _big_int(digits: str) -> Any:
    return int(digits) if len(digits) <= 4300 else decimal.Decimal(digits)


def parse(text: bytes) -> Wire:
    """Read a message from the hub. Raises MalformedError.

    An integer with more digits than Python converts becomes a decimal.Decimal.
    """
    try:
        m = _loads(text)
    except (ValueError, RecursionError) as e:
        raise MalformedError(f"malformed message from the hub: {e}") from e
    if type(m) is not dict:
        raise MalformedError("malformed message from the hub: not an object")
    get = m.get
    try:  # the messages of others, which have all of these, take the shorter way
        op, message_id, event, sender, to = m["op"], m["id"], m["event"], m["sender"], m["intent"]
    except KeyError:
        op, message_id, event, sender, to = get("op"), get("id"), get("event"), get("sender"), get("intent")
    if (
        type(op) is not int or (type(message_id) is not str and message_id is not None)
        or (type(event) is not str and event is not None) or (type(sender) is not str and sender is not None)
    ):
        raise MalformedError("malformed message from the hub: a member has the wrong type")
    intent = None
    if to is not None:
        if type(to) is not dict:
            raise MalformedError("malformed message from the hub: the intent has the wrong type")
        target, identifier = to.get("target"), to.get("identifier")
        if type(target) is not str or (type(identifier) is not str and identifier is not None):
            raise MalformedError("malformed message from the hub: the intent has the wrong type")
        if len(to) == 1 + (identifier is not None):
            intent = _intents.get((target, identifier)) or _intent(target, identifier)
        else:
            intent = _selection(target, identifier, to)
    return tuple.__new__(Wire, (op, message_id or "", event or "", get("data"), sender or "", intent, m))  # faster than Wire(…)


NEVER = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)


def parse_time(text: Any) -> datetime.datetime:
    """Read a time of the hub; NEVER for none. Raises MalformedError."""
    if not isinstance(text, str):
        return NEVER
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as e:
        raise MalformedError(f"malformed time from the hub: {e}") from e


class Position(NamedTuple):
    """A place in a group with history: behind the message with the number offset, as that was in the epoch."""

    epoch: str = ""  # empty: of what is kept, everything behind offset
    offset: int = 0  # 0: before the first message


def parse_position(data: Any) -> Position:
    """Read a position. Raises MalformedError."""
    epoch, offset = (data.get("epoch"), data.get("offset")) if isinstance(data, dict) else (None, None)
    if type(offset) is not int or offset < 0 or not isinstance(epoch or "", str):
        raise MalformedError("malformed position from the hub")
    return Position(epoch or "", offset)


def parse_joined(data: Any) -> List[Tuple[str, Position]]:
    """Read the positions in an answer; none if data is None. Raises MalformedError."""
    if data is None:
        return []
    if not isinstance(data, dict):
        raise MalformedError("malformed positions from the hub")
    return [(group, parse_position(at)) for group, at in data.items()]


class Identity(NamedTuple):
    """The hub's answer to IDENTIFY. Each connection has its own."""

    id: str  # the client's id, which others can address with direct()
    node: str  # the name of the hub's instance
    ping: float  # seconds: the hub sends a PING to a client that was silent for this long
    session_started: datetime.datetime  # in UTC
    max_message_bytes: int  # the largest message that the hub accepts; 0 if unknown
    features: List[str]  # granted by the hub
    groups: Dict[str, Any]  # what the answer says of groups, by member
    history: List[Tuple[str, Position]]  # where groups with history were joined


def parse_identity(data: Any) -> Identity:
    """Read the data of the answer to IDENTIFY. Raises MalformedError."""
    if not isinstance(data, dict):
        raise MalformedError("malformed answer to IDENTIFY")
    client_id, ping, limit, features = (data.get(k) for k in ("id", "ping", "max_message_bytes", "features"))
    if (
        not isinstance(client_id, str) or not client_id or type(ping) is not int or ping < 0
        or type(limit or 0) is not int or (limit or 0) < 0
        or not isinstance(features or [], list) or not all(isinstance(f, str) for f in features or [])
    ):
        raise MalformedError("malformed answer to IDENTIFY: no id, or a member with the wrong type")
    node = data.get("node")
    return Identity(
        client_id, node if isinstance(node, str) else "", ping / 1000, parse_time(data.get("session_started")),
        limit or 0, features or [], {k: data[k] for k in ("exclusive", "watch") if k in data}, parse_joined(data.get("history")),
    )


class Notice(NamedTuple):
    """A DRAIN. Times are those of the event loop's clock."""

    reason: str
    arrived: float
    due: float  # when to open the other connection
    deadline: Optional[float]  # when the hub disconnects; None for never

    @property
    def optional(self) -> bool:
        """Whether the client may stay, because the hub does not end the connection."""
        return self.deadline is None

    @property
    def leave_by(self) -> Optional[float]:
        """When the connection must be left, shortly before the hub ends it; None for never."""
        if self.deadline is None:
            return None
        return self.deadline - min((self.deadline - self.arrived) / 10, 1.0)


def parse_settlement(data: Any) -> Settlement:
    """Read the data of a SETTLED. Raises MalformedError."""
    if not isinstance(data, dict) or not isinstance(data.get("missing") or [], list):
        raise MalformedError("malformed SETTLED from the hub")
    counts = [data.get(k) or 0 for k in ("receivers", "replied", "passed", "more")]
    missing = []
    for m in data.get("missing") or []:
        if not isinstance(m, dict):
            raise MalformedError("malformed SETTLED from the hub: a missing receiver is not an object")
        count = m.get("count") or 0
        counts.append(count)
        who, name, node, reason = (str(m.get(k) or "") for k in ("id", "name", "node", "reason"))
        missing.append(Missing(who, name, node, reason, count))
    if any(type(n) is not int for n in counts):
        raise MalformedError("malformed SETTLED from the hub: a count is not a number")
    return Settlement(counts[0], counts[1], counts[2], tuple(missing), counts[3])


_MAX_NOTICE_MS = 24 * 3600 * 1000


def parse_notice(data: Any, now: float) -> Notice:
    """Read the data of a DRAIN. Raises MalformedError."""
    if not isinstance(data, dict):
        raise MalformedError("malformed DRAIN from the hub")
    after, deadline, reason = data.get("after_ms") or 0, data.get("deadline_ms") or 0, data.get("reason") or ""
    if type(after) is not int or type(deadline) is not int or not isinstance(reason, str):
        raise MalformedError("malformed DRAIN from the hub: a member has the wrong type")

    def at(ms: int) -> float:
        return now + min(max(ms, 0), _MAX_NOTICE_MS) / 1000

    return Notice(reason, now, at(after), at(deadline) if deadline > 0 else None)


#: Of a client that has not identified yet.
NOBODY = Identity("", "", 0.0, NEVER, 0, [], {}, [])

"""Frames of WebSocket (RFC 6455), as a client reads and writes them. Bytes in, bytes out."""

from __future__ import annotations

import os
from typing import List, Optional, Tuple

from websockets.utils import apply_mask

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MOST_CONTROL_BYTES = 125
_MASKS = 1024  # masking keys that are drawn at once
_NO_STATUS = 1005  # a close frame without a code


class FrameError(Exception):
    """The peer breaks the rules of WebSocket. code is that of the close frame for it."""

    def __init__(self, why: str, code: int = 1002) -> None:
        self.code = code
        super().__init__(why)


class Closed(Exception):
    """The peer's close frame."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(code, reason)


class Reader:
    """Takes bytes of a server apart."""

    def __init__(self, most: int) -> None:
        #: The most bytes of a message.
        self.most = most
        self._rest: List[bytes] = []  # of a frame that is not complete
        self._size_of_rest = 0
        self._needed = 2  # bytes until it is, or until its length is known
        self._parts: List[bytes] = []  # of a message that is not complete
        self._size = 0
        self.pings: List[bytes] = []  # that are to be answered

    def read(self, data: bytes, messages: List[bytes]) -> None:
        """Append the messages that data completes. Raises Closed or FrameError behind the last message before it."""
        if self._rest:
            self._rest.append(data)
            self._size_of_rest += len(data)
            if self._size_of_rest < self._needed:
                return
            data, self._rest, self._size_of_rest = b"".join(self._rest), [], 0
        at, end, self._needed = 0, len(data), 2
        while end - at >= 2:
            first, size = data[at], data[at + 1]
            begin = at + 2
            if size >= 126:
                begin += 2 if size == 126 else 8
                if size > 127:
                    raise FrameError("a frame from the hub is masked")
                if end < begin:
                    self._needed = begin - at
                    break
                size = int.from_bytes(data[at + 2:begin], "big")
            if size + self._size > self.most:
                raise FrameError(f"a message from the hub has more than {self.most} bytes", 1009)
            if end - begin < size:
                self._needed = begin - at + size
                break
            at = begin + size
            if first == 0x80 | _TEXT and not self._parts:
                messages.append(data[begin:at])
            else:
                self._handle(first, data[begin:at], messages)
        if at < end:
            self._rest, self._size_of_rest = [data[at:]], end - at

    def _handle(self, first: int, payload: bytes, messages: List[bytes]) -> None:
        """Handle a frame that is not a whole message."""
        opcode, final = first & 0x0F, bool(first & 0x80)
        if first & 0x70:
            raise FrameError("a frame from the hub has reserved bits")
        if opcode >= _CLOSE:
            if not final or len(payload) > _MOST_CONTROL_BYTES:
                raise FrameError("a control frame from the hub is fragmented or too long")
            if opcode == _CLOSE:
                raise _closed(payload)
            if opcode == _PING:
                self.pings.append(payload)
            elif opcode != _PONG:
                raise FrameError(f"a frame from the hub has the opcode {opcode}")
            return
        if opcode == _BINARY:
            raise FrameError("binary message from the hub: is it a mastersocket hub?", 1003)
        if opcode > _TEXT or (opcode == _TEXT) == bool(self._parts):
            raise FrameError(f"a frame from the hub has the opcode {opcode} in the wrong place")
        self._parts.append(payload)
        self._size += len(payload)
        if final:
            messages.append(b"".join(self._parts))
            self._parts, self._size = [], 0


def _closed(payload: bytes) -> Exception:
    if len(payload) == 1:
        return FrameError("malformed close frame from the hub")
    try:
        return Closed(int.from_bytes(payload[:2], "big") if payload else _NO_STATUS, payload[2:].decode())
    except UnicodeDecodeError:
        return FrameError("malformed close frame from the hub", 1007)


class Writer:
    """Makes frames, which a client masks with keys that can't be predicted."""

    def __init__(self) -> None:
        self._masks, self._at = b"", 0
        self._parts: List[bytes] = []

    def text(self, payload: bytes) -> None:
        """Add a message."""
        self._add(0x80 | _TEXT, payload)

    def pong(self, payload: bytes) -> None:
        self._add(0x80 | _PONG, payload)

    def close(self, code: int) -> None:
        self._add(0x80 | _CLOSE, b"" if code == _NO_STATUS else code.to_bytes(2, "big"))

    def _add(self, first: int, payload: bytes) -> None:
        at = self._at
        mask = self._masks[at:at + 4]
        if not mask:
            self._masks, at = os.urandom(4 * _MASKS), 0
            mask = self._masks[:4]
        self._at = at + 4
        size = len(payload)
        if size < 126:
            head = bytes((first, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((first, 0x80 | 126, size >> 8, size & 0xFF))
        else:
            head = bytes((first, 0x80 | 127)) + size.to_bytes(8, "big")
        self._parts += (head, mask, apply_mask(payload, mask))

    def take(self) -> bytes:
        """Return the bytes of what was added."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def split_handshake(data: bytes) -> Optional[Tuple[bytes, bytes]]:
    """Split the answer to a handshake from the frames behind it; None for one that is not complete, or no upgrade."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator or data.split(b" ", 2)[1:2] != [b"101"]:
        return None
    return head + separator, rest

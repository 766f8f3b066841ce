"""Frames of WebSocket (RFC 6455), as a client reads and writes them. Bytes in, bytes out."""

from __future__ import annotations

import os
import struct
import types
from typing import Callable, List, Optional, Tuple

import websockets.frames
from websockets.utils import apply_mask

# websockets' function in C, where there is one. Debian's package has none.
_apply_mask: Callable[[bytes, bytes], bytes] = getattr(websockets.frames, "apply_mask", apply_mask)
_IN_C = not isinstance(_apply_mask, types.FunctionType)

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MOST_CONTROL_BYTES = 125
_KEYS = struct.Struct("4s" * 1024)  # masking keys that are drawn at once
_SHORT, _MEDIUM, _LONG = struct.Struct("!BB4s"), struct.Struct("!BBH4s"), struct.Struct("!BBQ4s")  # heads, by size of the length
_NO_MASK = {head.size: bytes(head.size) for head in (_SHORT, _MEDIUM, _LONG)}
_MASKED_AT_ONCE = 64  # frames. Larger integers would not stay in the processor's cache
_WHOLE_TEXT = 0x80 | _TEXT  # the first byte of a message in one frame
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
        append = messages.append
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
            if first == _WHOLE_TEXT and not self._parts:
                append(data[begin:at])
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
    """Makes frames, which a client masks with keys that can't be predicted.

    Without websockets' function in C several frames are masked at once, as one large integer, which is faster than one by one.
    """

    def __init__(self) -> None:
        self._keys: List[bytes] = []
        self._parts: List[bytes] = []  # not masked yet, if there is something in _masks
        self._masks: List[bytes] = []  # what is to be added to the parts, bit by bit
        self._masked: List[bytes] = []  # what precedes the parts

    def pong(self, payload: bytes) -> None:
        self.add(payload, 0x80 | _PONG)

    def close(self, code: int) -> None:
        self.add(b"" if code == _NO_STATUS else code.to_bytes(2, "big"), 0x80 | _CLOSE)

    def add(self, payload: bytes, first: int = _WHOLE_TEXT) -> None:
        """Add a frame; by default that of a message."""
        try:
            key = self._keys.pop()
        except IndexError:
            self._keys.extend(_KEYS.unpack(os.urandom(_KEYS.size)))
            key = self._keys.pop()
        size = len(payload)
        if size < 126:
            head = _SHORT.pack(first, 0x80 | size, key)
        elif size < 1 << 16:
            head = _MEDIUM.pack(first, 0x80 | 126, size, key)
        else:
            head = _LONG.pack(first, 0x80 | 127, size, key)
        if _IN_C:
            self._parts += (head, _apply_mask(payload, key))
            return
        self._parts += (head, payload)
        self._masks += (_NO_MASK[len(head)], key * (size >> 2), key[:size & 3])
        if len(self._parts) == 2 * _MASKED_AT_ONCE:
            self._mask()

    def _mask(self) -> None:
        data, masks = b"".join(self._parts), b"".join(self._masks)
        self._parts.clear()
        self._masks.clear()
        self._masked.append((int.from_bytes(data, "little") ^ int.from_bytes(masks, "little")).to_bytes(len(data), "little"))

    def take(self) -> bytes:
        """Return the bytes of what was added."""
        if self._masks:
            self._mask()
        if self._masked:
            data = b"".join(self._masked)
            self._masked.clear()
        else:
            data = b"".join(self._parts)
            self._parts.clear()
        return data


def split_handshake(data: bytes) -> Optional[Tuple[bytes, bytes]]:
    """Split the answer to a handshake from the frames behind it; None for one that is not complete, or no upgrade."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator or data.split(b" ", 2)[1:2] != [b"101"]:
        return None
    return head + separator, rest

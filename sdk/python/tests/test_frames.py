"""Tests of the frames of WebSocket."""

from __future__ import annotations

import os
import random
import unittest
import unittest.mock
from typing import List

from websockets.frames import Frame, Opcode
from websockets.utils import apply_mask

from mastersocket import _frames as frames


def serialize(opcode: Opcode, payload: bytes, final: bool = True, mask: bool = False) -> bytes:
    return bytes(Frame(opcode, payload, fin=final).serialize(mask=mask))


def read(pieces: List[bytes], most: int = 1 << 20) -> List[bytes]:
    reader, messages = frames.Reader(most), []  # type: frames.Reader, List[bytes]
    for piece in pieces:
        reader.read(piece, messages)
    return messages


class ReaderTest(unittest.TestCase):
    def test_messages_arrive_in_any_pieces(self) -> None:
        sizes = [0, 1, 125, 126, 127, 65535, 65536, 70000]
        sent = [bytes(random.choices(b"abc", k=size)) for size in sizes]
        data = b""
        for i, message in enumerate(sent):
            if i % 2 == 0 and len(message) > 1:
                half = len(message) // 2
                data += serialize(Opcode.TEXT, message[:half], final=False) + serialize(Opcode.PING, b"between")
                data += serialize(Opcode.CONT, message[half:])
            else:
                data += serialize(Opcode.TEXT, message)
        self.assertEqual(read([data]), sent)
        for most in (1, 3, 1000, 100_000):
            at, pieces = 0, []
            while at < len(data):
                size = random.randint(1, most)
                pieces.append(data[at:at + size])
                at += size
            self.assertEqual(read(pieces), sent, f"pieces of up to {most} bytes")

    def test_pings_are_noted(self) -> None:
        reader, messages = frames.Reader(100), []  # type: frames.Reader, List[bytes]
        reader.read(serialize(Opcode.PING, b"a") + serialize(Opcode.PONG, b"b") + serialize(Opcode.PING, b""), messages)
        self.assertEqual((reader.pings, messages), ([b"a", b""], []))

    def test_close(self) -> None:
        for payload, code, reason in ((b"", 1005, ""), (b"\x0f\xa3", 4003, ""), (b"\x0f\xa3why", 4003, "why")):
            reader, messages = frames.Reader(100), []  # type: frames.Reader, List[bytes]
            with self.assertRaises(frames.Closed) as closed:
                reader.read(serialize(Opcode.TEXT, b"{}") + serialize(Opcode.CLOSE, payload), messages)
            self.assertEqual((closed.exception.code, closed.exception.reason, messages), (code, reason, [b"{}"]))

    def test_malformed(self) -> None:
        part = serialize(Opcode.TEXT, b"a", final=False)
        for what, data, code in (
            ("masked", serialize(Opcode.TEXT, b"a", mask=True), 1002),
            ("masked, long", serialize(Opcode.TEXT, b"a" * 200, mask=True), 1002),
            ("reserved bits", b"\xc1\x01a", 1002),
            ("binary", serialize(Opcode.BINARY, b"a"), 1003),
            ("unknown opcode", b"\x83\x01a", 1002),
            ("unknown control opcode", b"\x8b\x01a", 1002),
            ("continuation of nothing", serialize(Opcode.CONT, b"a"), 1002),
            ("text within a message", part + serialize(Opcode.TEXT, b"a"), 1002),
            ("fragmented ping", b"\x09\x01a", 1002),
            ("long ping", b"\x89\x7e\x00\x7e" + bytes(126), 1002),
            ("close of one byte", b"\x88\x01a", 1002),
            ("close that is no UTF-8", b"\x88\x03\x03\xe8\xff", 1007),
            ("too long", serialize(Opcode.TEXT, b"a" * 1001), 1009),
            ("too long, announced", b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), 1009),
            ("too long in parts", part + serialize(Opcode.CONT, b"a" * 1000), 1009),
        ):
            with self.subTest(what), self.assertRaises(frames.FrameError) as malformed:
                read([data], 1000)
            self.assertEqual(malformed.exception.code, code)

    def test_any_bytes(self) -> None:
        for seed in range(2000):
            data = bytes(random.Random(seed).choices(range(256), k=40))
            for pieces in ([data], [data[i:i + 1] for i in range(len(data))]):
                try:
                    read(pieces, 1000)
                except (frames.FrameError, frames.Closed):
                    pass


class WriterTest(unittest.TestCase):
    def test_frames_are_masked(self) -> None:
        for in_c in (False, True):  # websockets' function in C takes the same arguments as that in Python
            with self.subTest(in_c=in_c), unittest.mock.patch.object(frames, "_IN_C", in_c):
                self.check_frames()

    def check_frames(self) -> None:
        writer = frames.Writer()
        masks = set()
        for i, size in enumerate([0, 1, 125, 126, 65535, 65536] * 300):
            payload = bytes(size)
            writer.add(payload)
            data = writer.take()
            head = 2 + (0 if size < 126 else 2 if size < 1 << 16 else 8)
            mask = data[head:head + 4]
            masks.add(mask)
            self.assertEqual(len(data), head + 4 + size)
            self.assertEqual(data[head + 4:], (mask * (size // 4 + 1))[:size])
            if i < 6:
                self.assertEqual(data[:head], serialize(Opcode.TEXT, payload, mask=True)[:head])
        self.assertGreater(len(masks), 1790)  # of 1,800: chance repeats hardly one
        writer.pong(b"a")
        writer.close(1002)
        writer.close(1005)
        data = writer.take()
        self.assertEqual((data[:2], data[7:9], data[15:17]), (b"\x8a\x81", b"\x88\x82", b"\x88\x80"))

    def test_many_frames_at_once(self) -> None:
        """What is taken at once is what each frame is by itself, in order."""
        sent = [os.urandom(size) for size in range(300)]
        writer, got = frames.Writer(), []
        for payload in sent:
            writer.add(payload)
        data, at = writer.take(), 0
        while at < len(data):
            size, head = data[at + 1] & 0x7F, 2
            if size == 126:
                size, head = int.from_bytes(data[at + 2:at + 4], "big"), 4
            begin = at + head + 4
            got.append(apply_mask(data[begin:begin + size], data[at + head:begin]))
            at = begin + size
        self.assertEqual(got, sent)
        self.assertEqual(writer.take(), b"")


class HandshakeTest(unittest.TestCase):
    def test_split(self) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
        self.assertEqual(frames.split_handshake(head + b"\x81\x02{}"), (head, b"\x81\x02{}"))
        self.assertIsNone(frames.split_handshake(head[:-1]))
        self.assertIsNone(frames.split_handshake(b"HTTP/1.1 503 Unavailable\r\n\r\n101"))
        self.assertIsNone(frames.split_handshake(b"\r\n\r\n"))


if __name__ == "__main__":
    unittest.main()

"""Tests of envelopes and of the checks of options."""

from __future__ import annotations

import decimal
import json
import unittest
from typing import Any, Dict, List

import mastersocket as ms
from mastersocket import _wire as wire
from mastersocket._options import Options

SOMEBODY = "2d109e7c-0100-895b-8400-009d5d0d1e98"


class EnvelopeTest(unittest.TestCase):
    def test_envelope(self) -> None:
        for to, intent in (
            (ms.GLOBAL, {"target": "GLOBAL"}),
            (ms.group('a"é'), {"target": "GROUP", "identifier": 'a"é'}),
            (ms.any_of(), {"target": "ANY"}),
            (ms.direct(SOMEBODY), {"target": "DIRECT", "identifier": SOMEBODY}),
            (ms.groups("a", "b"), {"target": "GROUP", "identifiers": ["a", "b"]}),
            (ms.directs(SOMEBODY), {"target": "DIRECT", "identifiers": [SOMEBODY]}),
            (ms.GLOBAL.excluding("a"), {"target": "GLOBAL", "except": ["a"]}),
            (ms.groups("a").excluding("b", SOMEBODY), {"target": "GROUP", "identifiers": ["a"], "except": ["b", SOMEBODY]}),
            (ms.group("a").excluding(SOMEBODY), {"target": "GROUP", "identifier": "a", "except": [SOMEBODY]}),
        ):
            frame = wire.envelope(wire.EVENT, wire.encode_id("i\n"), to, "é", {"n": [1, None, "\u2028"]})
            self.assertEqual(wire.parse(frame).intent, to)
            self.assertEqual(
                json.loads(frame), {"op": 0, "id": "i\n", "event": "é", "intent": intent, "data": {"n": [1, None, "\u2028"]}},
            )
        self.assertNotIn("data", json.loads(wire.envelope(wire.EVENT, wire.encode_id("i"), ms.GLOBAL, "e", None)))

    def test_refused(self) -> None:
        loop: List[object] = []
        loop.append(loop)
        deep: object = 0
        for _ in range(64):
            deep = [deep]
        for to, event, message_id, data in (
            (ms.group(""), "e", "i", None), (ms.group("$x"), "e", "i", None), (ms.group("a\x00"), "e", "i", None),
            (ms.group("x" * 129), "e", "i", None), (ms.group("\ud800"), "e", "i", None), (ms.direct("x"), "e", "i", None),
            (ms.Intent("NOBODY"), "e", "i", None), (ms.Intent("GLOBAL", "x"), "e", "i", None),
            (ms.groups(), "e", "i", None), (ms.groups("a", "a"), "e", "i", None), (ms.groups("a", "$b"), "e", "i", None),
            (ms.groups(*map(str, range(17))), "e", "i", None), (ms.directs("a"), "e", "i", None), (ms.directs(), "e", "i", None),
            (ms.any_of().excluding("a"), "e", "i", None), (ms.any_of("a").excluding("b"), "e", "i", None),
            (ms.GLOBAL.excluding("$a"), "e", "i", None), (ms.GLOBAL.excluding(*map(str, range(17))), "e", "i", None),
            (ms.GLOBAL.excluding("a", "a"), "e", "i", None), (ms.Intent("GLOBAL", "", ("a",)), "e", "i", None),
            (ms.Intent("GROUP", "a", ("b",)), "e", "i", None), (ms.Intent("ANY", "", ("b",)), "e", "i", None),
            (ms.GLOBAL, "é" * 65, "i", None), (ms.GLOBAL, "\ud800", "i", None), (ms.GLOBAL, "e", "", None),
            (ms.GLOBAL, "e", "i" * 65, None), (ms.GLOBAL, "e", "i", float("nan")), (ms.GLOBAL, "e", "i", {1, 2}),
            (ms.GLOBAL, "e", "i", "\udc00"), (ms.GLOBAL, "e", "i", deep), (ms.GLOBAL, "e", "i", loop),
        ):
            with self.subTest(to=to, event=event, id=message_id), self.assertRaises(ms.MessageError):
                wire.envelope(wire.EVENT, wire.encode_id(message_id), to, event, data)
        wire.envelope(wire.EVENT, wire.encode_id("i"), ms.GLOBAL, "e", deep[0])  # type: ignore[index]
        wire.envelope(wire.EVENT, wire.encode_id("i"), ms.GLOBAL, "e", ["[" * 100])

    def test_intent_of_an_earlier_hub(self) -> None:
        """A hub that does not know several targets forwards whatever a client puts there."""
        for text, intent in (
            (b'{"target":"GLOBAL","identifiers":7,"except":["a",1]}', ms.GLOBAL),
            (b'{"target":"GROUP","identifier":"a","x":1}', ms.group("a")),
        ):
            self.assertEqual(wire.parse(b'{"op":0,"intent":' + text + b"}").intent, intent)

    def test_intent_as_text(self) -> None:
        for intent, text in (
            (ms.GLOBAL, "GLOBAL"), (ms.group("a"), "GROUP:a"), (ms.groups("a", "b").excluding("c", "d"), "GROUP:a,b -c -d"),
        ):
            self.assertEqual(str(intent), text)

    def test_parse(self) -> None:
        m = wire.parse(b'{"op":0,"id":"a","event":"e","data":' + b"9" * 5000 + b',"intent":{"target":"GLOBAL"},"sender":"s","x":1e999}')
        self.assertEqual(m.data, decimal.Decimal("9" * 5000))
        self.assertEqual((m.op, m.id, m.event, m.sender, m.intent), (0, "a", "e", "s", ms.GLOBAL))
        for text in (
            b"", b"[]", b"{", b'{"op":"0"}', b'{"op":true}', b'{"op":0.5}', b'{"op":0,"id":1}', b'{"op":0,"intent":[]}',
            b'{"op":0,"intent":{"target":1}}', b'{"op":0,"sender":{}}', b"\xff", b"[" * 100000,
        ):
            with self.subTest(text=text[:20]), self.assertRaises(wire.MalformedError):
                wire.parse(text)


class OptionsTest(unittest.TestCase):
    def test_refused(self) -> None:
        good: Dict[str, Any] = {"url": "ws://h:1/socket", "group": "g", "token": "t"}
        Options(**good)
        changes: List[Dict[str, Any]] = [
            {"url": "http://h"}, {"url": "ws://"}, {"url": "ws://u:p@h"}, {"url": "ws://h?token=x"}, {"url": "ws://h#f"},
            {"url": "ws://h:99999"}, {"group": ""}, {"groups": ["$a"]}, {"token": None}, {"name": "x" * 129}, {"meta": {"a": "x" * 257}},
            {"connect_timeout": 0}, {"max_backoff": 0.1}, {"send_queue": 0}, {"token_source": lambda: "t"},
        ]
        for change in changes:
            with self.subTest(change=change), self.assertRaises(ms.OptionsError) as raised:
                Options(**{**good, **change})
            self.assertNotIn("u:p", str(raised.exception))


if __name__ == "__main__":
    unittest.main()

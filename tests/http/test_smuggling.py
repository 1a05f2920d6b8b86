"""The smuggling table at the readers: whole, byte by byte, and in pieces."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.http.conversation import requests, split_at, splits
from tests.http.smuggling import BODIES, HARMLESS, HEADS, SMUGGLED
from txrproxy.errors import REASONS

_ROUTED = {"method_not_allowed"}  # refused by the exchange, not by the reader


class SmugglingTests(SynchronousTestCase):
    def test_the_table(self) -> None:
        names = [case[0] for case in HEADS + BODIES]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreater(len(HEADS), 300)
        for _, _, reason in HEADS + BODIES:
            self.assertGreaterEqual(REASONS[reason].status, 400)

    def test_heads(self) -> None:
        for name, data, reason in HEADS:
            if reason in _ROUTED:
                continue
            for pieces in splits(data) if len(data) < 2000 else ([data], split_at(data, [9, 999])):
                self.assertEqual(requests([*pieces, SMUGGLED]), [("bad", reason)], (name, pieces))
            self.assertEqual(requests([data + SMUGGLED]), [("bad", reason)], name)

    def test_bodies(self) -> None:
        for name, data, reason in BODIES:
            for pieces in splits(data) if len(data) < 2000 else ([data], split_at(data, [9, 999])):
                first, *rest = requests([*pieces, SMUGGLED])
                self.assertEqual((first[0], rest), ("request", [("bad", reason)]), (name, pieces))
            self.assertEqual(requests([data + SMUGGLED])[1:], [("bad", reason)], name)

    def test_harmless(self) -> None:
        for name, data, expected, _ in HARMLESS:
            for pieces in splits(data):
                events = requests(pieces)
                if expected:
                    got = [event[1:3] for event in events if event[0] == "request"]
                    self.assertEqual(got, [each[:2] for each in expected], (name, pieces))
                else:
                    self.assertEqual([event[0] for event in events], ["request", "unfinished"])

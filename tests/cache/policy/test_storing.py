"""Decisions as values; the rules themselves are in ``test_rfc9111_storing``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import START, date, request, response
from txrproxy.cache.policy import Rules, for_request, storable
from txrproxy.cache.policy.storing import NEVER, UNDERSTOOD

RULES = Rules()


class DecisionTests(SynchronousTestCase):
    def decide(self, *lines: bytes, asked: tuple[bytes, ...] = ()):
        head = request(*asked)
        demand = for_request(head, RULES)
        return storable(head, demand, response(*lines), RULES, b"http://h/a", START)

    def test_stored(self) -> None:
        decision = self.decide(
            b"Cache-Control: max-age=60",
            b"Date: " + date(),
            b"Age: 4",
            b"Vary: Foo, Bar",
            asked=(b"Foo: 1",),
        )
        self.assertEqual((repr(decision), bool(decision)), ("<Decision store>", True))
        stored = decision.stored(b"k", b"http://h/a", 7, START - 1)
        self.assertEqual(
            (stored.key, stored.url, stored.length, stored.requested, stored.responded),
            (b"k", b"http://h/a", 7, START - 5, START),
        )
        self.assertEqual((stored.vary, len(stored.variant)), ((b"bar", b"foo"), 20))
        self.assertEqual(stored.head.status_line, b"HTTP/1.1 200 Fine\r\n")
        self.assertEqual(stored.head.fields.all(b"content-length"), (b"7",))
        self.assertTrue(stored.head.keep_alive)
        self.assertEqual(
            stored.head.size, len(stored.head.status_line) + len(stored.head.fields.block)
        )

    def test_the_length_of_the_backend_stands(self) -> None:
        decision = self.decide(b"Cache-Control: max-age=60", b"Content-Length: 7")
        stored = decision.stored(b"k", b"u", 7, START)
        self.assertEqual(stored.head.fields.all(b"content-length"), (b"7",))

    def test_turned_down(self) -> None:
        decision = self.decide(b"Cache-Control: no-store")
        self.assertEqual((repr(decision), bool(decision)), ("<Decision no-store>", False))
        self.assertEqual(self.decide(asked=(b"Content-Length: 3",)).reason, "body")

    def test_what_is_never_stored_is_not_understood(self) -> None:
        self.assertFalse(NEVER & UNDERSTOOD)

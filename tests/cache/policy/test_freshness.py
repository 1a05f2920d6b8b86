"""What a hit costs; freshness itself is in ``test_rfc9111_reuse``."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import START, request, response
from txrproxy.cache.key import KeyMaker
from txrproxy.cache.policy import Rules, Verdict, for_request, hit_lines, reuse
from txrproxy.cache.policy.freshness import freshness
from txrproxy.cache.stored import Stored


class HitPathTests(SynchronousTestCase):
    def test_calls_of_a_hit(self) -> None:
        """Key, demand, reuse and the two lines: five Python calls, about 2 µs."""
        rules = Rules()
        keys = KeyMaker(("host", "path", "query"), b"route")
        head = request(b"User-Agent: x", b"Accept: */*")
        made = response(b"Cache-Control: max-age=60")
        stored = Stored(b"k", b"u", made, 5, START, START)

        def hit() -> bytes:
            keys.key(b"http", head.authority, head.target.origin, head.fields)
            use = reuse(stored, for_request(head, rules), START + 1, rules)
            return hit_lines(use.age, use.ttl)

        hit()
        calls: list[str] = []

        def note(frame, event, _):
            if event == "call":
                calls.append(frame.f_code.co_name)

        sys.setprofile(note)
        try:
            lines = hit()
        finally:
            sys.setprofile(None)
        self.assertEqual(lines, b"Age: 1\r\nCache-Status: txrproxy; hit; ttl=59\r\n")
        self.assertEqual(calls, ["hit", "key", "for_request", "reuse", "hit_lines"])

    def test_is_worked_out_once(self) -> None:
        rules = Rules()
        stored = Stored(b"k", b"u", response(), 5, START, START)
        self.assertIs(freshness(stored, rules), freshness(stored, rules))


class ModelTests(SynchronousTestCase):
    @given(
        lifetime=st.integers(0, 20),
        revalidate=st.integers(0, 10),
        error=st.integers(0, 10),
        strict=st.booleans(),
        age=st.integers(0, 50),
    )
    def test_against_the_words(
        self, lifetime: int, revalidate: int, error: int, strict: bool, age: int
    ) -> None:
        value = b"max-age=%d, stale-while-revalidate=%d, stale-if-error=%d" % (
            lifetime,
            revalidate,
            error,
        )
        if strict:
            value += b", must-revalidate"
        stored = Stored(b"k", b"u", response(b"Cache-Control: " + value), 5, START, START)
        rules = Rules()
        use = reuse(stored, for_request(request(), rules), START + age, rules)
        if age < lifetime:
            expected = Verdict.FRESH
        elif not strict and age < lifetime + revalidate:
            expected = Verdict.STALE_WHILE_REVALIDATE
        else:
            expected = Verdict.VALIDATE
        self.assertIs(use.verdict, expected)
        self.assertEqual((use.age, use.ttl), (age, lifetime - age))
        if expected is Verdict.VALIDATE:
            allowed = not strict and age < lifetime + error
            self.assertEqual(START + age < use.until, allowed)

"""What was cleared is known for a while, and within a bound."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.waf.memo import FRESH, Cleared


class ClearedTests(SynchronousTestCase):
    def test_kept_from_the_second_time(self) -> None:
        memo = Cleared(10_000)
        memo.note(b"a", 0.0)
        self.assertFalse(memo.holds(b"a", 0.0))
        memo.note(b"a", 1.0)
        self.assertTrue(memo.holds(b"a", 1.0))
        self.assertFalse(memo.holds(b"b", 1.0))

    def test_for_a_while(self) -> None:
        memo = Cleared(10_000)
        memo.note(b"a", 0.0)
        memo.note(b"a", 0.0)
        self.assertTrue(memo.holds(b"a", FRESH - 0.1))
        self.assertFalse(memo.holds(b"a", FRESH))
        memo.note(b"a", FRESH)
        self.assertTrue(memo.holds(b"a", FRESH + 1))

    def test_bounded(self) -> None:
        memo = Cleared(10_000)
        for number in range(1000):
            key = b"%d" % number
            memo.note(key, 0.0)
            memo.note(key, 0.0)
        self.assertLess(sum(b"%d" % number in memo for number in range(1000)), 60)

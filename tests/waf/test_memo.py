"""A verdict is known for a while, and within a bound."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.waf.memo import FRESH, Verdicts
from txrproxy.waf.verdict import CLEAR, Verdict

BAD = Verdict(True, 5, [{}] * 3)


class VerdictsTests(SynchronousTestCase):
    def test_kept_from_the_second_time(self) -> None:
        memo = Verdicts(10_000)
        memo.note(b"a", BAD, 0.0)
        self.assertIsNone(memo.find(b"a", 0.0))
        memo.note(b"a", BAD, 1.0)
        self.assertIs(memo.find(b"a", 1.0), BAD)
        self.assertIsNone(memo.find(b"b", 1.0))

    def test_for_a_while(self) -> None:
        memo = Verdicts(10_000)
        memo.note(b"a", BAD, 0.0)
        memo.note(b"a", BAD, 0.0)
        self.assertIs(memo.find(b"a", FRESH - 0.1), BAD)
        self.assertIsNone(memo.find(b"a", FRESH))
        memo.note(b"a", CLEAR, FRESH)
        self.assertIs(memo.find(b"a", FRESH + 1), CLEAR)

    def test_bounded(self) -> None:
        for verdict, most in ((CLEAR, 60), (BAD, 1)):
            memo = Verdicts(10_000)
            for number in range(1000):
                key = b"%d" % number
                memo.note(key, verdict, 0.0)
                memo.note(key, verdict, 0.0)
            kept = sum(memo.find(b"%d" % number, 0.0) is not None for number in range(1000))
            self.assertGreaterEqual(kept, 1)
            self.assertLessEqual(kept, most)

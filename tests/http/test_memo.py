"""The memo holds what fits and never more."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.memo import Memo


class MemoTests(SynchronousTestCase):
    def test_remembers(self) -> None:
        memo: Memo[int] = Memo(10)
        memo.remember(b"a", 1, 5)
        memo.remember(b"b", 2, 5)
        self.assertEqual(memo, {b"a": 1, b"b": 2})

    def test_forgets_everything_when_full(self) -> None:
        memo: Memo[int] = Memo(10)
        memo.remember(b"a", 1, 5)
        memo.remember(b"b", 2, 6)
        self.assertEqual(memo, {b"b": 2})

    def test_counts_from_what_is_left(self) -> None:
        memo: Memo[int] = Memo(10)
        for key, weight in ((b"a", 8), (b"b", 6), (b"c", 4)):
            memo.remember(key, 0, weight)
        self.assertEqual(set(memo), {b"b", b"c"})
        memo.remember(b"d", 0, 1)
        self.assertEqual(set(memo), {b"d"})

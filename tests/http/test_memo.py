"""The memo holds what fits and never more."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.memo import MAX_SEEN, Memo


def keep(memo: Memo[int], key: bytes, value: int, weight: int) -> None:
    """Have a value remembered: its key comes twice."""
    memo.remember(key, value, weight)
    memo.remember(key, value, weight)


class MemoTests(SynchronousTestCase):
    def test_what_comes_once_is_not_kept(self) -> None:
        memo: Memo[int] = Memo(10)
        memo.remember(b"a", 1, 5)
        self.assertEqual(memo, {})
        memo.remember(b"a", 1, 5)
        self.assertEqual(memo, {b"a": 1})

    def test_what_came_once_is_bounded(self) -> None:
        memo: Memo[int] = Memo(10)
        for number in range(MAX_SEEN + 10):
            memo.remember(b"%d" % number, 1, 5)
        self.assertEqual(memo, {})
        self.assertLessEqual(len(memo._seen), MAX_SEEN)

    def test_remembers(self) -> None:
        memo: Memo[int] = Memo(10)
        keep(memo, b"a", 1, 5)
        keep(memo, b"b", 2, 5)
        self.assertEqual(memo, {b"a": 1, b"b": 2})

    def test_forgets_everything_when_full(self) -> None:
        memo: Memo[int] = Memo(10)
        keep(memo, b"a", 1, 5)
        keep(memo, b"b", 2, 6)
        self.assertEqual(memo, {b"b": 2})

    def test_counts_from_what_is_left(self) -> None:
        memo: Memo[int] = Memo(10)
        for key, weight in ((b"a", 8), (b"b", 6), (b"c", 4)):
            keep(memo, key, 0, weight)
        self.assertEqual(set(memo), {b"b", b"c"})
        keep(memo, b"d", 0, 1)
        self.assertEqual(set(memo), {b"d"})

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.concurrency import ConcurrencyLimit, LocalCounts


class ConcurrencyTests(SynchronousTestCase):
    def test_at_a_time(self) -> None:
        counts = LocalCounts()
        limit = ConcurrencyLimit(2, counts)
        self.assertEqual([limit.enter(b"a") for _ in range(3)], [True, True, False])
        self.assertTrue(limit.enter(b"b"))
        limit.leave(b"a")
        self.assertTrue(limit.enter(b"a"))
        self.assertFalse(limit.enter(b"a"))

    def test_nothing_is_kept_of_who_left(self) -> None:
        counts = LocalCounts()
        limit = ConcurrencyLimit(2, counts)
        for number in range(1000):
            limit.enter(b"%d" % number)
            limit.leave(b"%d" % number)
        self.assertEqual(len(counts), 0)

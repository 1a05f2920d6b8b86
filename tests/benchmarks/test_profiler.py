"""Collapsed stacks to a table."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.profiler import ProfileError, self_and_total


class SelfAndTotalTests(SynchronousTestCase):
    def test_shares(self) -> None:
        table = self_and_total("main (a.py:1);read (b.py:2) 30\nmain (a.py:1) 10\n")
        rows = [line.split(maxsplit=2) for line in table.splitlines()[1:]]
        self.assertEqual(
            rows,
            [["75.0%", "75.0%", "read (b.py:2)"], ["25.0%", "100.0%", "main (a.py:1)"]],
        )

    def test_recursion_counts_once(self) -> None:
        self.assertIn(" 100.0%  f", self_and_total("f;f;f 5\n"))

    def test_nothing_recorded(self) -> None:
        self.assertRaises(ProfileError, self_and_total, "")

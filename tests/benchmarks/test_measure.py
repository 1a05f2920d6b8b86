"""/proc, read: the formats are those of proc(5)."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.measure import (
    Stat,
    descendants,
    family_stats,
    parse_stat,
    parse_status,
    usage,
)

STAT = (
    "4242 (nginx: work) (1)) S 4241 4241 4241 0 -1 4194368 1210 77 0 0 "
    "310 425 7 9 20 0 1 0 120934 12345344 1800 18446744073709551615 1 1 0 0 0 0 0"
)

STATUS = """\
Name:\tnginx
VmPeak:\t   20480 kB
VmHWM:\t    9100 kB
VmRSS:\t    7200 kB
RssAnon:\t    3000 kB
"""


class ParseTests(SynchronousTestCase):
    def test_stat_of_a_name_with_spaces_and_brackets(self) -> None:
        self.assertEqual(parse_stat(STAT), Stat(parent=4241, ticks=310 + 425 + 7 + 9))

    def test_stat_of_something_else(self) -> None:
        self.assertRaises(ValueError, parse_stat, "")

    def test_status(self) -> None:
        self.assertEqual(parse_status(STATUS), (7200, 9100))

    def test_status_of_a_process_that_is_ending(self) -> None:
        self.assertEqual(parse_status("Name:\tnginx\nState:\tZ (zombie)\n"), (0, 0))


class FamilyTests(SynchronousTestCase):
    def test_descendants_at_every_depth_and_nobody_else(self) -> None:
        parents = {10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 21: 20}
        stats = {pid: Stat(parent, 0) for pid, parent in parents.items()}
        self.assertEqual(sorted(descendants(10, stats)), [10, 11, 12, 13])

    def test_this_process(self) -> None:
        self.assertIn(os.getpid(), family_stats(os.getpid()))
        used = usage(os.getpid())
        self.assertGreater(used.resident_kib, 0)
        self.assertGreaterEqual(used.peak_kib, used.resident_kib // 2)

    def test_a_process_that_ended(self) -> None:
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(family_stats(pid), {})

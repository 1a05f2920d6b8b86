from __future__ import annotations

import os
import sys
from io import StringIO
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.table import columns, printable, width


class TableTests(SynchronousTestCase):
    def test_aligned(self) -> None:
        rows = [("a", "bb", "c"), ("aaa", "", "cc"), ("", "b", "")]
        self.assertEqual(list(columns(rows)), ["a    bb  c", "aaa      cc", "     b"])
        self.assertEqual(list(columns([])), [])

    def test_the_last_cell_is_wrapped(self) -> None:
        rows = [("name", "one two three four five six"), ("n", "seven")]
        self.assertEqual(
            list(columns(rows, 26)),
            ["name  one two three four", "      five six", "n     seven"],
        )
        # A word is never broken: it is an address that somebody may copy.
        long = "http://192.0.2.1:8080/a-rather-long-path"
        self.assertEqual(list(columns([("a", long)], 10)), [f"a  {long}"])

    def test_printable(self) -> None:
        self.assertEqual(printable("a\x1b[2Jé"), "a\\x1b[2Jé")

    def test_width(self) -> None:
        terminal = mock.Mock(isatty=lambda: True)
        with mock.patch.object(sys, "stdout", StringIO()), mock.patch.dict("os.environ"):
            os.environ.pop("COLUMNS", None)
            self.assertGreater(width(), 1000)
            os.environ["COLUMNS"] = "60"
            self.assertEqual(width(), 60)
        with (
            mock.patch.object(sys, "stdout", terminal),
            mock.patch("shutil.get_terminal_size", lambda: mock.Mock(columns=70)),
        ):
            self.assertEqual(width(), 70)

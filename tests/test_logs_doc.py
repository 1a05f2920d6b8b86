"""``docs/logs.md`` has every key of a line and every way a request can end, and says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy.config.toml import loads
from txrproxy.errors import REASONS, Fault
from txrproxy.exchange import MAX_LOGGED
from txrproxy.http.head import MAX_TARGET
from txrproxy.observe.counts import RESULTS
from txrproxy.observe.formats import FIELDS, NOTES, OF_TLS

DOC = Path(__file__).parents[1] / "docs" / "logs.md"


class LogsDocTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not DOC.is_file():
            self.skipTest("an installed package has no docs")
        self.text = DOC.read_text()

    def rows(self, columns: int) -> list[list[str]]:
        """The rows of all tables of so many columns whose first cell is one word of code."""
        lines = re.findall(r"^\| `\w+` \|.*\|$", self.text, re.MULTILINE)
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
        return [[row[0].strip("`"), *row[1:]] for row in rows if len(row) == columns]

    def test_keys(self) -> None:
        keys = [key for key, _ in self.rows(2)]
        at = FIELDS.index("scheme") + 1
        self.assertEqual(keys, [*FIELDS[:at], *OF_TLS, *FIELDS[at:], *NOTES])

    def test_reasons(self) -> None:
        self.assertEqual(
            [row[:-1] for row in self.rows(5)],
            [
                [
                    reason.name,
                    str(reason.status or "-"),
                    "-" if reason.fault is Fault.NONE else reason.fault.value,
                    reason.retry.value or "-",
                ]
                for reason in REASONS.values()
            ],
        )

    def test_words_of_caches(self) -> None:
        (said,) = (text for key, text in self.rows(2) if key == "cache")
        self.assertEqual(set(re.findall(r"`(\w+)`", said)), {word.decode() for word in RESULTS})

    def test_numbers(self) -> None:
        self.assertIn(f"{MAX_LOGGED} of them at most", self.text)
        self.assertIn(f"longer than {MAX_TARGET // 1024} KiB", self.text)

    def test_example(self) -> None:
        (example,) = re.findall(r"```toml\n(.*?)```", self.text, re.DOTALL)
        loads(MINIMAL + example)

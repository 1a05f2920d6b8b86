"""The table is whole, and means what it says."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.admin.operations import OPERATIONS


class Table(SynchronousTestCase):
    def test_each_once(self) -> None:
        places = [(row.method, row.path) for row in OPERATIONS]
        names = [row.name for row in OPERATIONS]
        self.assertEqual(len(set(places)), len(places))
        self.assertEqual(len(set(names)), len(names))

    def test_what_is_open_only_reads(self) -> None:
        found = {row.path for row in OPERATIONS if row.open}
        self.assertEqual(found, {"/healthz", "/readyz"})

    def test_what_changes_is_no_get(self) -> None:
        for row in OPERATIONS:
            self.assertIn(row.method, {"GET", "PUT", "POST"})
            if row.body is not None:
                self.assertNotEqual(row.method, "GET")

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.places import welcome


class WelcomeTests(SynchronousTestCase):
    def test_table(self) -> None:
        for found, allow, deny, expected in (
            ("CH AS64500", "", "", True),
            ("CH AS64500", "CH", "", True),
            ("CH AS64500", "AS64500", "", True),
            ("CH AS64500", "DE", "", False),
            ("CH AS64500", "", "CH", False),
            ("CH AS64500", "CH", "AS64500", False),
            ("CH AS64500", "CH", "AS64501", True),
            ("CH", "unknown", "", False),
            ("", "", "CH", True),
            ("", "CH", "", False),
            ("", "CH unknown", "", True),
            ("", "", "unknown", False),
        ):
            with self.subTest(found=found, allow=allow, deny=deny):
                self.assertIs(welcome(found.split(), allow.split(), deny.split()), expected)

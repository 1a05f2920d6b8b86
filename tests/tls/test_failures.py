from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.tls.failures import LINES, MAX_REASONS, FailureLog
from txrproxy.transport.deadlines import Deadlines


class FailureLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)
        self.clock = Clock()
        self.log = FailureLog("listener https", Deadlines(self.clock), self.clock.seconds)

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace", "").startswith("txrproxy.tls.failures"):
            self.events.append(event)

    def said(self) -> list[str]:
        said = [formatEvent(event) for event in self.events]
        self.events.clear()
        return said

    def test_line(self) -> None:
        self.log.add("192.0.2.1", "unrecognized name", b"a.example")
        self.log.add("192.0.2.1", "no shared cipher")
        self.assertEqual(
            self.said(),
            [
                "TLS handshake failed: listener https, 192.0.2.1 for a.example: unrecognized name",
                "TLS handshake failed: listener https, 192.0.2.1: no shared cipher",
            ],
        )

    def test_name_can_not_break_out_of_its_line(self) -> None:
        self.log.add("192.0.2.1", "x", b"a\r\nb\x1b\xff'")
        (said,) = self.said()
        self.assertTrue(said.isprintable(), said)

    def test_flood_is_counted(self) -> None:
        for number in range(1000):
            self.log.add(f"192.0.2.{number % 250}", "wrong version number")
        self.log.add("192.0.2.1", "no shared cipher")
        self.assertEqual(len(self.said()), LINES + 1)
        self.clock.pump([1] * 12)
        self.assertEqual(
            self.said(),
            [
                "TLS handshakes failed: listener https: 995 more in the last 10 s: "
                "wrong version number"
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.log.add("192.0.2.1", "wrong version number")
        self.assertEqual(len(self.said()), 1)
        self.clock.pump([1] * 12)
        self.assertEqual(self.said(), [])

    def test_reasons_are_bounded(self) -> None:
        for number in range(10 * MAX_REASONS):
            self.log.add("192.0.2.1", f"reason {number}")
        self.assertEqual(len(self.said()), MAX_REASONS + LINES)
        self.clock.pump([1] * 12)
        (said,) = self.said()
        self.assertIn("more in the last 10 s: other reasons", said)

    def test_level(self) -> None:
        log = FailureLog(
            "backend https://b", Deadlines(self.clock), self.clock.seconds, LogLevel.error
        )
        log.add("192.0.2.1", "x")
        self.assertEqual(self.events[0]["log_level"], LogLevel.error)

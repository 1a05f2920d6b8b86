from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.troubles import TroubleLog


class TroubleLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)
        self.clock = Clock()
        self.log = TroubleLog("app", Deadlines(self.clock), self.clock.seconds)

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace", "").startswith("txrproxy.transport.troubles"):
            self.events.append(event)

    def said(self) -> list[str]:
        said = [f"{event['log_level'].name} {formatEvent(event)}" for event in self.events]
        self.events.clear()
        return said

    def test_the_first_is_told_at_once(self) -> None:
        self.log.add(b"10.0.0.1:80", b"connect_refused")
        self.assertEqual(
            self.said(),
            ["warn Pool app: backend 10.0.0.1:80 fails requests: connect_refused"],
        )

    def test_a_flood_is_counted_until_it_is_over(self) -> None:
        for _ in range(1000):
            self.log.add(b"a:80", b"connect_refused")
        self.log.add(b"a:80", b"reset")
        self.assertEqual(len(self.said()), 1)
        self.clock.pump([1] * 62)
        self.assertEqual(
            self.said(),
            [
                "warn Pool app: backend a:80 has failed 1000 more in 60 s: "
                "connect_refused 999, reset 1"
            ],
        )
        self.log.add(b"a:80", b"503")
        self.clock.pump([1] * 62)
        self.assertEqual(
            self.said(), ["warn Pool app: backend a:80 has failed 1 more in 60 s: 503 1"]
        )
        self.clock.pump([1] * 62)
        self.assertEqual(
            self.said(), ["info Pool app: backend a:80 has failed no request for 60 s"]
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.log.add(b"a:80", b"reset")
        self.assertEqual(self.said(), ["warn Pool app: backend a:80 fails requests: reset"])

    def test_each_backend_has_lines_of_its_own(self) -> None:
        for name in (b"a:80", b"unix:/\xff", b"a:80"):
            self.log.add(name, b"reset")
        self.assertEqual(len(self.said()), 2)

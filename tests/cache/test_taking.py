"""A folder that is to be had, now or later."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.taking import HANDING, OPEN_AGAIN, Taking
from txrproxy.cache.writing import RETRY


class TakingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Any] = []
        self.events: list[str] = []
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.taking = Taking(
            self.asked.append,
            self.clock,
            "cache test",
            lambda: self.events.append("tried"),
            lambda: self.events.append("taken"),
        )
        self.taking.start()

    def observe(self, event: Any) -> None:
        if event.get("log_namespace", "") == "txrproxy.cache.taking":
            self.said.append(f"{event['log_level'].name} {formatEvent(event)}")

    def answer(self, result: bool, error: BaseException | None = None) -> None:
        self.asked.pop()(result, error)

    def test_at_once(self) -> None:
        self.answer(True)
        self.assertEqual((self.events, self.said), (["taken", "tried"], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_handed_over(self) -> None:
        """As in an upgrade: no trouble."""
        self.answer(False)
        self.assertEqual(self.events, ["tried"])
        self.clock.advance(OPEN_AGAIN)
        self.answer(True)
        self.assertEqual(self.events, ["tried", "taken"])
        self.assertEqual(self.said, ["info cache test: another process has the folder still"])

    def test_owned_by_another(self) -> None:
        for _ in range(2 * HANDING):
            self.answer(False)
            self.assertEqual(self.events, ["tried"])
            self.clock.advance(OPEN_AGAIN)
        self.answer(True)
        self.assertEqual(self.events, ["tried", "taken"])
        self.assertEqual(
            self.said[1:],
            [
                "error cache test: nothing is stored: another process owns the folder",
                "info cache test: storing responses again",
            ],
        )

    def test_trouble(self) -> None:
        self.answer(False, OSError(30, "Read-only file system"))
        self.assertIn("Read-only file system", self.said[0])
        self.clock.advance(OPEN_AGAIN)
        self.assertEqual(self.asked, [])
        self.clock.advance(RETRY)
        self.assertEqual(len(self.asked), 1)

    def test_stopped(self) -> None:
        self.answer(False)
        self.taking.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_while_it_is_asked(self) -> None:
        self.taking.stop()
        self.answer(True)
        self.assertEqual((self.events, self.asked), (["tried"], []))

    def test_stopped_while_it_fails(self) -> None:
        self.taking.stop()
        self.answer(False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

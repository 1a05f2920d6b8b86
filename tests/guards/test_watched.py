from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.values import Secret
from txrproxy.guards.watched import Watched
from txrproxy.tls.pem import BadPem


def parse(content: bytes) -> int:
    return int(content)


def at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return succeed(function(*args))


class WatchedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp()).absolute()
        self.write("1")
        self.clock = Clock()
        self.changes: list[int] = []
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def write(self, text: str) -> None:
        """A new file in its place, as it should be done."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    def watch(self, in_thread: Any = at_once, secret: Secret | None = None) -> Watched[int]:
        watched: Watched[int] = Watched(
            secret or Secret("file", str(self.file)),
            Path,
            parse,
            10,
            self.clock,
            changed=lambda: self.changes.append(watched.value),
            in_thread=in_thread,
        )
        self.addCleanup(watched.stop)
        return watched

    @property
    def errors(self) -> list[str]:
        return [e["why"] for e in self.events if e["log_level"] is LogLevel.error and "why" in e]

    def test_followed(self) -> None:
        watched = self.watch()
        self.assertEqual(watched.value, 1)
        watched.start()
        self.clock.advance(10)
        self.assertEqual(self.changes, [])
        self.write("2")
        self.clock.advance(10)
        self.assertEqual((watched.value, self.changes), (2, [2]))
        self.clock.advance(10)
        self.assertEqual(self.changes, [2])

    def test_what_can_not_be_used_changes_nothing(self) -> None:
        watched = self.watch()
        watched.start()
        self.write("x")
        for _ in range(3):
            self.clock.advance(10)
        self.assertEqual(watched.value, 1)
        self.assertEqual(len(self.errors), 1)  # said once
        self.file.unlink()
        for _ in range(3):
            self.clock.advance(10)
        self.assertEqual(watched.value, 1)
        self.assertEqual(len(self.errors), 2)
        self.write("3")
        self.clock.advance(10)
        self.assertEqual(watched.value, 3)

    def test_whether_it_is_current(self) -> None:
        watched = self.watch()
        watched.start()
        self.assertTrue(watched.is_current())
        self.write("22")
        self.assertFalse(watched.is_current())
        self.clock.advance(10)
        self.assertTrue(watched.is_current())
        for text in ("nothing", "333"):  # one that can not be used is not what counts
            self.write(text)
            self.clock.advance(10)
            self.assertIs(watched.is_current(), text == "333")
        self.file.unlink()
        self.assertFalse(watched.is_current())

    def test_the_first_look_must_succeed(self) -> None:
        self.write("x")
        self.assertRaises(ValueError, self.watch)
        self.file.unlink()
        self.assertRaises(BadPem, self.watch)

    def test_stopped_meanwhile(self) -> None:
        waiting: Deferred[Any] = Deferred()
        watched = self.watch(in_thread=lambda function, *args: waiting)
        watched.start()
        self.clock.advance(10)
        watched.stop()
        waiting.callback(((1,), 2, ""))
        self.assertEqual(watched.value, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_goes_on_after_a_fault(self) -> None:
        watched = self.watch(in_thread=lambda function, *args: fail(ZeroDivisionError()))
        watched.start()
        self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_variable_does_not_change(self) -> None:
        os.environ["TXRPROXY_TEST_WATCHED"] = "7"
        self.addCleanup(os.environ.pop, "TXRPROXY_TEST_WATCHED")
        watched = self.watch(secret=Secret("env", "TXRPROXY_TEST_WATCHED"))
        watched.start()
        self.assertEqual((watched.value, self.clock.getDelayedCalls()), (7, []))
        self.assertIn("TXRPROXY_TEST_WATCHED", watched.source)

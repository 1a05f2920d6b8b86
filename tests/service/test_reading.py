"""A file read in a process of its own: what comes back of it."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.service.test_processes import Reactor
from txrproxy.config.problems import ConfigErrors, Problem
from txrproxy.config.steps import finish
from txrproxy.service import reading
from txrproxy.service.memory import unpacked
from txrproxy.service.reading import read
from txrproxy.service.slices import PAUSE
from txrproxy.transport.channel import Refused

UNUSED = '[pools.spare]\nbackends = ["http://127.0.0.1:1"]\n'


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.unfreeze)
        self.reactor = Reactor()
        self.file = Path(self.mktemp()).absolute()
        self.before = os.listdir("/proc/self/fd")

    def read(self, text: str) -> Deferred[Any]:
        self.file.write_text(text)
        done = read(str(self.file), self.reactor)
        self.reactor.wait()
        while self.reactor.getDelayedCalls():
            self.reactor.advance(PAUSE)
        return done

    def nothing_is_left(self) -> None:
        self.assertEqual(os.listdir("/proc/self/fd"), self.before)
        self.assertEqual(self.reactor.readers, set())

    def test_good(self) -> None:
        found = self.successResultOf(self.read(MINIMAL + UNUSED))
        self.assertEqual(list(found.config.pools), ["app", "spare"])
        (warning,) = found.warnings
        self.assertIn("spare", str(warning))
        self.assertEqual(finish(unpacked(found.fd, found.start)), found.config)
        found.close()
        self.nothing_is_left()

    def test_problems(self) -> None:
        failure = self.failureResultOf(self.read(MINIMAL + "[pool.app]\n"), Refused)
        self.assertIn('did you mean "pools"?', str(failure.value))
        self.nothing_is_left()

    def test_a_test_of_the_file_fails(self) -> None:
        test = '[[tests]]\nrequest = { url = "http://a/" }\nexpect = { status = 418 }\n'
        failure = self.failureResultOf(self.read(MINIMAL + test), Refused)
        self.assertIn("tests[0].expect.status", str(failure.value))

    def test_dies(self) -> None:
        """Whatever it dies of, it is not us."""

        def dies(*_: object, **__: object) -> None:
            signal.raise_signal(signal.SIGKILL)

        with mock.patch.object(reading, "load_with_warnings", dies):
            failure = self.failureResultOf(self.read(MINIMAL), Refused)
        self.assertIn("was killed by SIGKILL", str(failure.value))
        self.nothing_is_left()

    def test_gives_way(self) -> None:
        def told(*_: object, **__: object) -> None:
            nice = os.nice(0) - before
            raise ConfigErrors([Problem("", 0, "", f"nice {nice}")])

        before = os.nice(0)
        with mock.patch.object(reading, "load_with_warnings", told):
            failure = self.failureResultOf(self.read(MINIMAL), Refused)
        self.assertIn("nice 10", str(failure.value))

    def test_a_fault_of_ours(self) -> None:
        with mock.patch.object(reading, "load_with_warnings", lambda *a, **k: 1 / 0):
            with capturedLogs() as logs:
                failure = self.failureResultOf(self.read(MINIMAL), Refused)
        self.assertEqual(str(failure.value), "an internal error; the log tells more")
        self.assertIn("ZeroDivisionError", formatEvent(logs[0]))

    def test_cancelled(self) -> None:
        """A file that never ends, and a proxy that does."""
        os.mkfifo(self.file)
        done = read(str(self.file), self.reactor)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.reactor.wait()
        self.nothing_is_left()

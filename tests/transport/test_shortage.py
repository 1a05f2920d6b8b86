from __future__ import annotations

import errno

from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.transport.shortage import ERRORS, SILENCE, Shortage


class ShortageTests(SynchronousTestCase):
    def test_what_is_one(self) -> None:
        for number, expected in (
            (errno.EMFILE, True),
            (errno.ENFILE, True),
            (errno.ENOBUFS, True),
            (errno.ENOMEM, True),
            (errno.ECONNREFUSED, False),
        ):
            self.assertIs(number in ERRORS, expected)

    def test_said_now_and_then(self) -> None:
        shortage = Shortage(Logger("test"), "accepting pauses")
        with capturedLogs() as events:
            for now in (100.0, 100.1, 99.9 + SILENCE, 100.0 + SILENCE, 100.1 + SILENCE):
                shortage.met(now, "Too many open files")
        line = (
            "accepting pauses: too many open files; raise the limit of open files or lower "
            "server.max_connections"
        )
        self.assertEqual([formatEvent(event) for event in events], [line, line])

from __future__ import annotations

import os
import socket
import tempfile
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.service.notify import Notifier


class NotifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "notify")
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.systemd.close)
        self.systemd.setblocking(False)
        self.clock = Clock()

    def notifier(self, address: str | None = None, **more: str) -> Notifier:
        if address is None:
            self.systemd.bind(self.path)
        changes = {"NOTIFY_SOCKET": self.path if address is None else address, **more}
        with mock.patch.dict(os.environ, changes):
            made = Notifier(self.clock)
            made.watch()
        return made

    def heard(self) -> list[bytes]:
        found = []
        try:
            while True:
                found.append(self.systemd.recv(1000))
        except BlockingIOError:
            return found

    def test_life(self) -> None:
        notifier = self.notifier()
        notifier.ready(2)
        notifier.reloading()
        notifier.ready(1)
        notifier.main_pid(7)
        notifier.stopping()
        ready, reloading, *rest = self.heard()
        self.assertEqual(ready, b"READY=1\nSTATUS=serving with 2 processes")
        self.assertRegex(reloading, rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
        self.assertEqual(
            rest,
            [
                b"READY=1\nSTATUS=serving with 1 process",
                b"MAINPID=7",
                b"STOPPING=1\nSTATUS=draining",
            ],
        )

    def test_watchdog(self) -> None:
        """Twice in the time that systemd waits."""
        notifier = self.notifier(WATCHDOG_USEC="3000000")
        self.clock.pump([1.5, 1.5])
        self.assertEqual(self.heard(), [b"WATCHDOG=1"] * 3)
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_watchdog(self) -> None:
        self.notifier(WATCHDOG_USEC="0").close()
        self.assertEqual(self.heard(), [])

    def test_abstract(self) -> None:
        self.systemd.bind("\0" + self.path)
        self.notifier("@" + self.path).stopping()
        self.assertEqual(self.heard(), [b"STOPPING=1\nSTATUS=draining"])

    def test_nobody(self) -> None:
        self.notifier("").ready(1)
        self.notifier(self.path + "gone").ready(1)
        self.assertEqual(self.heard(), [])

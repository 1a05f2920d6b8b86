from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.transport.test_channel import Reactor
from txrproxy import control as client
from txrproxy.service.control import PID, Control, Taken, is_taken, was_left
from txrproxy.transport.channel import bind_to, connect_to


class ControlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = Reactor()
        self.folder = os.path.abspath(self.mktemp())

    def control(self) -> Control:
        made = Control(self.folder, self.reactor)
        self.addCleanup(made.close)
        made.start()
        return made

    def test_for_its_user_alone(self) -> None:
        control = self.control()
        self.assertEqual(os.stat(self.folder).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(control.path).st_mode & 0o777, 0o600)

    def test_pid_file(self) -> None:
        control = self.control()
        with open(os.path.join(self.folder, PID), encoding="ascii") as file:
            self.assertEqual(file.read(), f"{os.getpid()}\n")
        control.close()
        self.assertEqual(os.listdir(self.folder), [])

    def test_answers(self) -> None:
        control = self.control()
        control.register("status", lambda body: {"up": 1})
        answers: list[Any] = []

        def ask() -> None:
            answers.append(client.call(self.folder, "status", 30))

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():
            for reader in list(self.reactor.readers):
                if reader is control:
                    control._socket.settimeout(30)
                    control.doRead()
                    control._socket.setblocking(False)
                    self.reactor.removeReader(control)
                else:
                    reader.doRead()
            thread.join(0.01)
        self.assertEqual(answers, [{"up": 1}])
        for channel in list(control._channels):
            channel.close()

    def test_retired(self) -> None:
        """It answers beside until it is closed; another one may have its place."""
        first = self.control()
        first.retire()
        self.assertFalse(is_taken(self.folder) or was_left(self.folder))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            connect_to(link, first.path)
        second = self.control()
        first.retire()  # nothing is left to retire
        first.close()
        self.assertTrue(is_taken(self.folder))
        second.close()
        self.assertEqual(os.listdir(self.folder), [])

    def test_no_descriptor_is_left(self) -> None:
        """Who waits is answered later, and the loop does not turn for that meanwhile."""
        self.reactor = MemoryReactorClock()
        control = self.control()
        kept, control._socket = control._socket, mock.Mock()
        self.addCleanup(kept.close)
        control._socket.accept.side_effect = OSError(errno.EMFILE, "too many")
        for _ in range(2):
            control.doRead()
            self.assertEqual(self.reactor.getReaders(), [])
            self.reactor.advance(0.1)
            self.assertEqual(self.reactor.getReaders(), [control])
        control._socket.accept.side_effect = BlockingIOError
        control.doRead()
        self.assertEqual(self.reactor.getReaders(), [control])
        control._socket.accept.side_effect = OSError(errno.EMFILE, "too many")
        control.doRead()
        control.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_taken(self) -> None:
        self.control()
        self.assertTrue(is_taken(self.folder))
        self.assertFalse(was_left(self.folder))
        self.assertRaises(Taken, Control, self.folder, self.reactor)

    def test_left_behind(self) -> None:
        os.mkdir(self.folder)
        left = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        bind_to(left, os.path.join(self.folder, "control.sock"))
        left.close()
        self.assertTrue(was_left(self.folder))
        self.control()
        self.assertFalse(was_left(self.folder))

    def test_successor(self) -> None:
        """Who closes late does not take the socket of the next one away."""
        control = self.control()
        os.unlink(control.path)
        self.reactor.removeReader(control)
        successor = self.control()
        control.close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            connect_to(link, successor.path)

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.twistd import PATIENCE
from txrproxy.service.processes import Handle, cause, kill, leave_behind, when_ended
from txrproxy.service.sockets import Listeners
from txrproxy.transport.channel import local_pair


class Reactor(Clock):
    """A clock that waits for descriptors when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def wait(self) -> None:
        """Until something can be read."""
        poll = select.poll()
        by_fd = {reader.fileno(): reader for reader in self.readers}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(PATIENCE * 1000)
        if not ready:
            raise AssertionError("nothing happened")
        for fd, _ in ready:
            by_fd[fd].doRead()


class EndTests(SynchronousTestCase):
    def child(self, status: int | None = None) -> int:
        """A process that ends with a status, or does not."""
        pid = os.fork()
        if pid == 0:
            if status is None:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pause()
            os._exit(status or 0)
        return pid

    def test_told(self) -> None:
        reactor, told = Reactor(), list[int]()
        when_ended(self.child(3), reactor, told.append)
        reactor.wait()
        self.assertEqual([cause(status) for status in told], ["ended with status 3"])
        self.assertEqual(reactor.readers, set())

    def test_no_descriptor_is_left(self) -> None:
        """Whose end nobody would hear of is ended."""
        self.patch(os, "pidfd_open", mock.Mock(side_effect=OSError(24, "too many")))
        pid = self.child()
        reactor = Reactor()
        self.assertRaises(OSError, when_ended, pid, reactor, print)
        self.assertEqual(reactor.readers, set())
        self.assertRaises(ChildProcessError, os.waitpid, pid, 0)

    def test_killed(self) -> None:
        reactor, told = Reactor(), list[int]()
        pid = self.child()
        when_ended(pid, reactor, told.append)
        kill(pid)
        reactor.wait()
        self.assertEqual([cause(status) for status in told], ["was killed by SIGKILL"])
        kill(pid)  # nobody is there any more

    def test_words(self) -> None:
        self.assertEqual(cause(9), "was killed by SIGKILL")
        self.assertEqual(cause(3 << 8), "ended with status 3")
        self.assertEqual(cause(11 | 0x80), "was killed by SIGSEGV, core dumped")
        self.assertEqual(cause(40), "was killed by signal 40")


class LeaveBehindTests(SynchronousTestCase):
    def test_descriptors_and_signals(self) -> None:
        ours, theirs = socket.socketpair()
        spare = os.open("/dev/null", os.O_RDONLY)
        self.addCleanup(os.close, spare)
        pid = os.fork()
        if pid == 0:
            leave_behind([theirs.fileno()])
            fds = {int(name) for name in os.listdir("/proc/self/fd")}
            ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            # The listing itself had one more, which is closed by now.
            good = spare not in fds and len(fds - {0, 1, 2, theirs.fileno()}) <= 1 and ignored
            theirs.send(b"good" if good else b"bad")
            os._exit(0)
        theirs.close()
        with ours:
            ours.settimeout(PATIENCE)
            self.assertEqual(ours.recv(9), b"good")
        os.waitpid(pid, 0)


class HandleTests(SynchronousTestCase):
    def test_in_this_process(self) -> None:
        """It gets sockets of its own, and can not be killed."""
        from tests.service.test_plane import TEXT
        from txrproxy.config.toml import loads

        ours, theirs = local_pair()
        told = []
        theirs.register("sockets", told.append)
        worker = Handle(1, ours, 0, 0.0)
        listeners = Listeners()
        self.addCleanup(listeners.close)
        groups = listeners.prepare(loads(TEXT, base=Path(self.mktemp())), 1)
        listeners.take(groups, 10)
        worker.give(groups)
        ((fd,),) = [body["fds"] for body in told]
        self.assertNotIn(fd, [sock.fileno() for g in groups.values() for sock in g.sockets])
        os.close(fd)
        worker.kill()
        self.assertEqual(str(worker), "the main process")
        self.assertEqual(str(Handle(2, ours, 9, 0.0)), "worker 2 (pid 9)")

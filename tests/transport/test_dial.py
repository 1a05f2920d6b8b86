"""Where a connection to this machine goes; the other dialers are seen at work in scenarios."""

import errno
import os
import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectBindError, ConnectionRefusedError, TimeoutError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txrproxy.errors import CONNECT_REFUSED, CONNECT_TIMEOUT, NO_SOCKET
from txrproxy.transport import dial
from txrproxy.transport.dial import LocalDialer, TcpDialer, UnixDialer
from txrproxy.transport.shortage import SILENCE


class LocalTests(SynchronousTestCase):
    def setUp(self):
        self.clock = MemoryReactorClock()
        self.tried = []
        self.patch(
            dial,
            "connect_tcp",
            lambda reactor, host, port, factory, timeout: self.tried.append(
                (host, port, factory, timeout)
            ),
        )
        self.connected = []
        self.failed = []
        self.dialer = LocalDialer(self.clock, 8080)

    def dial(self):
        self.dialer(list, 2.0, self.connected.append, self.failed.append)

    def hosts(self):
        return [(host, port, timeout) for host, port, _, timeout in self.tried]

    def refuse(self, kind=ConnectionRefusedError):
        self.tried[-1][2].clientConnectionFailed(None, Failure(kind()))

    def accept(self):
        self.tried[-1][2]._connected("wire")

    def test_ipv4_first(self):
        self.dial()
        self.accept()
        self.assertEqual(self.hosts(), [("127.0.0.1", 8080, 2.0)])
        self.assertEqual((self.connected, self.failed), (["wire"], []))

    def test_then_ipv6_which_is_remembered(self):
        self.dial()
        self.clock.advance(0.5)
        self.refuse()
        self.assertEqual(self.hosts()[1:], [("::1", 8080, 1.5)])
        self.accept()
        self.assertEqual(self.connected, ["wire"])
        self.dial()
        self.accept()
        self.assertEqual(self.hosts()[2:], [("::1", 8080, 2.0)])
        self.dial()
        self.refuse()
        self.accept()
        self.dial()
        self.assertEqual(self.hosts()[-1][0], "127.0.0.1")

    def test_neither(self):
        self.dial()
        self.refuse()
        self.refuse()
        self.assertEqual((self.connected, self.failed), ([], [CONNECT_REFUSED]))
        self.dial()
        self.assertEqual(self.hosts()[-1][0], "127.0.0.1")

    def test_no_time_is_left(self):
        self.dial()
        self.clock.advance(2.0)
        self.refuse(TimeoutError)
        self.assertEqual((len(self.tried), self.failed), (1, [CONNECT_TIMEOUT]))


class Warnings:
    """In place of the log."""

    def __init__(self):
        self.said = []

    def warn(self, text, **values):
        self.said.append(text.format(**values))


class ShortageTests(TestCase):
    """This process can have no socket: not the doing of whom it wanted to connect to."""

    def setUp(self):
        self.log = Warnings()
        self.patch(dial._shortage, "_logger", self.log)
        self.patch(dial._shortage, "_say_again", 0.0)
        self.patch(socket, "socket", self.no_socket)

    def no_socket(self, *args, **keywords):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def reason(self, dialer):
        """Why it fails; not before the call returns, for who asked is not ready for it."""
        failed = Deferred()
        dialer(list, 2.0, lambda _: self.fail("connected"), failed.callback)
        self.assertFalse(failed.called)
        return await failed

    async def test_tcp(self):
        self.assertIs(await self.reason(TcpDialer(reactor, "127.0.0.1", 9)), NO_SOCKET)

    async def test_unix(self):
        self.assertIs(await self.reason(UnixDialer(reactor, "/nowhere")), NO_SOCKET)

    async def test_this_machine(self):
        self.assertIs(await self.reason(LocalDialer(reactor, 9)), NO_SOCKET)

    def test_the_log_tells_of_it_now_and_then(self):
        clock = MemoryReactorClock()
        clock.advance(1000.0)
        reasons = []

        def fail():
            factory = dial._Factory(clock, list, list, reasons.append)
            error = ConnectBindError(errno.ENFILE, "")
            factory.clientConnectionFailed(None, Failure(error))

        for _ in range(3):
            fail()
        line = (
            "no connection to a backend can be opened: too many open files in system; "
            "raise the limit of open files or lower server.max_connections"
        )
        self.assertEqual(self.log.said, [line])
        clock.advance(SILENCE)
        fail()
        self.assertEqual(self.log.said, [line, line])
        self.assertEqual(reasons, [NO_SOCKET] * 4)

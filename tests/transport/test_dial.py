"""Where a connection to this machine goes; the other dialers are seen at work in scenarios."""

from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.errors import CONNECT_REFUSED, CONNECT_TIMEOUT
from txrproxy.transport import dial
from txrproxy.transport.dial import LocalDialer


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

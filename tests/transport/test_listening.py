"""Accepting, and not accepting."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any
from unittest import mock

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol
from twisted.logger import capturedLogs
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.transport.test_channel import Reactor
from txrproxy.transport.listening import (
    A_SHARED_TURN,
    ELSEWHERE,
    EXHAUSTED,
    PAUSE,
    Listening,
    _accepting,
)
from txrproxy.transport.shortage import SILENCE


class Factory:
    """Keeps what it made."""

    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.protocols: list[Protocol] = []
        self.refuses = False

    def buildProtocol(self, address: Any) -> Protocol | None:
        self.addresses.append(address)
        if self.refuses:
            return None
        protocol = Protocol()
        self.protocols.append(protocol)
        return protocol


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.factory = Factory()

    def listen(self, sock: socket.socket | None = None) -> Listening:
        self.sock = sock or socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.sock.close)
        self.sock.setblocking(False)
        port = Listening(self.sock, self.factory, self.reactor)
        port.start()
        return port

    def connect(self) -> socket.socket:
        link = socket.socket(self.sock.family)
        self.addCleanup(link.close)
        link.connect(self.sock.getsockname())
        self.addCleanup(self.close)
        return link

    def close(self) -> None:
        for protocol in self.factory.protocols:
            transport: Any = protocol.transport
            transport.socket.close()


class AcceptTests(Case):
    def test_accepts_what_waits(self) -> None:
        port = self.listen()
        links = [self.connect() for _ in range(5)]
        port.doRead()
        self.assertEqual(len(self.factory.protocols), 5)
        transport: Any = self.factory.protocols[0].transport
        transport.write(b"hello")
        self.assertEqual(links[0].recv(100), b"hello")
        self.assertIsInstance(self.factory.addresses[0], IPv4Address)
        self.assertEqual(port.getHost().port, self.sock.getsockname()[1])

    def test_leaves_some_to_others_of_a_shared_one(self) -> None:
        port = self.listen()
        port.shared = True
        for _ in range(5):
            self.connect()
        port.doRead()
        self.assertEqual(len(self.factory.protocols), A_SHARED_TURN)

    def test_nagle_is_off_whoever_turned_it_off(self) -> None:
        for inherited in (True, False):
            sock = socket.create_server(("127.0.0.1", 0))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, inherited)
            port = self.listen(sock)
            if sys.platform == "linux":
                self.assertEqual(port.no_delay, inherited)
            self.connect()
            port.doRead()
            transport: Any = self.factory.protocols[-1].transport
            self.assertTrue(transport.getTcpNoDelay())

    def test_what_is_accepted_is_a_socket(self) -> None:
        self.listen()
        link = self.connect()
        accepted, name = _accepting(self.sock)()
        self.addCleanup(accepted.close)
        self.assertEqual(name, link.getsockname())
        self.assertIsInstance(accepted, socket.socket)
        self.assertEqual(
            (accepted.family, accepted.type, accepted.proto),
            (self.sock.family, self.sock.type, self.sock.proto),
        )
        self.assertFalse(accepted.get_inheritable())

    def test_a_python_without_the_half_of_accept(self) -> None:
        sock: Any = mock.Mock(spec=["accept"])
        self.assertIs(_accepting(sock), sock.accept)

    def test_ipv6(self) -> None:
        try:
            sock = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            raise SkipTest("no IPv6 here") from error
        port = self.listen(sock)
        self.connect()
        port.doRead()
        self.assertIsInstance(self.factory.addresses[0], IPv6Address)
        self.assertIsInstance(port.getHost(), IPv6Address)

    def test_unix(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(self.mktemp()[-100:])
        sock.listen()
        port = self.listen(sock)
        self.connect()
        port.doRead()
        self.assertIsInstance(self.factory.addresses[0], UNIXAddress)
        self.assertIsInstance(port.getHost(), UNIXAddress)
        transport: Any = self.factory.protocols[0].transport
        self.assertIsInstance(transport.getPeer(), UNIXAddress)

    def test_factory_refuses(self) -> None:
        port = self.listen()
        link = self.connect()
        self.factory.refuses = True
        port.doRead()
        self.assertEqual(link.recv(1), b"")

    def test_a_fault_costs_one_connection(self) -> None:
        port = self.listen()
        self.connect()
        port.factory = None
        port.doRead()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertIn(port, self.reactor.readers)


class HoldTests(Case):
    def test_reasons_add_up(self) -> None:
        port = self.listen()
        for why in (ELSEWHERE, "other"):
            port.hold(why)
        self.assertEqual(self.reactor.readers, set())
        port.release(ELSEWHERE)
        self.assertEqual(self.reactor.readers, set())
        port.release("other")
        self.assertEqual(self.reactor.readers, {port})

    def test_the_bound_on_connections(self) -> None:
        port = self.listen()
        port.stopReading()
        self.assertEqual(self.reactor.readers, set())
        port.startReading()
        self.assertEqual(self.reactor.readers, {port})

    def test_closed(self) -> None:
        port = self.listen()
        port.hold(ELSEWHERE)
        port.close()
        port.release(ELSEWHERE)
        self.assertEqual(self.reactor.readers, set())
        self.assertNotEqual(self.sock.fileno(), -1)


class ExhaustedTests(Case):
    def exhausted(self, number: int = errno.EMFILE) -> Listening:
        port = self.listen()
        accept = mock.Mock(side_effect=OSError(number, "Too many open files"))
        port._accept = accept
        return port

    def test_pauses_and_goes_on(self) -> None:
        port = self.exhausted()
        with capturedLogs() as events:
            port.doRead()
        self.assertEqual(len(events), 1)
        self.assertEqual(self.reactor.readers, set())
        self.assertIn(EXHAUSTED, repr(port))
        self.reactor.advance(PAUSE)
        self.assertEqual(self.reactor.readers, {port})

    def test_is_not_said_all_the_time(self) -> None:
        port = self.exhausted(errno.ENFILE)
        with capturedLogs() as events:
            for _ in range(5):
                port.doRead()
                self.reactor.advance(PAUSE)
            self.reactor.advance(SILENCE)
            port.doRead()
        self.assertEqual(len(events), 2)
        port.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_client_that_is_gone_is_no_reason(self) -> None:
        port = self.exhausted(errno.ECONNABORTED)
        port.doRead()
        self.assertEqual(self.reactor.readers, {port})

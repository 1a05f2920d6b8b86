"""A connection that begins with a PROXY header, in front of a listener's site."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.build import build
from txrproxy.config.graph import Graph
from txrproxy.config.toml import loads

CONFIG = """
version = 1
[server]
trusted_proxies = ["10.0.0.0/8"]
[listeners.http]
bind = ["127.0.0.1:8080"]
proxy_protocol = "{mode}"
head_timeout = "10s"
[[routes]]
name = "mine"
match = {{ client = "192.0.2.0/24" }}
respond = {{ body = "known client" }}
[[routes]]
name = "rest"
respond = {{ body = "anyone" }}
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 80\r\n"


class Log:
    enabled = True

    def __init__(self) -> None:
        self.records: list[Any] = []

    def append(self, record: Any) -> None:
        self.records.append(record)


class Transport(StringTransport):
    """A StringTransport that can close its half, and has nothing unsent."""

    dataBuffer = b""
    offset = 0
    _tempDataLen = 0

    def fileno(self) -> int:
        raise OSError("no socket")

    def loseWriteConnection(self) -> None:
        self.disconnecting = True


class ProxiedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log = Log()

    def graph(self, mode: str = "any") -> Graph:
        return build(loads(CONFIG.format(mode=mode)), self.clock, self.log)

    def connect(self, graph: Graph, host: str = "10.0.0.1") -> Transport:
        """A connection from this address, which speaks to whatever protocol it has by then."""
        address = IPv4Address("TCP", host, 1234)
        transport = Transport(peerAddress=address)
        transport.protocol = graph.sites[0][1].buildProtocol(address)
        transport.protocol.makeConnection(transport)
        return transport

    def test_the_client_is_who_the_header_says(self) -> None:
        transport = self.connect(self.graph())
        transport.protocol.dataReceived(HEADER + GET)
        self.assertIn(b"known client", transport.value())
        self.assertEqual(b"192.0.2.7", self.log.records[0][1])

    def test_split_anywhere(self) -> None:
        data = HEADER + GET
        for at in range(1, len(data)):
            transport = self.connect(self.graph())
            transport.protocol.dataReceived(data[:at])
            transport.protocol.dataReceived(data[at:])
            self.assertIn(b"known client", transport.value(), at)

    def test_a_header_without_an_address_leaves_the_connections_own(self) -> None:
        transport = self.connect(self.graph())
        transport.protocol.dataReceived(b"PROXY UNKNOWN\r\n" + GET)
        self.assertIn(b"anyone", transport.value())
        self.assertEqual(b"10.0.0.1", self.log.records[0][1])

    def test_without_an_address_nobodys_word_is_taken(self) -> None:
        transport = self.connect(self.graph())
        forwarded = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n")
        transport.protocol.dataReceived(b"PROXY UNKNOWN\r\n" + forwarded)
        self.assertIn(b"anyone", transport.value())

    def test_without_a_header_a_trusted_proxy_is_cut_off_and_logged(self) -> None:
        graph = self.graph()
        transport = self.connect(graph)
        transport.protocol.dataReceived(GET)
        self.assertTrue(transport.disconnected)
        self.assertEqual(b"", transport.value())
        self.assertEqual([b"bad_proxy_header"], [record[15] for record in self.log.records])
        self.assertEqual(0, graph.limit.count)

    def test_the_other_version_is_refused(self) -> None:
        transport = self.connect(self.graph("v2"))
        transport.protocol.dataReceived(HEADER + GET)
        self.assertTrue(transport.disconnected)

    def test_from_anyone_else_a_header_is_a_bad_request(self) -> None:
        transport = self.connect(self.graph(), "203.0.113.9")
        transport.protocol.dataReceived(HEADER + GET)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 400 "))
        self.assertEqual(b"203.0.113.9", self.log.records[0][1])

    def test_anyone_else_is_served_without_a_header(self) -> None:
        transport = self.connect(self.graph(), "203.0.113.9")
        transport.protocol.dataReceived(GET)
        self.assertIn(b"anyone", transport.value())

    def test_a_header_that_trickles_has_the_deadline_of_a_head(self) -> None:
        transport = self.connect(self.graph())
        for byte in HEADER[:12]:
            transport.protocol.dataReceived(bytes([byte]))
            self.clock.advance(1)
        self.assertTrue(transport.disconnected)
        self.assertEqual([b"bad_proxy_header"], [record[15] for record in self.log.records])

    def test_a_client_that_leaves_first_is_no_request(self) -> None:
        graph = self.graph()
        transport = self.connect(graph)
        transport.protocol.connectionLost(None)
        self.assertEqual([], self.log.records)
        self.assertEqual(0, graph.limit.count)
        self.assertEqual(set(), graph.sites[0][1].connections)

    def test_drain_closes_a_connection_that_has_not_said_who_it_is(self) -> None:
        graph = self.graph()
        transport = self.connect(graph)
        graph.drain()
        self.assertTrue(transport.disconnected)

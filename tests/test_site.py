"""The server factory, apart from what flows through it (``tests/scenarios`` has that)."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.build import build
from txrproxy.config.graph import Graph
from txrproxy.config.toml import loads
from txrproxy.site import MAX_PEERS, ProxySite, request_ids

CONFIG = """
version = 1
[server]
trusted_proxies = ["10.0.0.0/8"]
max_connections = 2
[listeners.http]
bind = ["127.0.0.1:8080"]
[[routes]]
name = "all"
respond = { body = "hello" }
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Log:
    enabled = True

    def __init__(self) -> None:
        self.records: list[Any] = []

    def append(self, record: Any) -> None:
        self.records.append(record)


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = Log()
        self.clock = Clock()
        self.graph: Graph = build(loads(CONFIG), self.clock, self.log)
        self.site: ProxySite = self.graph.sites[0][1]

    def connect(self) -> StringTransport:
        transport = StringTransport()
        protocol = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1234))
        protocol.makeConnection(transport)
        transport.protocol = protocol
        return transport

    def test_a_fault_of_ours_is_a_500_for_that_client_alone(self) -> None:
        healthy, self.site.tree = self.site.tree, None  # type: ignore[assignment]
        transport = self.connect()
        transport.protocol.dataReceived(GET)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 500 "), transport.value())
        self.assertNotIn(b"Traceback", transport.value())
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual(self.log.records[0][15], b"internal")
        self.site.tree = healthy
        transport.clear()
        transport.protocol.dataReceived(GET)
        self.assertIn(b"hello", transport.value())

    def test_peers_are_told_apart_by_address_and_shared(self) -> None:
        one = self.site.peer("192.0.2.1")
        self.assertIs(self.site.peer("192.0.2.1"), one)
        self.assertFalse(one.trusted)
        self.assertTrue(self.site.peer("10.1.2.3").trusted)
        self.assertTrue(self.site.peer("::ffff:10.1.2.3").trusted)
        self.assertEqual(self.site.peer("::ffff:10.1.2.3").address, b"10.1.2.3")
        self.assertEqual(self.site.peer("::ffff:a01:203").address, b"10.1.2.3")
        self.assertEqual(self.site.peer("2001:db8::1").address, b"2001:db8::1")

    def test_remembered_peers_are_bounded(self) -> None:
        for number in range(MAX_PEERS + 10):
            self.site.peer(f"192.0.{number // 256}.{number % 256}")
        self.assertLessEqual(len(self.site._peers), MAX_PEERS)

    def test_addresses_of_every_kind(self) -> None:
        for address, expected in (
            (IPv4Address("TCP", "192.0.2.1", 1), b"192.0.2.1"),
            (IPv6Address("TCP", "2001:db8::1", 1), b"2001:db8::1"),
            (UNIXAddress(b"/run/x"), b"unknown"),
        ):
            self.assertEqual(self.site.buildProtocol(address).peer.address, expected)

    def test_connections_are_counted_until_they_are_lost(self) -> None:
        transports = [self.connect() for _ in range(3)]
        self.assertEqual(self.graph.limit.count, 3)
        self.assertEqual(self.graph.busy, 3)
        for transport in transports:
            transport.protocol.connectionLost(None)
        self.assertEqual(self.graph.limit.count, 0)
        self.assertEqual(self.graph.busy, 0)

    def test_a_connection_that_pipelines_leaves_the_others_their_turn(self) -> None:
        transport = self.connect()
        transport.protocol.dataReceived(GET * 40)
        self.assertEqual(transport.value().count(b"hello"), 16)
        self.clock.advance(0)
        self.assertEqual(transport.value().count(b"hello"), 40)

    def test_request_ids_do_not_repeat(self) -> None:
        ids = [make() for make in (request_ids(), request_ids()) for _ in range(100)]
        self.assertEqual(len(set(ids)), 200)

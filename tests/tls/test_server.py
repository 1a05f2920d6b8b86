"""What the connections of a listener share: resumption, deadlines, a PROXY header before TLS."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor

from tests.tls import pki
from tests.tls.loopback import Case, Client
from tests.tls.test_layer import asynchronous
from txrproxy.tls.ends import PlainHttp
from txrproxy.tls.failures import FailureLog
from txrproxy.tls.gate import Gate
from txrproxy.tls.layer import TlsLayer
from txrproxy.tls.server import TlsServer
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.proxied import HeaderReader

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


class ServerCase(Case):
    def setUp(self) -> None:
        super().setUp()
        deadlines = Deadlines(reactor)
        self.addCleanup(deadlines.close)
        self.headers = deadlines.queue(10, HeaderReader.expired)
        self.server = TlsServer(
            lambda: pki.accepting(self.context),
            reactor,
            deadlines.queue(10, TlsLayer.expired),
            Gate(reactor),
            FailureLog("listener", deadlines, reactor.seconds),  # type: ignore[attr-defined]
        )

    def build(self, address: Any) -> Any:
        layer = self.server.wrap(self.made, self.ended)
        self.layers.append(layer)
        return layer

    async def session(self, context: SSL.Context, session: Any, name: bytes) -> tuple[Any, bool]:
        """Connect and exchange a few bytes; the session, and whether the given one was resumed."""
        count = len(self.protocols)
        client = self.client(context)
        client.tls.set_tlsext_host_name(name)
        if session is not None:
            client.tls.set_session(session)
        await self.until(client.handshake_step)
        await self.until(lambda: len(self.protocols) > count)
        layer = self.protocols[-1].transport
        layer.write(b"hello")
        await self.until(lambda: client.received == b"hello", client.step)
        found = client.tls.get_session()
        resumed = bool(layer.resumed)
        layer.loseConnection()
        await self.until(lambda: client.ended, client.step)
        client.tls.shutdown()
        return found, resumed


class Resumption(ServerCase):
    @asynchronous
    async def test_both_versions(self) -> None:
        for version in VERSIONS:
            context = pki.client_context(version)
            session, resumed = await self.session(context, None, b"a")
            self.assertFalse(resumed)
            for _ in range(3):
                session, resumed = await self.session(context, session, b"a")
                self.assertTrue(resumed)

    @asynchronous
    async def test_contexts_by_name(self) -> None:
        # Tickets belong to the context that a connection began with, whatever it changes to: they
        # survive new certificates as long as that first context stays.
        for version in VERSIONS:
            first = self.context = pki.server_context()
            switched: list[Any] = []

            def choose(connection: SSL.Connection) -> None:
                other = pki.server_context(pki.leaf("b"))
                switched.append(other)  # noqa: B023
                connection.set_context(other)

            first.set_tlsext_servername_callback(choose)
            context = pki.client_context(version)
            session, resumed = await self.session(context, None, b"b")
            self.assertFalse(resumed)
            session, resumed = await self.session(context, session, b"b")
            self.assertTrue(resumed)
            self.assertEqual(len(switched), 2)

    @asynchronous
    async def test_another_first_context(self) -> None:
        for version in VERSIONS:
            context = pki.client_context(version)
            session, _ = await self.session(context, None, b"a")
            self.context = pki.server_context()
            _, resumed = await self.session(context, session, b"a")
            self.assertFalse(resumed)


class AfterProxyHeader(ServerCase):
    def build(self, address: Any) -> Any:
        self.seen: list[Any] = []

        def accepted(reader: HeaderReader, source: str | None) -> Any:
            self.seen.append(source)
            return super(AfterProxyHeader, self).build(address)

        return HeaderReader(
            "any",
            self.headers,
            reactor.seconds,
            accepted,
            lambda reader, refused: None,  # type: ignore[attr-defined]
        )

    @asynchronous
    async def test_header_then_handshake(self) -> None:
        for split in (0, 10, 10_000):
            count = len(self.protocols)
            client = self.client()
            self._greet(client, split)
            await self.until(client.handshake_step)
            await self.until(lambda: len(self.protocols) > count)  # noqa: B023
            self.assertEqual(self.seen, ["192.0.2.1"])
            client.write(b"through")
            await self.until(lambda: self.protocols[-1].received == b"through")

    def _greet(self, client: Client, split: int) -> None:
        """The header, and the first flight in the same piece or the next."""
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
        try:
            client.tls.do_handshake()
        except SSL.WantReadError:
            pass
        data = header + client.collect()
        client.send(data[: len(header) + split])
        client.send(data[len(header) + split :])

    @asynchronous
    async def test_header_then_garbage(self) -> None:
        client = self.client()
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n")
        await self.until(lambda: self.failures)
        self.assertTrue(self.failures[0].check(PlainHttp))

"""Connections to backends over TLS: who is believed, what is resumed, how a failure is told."""

from __future__ import annotations

import socket
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.tls import pki
from tests.tls.loopback import Case, Recorder
from tests.tls.test_layer import asynchronous
from txrproxy.errors import (
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    REASONS,
    TLS_HANDSHAKE_FAILED,
    TLS_VERIFY_FAILED,
    Reason,
    Retry,
)
from txrproxy.tls import openssl
from txrproxy.tls.client import BackendTls, ClientTls, TlsDialer
from txrproxy.tls.failures import FailureLog
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.dial import LocalDialer, TcpDialer

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


class ClientCase(Case):
    def setUp(self) -> None:
        super().setUp()
        self.tls = ClientTls(authorities=pki.authority().pem)
        self.log: Any = FailureLog("backend b", Deadlines(Clock()), lambda: 0.0)
        self.connected: list[Any] = []
        self.refused: list[Reason] = []

    def _end(self) -> Any:
        for protocol in self.connected:
            protocol.transport.abortConnection()
        return super()._end()

    def dial(self, backend: BackendTls, timeout: float = 10, clock: Any = reactor) -> None:
        dialer = TlsDialer(clock, TcpDialer(reactor, "127.0.0.1", self.port), backend, self.log)
        dialer(Recorder, timeout, self.connected.append, self.refused.append)

    async def outcome(self, backend: BackendTls) -> Any:
        """The protocol of a new connection, or the reason why there is none."""
        before = len(self.connected), len(self.refused)
        self.dial(backend)
        await self.until(lambda: (len(self.connected), len(self.refused)) != before)
        return self.refused[-1] if len(self.refused) > before[1] else self.connected[-1]

    async def exchange(self, backend: BackendTls) -> tuple[Any, Any]:
        """Connect, and ask and answer once; the protocols of both sides."""
        ours = await self.outcome(backend)
        self.assertIsInstance(ours, Recorder)
        port = ours.transport.getHost().port

        def other_side() -> Any:
            return [p for p in self.protocols if p.transport and p.transport.getPeer().port == port]

        await self.until(other_side)
        theirs = other_side()[-1]
        ours.transport.write(b"question")
        await self.until(lambda: theirs.received == b"question")
        theirs.transport.write(b"answer")
        await self.until(lambda: ours.received == b"answer")
        return ours, theirs


class Verification(ClientCase):
    @asynchronous
    async def test_name(self) -> None:
        for name in ("localhost", "localhost.", "LocalHost"):
            ours, theirs = await self.exchange(self.tls.backend(name))
            self.assertEqual(ours.events[0], "made")
            self.assertEqual(theirs.transport.server_name.lower(), b"localhost")

    @asynchronous
    async def test_wildcard(self) -> None:
        self.context = pki.server_context(pki.leaf("*.example.org"))
        await self.exchange(self.tls.backend("a.example.org"))
        reason = await self.outcome(self.tls.backend("a.b.example.org"))
        self.assertIs(reason, TLS_VERIFY_FAILED)

    @asynchronous
    async def test_addresses(self) -> None:
        self.context = pki.server_context(pki.leaf("127.0.0.1", "::1"))
        for name in ("127.0.0.1", "::1"):
            _, theirs = await self.exchange(self.tls.backend(name))
            self.assertIsNone(theirs.transport.server_name)
        self.assertIs(await self.outcome(self.tls.backend("127.0.0.2")), TLS_VERIFY_FAILED)
        self.assertIs(await self.outcome(self.tls.backend("localhost")), TLS_VERIFY_FAILED)

    async def _refused(self, identity: pki.Identity, why: str) -> None:
        self.context = pki.server_context(identity)
        said: list[str] = []
        self.patch(self.log, "add", lambda peer, reason: said.append(reason))
        backend = self.tls.backend("localhost")
        self.assertIs(await self.outcome(backend), TLS_VERIFY_FAILED)
        self.assertEqual(len(said), 1)
        self.assertTrue(said[0].startswith("not verified: "))
        self.assertIn(why, said[0])
        self.assertIsNone(backend._session)
        # The same backend is believed when it shows better papers, and only then.
        self.context = pki.server_context()
        await self.exchange(backend)

    @asynchronous
    async def test_wrong_name(self) -> None:
        await self._refused(pki.leaf("other.example.org"), "not for localhost")

    @asynchronous
    async def test_no_name(self) -> None:
        await self._refused(pki.authority("Test CA"), "not for localhost")

    @asynchronous
    async def test_expired(self) -> None:
        await self._refused(pki.leaf("localhost", ends=-1, days_old=9), "expired")

    @asynchronous
    async def test_not_yet_valid(self) -> None:
        await self._refused(pki.leaf("localhost", days_old=-3), "not yet valid")

    @asynchronous
    async def test_unknown_authority(self) -> None:
        await self._refused(pki.leaf("localhost", issuer="Somebody"), "unable to get")

    @asynchronous
    async def test_self_signed(self) -> None:
        await self._refused(pki.leaf("localhost", issuer=None), "self-signed")

    @asynchronous
    async def test_not_verified(self) -> None:
        self.context = pki.server_context(pki.leaf("other", issuer=None))
        await self.exchange(ClientTls(verify=False).backend("localhost"))

    @asynchronous
    async def test_the_system_does_not_know_us(self) -> None:
        self.assertIs(await self.outcome(ClientTls().backend("localhost")), TLS_VERIFY_FAILED)

    @asynchronous
    async def test_client_certificate(self) -> None:
        self._demand()
        mine = pki.leaf("proxy.example.org")
        tls = ClientTls(
            authorities=pki.authority().pem, certificate=mine.chain, key=mine.key_pem
        ).backend("localhost")
        for _ in range(2):
            _, theirs = await self.exchange(tls)
            self.assertEqual(theirs.transport.peer_certificate, mine.certificate)
        # A server that misses it says so: in the handshake of TLS 1.2, after that of TLS 1.3.
        self.context = pki.server_context(version=SSL.TLS1_2_VERSION)
        self._demand()
        self.assertIs(await self.outcome(self.tls.backend("localhost")), TLS_HANDSHAKE_FAILED)

    def _demand(self) -> None:
        store = self.context.get_cert_store()
        assert store is not None
        store.add_cert(X509.from_cryptography(pki.authority().certificate))
        self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)


class VerificationWithoutTheBinding(Verification):
    """The reason for a refusal is then found out from OpenSSL's error alone."""

    def setUp(self) -> None:
        self.patch(openssl, "_AVAILABLE", False)
        super().setUp()

    async def _refused(self, identity: pki.Identity, why: str) -> None:
        self.context = pki.server_context(identity)
        self.assertIs(await self.outcome(self.tls.backend("localhost")), TLS_VERIFY_FAILED)


class Resumption(ClientCase):
    async def _resumed(self, end: str, version: int) -> None:
        self.context = pki.server_context(version=version)
        backend = self.tls.backend("localhost")
        found = []
        for _ in range(4):
            ours, theirs = await self.exchange(backend)
            self.assertEqual(ours.transport.resumed, theirs.transport.resumed)
            found.append(ours.transport.resumed)
            getattr(ours.transport, end)()
            await self.until(lambda: ours.reason and theirs.reason)  # noqa: B023
        self.assertEqual(found, [False, True, True, True])

    @asynchronous
    async def test_after_an_orderly_end(self) -> None:
        for version in VERSIONS:
            await self._resumed("loseConnection", version)

    @asynchronous
    async def test_after_an_abort(self) -> None:
        for version in VERSIONS:
            await self._resumed("abortConnection", version)

    @asynchronous
    async def test_after_a_reset(self) -> None:
        backend = self.tls.backend("localhost")
        ours, theirs = await self.exchange(backend)
        theirs.transport.abortConnection()
        await self.until(lambda: ours.reason)
        del ours, theirs
        self.connected.clear()
        ours, _ = await self.exchange(backend)
        self.assertTrue(ours.transport.resumed)

    @asynchronous
    async def test_while_the_first_is_open(self) -> None:
        backend = self.tls.backend("localhost")
        await self.exchange(backend)
        ours, _ = await self.exchange(backend)
        self.assertTrue(ours.transport.resumed)

    @asynchronous
    async def test_not_by_another_backend(self) -> None:
        await self.exchange(self.tls.backend("localhost"))
        ours, _ = await self.exchange(self.tls.backend("localhost"))
        self.assertFalse(ours.transport.resumed)

    @asynchronous
    async def test_a_server_that_has_forgotten(self) -> None:
        backend = self.tls.backend("localhost")
        for _ in range(2):
            self.context = pki.server_context()  # with other ticket keys
            ours, _ = await self.exchange(backend)
            self.assertFalse(ours.transport.resumed)


class Failures(ClientCase):
    @asynchronous
    async def test_no_tls_there(self) -> None:
        # A protocol that answers in plain text.
        class Plain:
            def makeConnection(self, transport: Any) -> None:
                transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            def dataReceived(self, data: bytes) -> None:
                """Whatever."""

            def connectionLost(self, reason: Any) -> None:
                """So be it."""

        self.factory.buildProtocol = lambda address: Plain()
        self.assertIs(await self.outcome(self.tls.backend("localhost")), TLS_HANDSHAKE_FAILED)

    @asynchronous
    async def test_hung_up(self) -> None:
        class Closing:
            def makeConnection(self, transport: Any) -> None:
                transport.loseConnection()

            def connectionLost(self, reason: Any) -> None:
                """As asked."""

        self.factory.buildProtocol = lambda address: Closing()
        self.assertIs(await self.outcome(self.tls.backend("localhost")), TLS_HANDSHAKE_FAILED)

    @asynchronous
    async def test_no_common_version(self) -> None:
        self.context.set_min_proto_version(SSL.TLS1_VERSION)
        self.context.set_max_proto_version(SSL.TLS1_1_VERSION)
        self.assertIs(await self.outcome(self.tls.backend("localhost")), TLS_HANDSHAKE_FAILED)

    @asynchronous
    async def test_no_answer(self) -> None:
        clock = Clock()
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        self.port = silent.getsockname()[1]
        began: list[Any] = []
        dialer = TcpDialer(reactor, "127.0.0.1", self.port)

        def dial(make: Any, timeout: float, connected: Any, failed: Any) -> None:
            def then(layer: Any) -> None:
                connected(layer)
                began.append(layer)

            dialer(make, timeout, then, failed)

        clock.advance(100)
        TlsDialer(clock, dial, self.tls.backend("localhost"), self.log)(
            Recorder, 5, self.connected.append, self.refused.append
        )
        clock.advance(2)
        await self.until(lambda: began)
        clock.advance(2.9)
        self.assertEqual(self.refused, [])
        clock.advance(0.2)
        self.assertEqual(self.refused, [CONNECT_TIMEOUT])
        await self.until(lambda: not began[0].connected)
        self.assertEqual(self.refused, [CONNECT_TIMEOUT])
        self.assertEqual(clock.getDelayedCalls(), [])

    @asynchronous
    async def test_no_timer_is_left(self) -> None:
        clock = Clock()
        self.dial(self.tls.backend("localhost"), clock=clock)
        await self.until(lambda: self.connected)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.context = pki.server_context(pki.leaf("other"))
        self.dial(self.tls.backend("localhost"), clock=clock)
        await self.until(lambda: self.refused)
        self.assertEqual(clock.getDelayedCalls(), [])

    @asynchronous
    async def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            self.port = gone.getsockname()[1]
        self.assertIs(await self.outcome(self.tls.backend("localhost")), CONNECT_REFUSED)

    @asynchronous
    async def test_by_name(self) -> None:
        inner = LocalDialer(reactor, self.port)
        dialer = TlsDialer(reactor, inner, self.tls.backend("localhost"), self.log)
        dialer(Recorder, 10, self.connected.append, self.refused.append)
        await self.until(lambda: self.connected or self.refused)
        self.assertEqual(self.refused, [])


class Material(SynchronousTestCase):
    def test_not_pem(self) -> None:
        for options in ({"authorities": b"x"}, {"certificate": b"x", "key": b"y"}):
            with self.assertRaises(ValueError):
                ClientTls(**options)  # type: ignore[arg-type]

    def test_another_key(self) -> None:
        with self.assertRaises(ValueError) as caught:
            ClientTls(certificate=pki.leaf("a").chain, key=pki.leaf("b").key_pem)
        self.assertEqual(str(caught.exception), "the key does not belong to the certificate")

    def test_bad_keys(self) -> None:
        for key in (b"", None, b"-----BEGIN PRIVATE KEY-----\n"):
            with self.assertRaises(ValueError):
                ClientTls(certificate=pki.leaf("a").chain, key=key)

    def test_reasons_reach_the_table(self) -> None:
        for reason in (TLS_HANDSHAKE_FAILED, TLS_VERIFY_FAILED):
            self.assertIs(REASONS[reason.name], reason)
            self.assertEqual(reason.status, 502)
            self.assertIs(reason.retry, Retry.CONNECT)

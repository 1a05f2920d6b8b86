"""The TLS layer on real connections: data both ways, every kind of end, and what goes wrong."""

from __future__ import annotations

import hashlib
import os
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from tests.tls import pki
from tests.tls.loopback import Case, HalfRecorder, Recorder
from txrproxy.tls import layer as layers
from txrproxy.tls import openssl
from txrproxy.tls.ends import HandshakeFailed, HandshakeTimeout, HungUp, TlsError, Truncated
from txrproxy.tls.gate import Gate
from txrproxy.transport import direct
from txrproxy.transport.deadlines import Deadlines

HUGE = os.urandom(3 << 20)


def asynchronous(test: Any) -> Any:
    """A test that is a coroutine."""

    def run(self: Any) -> Any:
        return ensureDeferred(test(self))

    return run


class Data(Case):
    @asynchronous
    async def test_both_ways(self) -> None:
        client, layer, protocol = await self.connect()
        self.assertEqual(protocol.events, ["made"])
        client.write(b"question")
        await self.until(lambda: protocol.received == b"question")
        layer.write(b"ans")
        layer.writeSequence([b"w", b"er", b""])
        layer.write(b"")
        layer.write(bytearray(b", and "))
        layer.write(memoryview(b"more"))
        await self.until(lambda: client.received == b"answer, and more", client.step)

    @asynchronous
    async def test_what_was_negotiated(self) -> None:
        self.context.set_alpn_select_callback(lambda connection, offered: offered[-1])
        context = pki.client_context()
        context.set_alpn_protos([b"h2", b"http/1.1"])
        count = len(self.protocols)
        client = self.client(context)
        client.tls.set_tlsext_host_name(b"localhost")
        await self.until(client.handshake_step)
        await self.until(lambda: len(self.protocols) > count)
        layer = self.layers[0]
        self.assertEqual(layer.alpn, b"http/1.1")
        self.assertEqual(layer.server_name, b"localhost")
        self.assertEqual(layer.version, "TLSv1.3")
        self.assertIn("AES", str(layer.cipher))
        self.assertFalse(layer.resumed)
        self.assertIsNone(layer.peer_certificate)
        self.assertEqual(layer.peer_chain, [])
        self.assertEqual(layer.getPeer().port, client.socket.getsockname()[1])
        self.assertEqual(layer.getHost().port, self.port)
        self.assertIn("open", repr(layer))

    @asynchronous
    async def test_client_certificate(self) -> None:
        trusted = pki.authority().certificate
        store = self.context.get_cert_store()
        assert store is not None
        store.add_cert(openssl_certificate(trusted))
        self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        context = pki.client_context()
        mine = pki.leaf("client")
        context.use_certificate(mine.certificate)
        context.use_privatekey(mine.key)
        _, layer, _ = await self.connect(context)
        self.assertEqual(layer.peer_certificate, mine.certificate)

    @asynchronous
    async def test_a_request_in_the_last_flight(self) -> None:
        client = self.client()
        sent: list[bytes] = []
        client.send = sent.append  # type: ignore[method-assign]
        client.handshake_step()
        del client.send
        client.send(sent[0])
        await self.until(client.pull)
        client.tls.do_handshake()
        client.write(b"at once")  # leaves with the Finished
        await self.until(lambda: self.protocols and self.protocols[0].received == b"at once")

    @asynchronous
    async def test_byte_by_byte(self) -> None:
        client = self.client()
        await self.until(self._slowly(client, client.handshake_step))
        client.tls.send(b"x" * 100)
        client.tls.send(b"y" * 100)
        await self.until(self._slowly(client, lambda: True))
        await self.until(
            lambda: self.protocols and self.protocols[0].received == b"x" * 100 + b"y" * 100
        )

    def _slowly(self, client: Any, step: Any) -> Any:
        """``step``, what it sends going out a byte each turn."""
        waiting = bytearray()
        send = client.send

        def turn() -> bool:
            client.send = waiting.extend
            done = step()
            waiting.extend(client.collect())
            del client.send
            if waiting:
                send(bytes(waiting[:1]))
                del waiting[:1]
            return bool(done) and not waiting

        return turn

    @asynchronous
    async def test_big_bodies_both_ways_at_once(self) -> None:
        client, layer, protocol = await self.connect()
        layer.read_size = direct.BULK_READ
        self.assertEqual(layer.read_size, direct.BULK_READ)
        layer.write(HUGE)
        client.write(HUGE)
        await self.until(
            lambda: len(client.received) == len(HUGE) == len(protocol.received), client.step
        )
        digest = hashlib.sha256(HUGE).digest()
        self.assertEqual(hashlib.sha256(client.received).digest(), digest)
        self.assertEqual(hashlib.sha256(protocol.received).digest(), digest)

    @asynchronous
    async def test_the_protocol_may_be_replaced(self) -> None:
        client, layer, protocol = await self.connect()
        second = Recorder()

        def replace(data: bytes) -> None:
            layer.protocol = second

        protocol.on_data = replace
        client.write(b"first")
        await self.until(lambda: layer.protocol is second)
        client.write(b"second")
        await self.until(lambda: second.received == b"second")
        self.assertEqual(protocol.received, b"first")
        layer.loseConnection()
        await self.until(lambda: second.reason is not None, client.step)
        self.assertIsNone(protocol.reason)

    @asynchronous
    async def test_messages_after_the_handshake(self) -> None:
        # Tickets come to a client; the layer is one here.
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client, _, protocol = await self.connect(pki.client_context(version))
            client.write(b"one")
            await self.until(lambda: protocol.received == b"one")  # noqa: B023


class DataOnStock(Data):
    """The same above a stock transport, which keeps the very bytes that it is given."""

    direct = False


class DataThroughThePublicInterface(Data):
    def setUp(self) -> None:
        self.patch(openssl, "_AVAILABLE", False)
        super().setUp()


class Backpressure(Case):
    buffer = 1 << 16

    @asynchronous
    async def test_a_producer_is_paused_and_resumed(self) -> None:
        client, layer, protocol = await self.connect(buffer=1 << 16)
        layer.registerProducer(protocol, True)
        layer.write(HUGE)
        self.assertEqual(protocol.events, ["made", "pause"])
        self.assertGreater(direct.unsent(layer), 1 << 20)
        await self.until(lambda: "resume" in protocol.events, client.step)
        layer.unregisterProducer()
        await self.until(lambda: len(client.received) == len(HUGE), client.step)
        await self.until(lambda: direct.unsent(layer) == 0, client.step)
        self.assertEqual(bytes(client.received), HUGE)

    @asynchronous
    async def test_a_paused_protocol_is_left_alone(self) -> None:
        client, layer, protocol = await self.connect(buffer=1 << 16)
        layer.pauseProducing()
        client.write(HUGE)
        turns = iter(range(50))
        await self.until(lambda: next(turns, None) is None, client.push)
        self.assertEqual(protocol.received, b"")
        self.assertTrue(client._out)  # the kernel's buffers are full, and nobody read them
        layer.resumeProducing()
        await self.until(lambda: protocol.received == HUGE, client.push)

    @asynchronous
    async def test_pausing_in_the_middle(self) -> None:
        client, layer, protocol = await self.connect()
        protocol.on_data = lambda data: layer.pauseProducing()
        before = len(protocol.events)
        self.patch(openssl, "GATHER", 16384)  # so that one read gives many pieces
        client.write(HUGE)
        while len(protocol.received) < len(HUGE):
            await self.until(lambda: len(protocol.events) > before, client.push)  # noqa: B023
            turns = iter(range(3))
            await self.until(lambda: next(turns, None) is None, client.push)  # noqa: B023
            self.assertEqual(len(protocol.events), before + 1)
            before += 1
            layer.resumeProducing()
        self.assertEqual(protocol.received, HUGE)

    @asynchronous
    async def test_resuming_calls_nobody_back(self) -> None:
        client, layer, protocol = await self.connect()
        self.patch(openssl, "GATHER", 16384)
        protocol.on_data = lambda data: layer.pauseProducing()
        client.write(bytes(60000))
        await self.until(lambda: protocol.received)
        size = len(protocol.received)
        layer.resumeProducing()
        self.assertEqual(len(protocol.received), size)
        layer.pauseProducing()
        turns = iter(range(5))
        await self.until(lambda: next(turns, None) is None)
        self.assertEqual(len(protocol.received), size)
        protocol.on_data = None
        layer.resumeProducing()
        await self.until(lambda: len(protocol.received) == 60000)

    @asynchronous
    async def test_the_end_waits_for_a_paused_protocol(self) -> None:
        client, layer, protocol = await self.connect()
        protocol.on_data = lambda data: layer.pauseProducing()
        client.tls.send(b"last")
        client.tls.shutdown()
        client.send(client.collect())
        await self.until(lambda: protocol.received == b"last")
        turns = iter(range(5))
        await self.until(lambda: next(turns, None) is None)
        self.assertIsNone(protocol.reason)
        layer.resumeProducing()
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(ConnectionDone))


class Ends(Case):
    protocols_kind: Any = Recorder

    @asynchronous
    async def test_close_notify_behind_what_was_written(self) -> None:
        client, layer, protocol = await self.connect()
        layer.write(HUGE)
        layer.loseConnection()
        self.assertTrue(layer.disconnecting)
        layer.write(b"too late")
        layer.loseConnection()
        layer.loseWriteConnection()
        await self.until(lambda: client.ended, client.step)
        self.assertEqual(client.ended, "close_notify")
        self.assertEqual(bytes(client.received), HUGE)
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(ConnectionDone))
        self.assertFalse(layer.connected)
        self.assertFalse(layer.disconnecting)

    @asynchronous
    async def test_what_comes_after_closing_is_ignored(self) -> None:
        client, layer, protocol = await self.connect(buffer=1 << 14)
        layer.write(HUGE)
        layer.loseConnection()
        client.write(b"nobody reads this")
        await self.until(lambda: client.ended, client.step)
        self.assertEqual(protocol.received, b"")

    @asynchronous
    async def test_the_peer_closes_in_order(self) -> None:
        client, _, protocol = await self.connect()
        client.tls.send(b"last words")
        client.tls.shutdown()
        client.send(client.collect())
        await self.until(lambda: protocol.reason)
        self.assertEqual(protocol.events, ["made", 10, "lost"])
        self.assertTrue(protocol.reason.check(ConnectionDone))
        await self.until(lambda: client.ended, client.step)
        self.assertEqual(client.ended, "close_notify")

    @asynchronous
    async def test_truncated(self) -> None:
        client, _, protocol = await self.connect()
        client.write(b"half of wh")
        client.socket.shutdown(socket.SHUT_WR)
        await self.until(lambda: protocol.reason)
        self.assertEqual(protocol.received, b"half of wh")
        self.assertTrue(protocol.reason.check(Truncated))
        self.assertTrue(protocol.reason.check(ConnectionLost))
        self.assertFalse(protocol.reason.check(ConnectionDone))

    @asynchronous
    async def test_truncated_for_a_protocol_that_knows_halves(self) -> None:
        self.protocol = HalfRecorder
        client, _, protocol = await self.connect()
        client.socket.shutdown(socket.SHUT_WR)
        await self.until(lambda: protocol.reason)
        self.assertEqual(protocol.events, ["made", "lost"])
        self.assertTrue(protocol.reason.check(Truncated))

    @asynchronous
    async def test_truncated_in_the_middle_of_a_record(self) -> None:
        client, _, protocol = await self.connect()
        client.tls.send(b"never whole")
        client.send(client.collect()[:-1])
        client.socket.shutdown(socket.SHUT_WR)
        await self.until(lambda: protocol.reason)
        self.assertEqual(protocol.received, b"")
        self.assertTrue(protocol.reason.check(Truncated))

    @asynchronous
    async def test_truncated_while_much_waits_to_be_sent(self) -> None:
        client, layer, protocol = await self.connect(buffer=1 << 14)
        layer.write(HUGE)
        client.socket.shutdown(socket.SHUT_WR)
        await self.until(lambda: protocol.reason)
        await self.until(lambda: not layer.connected)

    @asynchronous
    async def test_truncated_while_the_kernel_has_something_to_send(self) -> None:
        client, layer, protocol = await self.connect(buffer=1 << 14)
        layer.write(bytes(64 << 10))
        await self.until(lambda: not direct.queued(layer._raw))
        self.assertTrue(layer.unsent())
        client.socket.shutdown(socket.SHUT_WR)
        await self.until(lambda: not layer.connected)
        self.assertTrue(protocol.reason.check(Truncated))
        await self.until(lambda: len(client.received) == 64 << 10, client.step)

    @asynchronous
    async def test_reset(self) -> None:
        client, layer, protocol = await self.connect()
        client.reset()
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(ConnectionLost))
        self.assertFalse(protocol.reason.check(ConnectionDone))
        layer.write(b"to nobody")
        layer.loseConnection()
        layer.abortConnection()

    @asynchronous
    async def test_abort(self) -> None:
        client, layer, protocol = await self.connect(buffer=1 << 14)
        layer.write(HUGE)
        layer.abortConnection()
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(ConnectionAborted))
        self.assertFalse(layer.connected)

    @asynchronous
    async def test_half_close_ours_first(self) -> None:
        self.protocol = HalfRecorder
        client, layer, protocol = await self.connect()
        layer.write(b"all I have")
        layer.loseWriteConnection()
        layer.loseWriteConnection()
        layer.write(b"too late")
        await self.until(lambda: client.ended, client.step)
        self.assertEqual(client.ended, "close_notify")
        self.assertEqual(client.received, b"all I have")
        client.write(b"still here")
        await self.until(lambda: protocol.received == b"still here")
        client.tls.shutdown()
        client.send(client.collect())
        await self.until(lambda: "read lost" in protocol.events)
        self.assertIsNone(protocol.reason)
        layer.loseConnection()
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(ConnectionDone))

    @asynchronous
    async def test_half_close_theirs_first(self) -> None:
        self.protocol = HalfRecorder
        client, layer, protocol = await self.connect()
        client.tls.shutdown()
        client.send(client.collect())
        client.socket.shutdown(socket.SHUT_WR)
        await self.until(lambda: "read lost" in protocol.events)
        client.send(b"after the end")
        turns = iter(range(5))
        await self.until(lambda: next(turns, None) is None)
        self.assertEqual(protocol.received, b"")
        layer.write(HUGE)
        layer.loseConnection()
        await self.until(lambda: protocol.reason, client.step)
        client.step()
        self.assertEqual(bytes(client.received), HUGE)
        self.assertTrue(protocol.reason.check(ConnectionDone))

    @asynchronous
    async def test_both_halves_closed(self) -> None:
        self.protocol = HalfRecorder
        client, layer, protocol = await self.connect()
        client.tls.shutdown()
        client.send(client.collect())
        await self.until(lambda: "read lost" in protocol.events)
        layer.loseWriteConnection()
        await self.until(lambda: "write lost" in protocol.events)
        client.socket.shutdown(socket.SHUT_WR)
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(ConnectionDone))


class EndsOnStock(Ends):
    direct = False


class EndsThroughThePublicInterface(Ends):
    def setUp(self) -> None:
        self.patch(openssl, "_AVAILABLE", False)
        super().setUp()


class Wrong(Case):
    buffer = 1 << 16

    @asynchronous
    async def test_garbage_instead_of_a_handshake(self) -> None:
        for garbage in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(5000), b"\x16\x03\x01\xff\xff"):
            client = self.client()
            client.send(garbage)
            await self.until(lambda: client.ended, client.pull)  # noqa: B023
        self.assertEqual(len(self.failures), 3)
        for failure in self.failures:
            self.assertTrue(failure.check(HandshakeFailed))
            self.assertFalse(failure.check(HungUp))
        self.assertEqual(self.protocols, [])

    @asynchronous
    async def test_an_oversized_record(self) -> None:
        client, _, protocol = await self.connect()
        client.send(b"\x17\x03\x03\x48\x01" + bytes(0x4801))
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(TlsError))
        await self.until(lambda: client.ended, client.step)
        self.assertIn("record overflow", client.ended)

    @asynchronous
    async def test_a_record_that_does_not_verify(self) -> None:
        client, _, protocol = await self.connect()
        client.tls.send(b"good")
        good = client.collect()
        client.tls.send(b"bad")
        bad = bytearray(client.collect())
        bad[-1] ^= 1
        client.send(good + bad)
        await self.until(lambda: protocol.reason)
        self.assertEqual(protocol.received, b"good")
        self.assertTrue(protocol.reason.check(TlsError))
        self.assertIn("bad record mac", str(protocol.reason.value))

    @asynchronous
    async def test_a_flood_of_empty_records(self) -> None:
        client, _, protocol = await self.connect(pki.client_context(SSL.TLS1_2_VERSION))
        client.send(b"\x17\x03\x03\x00\x00" * 1000)
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(TlsError))

    @asynchronous
    async def test_renegotiation(self) -> None:
        client, _, protocol = await self.connect(pki.client_context(SSL.TLS1_2_VERSION))
        client.tls.renegotiate()
        try:
            client.tls.do_handshake()
        except SSL.WantReadError:
            pass
        client.send(client.collect())
        await self.until(lambda: client.ended or protocol.reason, client.step)
        self.assertNotEqual(client.tls.total_renegotiations(), 2)
        self.assertEqual(protocol.received, b"")

    @asynchronous
    async def test_old_versions(self) -> None:
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            context = pki.client_context(version)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            client = self.client(context)
            await self.until(lambda: client.ended, client.handshake_step)  # noqa: B023
            await self.until(lambda: self.failures)
        self.assertEqual(self.protocols, [])

    @asynchronous
    async def test_too_much_to_answer(self) -> None:
        # A peer that asks for one key update after the other, and never reads.
        client, layer, protocol = await self.connect(buffer=1 << 14)
        layer.write(HUGE)
        answer = bytes(layers.MAX_ANSWERS // 2)
        self.patch(type(layer._pipe), "outgoing", lambda pipe: answer)
        for sent in (b"1", b"2", b"3"):
            self.assertIsNone(protocol.reason)
            client.write(sent)
            await self.until(lambda: sent in protocol.received or protocol.reason)  # noqa: B023
        self.assertTrue(protocol.reason.check(TlsError))
        self.assertEqual(protocol.received, b"12")

    @asynchronous
    async def test_nothing_can_be_written(self) -> None:
        client, layer, protocol = await self.connect()
        layer.connection.shutdown()
        layer.write(b"lost")
        await self.until(lambda: protocol.reason)
        self.assertTrue(protocol.reason.check(ConnectionAborted))


class WrongThroughThePublicInterface(Wrong):
    def setUp(self) -> None:
        self.patch(openssl, "_AVAILABLE", False)
        super().setUp()


class Handshakes(Case):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()  # type: ignore[assignment]
        self.deadlines = Deadlines(self.clock)
        self.queue = self.deadlines.queue(10, layers.TlsLayer.expired)

    async def _stalled(self, version: int, flights: int) -> None:
        before = len(self.failures)
        count = len(self.layers)
        client = self.client(pki.client_context(version))
        await self.until(lambda: len(self.layers) > count)
        for number in range(flights):
            if number:
                await self.until(client.pull)
            try:
                client.tls.do_handshake()
            except SSL.WantReadError:
                pass
            data = client.collect()
            client.send(data[: len(data) // 2] if number == flights - 1 else data)
        self.clock.advance(9)
        self.assertEqual(len(self.failures), before)
        self.clock.advance(3)
        self.assertTrue(self.failures[-1].check(HandshakeTimeout))
        await self.until(lambda: client.ended, client.pull)

    @asynchronous
    async def test_a_client_that_stalls_at_each_flight(self) -> None:
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for flights in (0, 1, 2):
                await self._stalled(version, flights)
        self.assertEqual(self.protocols, [])
        self.assertEqual(len(self.queue), 0)

    @asynchronous
    async def test_no_deadline_after_it(self) -> None:
        await self.connect()
        self.assertEqual(len(self.queue), 0)
        self.clock.advance(100)
        self.assertEqual(self.failures, [])

    @asynchronous
    async def test_hung_up(self) -> None:
        for end in ("fin", "reset"):
            before = len(self.failures)
            count = len(self.layers)
            client = self.client()
            client.handshake_step()
            await self.until(lambda: len(self.layers) > count)  # noqa: B023
            await self.until(client.pull)
            if end == "fin":
                client.socket.close()
            else:
                client.reset()
            await self.until(lambda: len(self.failures) > before)  # noqa: B023
            self.assertTrue(self.failures[-1].check(HungUp))
        self.assertEqual(len(self.queue), 0)

    @asynchronous
    async def test_refused_by_who_makes_the_protocol(self) -> None:
        def made(layer: Any) -> Any:
            raise HandshakeFailed("not you")

        self.made = made  # type: ignore[method-assign]
        client = self.client()
        await self.until(client.handshake_step)
        await self.until(lambda: client.ended, client.step)
        self.assertEqual(client.ended, "close_notify")
        self.assertEqual(str(self.failures[0].value), "not you")

    @asynchronous
    async def test_closed_from_here(self) -> None:
        for end in ("loseConnection", "abortConnection", "close_when_idle"):
            count = len(self.layers)
            client = self.client()
            client.handshake_step()
            await self.until(lambda: len(self.layers) > count)  # noqa: B023
            await self.until(client.pull)
            self.assertIn("handshaking", repr(self.layers[-1]))
            getattr(self.layers[-1], end)()
            await self.until(lambda: client.ended, client.pull)  # noqa: B023
        await self.until(lambda: len(self.failures) == 3)

    @asynchronous
    async def test_those_that_stall_give_way(self) -> None:
        self.gate = Gate(reactor, concurrent=2)
        stalled = [self.client() for _ in range(4)]
        await self.until(lambda: len(self.layers) == 4)
        for client in stalled:
            client.handshake_step()
        await self.until(lambda: len(self.failures) == 2)
        self.assertTrue(all(failure.check(HandshakeTimeout) for failure in self.failures))
        self.assertEqual(repr(self.gate), "<Gate 2 in progress, 0 waiting>")
        client = self.client()
        await self.until(lambda: len(self.layers) == 5)
        await self.until(client.handshake_step)
        await self.until(lambda: len(self.protocols) == 1)
        self.assertEqual(len(self.failures), 3)
        self.assertEqual(repr(self.gate), "<Gate 1 in progress, 0 waiting>")

    @asynchronous
    async def test_waiting_has_a_deadline_too(self) -> None:
        self.gate = Gate(reactor, a_turn=0)
        client = self.client()
        client.handshake_step()
        await self.until(lambda: "1 waiting" in repr(self.gate))
        self.clock.advance(12)
        self.assertTrue(self.failures[0].check(HandshakeTimeout))
        self.assertIn("0 waiting", repr(self.gate))


def openssl_certificate(certificate: Any) -> Any:
    from OpenSSL.crypto import X509

    return X509.from_cryptography(certificate)

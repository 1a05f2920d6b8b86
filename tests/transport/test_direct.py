"""Direct transports: sent at once when possible, and in every other respect the stock transport."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any, ClassVar
from unittest import mock

from twisted.internet import defer, error, main, reactor, tcp, unix
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Factory
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.transport.loopback import HandReactor, PushProducer, Recorder, tcp_pair
from txrproxy.transport import direct

HUGE = os.urandom(1 << 19)  # more than the kernel takes for a peer that does not read


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.half: list[str] = []

    def readConnectionLost(self) -> None:
        self.half.append("read")

    def writeConnectionLost(self) -> None:
        self.half.append("write")


class FailingSocket:
    """A socket whose ``send`` and ``recv`` fail with one errno."""

    def __init__(self, real: socket.socket, code: int) -> None:
        self._real = real
        self.code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def send(self, data: bytes) -> int:
        raise OSError(self.code, os.strerror(self.code))

    def recv(self, size: int) -> bytes:
        raise OSError(self.code, os.strerror(self.code))


class Case(SynchronousTestCase):
    kind: ClassVar[Any] = direct.DirectServer

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.near, self.far = tcp_pair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.use(Recorder())

    def use(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = self.kind(
            self.near, protocol, ("127.0.0.1", 1), mock.Mock(_realPortNumber=1), 0, self.reactor
        )
        protocol.makeConnection(self.transport)

    def flush(self) -> Any:
        """Write as the reactor would, until nothing is queued; the last verdict of ``doWrite``."""
        verdict = None
        self.far.setblocking(False)
        while self.transport in self.reactor.writers and verdict is None:
            self.drain()
            verdict = self.transport.doWrite()
        return verdict

    def drain(self) -> None:
        try:
            while data := self.far.recv(1 << 20):
                self.taken += data
        except BlockingIOError:
            pass

    taken = b""

    def arrived(self) -> bytes:
        self.flush()
        self.near.shutdown(socket.SHUT_WR)
        self.far.settimeout(5)
        while data := self.far.recv(1 << 20):
            self.taken += data
        return self.taken


class StockBehaviour(Case):
    """Cases that hold for the stock transport; ``SameForDirect`` runs them for the direct one."""

    kind = tcp.Server

    def test_bytes_arrive_in_order(self) -> None:
        self.transport.write(b"one ")
        self.transport.writeSequence([b"two ", b"three "])
        self.transport.write(HUGE)
        self.transport.write(b"four")
        self.assertEqual(self.arrived(), b"one two three " + HUGE + b"four")

    def test_only_bytes(self) -> None:
        for data in ("text", 5, None):
            with self.assertRaises(TypeError):
                self.transport.write(data)
        with self.assertRaises(TypeError):
            self.transport.writeSequence(["text"])

    def test_empty_writes(self) -> None:
        self.transport.write(b"")
        self.transport.writeSequence([])
        self.assertNotIn(self.transport, self.reactor.writers)

    def test_lose_connection_flushes(self) -> None:
        self.transport.write(HUGE)
        self.transport.loseConnection()
        self.assertNotIn(self.transport, self.reactor.readers)
        self.assertIs(self.flush(), main.CONNECTION_DONE)
        self.assertEqual(self.arrived(), HUGE)

    def test_lose_connection_with_nothing_queued(self) -> None:
        self.transport.write(b"bye")
        self.transport.loseConnection()
        self.transport.write(b"!")
        self.assertIs(self.flush(), main.CONNECTION_DONE)
        self.assertEqual(self.arrived(), b"bye!")

    def test_write_after_the_connection_is_lost(self) -> None:
        self.transport.connectionLost(Failure(main.CONNECTION_DONE))
        self.transport.write(b"late")
        self.transport.writeSequence([b"late"])
        self.assertEqual(len(self.protocol.lost), 1)
        self.assertEqual(self.reactor.writers, set())

    def test_abort_drops_what_comes_after(self) -> None:
        self.transport.abortConnection()
        self.transport.write(b"late")
        self.far.setblocking(False)
        with self.assertRaises(BlockingIOError):
            self.far.recv(1)
        [(call, args)] = self.reactor.later
        call(*args)
        self.assertEqual(len(self.protocol.lost), 1)

    def test_half_close_after_the_queue(self) -> None:
        self.use(HalfCloseable())
        self.transport.write(HUGE)
        self.transport.loseWriteConnection()
        self.transport.write(b"!")
        self.assertIsNone(self.flush())
        self.transport.write(b"late")
        self.assertEqual(self.protocol.half, ["write"])
        self.assertEqual(self.arrived(), HUGE + b"!")

    def test_push_producer_pauses_and_resumes(self) -> None:
        producer = PushProducer()
        self.transport.registerProducer(producer, True)
        self.transport.write(HUGE)
        self.assertEqual(producer.calls, ["pause"])
        self.assertTrue(self.transport.producerPaused)
        self.flush()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertFalse(self.transport.producerPaused)

    def test_connection_stays_until_a_paused_producer_is_done(self) -> None:
        producer = PushProducer()
        self.transport.registerProducer(producer, True)
        self.transport.write(HUGE)
        self.transport.loseConnection()
        self.assertIsNone(self.flush())
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.transport.write(b"last")
        self.transport.unregisterProducer()
        self.assertIs(self.flush(), main.CONNECTION_DONE)
        self.assertEqual(self.arrived(), HUGE + b"last")

    def test_pull_producer_is_asked_until_done(self) -> None:
        pieces = [b"a", HUGE, b"", b"b", b"c"]

        class Pull(PushProducer):
            def resumeProducing(producer) -> None:
                while pieces and not pieces[0]:
                    pieces.pop(0)
                if pieces:
                    self.transport.write(pieces.pop(0))
                else:
                    self.transport.unregisterProducer()

        self.transport.registerProducer(Pull(), False)
        self.assertEqual(self.arrived(), b"a" + HUGE + b"bc")
        self.assertIsNone(self.transport.producer)

    def test_reads(self) -> None:
        self.far.sendall(b"hello")
        self.assertIsNone(self.transport.doRead())
        self.assertIsNone(self.transport.doRead())
        self.assertEqual(self.protocol.received, [b"hello"])

    def test_end_of_stream(self) -> None:
        self.far.close()
        self.assertIs(self.transport.doRead(), main.CONNECTION_DONE)
        self.assertEqual(self.protocol.lost, [])

    def test_read_errors(self) -> None:
        for code, verdict in (
            (errno.EAGAIN, None),
            (errno.ECONNRESET, main.CONNECTION_LOST),
            (errno.EIO, main.CONNECTION_LOST),
        ):
            self.transport.socket = FailingSocket(self.near, code)
            self.assertIs(self.transport.doRead(), verdict)
        self.assertEqual(self.protocol.received, [])

    def test_write_errors_are_reported_by_do_write(self) -> None:
        for code in (errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT, errno.EIO):
            self.transport.socket = FailingSocket(self.near, code)
            self.transport.write(b"x")
            self.assertEqual(self.protocol.lost, [])
            self.assertIn(self.transport, self.reactor.writers)
            self.assertIs(self.transport.doWrite(), main.CONNECTION_LOST)

    def test_a_full_kernel_is_no_error(self) -> None:
        for code in (errno.EAGAIN, errno.ENOBUFS):
            self.transport.socket = FailingSocket(self.near, code)
            self.transport.write(b"x")
            self.assertIsNone(self.transport.doWrite())
            self.assertIn(self.transport, self.reactor.writers)
        self.transport.socket = self.near
        self.assertEqual(self.arrived(), b"xx")

    def test_options_and_names(self) -> None:
        self.assertEqual(self.transport.getPeer().host, "127.0.0.1")
        self.assertEqual(self.transport.getHost().port, self.near.getsockname()[1])
        self.assertIn("#0", repr(self.transport))
        self.assertTrue(self.transport.logPrefix())

    def test_ipv6_addresses(self) -> None:
        transport = self.kind(
            self.near, self.protocol, ("::1", 7, 0, 0), mock.Mock(), 0, self.reactor
        )
        self.assertEqual(transport.getPeer().host, "::1")


class SameForDirect(StockBehaviour):
    kind = direct.DirectServer


class DirectTests(Case):
    def test_sent_before_write_returns(self) -> None:
        self.transport.write(b"now")
        self.assertEqual(self.far.recv(10), b"now")
        self.assertNotIn(self.transport, self.reactor.writers)

    def test_a_sequence_is_one_send(self) -> None:
        spy = mock.Mock(wraps=self.near)
        self.transport.socket = spy
        self.transport.writeSequence(iter([b"a", b"b", b"c"]))
        self.assertEqual(spy.send.mock_calls, [mock.call(b"abc")])

    def test_only_the_rest_is_queued(self) -> None:
        self.transport.write(HUGE)
        self.assertIn(self.transport, self.reactor.writers)
        self.assertGreater(self.transport._tempDataLen, 0)
        self.assertLess(self.transport._tempDataLen, len(HUGE))
        self.assertEqual(self.arrived(), HUGE)

    def test_a_borrowed_buffer_is_copied_when_queued(self) -> None:
        buffer = bytearray(HUGE)
        self.transport.write(memoryview(buffer))
        self.transport.write(buffer)
        buffer[:] = bytes(len(buffer))
        self.assertEqual(self.arrived(), HUGE + HUGE)

    def test_the_first_byte_queued_pauses_a_push_producer(self) -> None:
        producer = PushProducer()
        self.transport.registerProducer(producer, True)
        self.transport.socket = mock.Mock(send=lambda data: len(data) - 10, wraps=self.near)
        self.transport.write(bytes(100_000))
        self.assertEqual(producer.calls, ["pause"])

    def test_unsent_counts_the_queue_and_what_the_peer_has_not_taken(self) -> None:
        self.assertEqual(direct.unsent(self.transport), 0)
        self.transport.write(HUGE)
        before = direct.unsent(self.transport)
        self.assertGreater(before, self.transport._tempDataLen - 1)
        self.assertEqual(self.arrived(), HUGE)
        self.assertLess(direct.unsent(self.transport), before)

    def test_a_producer_may_write_while_it_is_resumed(self) -> None:
        producer = PushProducer()
        producer.resumeProducing = lambda: self.transport.write(b"more")  # type: ignore[method-assign]
        self.transport.registerProducer(producer, True)
        self.transport.write(HUGE)
        self.assertEqual(self.arrived(), HUGE + b"more")

    def test_a_reset_seen_by_write_is_no_clean_end(self) -> None:
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()
        self.transport.write(b"x")
        self.assertIs(self.transport.doRead(), main.CONNECTION_LOST)
        self.assertIs(self.transport.doWrite(), main.CONNECTION_LOST)

    def test_the_end_is_clean_after_a_full_kernel(self) -> None:
        for code in (errno.EAGAIN, errno.ENOBUFS):
            self.transport.socket = FailingSocket(self.near, code)
            self.transport.write(b"x")
            self.transport.socket = self.near
            self.transport.doWrite()
        self.far.shutdown(socket.SHUT_WR)
        self.assertIs(self.transport.doRead(), main.CONNECTION_DONE)

    def test_what_came_before_a_reset_is_read(self) -> None:
        self.far.sendall(b"413")
        self.transport.socket = FailingSocket(self.near, errno.ECONNRESET)
        self.transport.write(b"body")
        self.transport.socket = self.near
        self.assertIsNone(self.transport.doRead())
        self.assertEqual(self.protocol.received, [b"413"])

    def test_read_size(self) -> None:
        spy = mock.Mock(wraps=self.near)
        self.transport.socket = spy
        self.transport.doRead()
        self.transport.read_size = direct.BULK_READ
        self.transport.doRead()
        self.assertEqual(spy.recv.mock_calls, [mock.call(direct.READ), mock.call(direct.BULK_READ)])

    def test_tls_in_place_goes_the_stock_way(self) -> None:
        self.transport.TLS = True
        self.transport.protocol = mock.Mock()
        self.transport.write(b"secret")
        self.assertEqual(self.transport.protocol.write.mock_calls, [mock.call(b"secret")])

    def test_no_delay(self) -> None:
        self.assertTrue(self.transport.getTcpNoDelay())

    def test_no_delay_that_the_listening_socket_gave(self) -> None:
        spy = mock.Mock(wraps=self.near)
        port = mock.Mock(no_delay=True)
        direct.DirectServer(spy, self.protocol, ("127.0.0.1", 1), port, 0, self.reactor)
        self.assertEqual(spy.setsockopt.mock_calls, [])

    def test_closed_at_once(self) -> None:
        spy = self.transport.socket = mock.Mock(wraps=self.near)
        direct.close(self.transport)
        self.assertEqual(self.far.recv(1), b"")
        self.assertIsInstance(self.protocol.lost[0].value, error.ConnectionDone)
        self.assertEqual(spy.shutdown.mock_calls, [])
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))

    def test_lost_twice(self) -> None:
        self.transport.connectionLost(Failure(main.CONNECTION_DONE))
        self.transport.connectionLost(Failure(main.CONNECTION_LOST))
        self.assertEqual(len(self.protocol.lost), 1)

    def test_aborted_is_a_reset(self) -> None:
        self.transport.connectionLost(Failure(error.ConnectionAborted()))
        self.assertRaises(ConnectionResetError, self.far.recv, 1)

    def test_lost_with_a_producer(self) -> None:
        producer = mock.Mock()
        self.transport.registerProducer(producer, True)
        self.transport.connectionLost(Failure(main.CONNECTION_LOST))
        self.assertEqual(producer.mock_calls, [mock.call.stopProducing()])
        self.assertFalse(self.transport.connected)


class UnixTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        near, self.far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(self.far.close)
        self.protocol = Recorder()
        self.transport: Any = direct.DirectUnixServer(
            near, self.protocol, "", mock.Mock(_realPortNumber=None), 0, self.reactor
        )

    def test_sent_before_write_returns(self) -> None:
        self.transport.write(b"now")
        self.assertEqual(self.far.recv(10), b"now")

    def test_reads(self) -> None:
        self.far.send(b"hello")
        self.transport.doRead()
        self.assertEqual(self.protocol.received, [b"hello"])

    def test_a_descriptor_travels_with_the_next_byte(self) -> None:
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.transport.sendFileDescriptor(write)
        self.transport.write(memoryview(b"x"))
        self.assertIsNone(self.transport.doWrite())
        os.close(write)
        data, descriptors, _, _ = socket.recv_fds(self.far, 10, 1)
        self.assertEqual(data, b"x")
        self.assertEqual(len(descriptors), 1)
        os.close(descriptors[0])


class Echo(Recorder):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)


class ServerFactory(Factory):
    def __init__(self) -> None:
        self.built: list[Echo] = []

    def buildProtocol(self, address: Any) -> Any:
        protocol = Echo()
        self.built.append(protocol)
        return protocol


class Client(ClientFactory):
    """Sends ``data``, takes as many bytes back, closes; ``done`` fires with what came back."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.protocol_made: Any = None
        self.done: defer.Deferred[bytes] = defer.Deferred()
        self.closed: defer.Deferred[None] = defer.Deferred()

    def buildProtocol(self, address: Any) -> Any:
        client = self

        class Conversation(Recorder):
            def makeConnection(self, transport: Any) -> None:
                super().makeConnection(transport)
                client.protocol_made = self
                transport.write(client.data)

            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                if sum(map(len, self.received)) == len(client.data):
                    client.done.callback(b"".join(self.received))
                    self.transport.loseConnection()

            def connectionLost(self, reason: Any) -> None:
                client.closed.callback(None)

        return Conversation()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.done.errback(reason)


class LiveTests(TestCase):
    """On the reactor that runs the suite."""

    async def converse(self, port: Any, connect: Any, kinds: tuple[type, type]) -> None:
        self.addCleanup(port.stopListening)
        client = Client(HUGE)
        connect(client)
        self.assertEqual(await client.done, HUGE)
        self.assertIsInstance(port.factory.built[0].transport, kinds[0])
        self.assertIsInstance(client.protocol_made.transport, kinds[1])
        await client.closed

    def test_tcp(self) -> defer.Deferred[None]:
        port: Any = direct.direct_port(reactor.listenTCP(0, ServerFactory(), interface="127.0.0.1"))
        number = port.getHost().port

        def connect(client: Client) -> None:
            direct.connect_tcp(reactor, "127.0.0.1", number, client, 5)

        return defer.ensureDeferred(
            self.converse(port, connect, (direct.DirectServer, direct.DirectClient))
        )

    def test_adopted_socket(self) -> defer.Deferred[None]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.addCleanup(listener.close)
        port: Any = direct.direct_port(
            reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, ServerFactory())
        )
        number = listener.getsockname()[1]

        def connect(client: Client) -> None:
            direct.connect_tcp(
                reactor, "127.0.0.1", number, client, 5, bindAddress=("127.0.0.1", 0)
            )

        return defer.ensureDeferred(
            self.converse(port, connect, (direct.DirectServer, direct.DirectClient))
        )

    def test_unix(self) -> defer.Deferred[None]:
        path = self.mktemp()[-90:]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        port: Any = direct.direct_port(reactor.listenUNIX(path, ServerFactory()))

        def connect(client: Client) -> None:
            direct.connect_unix(reactor, path, client, 5)

        return defer.ensureDeferred(
            self.converse(port, connect, (direct.DirectUnixServer, direct.DirectUnixClient))
        )

    def test_stock_when_not_available(self) -> defer.Deferred[None]:
        self.patch(direct, "_AVAILABLE", False)
        port: Any = direct.direct_port(reactor.listenTCP(0, ServerFactory(), interface="127.0.0.1"))
        number = port.getHost().port

        def connect(client: Client) -> None:
            direct.connect_tcp(reactor, "127.0.0.1", number, client, 5)

        return defer.ensureDeferred(self.converse(port, connect, (tcp.Server, tcp.Client)))

    async def test_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            number = listener.getsockname()[1]
        client = Client(b"")
        direct.connect_tcp(reactor, "127.0.0.1", number, client, 5)
        await self.assertFailure(client.done, error.ConnectionRefusedError)

    async def test_stopped_while_connecting(self) -> None:
        client = Client(b"")
        connector: Any = direct.connect_tcp(reactor, "127.0.0.1", 9, client, 5)
        connector.stopConnecting()
        await self.assertFailure(client.done, error.UserError)

    async def test_no_delay(self) -> None:
        port: Any = direct.direct_port(reactor.listenTCP(0, ServerFactory(), interface="127.0.0.1"))
        self.addCleanup(port.stopListening)
        client = Client(b"x")
        client.done.addCallback(lambda _: self.seen.append(self.options(client, port)))
        self.seen: list[Any] = []
        direct.connect_tcp(reactor, "127.0.0.1", port.getHost().port, client, 5)
        await client.closed
        self.assertEqual(self.seen, [(True, True)])

    @staticmethod
    def options(client: Client, port: Any) -> tuple[bool, bool]:
        return (
            client.protocol_made.transport.getTcpNoDelay(),
            port.factory.built[0].transport.getTcpNoDelay(),
        )


class FallbackTests(SynchronousTestCase):
    def test_a_foreign_reactor_keeps_its_own_transports(self) -> None:
        memory = MemoryReactor()
        factory = Client(b"")
        direct.connect_tcp(memory, "10.0.0.1", 80, factory, 5, bindAddress=("127.0.0.1", 0))
        direct.connect_unix(memory, "/run/app.sock", factory, 5)
        self.assertEqual(memory.tcpClients, [("10.0.0.1", 80, factory, 5, ("127.0.0.1", 0))])
        self.assertEqual(memory.unixClients[0][:3], ("/run/app.sock", factory, 5))

    def test_a_foreign_port_is_left_alone(self) -> None:
        port = object()
        self.assertIs(direct.direct_port(port), port)

    def test_not_available(self) -> None:
        self.patch(direct, "_AVAILABLE", False)
        self.assertFalse(direct.available())
        port = tcp.Port(0, ServerFactory(), reactor=HandReactor())
        self.assertIs(direct.direct_port(port), port)
        self.assertIs(port.transport, tcp.Server)

    def test_a_missing_name_is_noticed(self) -> None:
        self.patch(direct, "_NAMES", ((tcp.Server, "startReading nonsense"),))
        self.assertEqual(direct.mismatches(), ["twisted.internet.tcp.Server has no nonsense"])

    def test_other_parameters_are_noticed(self) -> None:
        self.patch(direct, "_PARAMETERS", ((unix.Client, "self path"),))
        [text] = direct.mismatches()
        self.assertIn("twisted.internet.unix.Client(self filename", text)

    def test_another_queue_is_noticed(self) -> None:
        self.patch(direct.abstract.FileDescriptor, "__init__", lambda self, reactor=None: None)
        self.assertEqual(
            direct.mismatches(), ["abstract.FileDescriptor has no _tempDataBuffer and _tempDataLen"]
        )


class TwistedContract(Case):
    """What the module takes for granted about Twisted's insides; a failure here means that the
    fast paths have to be read again beside the new sources."""

    kind = tcp.Server

    def test_names_and_parameters(self) -> None:
        self.assertEqual(direct.mismatches(), [])
        self.assertTrue(direct.available())

    def test_what_a_server_connection_carries(self) -> None:
        self.assertEqual(
            set(vars(self.transport)) - {"logstr", "repstr"},
            set(
                vars(
                    direct.DirectServer(
                        self.near, self.protocol, ("127.0.0.1", 1), mock.Mock(), 0, self.reactor
                    )
                )
            ),
        )

    def test_the_queue(self) -> None:
        self.transport.write(b"ab")
        self.assertEqual(self.transport._tempDataBuffer, [b"ab"])
        self.assertEqual(self.transport._tempDataLen, 2)
        self.assertEqual((self.transport.dataBuffer, self.transport.offset), (b"", 0))
        self.transport.doWrite()
        self.assertEqual(self.transport._tempDataBuffer, [])
        self.assertEqual(self.transport._tempDataLen, 0)
        self.assertEqual((self.transport.dataBuffer, self.transport.offset), (b"", 0))

    def test_what_is_left_of_a_partial_write(self) -> None:
        self.transport.write(HUGE)
        self.transport.doWrite()
        self.assertEqual(self.transport._tempDataLen, 0)
        self.assertEqual(self.transport.dataBuffer, HUGE)
        self.assertGreater(self.transport.offset, 0)

    def test_flags(self) -> None:
        names = ("connected", "disconnecting", "disconnected")
        private = ("_aborting", "_writeDisconnecting", "TLS")

        def state() -> list[bool]:
            return [bool(getattr(self.transport, name)) for name in names + private]

        self.assertEqual(state(), [True, False, False, False, False, False])
        self.transport.loseWriteConnection()
        self.assertEqual(state(), [True, False, False, False, True, False])
        self.transport.loseConnection()
        self.assertEqual(state(), [True, True, False, False, True, False])
        self.transport.abortConnection()
        self.assertEqual(state(), [True, True, False, True, True, False])
        self.transport.connectionLost(Failure(main.CONNECTION_DONE))
        self.assertEqual(state(), [False, True, True, True, True, False])

    def test_the_transport_class_is_looked_up_on_the_port(self) -> None:
        self.assertIs(tcp.Port.transport, tcp.Server)
        self.assertIs(unix.Port.transport, unix.Server)

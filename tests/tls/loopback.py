"""A TLS layer on a real connection, and at its other end a client driven by hand.

The client is an ``OpenSSL.SSL.Connection`` on memory BIOs beside its socket, so that a test sends
what it likes when it likes: half a flight, garbage, a FIN without close_notify.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet import defer, reactor, task
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.tls import pki
from txrproxy.tls.gate import Gate
from txrproxy.tls.layer import TlsLayer
from txrproxy.transport import direct

TIMEOUT = 20  # seconds after which a test that hangs fails


class Recorder:
    """A protocol that keeps what happens to it, in order."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.events: list[Any] = []
        self.received = bytearray()
        self.reason: Failure | None = None
        self.on_data: Callable[[bytes], None] | None = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.events.append(len(data))
        if self.on_data is not None:
            self.on_data(data)

    def connectionLost(self, reason: Failure) -> None:
        self.events.append("lost")
        self.reason = reason

    # As a producer.

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        pass


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    def readConnectionLost(self) -> None:
        self.events.append("read lost")

    def writeConnectionLost(self) -> None:
        self.events.append("write lost")


class Client:
    """The other end."""

    def __init__(self, context: SSL.Context, port: int, buffer: int = 0) -> None:
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self.received = bytearray()
        self.ended = ""  # "close_notify", "eof", "reset", or an error of OpenSSL's
        self._out = bytearray()

    def collect(self) -> bytes:
        """What the TLS connection wants to send, taken away."""
        data = b""
        try:
            while True:
                data += self.tls.bio_read(1 << 16)
        except SSL.WantReadError:
            return data

    def send(self, data: bytes) -> None:
        """Raw bytes, as the socket takes them."""
        self._out += data
        self.push()

    def push(self) -> None:
        try:
            while self._out:
                del self._out[: self.socket.send(self._out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._out.clear()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.tls.send(view) :]
        self.send(self.collect())

    def pull(self, size: int = 1 << 18) -> bool:
        """Read from the socket into the TLS connection; whether anything came."""
        try:
            data = self.socket.recv(size)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.ended = self.ended or "reset"
            return False
        if not data:
            self.ended = self.ended or "eof"
            return False
        self.tls.bio_write(data)
        return True

    def read(self) -> None:
        """Decrypt what there is."""
        try:
            while True:
                self.received += self.tls.recv(1 << 16)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = self.ended or "close_notify"
        except SSL.SysCallError:
            pass
        except SSL.Error as error:
            self.ended = self.ended or error.args[0][0][-1]
        self.send(self.collect())

    def step(self) -> None:
        """Whatever can be done now."""
        self.push()
        while self.pull():
            self.read()

    def handshake_step(self) -> bool:
        self.pull()
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            self.send(self.collect())
            return False
        except SSL.Error as error:
            self.ended = str(error.args[0][0][-1]) if error.args else "error"
            self.send(self.collect())
            return False
        self.send(self.collect())
        return True

    def reset(self) -> None:
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        self.socket.close()


class Case(TestCase):
    """One port whose connections get a TLS layer, and clients for it."""

    timeout = TIMEOUT
    direct = True
    buffer = 0  # of the server's sockets, where it is not the system's

    def setUp(self) -> None:
        self.layers: list[TlsLayer] = []
        self.failures: list[Failure] = []
        self.protocols: list[Any] = []
        self.protocol: Callable[[], Any] = Recorder
        self.queue: Any = None
        self.gate: Any = Gate(reactor)
        self.clock: Any = reactor
        self.context = pki.server_context()
        self.factory = factory = Factory()
        factory.buildProtocol = self.build  # type: ignore[method-assign,assignment]
        listener = socket.create_server(("127.0.0.1", 0))
        if self.buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        listener.setblocking(False)
        port: Any = reactor.adoptStreamPort(  # type: ignore[attr-defined]
            listener.fileno(), socket.AF_INET, factory
        )
        listener.close()
        if self.direct:
            direct.direct_port(port)
        self.port = port.getHost().port
        self.addCleanup(port.stopListening)
        self.addCleanup(self._end)

    def _end(self) -> Any:
        for layer in self.layers:
            layer.abortConnection()
        return self.until(lambda: not any(layer.connected for layer in self.layers))

    def build(self, address: Any) -> Any:
        connection = SSL.Connection(self.context, None)
        connection.set_accept_state()
        connection.set_options(SSL.OP_NO_RENEGOTIATION)
        layer = TlsLayer(connection, self.made, self.ended, self.clock, self.queue, self.gate)
        self.layers.append(layer)
        return layer

    def made(self, layer: TlsLayer) -> Any:
        protocol = self.protocol()
        self.protocols.append(protocol)
        return protocol

    def ended(self, layer: TlsLayer, failure: Failure) -> None:
        self.failures.append(failure)

    def client(self, context: SSL.Context | None = None, buffer: int = 0) -> Client:
        client = Client(context or pki.client_context(), self.port, buffer)
        self.addCleanup(client.socket.close)
        return client

    def until(self, condition: Callable[[], Any], step: Callable[[], Any] = lambda: None) -> Any:
        """Turn the loop, with ``step`` each time, until ``condition`` holds."""

        async def turn() -> None:
            while True:
                step()
                if condition():
                    return
                await task.deferLater(reactor, 0.0005)

        return defer.ensureDeferred(turn())

    async def connect(
        self, context: SSL.Context | None = None, session: Any = None, buffer: int = 0
    ) -> tuple[Client, TlsLayer, Any]:
        """A client, and the layer and protocol at this side, after the handshake."""
        count = len(self.protocols)
        client = self.client(context, buffer)
        if session is not None:
            client.tls.set_session(session)
        await self.until(client.handshake_step)
        await self.until(lambda: len(self.protocols) > count)
        return client, self.layers[-1], self.protocols[-1]

"""One question to one name server: over UDP, and over TCP when the answer does not fit.

The socket is bound to a port of the kernel's random choice and connected, so that only the server
can answer it, and so that a machine that does not run one is known at once. Of what arrives, the
first message counts that answers this very question; anything else is passed over until the time
is up (RFC 5452 section 9). The codec is Twisted's.
"""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet import error, udp
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.logger import LogLevel
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python import context
from twisted.python.failure import Failure
from twisted.python.log import ILogContext

from txrproxy.names.files import Server

_QUIET = {ILogContext: {"log_level": LogLevel.debug}}


class Unanswered(Exception):
    """There is no answer; the text says why."""


async def ask(reactor: Any, server: Server, name: str, kind: int, timeout: float) -> dns.Message:
    """The whole answer of a server about a name and a type of record.

    ``timeout`` is in seconds, for UDP and TCP each. Raises :class:`Unanswered`.
    """
    question = _Question(name, kind)
    message = await _within(timeout, reactor, _over_udp(reactor, server, question), server)
    if message.trunc:
        message = await _within(timeout, reactor, _over_tcp(reactor, server, question), server)
        if message.trunc:
            raise Unanswered(f"{_where(server)} cut its answer short")
    return message


async def _within(
    timeout: float, reactor: Any, answer: Deferred[dns.Message], server: Server
) -> dns.Message:
    answer.addTimeout(timeout, reactor)
    try:
        return await answer
    except TimeoutError:
        raise Unanswered(f"{_where(server)} did not answer within {timeout:g} s") from None
    except (error.ConnectError, error.ConnectionClosed, OSError) as reason:
        raise Unanswered(f"{_where(server)}: {reason}") from None


def _where(server: Server) -> str:
    host, port = server
    return f"name server [{host}]:{port}" if ":" in host else f"name server {host}:{port}"


class _Question:
    """A question on its way: its bytes, and what answers it."""

    def __init__(self, name: str, kind: int) -> None:
        self._id = secrets.randbits(16)
        self._query = dns.Query(name.encode("ascii"), kind, dns.IN)
        message = dns.Message(self._id, recDes=1)
        message.queries = [self._query]
        self.data = message.toStr()

    def read(self, data: bytes) -> dns.Message | None:
        """The message, if it is one and an answer to this."""
        message = dns.Message()
        try:
            message.fromStr(data)
        except Exception:  # the codec raises what it meets, and others may write what is read here
            return None
        mine = message.id == self._id and message.answer and message.opCode == dns.OP_QUERY
        if not mine or message.queries != [self._query]:
            return None
        # The codec leaves out what does not fit, and says nothing of it.
        message.trunc |= len(message.answers) != int.from_bytes(data[6:8], "big")
        return message


def _over_udp(reactor: Any, server: Server, question: _Question) -> Deferred[dns.Message]:
    protocol = _Datagrams(server, question)
    port: Any = _Port
    try:
        port(0, protocol, "::" if ":" in server[0] else "", reactor=reactor).startListening()
    except error.CannotListenError as reason:
        protocol.end(Failure(reason.socketError))
    return protocol.answer


class _Port(udp.Port):
    """Twisted's, without two lines in the log for each question."""

    def startListening(self) -> None:
        context.call(_QUIET, super().startListening)

    def connectionLost(self, reason: Any = None) -> None:
        context.call(_QUIET, super().connectionLost, reason)


class _Datagrams(DatagramProtocol):
    noisy = False

    def __init__(self, server: Server, question: _Question) -> None:
        self._server = server
        self._question = question
        self._over = False
        self.answer: Deferred[dns.Message] = Deferred(lambda _: self._close())

    def startProtocol(self) -> None:
        transport: Any = self.transport
        try:
            transport.connect(*self._server)
            transport.write(self._question.data)
        except OSError:  # no way there
            self.end(Failure())

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        message = None if self._over else self._question.read(datagram)
        if message is not None:
            self.end(message)

    def connectionRefused(self) -> None:
        self.end(Failure(error.ConnectionRefusedError()))

    def stopProtocol(self) -> None:
        # An epoll reactor takes a refusal for the end of the socket.
        self.connectionRefused()

    def end(self, outcome: Any) -> None:
        if not self._over:
            self._close()
            self.answer.callback(outcome)

    def _close(self) -> None:
        self._over = True
        transport: Any = self.transport
        if transport is not None:
            transport.stopListening()


def _over_tcp(reactor: Any, server: Server, question: _Question) -> Deferred[dns.Message]:
    factory = _Streams(question)
    connector = reactor.connectTCP(*server, factory)

    def cancel(_: Any) -> None:
        factory.over = True
        connector.disconnect()

    factory.answer = Deferred(cancel)
    return factory.answer


class _Streams(ClientFactory):
    noisy = False

    def __init__(self, question: _Question) -> None:
        self.question = question
        self.over = False
        self.answer: Deferred[dns.Message]

    def buildProtocol(self, addr: Any) -> Any:
        return _Stream(self)

    def end(self, outcome: Any) -> None:
        if not self.over:
            self.over = True
            self.answer.callback(outcome)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.end(reason)

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        self.end(reason)


class _Stream(Int16StringReceiver):
    """Messages with their length before them (RFC 1035 section 4.2.2)."""

    def __init__(self, factory: _Streams) -> None:
        self._factory = factory

    def connectionMade(self) -> None:
        send: Any = self.sendString
        send(self._factory.question.data)

    def stringReceived(self, string: bytes) -> None:
        transport: Any = self.transport
        transport.loseConnection()
        message = self._factory.question.read(string)
        if message is not None:
            self._factory.end(message)

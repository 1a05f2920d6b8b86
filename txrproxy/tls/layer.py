"""The TLS layer of one connection, between a transport of bytes and a protocol of plaintext.

To the raw transport it is the protocol; to the protocol above it is the transport. Both may be
anything that keeps Twisted's contracts, though it is written for the direct transports below and
the product's own HTTP connections above::

    handshaking ──done──▶ ``made(layer)`` gives the protocol ──▶ open ──▶ closed
         └──failed, timed out, hung up──▶ ``ended(layer, reason)``

What is to be logged of that is up to whoever is told.

The protocol begins when the handshake is done: it never writes before that, it is never told of a
connection that was none, and what was negotiated is known to it from the beginning.

Closing, after RFC 8446 section 6.1: a close_notify is the end of what a side sends, and nothing
else is. The peer's is an orderly end (``readConnectionLost``, or ``connectionLost`` with
``ConnectionDone``); an end of the bytes without one is a truncation, which anybody on the way can
make, and is reported as :class:`Truncated`. Ours is sent behind all that was written.

Backpressure goes straight through. What is written is encrypted and handed down at once, so the
only queue is that of the raw transport, and a producer is registered there: it is paused and
resumed as on a connection without TLS. What arrives is decrypted and handed up at once; when the
protocol pauses in the middle, the rest stays as it came, which is never more than one read of the
raw transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.tls.ends import (
    HandshakeFailed,
    HandshakeTimeout,
    HungUp,
    PlainHttp,
    TlsError,
    Truncated,
)
from txrproxy.tls.gate import Gate
from txrproxy.tls.negotiated import Negotiated
from txrproxy.tls.opening import HANDSHAKE, Incomplete, speaks_http
from txrproxy.tls.openssl import Data, TlsFailure, make_pipe
from txrproxy.transport import direct
from txrproxy.transport.deadlines import Queue

MAX_ANSWERS = 16 * 1024  # bytes a peer that does not read may make us queue by key updates

_logger = Logger()


@implementer(IProtocol, IHalfCloseableProtocol, ITransport)
class TlsLayer(Negotiated):
    """One TLS connection, on either side.

    :param connection: on memory BIOs, its state set to accept or to connect.
    :param made: called with this layer when the handshake is done; gives the protocol, or raises
        :class:`HandshakeFailed` to refuse the peer.
    :param ended: called with this layer and a Failure of :class:`HandshakeFailed` instead, when
        there will be no protocol.
    :param clock: the reactor, or another ``IReactorTime``.
    :param queue: the deadline of the handshake; made with :meth:`expired`.
    :param gate: bounds the handshakes of a server, which begin with what the client sends.
    :param greet: of a server; called with the connection and what the client has sent so far,
        before OpenSSL reads any of it, until it says that this is enough.
    :param plain_answer: of a server; what a client is answered that speaks HTTP without TLS.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_clock",
        "_closing",
        "_ended",
        "_eof",
        "_error",
        "_first",
        "_gate",
        "_greet",
        "_held",
        "_made",
        "_paused",
        "_pipe",
        "_plain_answer",
        "_plain_way",
        "_queue",
        "_raw",
        "_views",
        "_waiting",
        "_write_closed",
        "began",
        "connected",
        "handshaking",
        "protocol",
        "refused",
        "settled",
    )

    def __init__(
        self,
        connection: SSL.Connection,
        made: Callable[[TlsLayer], Any],
        ended: Callable[[TlsLayer, Failure], None],
        clock: Any,
        queue: Queue[TlsLayer] | None = None,
        gate: Gate | None = None,
        greet: Callable[[SSL.Connection, bytes], bool] | None = None,
        plain_answer: bytes = b"",
    ) -> None:
        super().__init__(connection)
        self.protocol: Any = None  # may be replaced at any time once there is one
        self.handshaking = True
        self.connected = False
        self.began = 0.0  # by the clock; of a server
        # Called with the first data that arrives: a session of TLS 1.3 can be resumed from then on.
        self.settled: Callable[[TlsLayer], None] | None = None
        # Called if the connection breaks before that: the peer did not agree to the handshake.
        self.refused: Callable[[TlsLayer, TlsFailure], None] | None = None
        self._raw: Any = None
        self._pipe = make_pipe(connection)
        self._made = made
        self._ended = ended
        self._clock = clock
        self._queue = queue
        self._gate = gate
        self._greet = greet
        self._plain_answer = plain_answer
        # What has been read of a client before OpenSSL reads; None when OpenSSL does.
        self._first: bytes | None = b"" if gate is not None else None
        self._error: HandshakeFailed | None = None  # found already; the client is told
        self._views = False  # the raw transport copies what it keeps of a buffer
        self._plain_way = False  # what arrives is to be decrypted and handed up, and no more to it
        self._waiting: list[bytes] | None = None  # what arrived before the gate let us in
        self._paused = False  # by the protocol
        self._held = False  # more can be read without new bytes
        self._eof = False  # the peer's close_notify has been read
        self._write_closed = False  # ours has been sent
        self._closing = False  # nothing is read any more
        self._answered = 0  # bytes of our own making behind data that waits to be sent

    def __repr__(self) -> str:
        state = "handshaking" if self.handshaking else "open" if self.connected else "closed"
        return f"<TlsLayer {state} {self.protocol!r}>"

    # The raw transport's side.

    def makeConnection(self, transport: Any) -> None:
        self._raw = transport
        self._views = getattr(transport, "copies", False)
        self.connected = True
        if self._queue is not None:
            self.began = now = self._clock.seconds()
            self._queue.start(self, now)
        if self._gate is None:
            self._handshake()

    def dataReceived(self, data: bytes) -> None:
        if not self._plain_way:
            self._other_way(data)
            return
        pipe = self._pipe
        try:
            plain = pipe.decrypt(data)
        except TlsFailure as failure:
            self._break(failure)
            return
        answer = pipe.outgoing()
        if answer:
            self._answer(bytes(answer))
            if self._closing:
                return
        if plain:
            if self.settled is not None:
                self.settled(self)
                self.settled = self.refused = None
            self.protocol.dataReceived(plain)
        if pipe.more or pipe.ended:
            self._go_on()

    def _other_way(self, data: bytes) -> None:
        """Something arrived while it could not simply be read."""
        if self._closing or self._eof:
            return  # nobody wants it
        if not self.handshaking:  # there is more to be read before it
            self._pipe.feed(data)
        elif self._first is not None:
            data = self._first = self._first + data
            if self._is_tls(data):
                self._first = None
                self._shake(data)
        else:
            self._shake(data)

    def _is_tls(self, data: bytes) -> bool:
        """Whether OpenSSL is to have the first bytes of a client now, be they good or not."""
        if data[0] == HANDSHAKE:
            return self._greet is None or self._greet(self.connection, data)
        try:
            plain = speaks_http(data)
        except Incomplete:
            return False
        if plain and self._plain_answer:
            self._answer_plain()
            return False
        return True

    def _answer_plain(self) -> None:
        """Tell a client without TLS so, and read what else it sends so that the answer arrives."""
        self._error = PlainHttp("plain HTTP")
        self._closing = True
        self._raw.write(self._plain_answer)
        self._raw.loseWriteConnection()

    def _shake(self, data: bytes) -> None:
        if self._waiting is not None:
            self._waiting.append(data)
        elif self._gate is None or self._gate.enter(self):
            self._pipe.feed(data)
            self._handshake()
        else:
            self._waiting = [data]  # one read of the raw transport
            self._raw.pauseProducing()

    def admit(self) -> None:
        """The gate has a place for us."""
        waiting, self._waiting = self._waiting, None
        for data in waiting or ():
            self._pipe.feed(data)
        self._raw.resumeProducing()
        self._handshake()

    def _go_on(self) -> None:
        """Read what is left of what has arrived already."""
        pipe = self._pipe
        while pipe.more and not self._paused and not self._closing:
            try:
                plain = pipe.decrypt()
            except TlsFailure as failure:
                self._break(failure)
                return
            if plain:
                self.protocol.dataReceived(plain)
        if self._closing:
            return
        self._held = (pipe.more or pipe.ended) and self._paused
        self._plain_way = not (self._held or pipe.ended)
        if pipe.ended and not self._held:
            self._eof = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.readConnectionLost()
            else:
                self._lose(ConnectionDone())

    def _resume(self) -> None:
        """What was held when the protocol paused, now that it has resumed."""
        if self._held and not self._paused and not self._closing:
            self._held = False
            self._go_on()
            if not self._paused and not self._closing:
                self._raw.resumeProducing()

    def _answer(self, data: bytes) -> None:
        """Send what reading made necessary; a peer that never reads must not make us keep much."""
        self._answered = self._answered + len(data) if direct.queued(self._raw) else 0
        if self._answered > MAX_ANSWERS:
            self._break(TlsFailure("too many messages to answer"))
        else:
            self._send(data)

    def readConnectionLost(self) -> None:
        """The bytes have ended. Only behind a close_notify is that an orderly end."""
        if self.handshaking:
            self._fail(self._error or HungUp("the connection was closed"))
        elif not self._eof:
            self._write_closed = True  # a broken connection ends without a word of ours
            self._lose(Truncated())
        elif self._write_closed:
            self._raw.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our half of the raw connection is closed, as it was asked to be."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        self.connected = False
        # OpenSSL would forget the session of a connection that did not end in order.
        self.connection.set_shutdown(SSL.SENT_SHUTDOWN)
        if self.handshaking:
            self._fail(self._error or HungUp("the connection was closed"))
        elif isinstance(reason.value, ConnectionDone) and not self._eof and not self._closing:
            self._say_lost(Truncated())
        else:
            self._say_lost(reason)

    # The handshake.

    def _handshake(self) -> None:
        """One step of it, with what has arrived."""
        try:
            done = self._pipe.handshake()
        except TlsFailure as failure:
            self._send(self._pipe.outgoing())
            # A callback that refused the peer has said why; OpenSSL knows only that it did.
            self._fail(HandshakeFailed(str(self.connection.get_app_data() or failure)))
            return
        if not done:
            self._send(self._pipe.outgoing())
        elif self.connected:
            # The last flight goes with the first data if there is some now, and not later: tickets
            # are what acknowledges the client's, and Nagle's algorithm may wait for that.
            self._open()
            self._send(self._pipe.outgoing())

    def _open(self) -> None:
        """It is done: the protocol begins."""
        self._leave()
        try:
            protocol = self._made(self)
        except HandshakeFailed as error:
            self._close_notify()
            self._fail(error)
            return
        self.handshaking = False
        self._forget()
        self.protocol = protocol
        self._plain_way = True
        protocol.makeConnection(self)
        # What came with the last flight. What the protocol pauses for is held by then.
        if self._pipe.waiting():
            self._pipe.more = True
            self._go_on()

    def expired(self) -> None:
        """The deadline of the handshake."""
        self._fail(self._error or HandshakeTimeout("the handshake took too long"))

    def give_way(self) -> None:
        """The gate has too many that wait for their clients."""
        self._fail(self._error or HandshakeTimeout("the handshake gave way to newer ones"))

    def _fail(self, error: HandshakeFailed) -> None:
        """There will be no TLS connection."""
        self._leave()
        self.handshaking = False
        self._closing = True
        if self.connected:
            self._drop(direct.queued(self._raw))
        ended = self._ended
        self._forget()
        ended(self, Failure(error))

    def _leave(self) -> None:
        if self._queue is not None:
            self._queue.stop(self)
        if self._gate is not None:
            self._gate.leave(self)

    def _forget(self) -> None:
        """Neither is called again, and they may know of this layer."""
        self._made = self._ended = _over

    # Ends.

    def _break(self, failure: TlsFailure) -> None:
        """What arrived makes no sense: the peer is told by an alert, the protocol by an error."""
        peer = self._raw.getPeer()
        _logger.debug(
            "TLS connection with {peer} broke: {reason}",
            peer=getattr(peer, "host", None) or "a local socket",
            reason=str(failure),
        )
        if self.refused is not None:
            self.refused(self, failure)
        alert = bytes(self._pipe.outgoing())
        self._write_closed = True
        self._lose(TlsError(str(failure)), alert)

    def _lose(self, error: Exception, last: bytes = b"") -> None:
        """The peer has ended it; the protocol is told now, as on a connection without TLS."""
        self._closing = True
        self._plain_way = False
        # With nothing to send, what the kernel has left of it is the kernel's to end.
        silent = self._write_closed and not last
        stuck = direct.queued(self._raw) if silent else direct.unsent(self._raw)
        self._send(last)
        self._close_notify()
        self._say_lost(error)
        self._drop(stuck)

    def _drop(self, stuck: int) -> None:
        """Close the raw connection; it may have to wait until it can be written to.

        With bytes ``stuck`` in it that could take for ever, and there is no deadline any more.
        """
        self._raw.unregisterProducer()
        if stuck:
            self._raw.abortConnection()
        else:
            direct.close(self._raw)

    def _say_lost(self, error: Exception | Failure) -> None:
        self._closing = True
        self._plain_way = False
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(error if isinstance(error, Failure) else Failure(error))

    def _close_notify(self) -> None:
        if not self._write_closed:
            self._write_closed = True
            self._pipe.close()
            self._send(self._pipe.outgoing())

    def _send(self, data: Data) -> None:
        if data:
            self._raw.write(data if self._views else bytes(data))

    # The protocol's side.

    @property
    def disconnecting(self) -> bool:
        """Whether the end has been asked for, and has not come."""
        return self._closing and self.connected

    @property
    def read_size(self) -> int:
        """Bytes asked of each read of the raw transport."""
        return int(getattr(self._raw, "read_size", direct.READ))

    @read_size.setter
    def read_size(self, size: int) -> None:
        self._raw.read_size = size

    def unsent(self) -> int:
        """Bytes, as on the wire, that the peer has not acknowledged."""
        return direct.unsent(self._raw)

    def write(self, data: Data) -> None:
        if self._write_closed or not self.connected:
            return
        try:
            data = self._pipe.encrypt(data)
        except TlsFailure as failure:
            _logger.debug("TLS connection takes nothing: {reason}", reason=str(failure))
            self.abortConnection()
            return
        if data:
            self._raw.write(data if self._views else bytes(data))

    def writeSequence(self, iovec: Iterable[Data]) -> None:
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Close behind what was written, in order; nothing more is read."""
        if self.handshaking:
            self.abortConnection()
        elif self.connected and not self._closing:
            self._closing = True
            self._plain_way = False
            self._close_notify()
            self._raw.loseConnection()

    def loseWriteConnection(self) -> None:
        """Send nothing more, and go on reading."""
        if self.connected and not self._closing and not self._write_closed:
            self._close_notify()
            self._raw.loseWriteConnection()

    def abortConnection(self) -> None:
        """End it now; what is still to be sent is lost."""
        self._closing = True
        self._plain_way = False
        if self.connected:
            self._raw.abortConnection()

    def close_when_idle(self) -> None:
        """Drain: nothing is in progress while there is no protocol."""
        self.abortConnection()

    def pauseProducing(self) -> None:
        """Hand up nothing more, and read nothing more."""
        self._paused = True
        self._raw.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if self._held:
            # Not now: who resumes does not expect to be called before that returns.
            self._clock.callLater(0, self._resume)
        elif not self._closing:
            self._raw.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._raw.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._raw.unregisterProducer()

    def getPeer(self) -> Any:
        return self._raw.getPeer()

    def getHost(self) -> Any:
        return self._raw.getHost()


def _over(*_: Any) -> None:
    """Stands where nothing is called any more."""

"""One connection to a backend: sends a request at a time and reads its response.

It belongs to a :class:`~txrproxy.transport.connections.Connections`, which lends it to one exchange
after another. The exchange is told what arrives through five calls::

    on_response(head, length, content, ended)     once
    on_response_body(content, ended)              until ended
    on_informational(head)                        1xx but 101
    on_switch(upstream, head, rest)               101: the connection is the exchange's own now
    on_upstream_failed(reason)                    instead of any of these; the connection is gone

A connection is lent again only when its exchange ended cleanly at the boundary: the request went
out whole, the response ended where its framing says, nothing followed it, and both sides keep it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.errors import (
    BACKEND_WRITE_TIMEOUT,
    FIRST_BYTE_TIMEOUT,
    RESET,
    TRUNCATED,
    UPSTREAM_IDLE_TIMEOUT,
    Reason,
)
from txrproxy.http.body import encode_chunk, encode_last_chunk
from txrproxy.http.connection import BODY, IDLE, ResponseReader
from txrproxy.http.fields import EMPTY, Fields
from txrproxy.http.head import ResponseHead
from txrproxy.transport.deadlines import Queue
from txrproxy.transport.direct import BULK_READ, READ, unsent

_BULK_BODY = 128 * 1024  # bytes of a body from which larger reads pay


@implementer(IProtocol, IPushProducer)
class Upstream(ResponseReader):
    """A connection to a backend. ``exchange`` is the one it serves, None while it is idle."""

    __slots__ = (
        "_backlog",
        "_chunked",
        "_keep",
        "_queue",
        "_sending",
        "_write_blocked",
        "connections",
        "exchange",
        "gone",
        "lent",
        "reused",
        "served",
        "transport",
    )

    def __init__(self, connections: Any) -> None:
        super().__init__()
        self.connections = connections
        self.exchange: Any = None
        self.transport: Any = None
        self.served = 0
        self.reused = False  # whether the exchange it serves is not its first
        self.lent = False  # to an exchange, not idle
        self.gone = False  # closed or closing: nobody's any more
        self._sending = False  # the request body has not ended
        self._chunked = False
        self._keep = False
        self._write_blocked = False
        self._backlog = 0  # bytes it had not taken when that was last looked at
        self._queue: Queue[Upstream] | None = None  # the deadline that runs

    def __repr__(self) -> str:
        return f"<Upstream to {self.connections.backend} {self.state} served {self.served}>"

    @property
    def stale(self) -> bool:
        """Whether a request that fails may have met a close of the connection while it was kept.

        Asked before there is a response: not when one has begun, be it a 1xx or a piece of a head.
        """
        return self.reused and self._informational == 0 and self._buffer is None

    # The exchange's side.

    def start(self, exchange: Any, data: bytes, body: int, now: float) -> None:
        """Send a request head, with what there is of its body in ``data``.

        ``body`` is its framing; the request has ended when that is 0, else :meth:`end` says so.
        """
        self.exchange = exchange
        self.reused = self.served > 0
        self.served += 1
        head = exchange.head
        # What ResponseReader.expect does, without the call.
        self.state = "head"
        self._method = head.method
        self._decoder = None
        self._informational = 0
        self.upgrading = exchange.upgrading
        self._chunked = body < 0
        self.transport.write(data)
        if body:
            self._sending = True
        elif not self._write_blocked:
            queue = exchange.plan.first_byte
            self._queue = queue
            queue.start(self, now)

    def send(self, content: bytes) -> None:
        """Send more of the request body."""
        if content:
            self.transport.write(encode_chunk(content) if self._chunked else content)

    def end(self, now: float, trailers: Fields = EMPTY) -> None:
        """The request body has ended: from now on the response is waited for."""
        if self._chunked:
            self.transport.write(encode_last_chunk(trailers))
        self._sending = False
        if self.state is not BODY and not self._write_blocked:
            self._await(self.exchange.plan.first_byte, now)

    def abandon(self) -> None:
        """The exchange has no more use for the response: the connection ends with it."""
        self.exchange = None
        self._stop()
        self.connections.discard(self)
        self.transport.abortConnection()

    def pause(self) -> None:
        """Read nothing more until :meth:`resume`; the client is the slow side."""
        self._stop()
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Go on reading."""
        if self.exchange is not None:
            self._await(self.exchange.plan.idle, self.connections.seconds())
        self.transport.resumeProducing()

    # Deadlines.

    def _await(self, queue: Queue[Upstream], now: float) -> None:
        if self._queue is not None and self._queue is not queue:
            self._queue.stop(self)
        self._queue = queue
        queue.start(self, now)

    def _stop(self) -> None:
        if self._queue is not None:
            self._queue.stop(self)
            self._queue = None

    def first_byte_expired(self) -> None:
        """The backend did not begin to answer in time."""
        self._fail(FIRST_BYTE_TIMEOUT)

    def idle_expired(self) -> None:
        """Nothing moved in time: no byte of the response, or none of the request was taken."""
        if self.state is BODY:
            self._fail(UPSTREAM_IDLE_TIMEOUT)
        elif not self._write_blocked:
            self._fail(FIRST_BYTE_TIMEOUT)
        elif unsent(self.transport) < self._backlog:  # slow, but it takes some
            self._watch_backlog()
        else:
            self._fail(BACKEND_WRITE_TIMEOUT)

    def _watch_backlog(self) -> None:
        self._backlog = unsent(self.transport)
        self._await(self.exchange.plan.idle, self.connections.seconds())

    def kept_long_enough(self) -> None:
        """Nobody needed the connection while it was kept."""
        self.connections.discard(self)
        self.transport.loseConnection()

    def _fail(self, reason: Reason) -> None:
        exchange = self.exchange
        self.abandon()
        if exchange is not None:
            exchange.on_upstream_failed(reason)

    # The transport's side.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        transport.registerProducer(self, True)

    dataReceived = ResponseReader.receive

    def connectionLost(self, reason: Failure) -> None:
        # A reset is no end: only an orderly close completes a body that lasts until then.
        if self.exchange is not None and reason.check(ConnectionDone) and self.end_of_input():
            return
        self._stop()
        exchange, self.exchange = self.exchange, None
        began = self.state is BODY
        self.state = "broken"
        self.connections.discard(self)
        if exchange is not None:
            exchange.on_upstream_failed(TRUNCATED if began else RESET)

    def pauseProducing(self) -> None:
        """The backend does not take what is written to it."""
        self._write_blocked = True
        exchange = self.exchange
        if exchange is not None:
            self._watch_backlog()
            exchange.pause_request()

    def resumeProducing(self) -> None:
        """It has taken it all."""
        self._write_blocked = False
        exchange = self.exchange
        if exchange is not None:
            self._stop()
            if not self._sending:
                now = self.connections.seconds()
                plan = exchange.plan
                self._await(plan.idle if self.state is BODY else plan.first_byte, now)
            exchange.resume_request()

    def stopProducing(self) -> None:
        """Required of a producer; ``connectionLost`` says the same."""

    # What the reader finds.

    def on_response(self, head: ResponseHead, length: int, content: bytes, ended: bool) -> None:
        exchange = self.exchange
        queue = self._queue
        if queue is not None:
            queue.stop(self)
            self._queue = None
        self._keep = head.keep_alive
        if ended:
            if length < 0 and self.trailers:
                # All in one piece, told in two steps: trailers come with the end of the content.
                exchange.on_response(head, length, content, False)
                self.transport.resumeProducing()  # a slow client has no say any more
                self.on_body(b"", True)
                return
            self._finish()
        else:
            if length >= _BULK_BODY or length < 0:
                self.transport.read_size = BULK_READ
            self._await(exchange.plan.idle, self.connections.seconds())
        exchange.on_response(head, length, content, ended)

    def on_body(self, content: bytes, ended: bool) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        if ended:
            trailers = self.trailers
            self._stop()
            self.transport.read_size = READ
            self._finish()
            exchange.on_response_body(content, True, trailers)
        else:
            self._queue = queue = exchange.plan.idle
            queue.start(self, self.connections.seconds())
            exchange.on_response_body(content, False, EMPTY)

    def _finish(self) -> None:
        """The response has ended: keep the connection if everything about it is clean."""
        self.exchange = None
        if self._keep and self.state is IDLE and not self._sending and not self._write_blocked:
            self.connections.release(self)
        else:
            self.state = "broken"
            self.connections.discard(self)
            self.transport.abortConnection()

    def on_informational(self, head: ResponseHead) -> None:
        self.exchange.on_informational(head)

    def on_switch(self, head: ResponseHead, rest: bytes) -> None:
        exchange, self.exchange = self.exchange, None
        self._stop()
        exchange.on_switch(self, head, rest)

    def on_bad_response(self, reason: Reason) -> None:
        self._fail(reason)

    def on_unsolicited(self) -> None:
        """The backend spoke, or hung up, while nothing was asked of it."""
        self.connections.discard(self)
        self.transport.abortConnection()

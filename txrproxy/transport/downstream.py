"""One connection from a client: reads requests, one exchange at a time, and writes responses.

It never knows what an exchange is made of: for each request it calls ``begin``, which is given it,
and the exchange answers through the connection it was handed::

    begin(downstream, head)                 a request; sets ``exchange``
    exchange.on_request_body(content, ended, trailers)
    exchange.on_client_lost(reason)
    exchange.pause() / exchange.resume()    the client does not take / takes what is written

    respond(...), body(...), finish()       the response, in this order
    informational(...)                      1xx before it
    cut()                                   the response can not be completed

The deadline of a connection is, at any time, the one of what it is waiting for: a request (idle),
the rest of a head, more of a body, the client's taking what was written, or its closing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, fields
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.errors import (
    BODY_TIMEOUT,
    CLIENT_ABORTED,
    HEAD_TIMEOUT,
    WRITE_TIMEOUT,
    Reason,
)
from txrproxy.http.body import LAST_CHUNK, encode_chunk, encode_last_chunk
from txrproxy.http.connection import BODY, BUSY, DISCARD, HEAD, RequestReader
from txrproxy.http.date import http_date_line
from txrproxy.http.fields import EMPTY, Fields
from txrproxy.http.forward import ResponseBlock
from txrproxy.http.head import RequestHead
from txrproxy.http.peer import Peer
from txrproxy.transport.deadlines import Queue
from txrproxy.transport.direct import unsent

MAX_DRAIN = 256 * 1024  # bytes of a body the response did not wait for, read to keep a connection
MAX_PIPELINED = 64 * 1024  # bytes of further requests kept while one is in progress

_CLOSE = b"Connection: close\r\n\r\n"
_KEEP = b"Connection: keep-alive\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


@define(eq=False)
class Service:
    """What the connections of one listener share: limits, deadlines, and where requests go.

    Durations are in seconds. ``begin(downstream, head)`` starts an exchange; ``refuse(downstream,
    reason)`` answers what is no request. ``later(call)`` calls in the next turn of the loop.
    ``seconds`` is the reactor's clock, ``wall`` unix time.
    """

    begin: Callable[[Any, RequestHead], None]
    refuse: Callable[[Any, Reason], None]
    later: Callable[[Callable[[], None]], object]
    seconds: Callable[[], float]
    wall: Callable[[], float]
    idle: Queue[Downstream]
    head: Queue[Downstream]
    body: Queue[Downstream]
    write: Queue[Downstream]
    linger: Queue[Downstream]
    max_head: int = 32 * 1024
    max_fields: int = 128
    keepalive_requests: int = 10_000
    min_sent: int = 1  # bytes of a body that a client has to send within its deadline
    min_taken: int = 1  # bytes that it has to take of what is written
    draining: bool = False  # the next response on each connection is its last
    softly: bool = False  # and connections that were told to be kept wait for it
    lost: Callable[[Downstream], None] = lambda downstream: None

    def become(self, other: Service) -> None:
        """Take the limits and deadlines of another; what is running keeps those it has."""
        for limit in _LIMITS:
            setattr(self, limit, getattr(other, limit))


_KINDS = {"int", "Queue[Downstream]"}
_LIMITS = [field.name for field in fields(Service) if str(field.type) in _KINDS]


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Downstream(RequestReader):
    """A connection from a client. ``exchange`` is the one in progress, or None."""

    __slots__ = (
        "_arrived",
        "_backlog",
        "_chunked",
        "_discarded",
        "_full",
        "_keep",
        "_paused",
        "_queue",
        "_writing",
        "exchange",
        "peer",
        "served",
        "service",
        "transport",
    )

    def __init__(self, service: Service, peer: Peer) -> None:
        super().__init__(service.max_head, service.max_fields)
        self.service = service
        self.peer = peer
        self.exchange: Any = None
        self.transport: Any = None
        self.served = 0
        self._queue: Queue[Downstream] | None = None  # the deadline that runs
        self._chunked = False
        self._keep = True
        self._paused = False  # the exchange asked for no more of the request body
        self._full = False  # enough requests wait in the buffer
        self._writing = False  # the client has not taken all that was written
        self._backlog = 0  # bytes that it had not, when that was last looked at
        self._discarded = 0
        self._arrived = 0  # bytes of a request body, since its deadline began

    def __repr__(self) -> str:
        return f"<Downstream from {self.peer.address!r} {self.state} served {self.served}>"

    # Deadlines.

    def _await(self, queue: Queue[Downstream]) -> None:
        if self._queue is not None and self._queue is not queue:
            self._queue.stop(self)
        self._queue = queue
        queue.start(self, self.service.seconds())

    def _stop(self) -> None:
        if self._queue is not None:
            self._queue.stop(self)
            self._queue = None

    def idle_expired(self) -> None:
        """No request came in time; nobody waits for an answer."""
        self._queue = None
        self._close()

    def head_expired(self) -> None:
        """A request head took too long, however many bytes of it trickled in."""
        self._queue = None
        self.stop()
        self.service.refuse(self, HEAD_TIMEOUT)

    def body_expired(self) -> None:
        """No more of a request body came."""
        self._queue = None
        self.on_bad_body(BODY_TIMEOUT)

    def write_expired(self) -> None:
        """The client takes nothing of what is written to it, or only very slowly."""
        self._queue = None
        backlog = unsent(self.transport)
        if self._backlog - backlog >= self.service.min_taken:
            self._backlog = backlog
            self._await(self.service.write)
            return
        self._end(WRITE_TIMEOUT)
        self.transport.abortConnection()

    def linger_expired(self) -> None:
        """The client had time enough to read the last response, unless it is still at it."""
        self._queue = None
        backlog = unsent(self.transport)
        if 0 < backlog < self._backlog:
            self._backlog = backlog
            self._await(self.service.linger)
        else:
            self.transport.loseConnection()

    # The transport's side.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        transport.registerProducer(self, True)
        self._await(self.service.idle)

    dataReceived = RequestReader.receive

    def connectionLost(self, reason: Failure) -> None:
        self._end(CLIENT_ABORTED)
        self.service.lost(self)

    def readConnectionLost(self) -> None:
        """The client closed, or only its half: nobody can tell, and it is taken as the first.

        What has been answered is still sent; an exchange in progress is given up.
        """
        if self.exchange is not None:
            self.transport.abortConnection()
        else:
            self.stop()
            self._shut()

    def writeConnectionLost(self) -> None:
        """Our half is closed; the client's close follows, or the linger deadline."""

    def _end(self, reason: Reason) -> None:
        """The connection is over; an exchange in progress fails with it."""
        self._stop()
        self.stop()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_lost(reason)

    def pauseProducing(self) -> None:
        """The client does not take what is written to it."""
        self._writing = True
        self._backlog = unsent(self.transport)
        self._await(self.service.write)
        if self.exchange is not None:
            self.exchange.pause()

    def resumeProducing(self) -> None:
        """It has taken it all."""
        self._writing = False
        self._stop()
        if self.exchange is not None:
            if self.state is BODY and not self._paused:
                self._await(self.service.body)
            self.exchange.resume()
        elif self.state is BUSY:
            self._next()
        elif self.state is BODY:
            self._await(self.service.body)

    def stopProducing(self) -> None:
        """Required of a producer; ``connectionLost`` says the same."""

    # What the reader finds.

    def on_incomplete_head(self) -> None:
        if self._queue is not self.service.head:
            self._await(self.service.head)

    def on_request(self, head: RequestHead) -> None:
        service = self.service
        queue = self._queue
        if queue is not None:
            queue.stop(self)
            self._queue = None
        self.served += 1
        self._keep = (
            head.facts.keep_alive
            and self.served < service.keepalive_requests
            and not service.draining
        )
        if head.facts.body:
            self._discarded = self._arrived = 0
            self._await(service.body)
        service.begin(self, head)

    def on_body(self, content: bytes, ended: bool) -> None:
        exchange = self.exchange
        if exchange is not None:
            if ended:
                if self._queue is self.service.body:
                    self._stop()
                exchange.on_request_body(content, True, self.trailers)
            else:
                if not self._paused and not self._writing:
                    self._more_has_come(len(content))
                exchange.on_request_body(content, False, EMPTY)
            return
        # The response is over already: what is left of the body is read and forgotten.
        self._discarded += len(content)
        if ended:
            if not self._writing:
                self._stop()
            self._next()
        elif self._discarded > MAX_DRAIN:
            self._close()
        elif not self._writing:
            self._more_has_come(len(content))

    def _more_has_come(self, size: int) -> None:
        """The deadline of a body begins anew, unless what came is too little to count."""
        self._arrived += size
        if self._arrived >= self.service.min_sent or self._queue is not self.service.body:
            self._arrived = 0
            self._await(self.service.body)

    def on_pipelined(self) -> None:
        if not self._full and self.buffered > MAX_PIPELINED:
            self._full = True
            self.transport.pauseProducing()

    def on_long_turn(self) -> None:
        self.service.later(self._go_on)

    def _go_on(self) -> None:
        if self.state is BUSY and self.exchange is None:
            self._next()

    def on_bad_request(self, reason: Reason) -> None:
        if self.exchange is not None or self._discarded:
            self.on_bad_body(reason)
        else:
            self._stop()
            self.service.refuse(self, reason)

    def on_bad_body(self, reason: Reason) -> None:
        """The request body is broken, or did not come."""
        self.stop()
        self._stop()
        self._keep = False
        exchange = self.exchange
        if exchange is None:
            self._close()
        else:
            exchange.on_bad_body(reason)

    # The exchange's side.

    def pause_body(self) -> None:
        """No more of the request body until :meth:`resume_body`; the backend is the slow side."""
        if not self._paused and self.state is not DISCARD:
            self._paused = True
            if self._queue is self.service.body:
                self._stop()
            self.transport.pauseProducing()

    def resume_body(self) -> None:
        """Go on reading the request body."""
        if self._paused:
            self._paused = False
            if self.state is BODY and not self._writing:
                self._await(self.service.body)
            if not self._full:
                self.transport.resumeProducing()

    def informational(self, status_line: bytes, block: ResponseBlock) -> None:
        """Send a 1xx response."""
        self.transport.write(b"%b%b\r\n" % (status_line, block.block))

    def respond(
        self,
        head: RequestHead,
        status: int,
        status_line: bytes,
        block: ResponseBlock,
        request_id: bytes,
        length: int,
        content: bytes,
        ended: bool,
        more: bytes = b"",
    ) -> int:
        """Send a response head, with the first content; the bytes of the second as it is sent.

        ``length`` is the framing of the content as it comes (:mod:`txrproxy.http.framing`);
        ``ended`` says that ``content`` is all of it. A ``Content-Length`` is in ``block`` already.
        ``more`` are lines of the head beside that.
        """
        parts = [status_line, block.block, more, b"X-Request-Id: ", request_id, b"\r\n"]
        if block.needs_date:
            parts.append(http_date_line(self.service.wall()))
        self._chunked = False
        if length < 0:
            if head.facts.http_11:
                self._chunked = True
                parts.append(_CHUNKED)
                if content:
                    content = encode_chunk(content)
                if ended:
                    content += LAST_CHUNK
            else:
                self._keep = False
        if not self._keep:
            parts.append(_CLOSE)
        elif head.facts.http_11:
            parts.append(b"\r\n")
        else:
            parts.append(_KEEP)
        parts.append(content)
        self.transport.write(b"".join(parts))
        return len(content)

    def replay(self, head: RequestHead, lines: bytes, request_id: bytes, content: bytes) -> int:
        """Send a whole response, with its length in ``lines``; the bytes of its content."""
        self._chunked = False
        end = b"\r\n\r\n"
        if not self._keep:
            end = b"\r\n" + _CLOSE
        elif not head.facts.http_11:
            end = b"\r\n" + _KEEP
        self.transport.write(b"%bX-Request-Id: %b%b%b" % (lines, request_id, end, content))
        return len(content)

    def body(self, content: bytes, ended: bool, trailers: Fields = EMPTY) -> int:
        """Send more content; the number of bytes written."""
        if self._chunked:
            if content:
                content = encode_chunk(content)
            if ended:
                content += encode_last_chunk(trailers)
        if content:
            self.transport.write(content)
        return len(content)

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send content from a file, as much as can be had now; the number of bytes.

        0 if the client takes none at the moment, or its connection can not be written to so.
        """
        send: Callable[[int, int, int], int] | None = getattr(self.transport, "send_file", None)
        return 0 if send is None or self._chunked else send(fd, offset, count)

    def finish(self, now: float) -> None:
        """The response has been written whole: go on with the next request, or close."""
        self.exchange = None
        if not self._keep:
            self._close()
        elif self.state is BUSY:
            self._next(now)
        elif self.state is BODY:
            self.resume_body()
            self._discarded = 1
            if not self._writing:
                self._await(self.service.body)
        else:
            self._close()

    @property
    def writing(self) -> bool:
        """Whether the client has not taken all that was written to it."""
        return self._writing

    def refuse_body(self) -> None:
        """The rest of the request body is not wanted: the connection closes after the response."""
        if self.state is not BUSY:
            self._keep = False

    def refuse_more(self) -> None:
        """Nothing that follows is read: the connection closes after the response."""
        self._keep = False
        self.stop()

    def cut(self, abruptly: bool) -> None:
        """End a response that can not be completed, so that the client can tell.

        A framed one ends short of its frame. One that lasts until the connection closes must end
        ``abruptly``, with a reset.
        """
        self.exchange = None
        self.stop()
        if abruptly:
            self._stop()
            self.transport.abortConnection()
        else:
            self._linger()  # responses before this one may still be on their way

    def take_over(self) -> bytes:
        """The exchange takes the transport: what was read beyond its request, and no more of it."""
        self._stop()
        self.exchange = None
        rest = bytes(self._buffer) if self._buffer is not None else b""
        self.stop()
        if self._full:
            self._read_on()
        return rest

    def _next(self, now: float | None = None) -> None:
        """Read the next request, once the client has taken the last response."""
        if self._writing:
            return
        self._discarded = 0
        if self._paused:
            self.resume_body()
        if self.service.draining and not self.service.softly:
            self._close()
            return
        self._queue = queue = self.service.idle
        queue.start(self, self.service.seconds() if now is None else now)
        self.proceed()
        # While requests are read one after the other, what is left of them is not in the buffer.
        if self._full and not self._looping and self.buffered <= MAX_PIPELINED:
            self._read_on()

    def _read_on(self) -> None:
        """There is room for more requests."""
        self._full = False
        if not self._paused:
            self.transport.resumeProducing()

    def _close(self) -> None:
        """Close in order: what was written is sent, and what still comes does not reset it."""
        if self.state is BUSY:
            # A client that did not ask for the end may have sent its next requests already.
            service = self.service
            ours = service.draining or self.served >= service.keepalive_requests
            unread = ours or self.buffered > 0
        else:
            unread = self.state is not HEAD or self.buffered > 0
        self.stop()
        if unread:
            self._linger()
        else:
            self._shut()

    def _linger(self) -> None:
        """Close our half when what was written is sent, and read on until the client closes too.

        Closing with bytes unread would reset the connection under all that is still on its way.
        """
        self._backlog = unsent(self.transport)
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self._await(self.service.write if self._writing else self.service.linger)
        self.transport.loseWriteConnection()

    def _shut(self) -> None:
        """Close as soon as what was written is sent."""
        # A paused producer would keep the transport from closing.
        self.transport.unregisterProducer()
        if self._writing:
            self._await(self.service.write)
        else:
            self._stop()
        self.transport.loseConnection()

    def close_when_idle(self) -> None:
        """Drain: close now if nothing is in progress, else after the exchange."""
        self._keep = False
        if self.exchange is None and self.state is HEAD and not self.buffered:
            self._close()

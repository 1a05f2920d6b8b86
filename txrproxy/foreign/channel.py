"""Between an exchange and the resource that answers it: an upstream to the one, a connection of
``twisted.web`` to the other."""

from __future__ import annotations

from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

from txrproxy.errors import BODY_TOO_LARGE, RESOURCE, RESOURCE_FAILED, Reason
from txrproxy.exchange import Exchange
from txrproxy.foreign.heads import host_of, peer_of, response_head, told
from txrproxy.foreign.request import MAX_FORM, ForeignRequest, log_failure
from txrproxy.http.fields import EMPTY, Fields
from txrproxy.http.head import ResponseHead

IN_MEMORY = 64 * 1024  # bytes of a body before it goes to a temporary file
MAX_UNSENT = 1 << 30  # bytes that a resource may be ahead of its client
_PIECE = 64 * 1024


class Channel:
    """One exchange as its resource's request sees it, and the other way round."""

    def __init__(self, site: Any, exchange: Exchange, limit: int) -> None:
        self.site = site
        self.head = exchange.head
        self.transport = self  # what a request calls its transport
        self._exchange: Exchange | None = exchange
        self._limit = limit
        self._content: IO[bytes] | None = None
        self._request: ForeignRequest | None = None
        self._response: tuple[ResponseHead, int] | None = None  # not yet sent
        self._missing: int | None = None  # bytes of a body of known length
        self._producer: Any = None
        self._paused = False
        self._unsent: IO[bytes] | None = None  # what was written while the client did not read
        self._unsent_size = 0
        self._unsent_at = 0
        self._finished = False
        self._secure = False

    def __repr__(self) -> str:
        return f"<Channel of {self._exchange!r}>"

    # The exchange's side: what it asks of an upstream.

    def send(self, content: bytes) -> None:
        """Keep more of the request body."""
        exchange = self._exchange
        assert exchange is not None
        if self._content is None:
            self._content = _spool()
        if self._content.tell() + len(content) > self._limit:
            self._exchange = exchange.upstream = None
            self._content.close()
            exchange.fail(BODY_TOO_LARGE)
            return
        self._content.write(content)

    def end(self, now: float, trailers: Fields = EMPTY) -> None:
        """The request is there whole: let the resource render it."""
        exchange = self._exchange
        if exchange is None:
            return
        content = self._content or BytesIO()
        size = content.tell()
        headers = Headers()
        for name, value in told(exchange):
            headers.addRawHeader(name, value)
        if self.head.facts.body:
            headers.setRawHeaders(b"Content-Length", [b"%d" % size])
        scheme = headers.getRawHeaders(b"X-Forwarded-Proto", [b""])[0]
        self._secure = scheme.partition(b",")[0].strip().lower() == b"https"
        self._peer, self._host = peer_of(exchange), host_of(exchange, self._secure)
        self._request = request = ForeignRequest(self, parsePOSTFormSubmission=False)
        request.content = content
        request.has_form = 0 < size <= MAX_FORM and self.head.method == b"POST"
        request.requestHeaders = headers
        request.parseCookies()
        protocol = b"HTTP/1.1" if self.head.facts.http_11 else b"HTTP/1.0"
        request.requestReceived(self.head.method, self.head.target.origin, protocol)

    def pause(self) -> None:
        """The client does not take what is written to it."""
        self._paused = True
        self._tell(self._producer, "pauseProducing")

    def resume(self) -> None:
        """It does again."""
        self._paused = False
        exchange = self._exchange
        while exchange is not None and self._unsent is not None and not self._paused:
            self._unsent.seek(self._unsent_at)
            piece = self._unsent.read(_PIECE)
            self._unsent_at += len(piece)
            if self._unsent_at == self._unsent_size:
                self._forget_unsent()
            exchange.bytes_out += exchange.downstream.body(piece, False)
        if self._paused:
            return
        if self._finished:
            self._end()
        else:
            self._tell(self._producer, "resumeProducing")

    def abandon(self) -> None:
        """The client is gone."""
        self._exchange = None
        if self._request is None:
            if self._content is not None:
                self._content.close()
        else:
            self._disconnect(Failure(ConnectionLost()))

    # The request's side: what it asks of ``twisted.web.http.HTTPChannel``.

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._host

    def isSecure(self) -> bool:
        return self._secure

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        assert self._request is not None
        self._request.chunked = 0  # the framing is the connection's business
        try:
            self._response = response_head(self.head.method, int(code), reason, headers)
        except ValueError as error:
            self.fail(Failure(error))
            raise
        if self._response[1] >= 0:
            self._missing = self._response[1]

    def write(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if self._missing is not None:
            self._missing -= len(data)
            if self._missing < 0:
                error = ValueError("the resource wrote more than its Content-Length")
                self.fail(Failure(error))
                raise error
        if self._response is not None:
            self._begin(exchange, self._response, data)
        elif self._paused:
            self._keep(data)
        else:
            exchange.bytes_out += exchange.downstream.body(data, False)

    def writeSequence(self, iovec: Any) -> None:
        self.write(b"".join(iovec))

    def flush(self) -> None:
        """Send the head of the response, if it has not been sent with content."""
        if self._response is not None and self._exchange is not None:
            self._begin(self._exchange, self._response, b"")

    def requestDone(self, request: Any) -> None:
        self._finished = True
        self._producer = None
        if self._unsent is None:
            self._end()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered and was never unregistered")
        self._producer = producer if streaming else _Pull(producer, self)
        if self._paused:
            self._tell(self._producer, "pauseProducing")
        elif not streaming:
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
        if isinstance(producer, _Pull):
            producer.pauseProducing()

    def loseConnection(self) -> None:
        """The resource gives up: what it has begun must not look complete."""
        self._give_up(RESOURCE_FAILED, Failure(ConnectionLost("the resource closed it")))

    abortConnection = loseConnection

    def refuse(self, reason: Reason) -> None:
        """The request is not one for the resource."""
        self._give_up(reason, Failure(ConnectionLost(reason.text)))

    # Between the two.

    def fail(self, failure: Failure) -> None:
        """The resource failed: an error page, or a response cut short."""
        log_failure(failure)
        self._give_up(RESOURCE_FAILED, failure)

    def _give_up(self, reason: Reason, failure: Failure) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.upstream = None
            self._disconnect(failure)
            exchange.fail(reason)

    def _disconnect(self, failure: Failure) -> None:
        """Tell the producer and the request that nobody listens any more."""
        self._response = None
        self._forget_unsent()
        producer, self._producer = self._producer, None
        self._tell(producer, "stopProducing")
        if not self._finished and self._request is not None:
            try:
                self._request.connectionLost(failure)
            except Exception:
                log_failure(Failure())

    def _tell(self, producer: Any, what: str) -> None:
        """Call a method of the resource's producer, which may fail."""
        if producer is not None:
            try:
                getattr(producer, what)()
            except Exception:
                self.fail(Failure())

    def _begin(
        self, exchange: Exchange, response: tuple[ResponseHead, int], content: bytes
    ) -> None:
        self._response = None
        exchange.respond(*response, content)

    def _keep(self, data: bytes) -> None:
        """Keep what the client can not take yet: not every resource can be made to wait."""
        if self._unsent is None:
            self._unsent = _spool()
        if self._unsent_size + len(data) > MAX_UNSENT:
            self.fail(Failure(MemoryError("the resource is too far ahead of its client")))
            return
        self._unsent.seek(self._unsent_size)
        self._unsent.write(data)
        self._unsent_size += len(data)

    def _forget_unsent(self) -> None:
        if self._unsent is not None:
            self._unsent.close()
            self._unsent = None
            self._unsent_size = self._unsent_at = 0

    def _end(self) -> None:
        """The response has been written whole."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.upstream = None
        if self._missing:
            log_failure(Failure(ValueError("the resource wrote less than its Content-Length")))
            exchange.fail(RESOURCE_FAILED)
            return
        exchange.bytes_out += exchange.downstream.body(b"", True)
        exchange.finish(RESOURCE, exchange.site.seconds())


@implementer(IPushProducer)
class _Pull:
    """Makes a pull producer push: one piece a loop turn, while the client takes them."""

    def __init__(self, producer: Any, channel: Channel) -> None:
        self._producer = producer
        self._channel = channel
        self._call: Any = None

    def resumeProducing(self) -> None:
        if self._call is None:
            self._call = self._channel.site.clock.callLater(0, self._next)

    def pauseProducing(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def stopProducing(self) -> None:
        self.pauseProducing()
        self._producer.stopProducing()

    def _next(self) -> None:
        self._call = None
        self.resumeProducing()  # first, because the piece may be the last, or one too many
        self._channel._tell(self._producer, "resumeProducing")


def _spool() -> IO[bytes]:
    return SpooledTemporaryFile(IN_MEMORY)

"""Foreign resources: any ``twisted.web`` resource, mounted on a route of ours.

To the exchange, a :class:`Channel` is an upstream: it takes the request body and is paused, resumed
and abandoned like one. To the resource, it is what a ``twisted.web`` connection is to its request.
In between it keeps whole what ``twisted.web`` wants whole, the request body, and in a temporary
file what is large::

    Downstream ─ Exchange ──send, end──▶ Channel ─ Request ─ IResource
                    ▲ ◀──respond, body, finish──┘     │
                    └─ pause, resume, abandon ─▶ registered producer, notifyFinish

Only here does a request become a ``twisted.web.server.Request``. The resource sees the fields that
a backend would be sent, minus those of the hop: what a client says of itself by ``X-Forwarded-For``
is gone, or comes from a trusted proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request, Site, version
from zope.interface import implementer

from txrproxy.errors import BAD_FORM, BODY_TOO_LARGE, RESOURCE, RESOURCE_FAILED, Reason
from txrproxy.exchange import Exchange
from txrproxy.http.fields import EMPTY, HOP_BY_HOP, Fields, is_field_value, is_token, make_line
from txrproxy.http.form import BadForm, parse_multipart
from txrproxy.http.forward import ResponseBlock, request_head
from txrproxy.http.framing import BadFraming, response_body
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.http.status import STATUS_LINES
from txrproxy.http.target import keeps_segments, split_authority
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Serve

IN_MEMORY = 64 * 1024  # bytes of a body before it goes to a temporary file
MAX_BODY = 1 << 30  # bytes of a request body where no policy has a limit
MAX_FORM = 1 << 20  # bytes of a form that is parsed into ``request.args``, in memory
MAX_ARGUMENTS = 10_000  # of a form
MAX_UNSENT = 1 << 30  # bytes that a resource may be ahead of its client
_PIECE = 64 * 1024

_NO_FIELDS = ResponseBlock(())
_OWN_FRAMING = HOP_BY_HOP | {b"content-length", b"expect"}

_logger = Logger()


def serve_resource(found: Any, conditions: Conditions, reactor: Any) -> Serve:
    """What a plan does to serve a ``twisted.web`` resource.

    ``found`` provides ``IResource``, or is called without arguments for one that does. A prefix
    that ``conditions`` ask for is to the resource what ``putChild`` makes of it: ``prepath``.
    ``reactor`` provides IReactorTime. Raises TypeError for what is no resource.
    """
    resource = found
    if not IResource.providedBy(resource):
        if not callable(found):
            raise TypeError("neither an IResource nor a callable that returns one")
        resource = found()
        if not IResource.providedBy(resource):
            raise TypeError(f"calling it gave {type(resource).__name__}, which is no IResource")
    return _Mount(resource, conditions, reactor).serve


class _Mount(Site):
    """The site of one mounted resource: the sessions, and where in the tree it is."""

    def __init__(self, resource: Any, conditions: Conditions, reactor: Any) -> None:
        super().__init__(resource, reactor=reactor)
        self.clock = reactor
        self._conditions = conditions
        # Names the session cookie, so that two mounted resources do not take each other's.
        first = conditions.paths[0].text.strip(b"/")
        self._sitepath = [re.sub(rb"[^A-Za-z0-9]+", b"_", first)] if first else []

    def serve(self, exchange: Exchange) -> None:
        """Answer the exchange with the resource, once the request body is there."""
        facts = exchange.head.facts
        limit = exchange.plan.body_limit
        if limit is None:
            limit = MAX_BODY
        if facts.body > limit:
            exchange.fail(BODY_TOO_LARGE)
            return
        exchange.upstream = channel = Channel(self, exchange, limit)
        if not facts.body:
            channel.end(exchange.started)
            return
        if facts.expects_continue and not exchange.continued:
            exchange.downstream.informational(STATUS_LINES[100], _NO_FIELDS)
        exchange.release()

    def getResourceFor(self, request: Any) -> Any:
        request.prepath, request.postpath = self.place(request.channel.head)
        found = super().getResourceFor(request)
        request.sitepath = list(self._sitepath)
        return found

    def place(self, head: RequestHead) -> tuple[list[bytes], list[bytes]]:
        """The segments of the path above the resource, and below it, decoded.

        Below, the client's own spelling is decoded, unless it holds dot segments or the like.
        """
        path = head.path
        prefix = self._conditions.prefix(path)
        above = prefix.rstrip(b"/")
        if prefix == above and path[len(above) : len(above) + 1] not in (b"", b"/"):
            above = above[: above.rfind(b"/")]  # "/doc*" has taken "/documents"
        below = head.target.path
        if not below.startswith(prefix) or not keeps_segments(below, path):
            below = path
        below = below[len(above) :]
        return _segments(above), _segments(below)


def _segments(path: bytes) -> list[bytes]:
    return [unquote_to_bytes(segment) for segment in path.split(b"/")[1:]]


class _Request(Request):
    """The request that a mounted resource renders."""

    channel: Any
    has_form = False  # one that may be parsed, if it is any

    def process(self) -> None:
        if self.has_form:
            try:
                self._parse_form()
            except BadForm:
                self.channel.refuse(BAD_FORM)
                return
        super().process()

    def _parse_form(self) -> None:
        """What ``twisted.web`` does, in bounded time."""
        assert self.content is not None
        content_type = (self.requestHeaders.getRawHeaders(b"Content-Type") or [b""])[0]
        kind = content_type.partition(b";")[0].strip(b" \t").lower()
        if kind == b"application/x-www-form-urlencoded":
            text = self.content.read()
            if text.count(b"&") >= MAX_ARGUMENTS:
                raise BadForm("too many arguments")
            self.args.update(parse_qs(text, 1))
        elif kind == b"multipart/form-data":
            form: dict[bytes, list[bytes]] = {}
            for name, value in parse_multipart(self.content.read(), content_type):
                form.setdefault(name, []).append(value)
            self.args.update(form)
        self.content.seek(0)

    def write(self, data: bytes) -> None:
        begins = not self.startedWriting
        super().write(data)
        # Gone after ``finish``, None after a lost connection.
        channel = getattr(self, "channel", None)
        if begins and channel is not None:
            channel.flush()

    def render(self, resrc: Any) -> None:
        super().render(_Strict(resrc))

    def processingFailed(self, reason: Failure) -> Failure:
        channel = getattr(self, "channel", None)
        if channel is None:
            _log_failure(reason)
        else:
            channel.fail(reason)
        return reason


class _Strict:
    """A resource whose mistakes are exceptions; ``twisted.web`` would show them to the client."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource

    def __repr__(self) -> str:
        return repr(self._resource)

    def render(self, request: Any) -> Any:
        body = self._resource.render(request)
        if body is not NOT_DONE_YET and not isinstance(body, bytes):
            raise TypeError(f"{self._resource!r} rendered {type(body).__name__}, not bytes")
        return body


class Channel:
    """One exchange as its resource's request sees it, and the other way round."""

    def __init__(self, site: _Mount, exchange: Exchange, limit: int) -> None:
        self.site = site
        self.head = exchange.head
        self.transport = self  # what a request calls its transport
        self._exchange: Exchange | None = exchange
        self._limit = limit
        self._content: IO[bytes] | None = None
        self._request: _Request | None = None
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
        for name, value in _fields(exchange):
            headers.addRawHeader(name, value)
        if self.head.facts.body:
            headers.setRawHeaders(b"Content-Length", [b"%d" % size])
        scheme = headers.getRawHeaders(b"X-Forwarded-Proto", [b""])[0]
        self._secure = scheme.partition(b",")[0].strip().lower() == b"https"
        self._peer, self._host = _peer(exchange), _host(exchange, self._secure)
        self._request = request = _Request(self, parsePOSTFormSubmission=False)
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
            self._response = _response(self.head.method, int(code), reason, headers)
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
        _log_failure(failure)
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
                _log_failure(Failure())

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
            _log_failure(Failure(ValueError("the resource wrote less than its Content-Length")))
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


def _log_failure(failure: Failure) -> None:
    _logger.failure("A mounted resource failed", failure=failure)


def _spool() -> IO[bytes]:
    return SpooledTemporaryFile(IN_MEMORY)


def _fields(exchange: Exchange) -> Iterator[tuple[bytes, bytes]]:
    """The fields that a backend would be sent, without those of the hop."""
    head, plan, peer = exchange.head, exchange.plan, exchange.downstream.peer
    rules = plan.trusted_rules if peer.trusted else plan.rules
    block = rules.block(head.fields, head.facts, head.authority)
    data = request_head(head.method, b"/", b"", block, peer, exchange.request_id)
    for line in data.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b": ")
        lower = name.lower()
        if lower not in _OWN_FRAMING and (value or lower != b"host"):
            yield name, value
    for told in exchange.sent:
        yield told[2].partition(b":")[0], told[1]


def _response(
    method: bytes, status: int, phrase: bytes, headers: Headers
) -> tuple[ResponseHead, int]:
    """The head of a response, and the length of its body. Raises ValueError for a bad one."""
    if not 200 <= status <= 599 or not is_field_value(phrase):
        raise ValueError(f"not a final status: {status} {phrase!r}")
    lines = []
    for name, values in headers.getAllRawHeaders():
        if name == b"Transfer-Encoding":
            continue
        for value in values:
            if value == version and name == b"Server":
                continue  # set for every request; a resource's own stays
            if not is_token(name) or not is_field_value(value):
                raise ValueError(f"not a header field: {name!r}: {value!r}")
            lines.append(make_line(name, value))
    fields = Fields(lines)
    try:
        length = response_body(fields, status, True, method)
    except BadFraming:
        raise ValueError(f"not a length: {fields.all(b'content-length')!r}") from None
    return ResponseHead(status, phrase, True, fields, len(fields.block)), length


def _peer(exchange: Exchange) -> Any:
    """Whose request it is, as a Twisted address. The port is known of a direct client only."""
    address = exchange.downstream.transport.getPeer()
    if exchange.client is not exchange.downstream.peer.address:
        port = 0
    elif not hasattr(address, "port"):
        return address
    else:
        port = address.port
    client = exchange.client.decode("ascii")
    return (IPv6Address if ":" in client else IPv4Address)("TCP", client, port)


def _host(exchange: Exchange, secure: bool) -> Any:
    """Our end as the client names it, so that the URLs that a resource makes lead back here."""
    local = exchange.downstream.transport.getHost()
    host = getattr(local, "host", "localhost")
    authority = exchange.head.authority
    if authority:
        port = split_authority(authority)[1] or (443 if secure else 80)
    else:
        port = getattr(local, "port", 0)
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)

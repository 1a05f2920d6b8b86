"""A request of ``twisted.web`` in the place of a connection from a client.

It is asked what :mod:`txrproxy.transport.downstream` is asked, and can do less: the request body is
there whole before anything begins, and its site has the say about the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_from_bytes

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from txrproxy.errors import CLIENT_ABORTED
from txrproxy.http.fields import EMPTY, Fields
from txrproxy.http.forward import ResponseBlock
from txrproxy.http.head import RequestHead, parse_request_head
from txrproxy.http.peer import Peer
from txrproxy.http.target import BadTarget, normalise_path
from txrproxy.site import ProxySite

_PIECE = 64 * 1024
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def head_of(request: Any) -> RequestHead:
    """The head as the client sent it, read again and strictly. Raises :class:`BadHead`."""
    protocol = b"HTTP/1.0" if request.clientproto == b"HTTP/1.0" else b"HTTP/1.1"
    parts = [request.method, b" ", request.uri, b" ", protocol]
    framed = False
    for name, values in request.requestHeaders.getAllRawHeaders():
        lower = name.lower()
        if lower in _FRAMING:
            framed = True
        elif lower == b"upgrade" or (lower == b"expect" and _is_settled(values)):
            pass  # the site can not change protocols, and has told the client to go on
        else:
            for value in values:
                parts += [b"\r\n", name, b": ", value]
    if framed:
        parts.append(b"\r\nContent-Length: %d" % request.content.seek(0, 2))
    return parse_request_head(b"".join(parts))


def _is_settled(expectations: Sequence[bytes]) -> bool:
    return len(expectations) == 1 and expectations[0].lower() == b"100-continue"


def is_below(path: bytes, prepath: Sequence[bytes]) -> bool:
    """Whether a normalised path lies where the resource is mounted."""
    mount = b"".join(b"/" + quote_from_bytes(name, safe="").encode("ascii") for name in prepath)
    try:
        mount = normalise_path(mount or b"/").rstrip(b"/")
    except BadTarget:
        return False
    return path in {b"*", mount} or path.startswith(mount + b"/")


@implementer(IPushProducer)
class StockDownstream:
    """What an exchange asks of a connection from a client, over a ``twisted.web`` request."""

    def __init__(self, request: Any, peer: Peer, reactor: Any) -> None:
        self.peer = peer
        self.exchange: Any = None
        self.transport = request.transport
        self._request = request
        self._reactor = reactor
        self._paused = False
        self._missing = 0  # bytes of the request body that the exchange has not had
        self._call: Any = None
        self._gone = False
        self._bare = False  # the response ends with the connection, and has no other sign of it
        request.notifyFinish().addErrback(self._lost)

    def begin(self, site: ProxySite, head: RequestHead) -> None:
        """Begin the exchange, unless the client has left, and to hand over the request body."""
        if self._gone:
            return
        site.begin(self, head)
        if self.exchange is not None:
            self._missing = self.exchange.head.facts.body
            if self._missing:
                self._request.content.seek(0)
                self._feed()

    # The request body.

    def _feed(self) -> None:
        """Hand over one piece. The next is for a later loop turn, so that others have theirs."""
        self._call = None
        exchange = self.exchange
        if exchange is None or self._paused:
            return
        piece = self._request.content.read(_PIECE)
        self._missing -= len(piece)
        if self._missing > 0:
            self._call = self._reactor.callLater(0, self._feed)
        exchange.on_request_body(piece, self._missing <= 0, EMPTY)

    def pause_body(self) -> None:
        self._paused = True
        self._stop()

    def resume_body(self) -> None:
        self._paused = False
        if self._missing and self._call is None:
            self._call = self._reactor.callLater(0, self._feed)

    def refuse_body(self) -> None:
        """It has been read already."""

    def refuse_more(self) -> None:
        """What else is read is for the site around this resource to say."""

    def _stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    # The response.

    def informational(self, status_line: bytes, block: ResponseBlock) -> None:
        channel = self._request.channel
        if isinstance(channel, HTTPChannel):
            channel.write(b"%b%b\r\n" % (status_line, block.block))

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
        request = self._request
        headers = request.responseHeaders
        request.setResponseCode(status, status_line[13:-2])
        request.defaultContentType = None
        headers.removeHeader(b"Server")  # of twisted.web
        if not block.needs_date:
            headers.removeHeader(b"Date")
        fields: dict[bytes, list[bytes]] = {}
        for name, value, *_ in block.lines:
            fields.setdefault(name, []).append(value)
        for name, values in fields.items():
            headers.setRawHeaders(name, values)
        for line in more.splitlines():
            name, _, value = line.partition(b": ")
            headers.addRawHeader(name, value)
        headers.setRawHeaders(b"X-Request-Id", [request_id])
        self._bare = length < 0 and request.clientproto == b"HTTP/1.0"
        if not ended:
            request.registerProducer(self, True)
        request.write(content)
        return len(content)

    def replay(self, head: RequestHead, lines: bytes, request_id: bytes, content: bytes) -> int:
        request = self._request
        start, *rest = lines[:-2].split(b"\r\n")
        _, status, phrase = start.split(b" ", 2)
        request.setResponseCode(int(status), phrase)
        request.defaultContentType = None
        headers = request.responseHeaders
        for name in (b"Server", b"Date"):
            headers.removeHeader(name)
        for line in rest:
            name, _, value = line.partition(b": ")
            headers.addRawHeader(name, value)
        headers.setRawHeaders(b"X-Request-Id", [request_id])
        request.write(content)
        return len(content)

    writing = False

    def send_file(self, fd: int, offset: int, count: int) -> int:
        return 0

    def body(self, content: bytes, ended: bool, trailers: Fields = EMPTY) -> int:
        if content:
            self._request.write(content)
        return len(content)

    def finish(self, now: float) -> None:
        request = self._leave()
        request.finish()

    def cut(self, abruptly: bool) -> None:
        request = self._leave()
        if abruptly or self._bare:
            request.transport.abortConnection()
        else:
            request.loseConnection()

    def _leave(self) -> Any:
        self.exchange = None
        self._stop()
        self._request.unregisterProducer()
        return self._request

    def _lost(self, failure: Failure) -> None:
        self._gone = True
        self._stop()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_lost(CLIENT_ABORTED)

    # The client's taking it.

    def pauseProducing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause()

    def resumeProducing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume()

    def stopProducing(self) -> None:
        """The request's ``notifyFinish`` says the same."""

"""``ReverseProxyResource``: the proxy as an ``IResource``, for a stock ``twisted.web`` site.

Requests go through the same exchanges, rules and connections as those of the product's own server.
What differs is the client's side, and :class:`_StockDownstream` stands in for a connection there::

    twisted.web Request ─ _StockDownstream ─ Exchange ─ Upstream ─▶ backend

The limits are those of ``twisted.web``: request bodies have been read whole before this sees them,
trailers and upgrades do not pass, and the timeouts towards the client are the site's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote_from_bytes

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from txrproxy import actions
from txrproxy.balance.pool import Pool
from txrproxy.config import schema
from txrproxy.config.forms.addresses import backend_url
from txrproxy.config.forms.basics import Unfit
from txrproxy.config.values import (
    FilePath,
    Natural,
    Seconds,
    Secret,
    Text,
    Timeout,
    UpstreamHost,
)
from txrproxy.errors import CLIENT_ABORTED, NO_ROUTE
from txrproxy.http.fields import EMPTY, Fields
from txrproxy.http.forward import Changes, ResponseBlock
from txrproxy.http.head import BadHead, RequestHead, parse_request_head
from txrproxy.http.peer import Network, Peer
from txrproxy.http.target import BadTarget, normalise_path
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Plan
from txrproxy.routing.rewrite import Rewrite
from txrproxy.routing.tree import Tree
from txrproxy.site import NO_LOG, ProxySite, request_ids
from txrproxy.transport.deadlines import Deadlines
from txrproxy.wiring import Unusable, Wiring, close, rules

HIDE = ("server", "x-powered-by", "via")  # as in a policy

_PIECE = 64 * 1024
_NO_CHANGES = Changes()
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class BackendPool:
    """Backends and their connections, for any number of resources. Made by :func:`backend_pool`."""

    def __init__(self, name: str, settings: schema.Pool, reactor: Any) -> None:
        self.reactor = reactor
        self._settings = settings
        self._deadlines = Deadlines(reactor)
        self._wiring = Wiring(reactor, self._deadlines, str)
        self._pool: Pool = self._wiring.pool(name, settings)
        # Requests that wait for the first look-up of names; None when none has to.
        self._waiting: list[Callable[[], object]] | None = [] if self._wiring.names else None

    def __repr__(self) -> str:
        return f"<BackendPool {self._pool!r}>"

    def plan(
        self,
        *,
        hide: Iterable[str],
        request_headers: Changes,
        response_headers: Changes,
        rewrite: Rewrite | None,
        body_limit: int | None,
    ) -> Plan:
        """A plan that leads here."""
        plan = Plan(
            name=b"",
            serve=actions.proxy,
            pool=self._pool,
            body_limit=body_limit,
            websocket=False,
            rewrite=rewrite.apply if rewrite else None,
            mount=rewrite.mount if rewrite else b"",
            **rules(
                request_headers,
                response_headers,
                [name.encode("ascii") for name in hide],
                host=self._settings.host,
            ),
        )
        self._wiring.deadlines_of(plan, self._settings.timeouts)
        return plan

    def when_ready(self, begin: Callable[[], object]) -> None:
        """Call ``begin`` when the names have been looked up: now, but for the first requests."""
        waiting = self._waiting
        if waiting is None:
            begin()
            return
        waiting.append(begin)
        if len(waiting) == 1:
            for members in self._wiring.names.values():
                members.start().addCallback(self._ready)

    def _ready(self, _: object) -> None:
        waiting, self._waiting = self._waiting, None
        for begin in waiting or ():
            begin()

    def close(self) -> None:
        """Close the idle connections and keep none; exchanges in progress go on."""
        for members in self._wiring.names.values():
            members.stop()
        self._ready(None)
        close([self._pool])
        self._deadlines.close()


def backend_pool(
    *urls: str,
    reactor: Any = None,
    name: str = "pool",
    host: str = "preserve",
    connect: float = 2.0,
    first_byte: float = 30.0,
    idle: float = 60.0,
    queue: float = 5.0,
    keepalive: int = 64,
    max_connections: int = 0,
    resolve: float = 30.0,
    verify: bool = True,
    ca: str = "system",
    server_name: str = "auto",
    cert: str = "",
    key: str = "",
) -> BackendPool:
    """A pool of the servers at these URLs, in turn.

    ``urls`` are ``http://host[:port]``, ``https://host[:port]`` or ``unix:/path``. ``host`` is what
    they get as Host: "preserve" (the client's), "backend" (the URL's) or a name. All times are in
    seconds: ``connect`` to connect, ``first_byte`` from the end of the request to the response,
    ``idle`` between two pieces of it, ``queue`` in wait for one of ``max_connections`` for each
    backend (0 for no limit), ``resolve`` until a host name is looked up again. ``keepalive`` idle
    connections are kept for each backend.

    Of backends with https the certificate is verified, unless ``verify`` is False: by the
    authorities of the system or those in the PEM file ``ca``, for the host of the URL or for
    ``server_name``. ``cert`` and ``key`` are PEM files of what is shown to them. They are read now.

    Raises ValueError for a URL, a time or a file that can not be used.
    """
    if reactor is None:
        from twisted.internet import reactor  # the caller has chosen it by now
    if not urls:
        raise ValueError("a pool has at least one backend")
    backends = []
    for written in urls:
        try:
            url = backend_url(written)
        except Unfit as error:
            raise ValueError(f"{written!r} is no URL of a backend: {error}") from None
        backends.append(schema.Backend(url=url, max_connections=Natural(max_connections)))
    settings = schema.Pool(
        backends=tuple(backends),
        host=UpstreamHost(host),
        resolve=_timeout(resolve),
        keepalive=schema.Keepalive(idle=Natural(keepalive)),
        timeouts=schema.PoolTimeouts(
            connect=_timeout(connect),
            first_byte=_timeout(first_byte),
            idle=_timeout(idle),
            queue=_timeout(queue),
        ),
        tls=schema.BackendTls(
            verify=verify,
            ca=FilePath(ca),
            server_name=Text(server_name),
            cert=FilePath(cert),
            key=Secret("file", key) if key else "",
        ),
    )
    try:
        return BackendPool(name, settings, reactor)
    except Unusable as error:
        raise ValueError(f"{error.key.rpartition('.')[2]}: {error}") from None


def _timeout(seconds: float) -> Timeout:
    if seconds <= 0:
        raise ValueError(f"a time is longer than {seconds} seconds")
    return Timeout(Seconds(seconds))


@implementer(IResource)
class ReverseProxyResource:
    """Sends every request below it to a pool of backends.

    The raw target is sent on as the client wrote it, unless ``rewrite`` changes it: mounted with
    ``root.putChild(b"api", …)``, ``/api/x`` arrives as ``/api/x``. A target that leaves the mount
    by dot segments is not sent on.

    ``hide`` names fields of responses that clients do not get; ``request_headers`` and
    ``response_headers`` are made by :func:`txrproxy.http.forward.changes`. ``trusted_proxies`` are
    networks whose ``X-Forwarded-*`` and ``Forwarded`` are believed. ``body_limit`` is in bytes.
    ``log`` takes access log records (:func:`txrproxy.observe.accesslog.open_log`).
    """

    isLeaf = True
    server = None  # putChild sets it

    def __init__(
        self,
        pool: BackendPool,
        *,
        hide: Iterable[str] = HIDE,
        request_headers: Changes = _NO_CHANGES,
        response_headers: Changes = _NO_CHANGES,
        trusted_proxies: Iterable[str] = (),
        rewrite: Rewrite | None = None,
        body_limit: int | None = None,
        log: Any = NO_LOG,
    ) -> None:
        self._when_ready = pool.when_ready
        plan = pool.plan(
            hide=hide,
            request_headers=request_headers,
            response_headers=response_headers,
            rewrite=rewrite,
            body_limit=body_limit,
        )
        trusted: Sequence[Network] = [ip_network(network) for network in trusted_proxies]
        shared = {
            "log": log,
            "seconds": pool.reactor.seconds,
            "wall": time.time,
            "trusted": trusted,
            "request_id": request_ids(),
        }
        self._mount(Tree([(Conditions(), plan)]), pool.reactor, shared)

    @classmethod
    def of_tree(
        cls, tree: Tree[Plan], reactor: Any, shared: Mapping[str, Any]
    ) -> ReverseProxyResource:
        """The resource of a whole tree of routes; ``shared`` are arguments of the site's."""
        made = cls.__new__(cls)
        made._when_ready = _now
        made._mount(tree, reactor, shared)
        return made

    def _mount(self, tree: Tree[Plan], reactor: Any, shared: Mapping[str, Any]) -> None:
        self._reactor = reactor
        self._sites = {
            secure: ProxySite(tree, scheme=b"https" if secure else b"http", **shared)
            for secure in (False, True)
        }

    def getChildWithDefault(self, name: bytes, request: Any) -> Any:
        """Never called of a leaf."""
        return self

    def putChild(self, path: bytes, child: Any) -> None:
        raise TypeError("a ReverseProxyResource is a leaf: it has no children")

    def render(self, request: Any) -> int:
        """Begin the exchange; it finishes the request."""
        site = self._sites[bool(request.isSecure())]
        address = getattr(request.getClientAddress(), "host", "unknown")
        downstream = _StockDownstream(request, site.peer(address), self._reactor)
        try:
            head = _head(request)
        except BadHead as error:
            site.refuse(downstream, error.reason)
        else:
            if _is_below(head.path, request.prepath):
                self._when_ready(lambda: downstream.begin(site, head))
            else:
                site.refuse(downstream, NO_ROUTE)
        return NOT_DONE_YET


def _now(begin: Callable[[], object]) -> None:
    begin()


def _head(request: Any) -> RequestHead:
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


def _is_below(path: bytes, prepath: Sequence[bytes]) -> bool:
    """Whether a normalised path lies where the resource is mounted."""
    mount = b"".join(b"/" + quote_from_bytes(name, safe="").encode("ascii") for name in prepath)
    try:
        mount = normalise_path(mount or b"/").rstrip(b"/")
    except BadTarget:
        return False
    return path in {b"*", mount} or path.startswith(mount + b"/")


@implementer(IPushProducer)
class _StockDownstream:
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

    def finish(self) -> None:
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

"""Two small origins to put the proxy in front of: ``make run``, or ``python -m txrproxy.demo``.

Both serve the same things under different names, so that a person (or a script) can see balancing,
streaming, WebSockets, slow answers and rewriting at work; the second one is slow now and then. They
are stock ``twisted.web`` sites on loopback and no example of a fast server.

:func:`service_for` starts them inside the proxy's own process when the configuration has a pool
``demo`` with exactly these two as its backends, as ``etc/demo.toml`` does. In an upgrade the new
process has origins of its own at the same addresses, while the old ones finish what they have.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import LoopingCall
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from txrproxy.demo_page import CSS, listing, page
from txrproxy.demo_websocket import upgrade

HOST = "127.0.0.1"
PORTS = (8081, 8082)
NAMES = ("Alder", "Birch")
MAX_BYTES = 1 << 30
MAX_SECONDS = 60.0

_SLOW_EVERY = 5  # the second origin keeps every fifth reader of its page waiting
_SLOW_SECONDS = 1.5
_REPORT_SECONDS = 1.0
_BEFORE_LEAVING = 0.1
_BACKLOG = 50
_PIECE = bytes(range(256)) * 256


class _Request(Request):
    """Hashes a body as it arrives and keeps none of it, so that any size needs no memory."""

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        self.body_size = 0
        self.body_hash = hashlib.sha256()

    def handleContentChunk(self, data: bytes) -> None:
        self.body_size += len(data)
        self.body_hash.update(data)


class _Site(Site):
    noisy = False

    def log(self, request: Any) -> None:
        """The proxy's access log is the one to look at."""


class _Leaf(Resource):
    isLeaf = True

    def __init__(self, answer: Callable[[Any], bytes | int]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Any) -> bytes | int:
        return self._answer(request)


class _Connections(WrappingFactory):
    """Knows the open connections, to end them when the origin stops."""

    noisy = False
    protocols: dict[ProtocolWrapper, int]

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._ended: Deferred[None] | None = None

    def unregisterProtocol(self, protocol: ProtocolWrapper) -> None:
        super().unregisterProtocol(protocol)
        if self._ended is not None and not self.protocols:
            self._ended.callback(None)

    def end(self) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        self._ended = ended
        for protocol in list(self.protocols):
            protocol.abortConnection()
        if not self.protocols:
            ended.callback(None)
        return ended


class Origin(Service):
    """One origin. ``port`` 0 takes any free one; ``address`` tells which when it runs."""

    def __init__(self, reactor: Any, name: str, port: int, slow: bool = False) -> None:
        self.title = name
        self._reactor = reactor
        self._number = port
        self._slow = slow
        self._pages = 0
        self._reports = 0
        root = Resource()
        for path, answer in (
            (b"", self.page),
            (b"headers", self.headers),
            (b"slow", self.slow),
            (b"bytes", self.stream),
            (b"events", self.events),
            (b"ws", upgrade),
            (b"upload", self.upload),
            (b"status", self.status),
            (b"away", self.away),
            (b"redirect", self.redirect),
            (b"static", self.static),
            (b"report", self.report),
        ):
            leaf: Any = _Leaf(answer)
            root.putChild(path, leaf)
        site = _Site(root, requestFactory=_Request, reactor=reactor)
        site.displayTracebacks = False
        self._site = site
        self._bound: socket.socket | None = None
        self._return: Any = None

    def bind(self, beside: bool = False) -> None:
        """Take the address, for connections to wait until the service starts. Raises OSError.

        ``beside`` says that a process of ours may have it as well, which is about to leave.
        """
        bound = socket.socket()
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, beside)
            bound.bind((HOST, self._number))
            bound.listen(_BACKLOG)
            # Afterwards only: who has the address for another reason is noticed.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
            bound.setblocking(False)
        except OSError as error:
            bound.close()
            raise OSError(error.errno, f"{self.address}: {error.strerror}") from error
        self._number = bound.getsockname()[1]
        self._bound = bound

    def startService(self) -> None:
        super().startService()
        self._open()

    def retire(self) -> Deferred[Any]:
        """Leave new connections to the process that goes on; those there are live on."""
        self._stay_away()
        if not self._here:
            return succeed(None)
        self._port.doRead()  # who waits to be accepted would be reset
        return maybeDeferred(self._port.stopListening)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._stay_away()
        return self._close() if self._here else succeed(None)

    def _stay_away(self) -> None:
        if self._return is not None:
            self._return.cancel()
            self._return = None

    def _open(self) -> None:
        if self._bound is None:
            self.bind()
        bound, self._bound = self._bound, None
        assert bound is not None
        self._connections = _Connections(self._site)
        with bound:
            self._port = self._reactor.adoptStreamPort(
                bound.fileno(), socket.AF_INET, self._connections
            )
        self._here = True

    def _close(self) -> Deferred[None]:
        """Refuse new connections and break those there are, as a server that dies does."""
        closed: Deferred[Any] = maybeDeferred(self._port.stopListening)
        return closed.addCallback(lambda _: self._connections.end())

    @property
    def address(self) -> str:
        return f"{HOST}:{self._number}"

    # What it serves.

    def page(self, request: Any) -> bytes | int:
        body = page(self.title, _fields(request))
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"x-origin", self.title.encode())
        self._pages += 1
        if self._slow and self._pages % _SLOW_EVERY == 0:
            return self._later(request, _SLOW_SECONDS, body)
        return body

    def headers(self, request: Any) -> bytes:
        return _json(
            request,
            origin=self.title,
            method=request.method.decode("latin-1"),
            target=request.uri.decode("latin-1"),
            version=request.clientproto.decode("latin-1"),
            headers=_fields(request),
        )

    def slow(self, request: Any) -> bytes | int:
        seconds = _seconds(request, b"2")
        if seconds is None:
            return _refuse(request, f"seconds goes from 0 to {MAX_SECONDS:.0f}")
        return self._later(request, seconds, f"{self.title}, after {seconds:g} s\n".encode())

    def _later(self, request: Any, seconds: float, body: bytes) -> int:
        def answer() -> None:
            request.setHeader(b"content-length", b"%d" % len(body))
            request.write(body)
            request.finish()

        call = self._reactor.callLater(seconds, answer)
        request.notifyFinish().addErrback(lambda _: call.cancel())
        return NOT_DONE_YET

    def report(self, request: Any) -> int:
        self._reports += 1
        request.setHeader(b"cache-control", b"max-age=10, stale-while-revalidate=60")
        text = f"{self.title}'s report {self._reports}, which took {_REPORT_SECONDS:g} s\n"
        return self._later(request, _REPORT_SECONDS, text.encode())

    def stream(self, request: Any) -> bytes | int:
        size = _number(request)
        if size is None or size > MAX_BYTES:
            return _refuse(request, f"/bytes/N: N goes up to {MAX_BYTES}")
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"content-length", b"%d" % size)
        if request.method == b"HEAD":
            return b""
        _Bytes(request, size)
        return NOT_DONE_YET

    def events(self, request: Any) -> int:
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        _Events(self._reactor, request, self.title)
        return NOT_DONE_YET

    def upload(self, request: Any) -> bytes:
        if request.method not in {b"POST", b"PUT"}:
            request.setResponseCode(405)
            request.setHeader(b"allow", b"POST, PUT")
            return b"POST a body.\n"
        return _json(
            request,
            origin=self.title,
            length=request.body_size,
            sha256=request.body_hash.hexdigest(),
        )

    def status(self, request: Any) -> bytes:
        status = _number(request)
        if status is None or not 200 <= status <= 599:
            return _refuse(request, "/status/NNN: NNN goes from 200 to 599")
        request.setResponseCode(status)
        return f"{self.title} says {status}\n".encode()

    def away(self, request: Any) -> bytes:
        seconds = _seconds(request, b"10")
        if seconds is None:
            return _refuse(request, f"seconds goes from 0 to {MAX_SECONDS:.0f}")
        if self._return is None:
            # The answer is to get out first.
            self._return = self._reactor.callLater(_BEFORE_LEAVING, self._leave, seconds)
        return f"{self.title} is gone for {seconds:g} s\n".encode()

    def _leave(self, seconds: float) -> None:
        self._return = self._reactor.callLater(seconds, self._come_back)
        self._here = False
        self._close()

    def _come_back(self) -> None:
        self._return = None
        self._open()

    def redirect(self, request: Any) -> bytes:
        request.setResponseCode(302)
        request.setHeader(b"location", f"http://{self.address}/headers".encode())
        return b""

    def static(self, request: Any) -> bytes | int:
        if request.postpath != [b"demo.css"]:
            request.setResponseCode(404)
            return b"There is only demo.css.\n"
        request.setHeader(b"content-type", b"text/css")
        request.setHeader(b"cache-control", b"public, max-age=60")
        caching = request.setETag(b'"%s"' % hashlib.sha256(CSS).hexdigest()[:16].encode())
        return b"" if caching else CSS


@implementer(IPullProducer)
class _Bytes:
    """Writes ``size`` bytes as fast as they are taken."""

    def __init__(self, request: Any, size: int) -> None:
        self._request = request
        self._left = size
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        piece = _PIECE[: self._left]
        self._left -= len(piece)
        self._request.write(piece)
        if not self._left:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        self._left = 0


@implementer(IPushProducer)
class _Events:
    """One event a second for as long as the client listens; those it can not take are skipped."""

    def __init__(self, reactor: Any, request: Any, name: str) -> None:
        self._request = request
        self._name = name
        self._count = 0
        self._paused = False
        self._clock = LoopingCall(self._tick)
        self._clock.clock = reactor
        request.notifyFinish().addBoth(lambda _: self._clock.stop())
        request.registerProducer(self, True)
        self._clock.start(1.0)

    def _tick(self) -> None:
        self._count += 1
        if not self._paused:
            text = f"id: {self._count}\ndata: {self._name} {self._count}\n\n"
            self._request.write(text.encode())

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        self._paused = True


def _fields(request: Any) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]


def _json(request: Any, **content: Any) -> bytes:
    request.setHeader(b"content-type", b"application/json")
    return json.dumps(content, indent=1).encode() + b"\n"


def _number(request: Any) -> int | None:
    """The number after the resource's own path, when there is exactly one of few digits."""
    (digits,) = request.postpath if len(request.postpath) == 1 else (b"",)
    return int(digits) if digits.isdigit() and len(digits) < 12 else None


def _seconds(request: Any, default: bytes) -> float | None:
    """The query parameter ``seconds``, when it is one that an origin would wait."""
    try:
        seconds = float(request.args.get(b"seconds", [default])[0])
    except ValueError:
        return None
    return seconds if 0 <= seconds <= MAX_SECONDS else None


def _refuse(request: Any, text: str) -> bytes:
    request.setResponseCode(400)
    return f"{text}\n".encode()


class Origins(MultiService):
    """Those of the demonstration: its children are :class:`Origin`."""

    def bind(self, beside: bool = False) -> None:
        """As :meth:`Origin.bind`."""
        for origin in self:
            origin.bind(beside)

    def retire(self) -> Deferred[Any]:
        """As :meth:`Origin.retire`."""
        return DeferredList([origin.retire() for origin in self])


def demo_service(reactor: Any, ports: tuple[int, int] = PORTS) -> Origins:
    """Both origins, the second one slow now and then."""
    service = Origins()
    for name, port, slow in zip(NAMES, ports, (False, True), strict=True):
        Origin(reactor, name, port, slow).setServiceParent(service)
    return service


def service_for(config: Any, reactor: Any = None) -> Origins | None:
    """The origins, when ``config`` has them as the backends of a pool ``demo``; else None.

    ``config`` is a :class:`txrproxy.config.schema.Config`.
    """
    pool = config.pools.get("demo")
    wanted = sorted(f"http://{HOST}:{port}" for port in PORTS)
    if pool is None or sorted(str(backend.url) for backend in pool.backends) != wanted:
        return None
    if reactor is None:
        from twisted.internet import reactor
    return demo_service(reactor, PORTS)


def banner(config: Any) -> str:
    """URLs to try, on the first TCP listener of ``config``, and the first for https.

    Empty when there is no TCP listener.
    """
    plain, secure = _first(config, tls=False), _first(config, tls=True)
    if not plain:
        return listing(secure) if secure else ""
    return listing(plain) + (
        f"  {secure}/    the same with a certificate of its own\n" if secure else ""
    )


def _first(config: Any, *, tls: bool) -> str:
    """The URL of the first TCP address that speaks TLS, or does not; empty without one."""
    for listener in config.listeners.values():
        for bind in listener.bind:
            if bind.kind == "tcp" and (listener.tls is not None) == tls:
                host = {"0.0.0.0": HOST, "::": "[::1]"}.get(bind.host, bind.host)
                host = f"[{host}]" if ":" in host and host[0] != "[" else host
                return f"{'https' if tls else 'http'}://{host}:{bind.port}"
    return ""


def main() -> None:
    from twisted.internet import reactor

    service = demo_service(reactor)
    service.startService()
    loop: Any = reactor
    loop.addSystemEventTrigger("before", "shutdown", service.stopService)
    print("".join(listing(f"http://{HOST}:{port}") for port in PORTS), flush=True)
    loop.run()


if __name__ == "__main__":
    main()

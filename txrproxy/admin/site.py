"""The admin server: a small ``twisted.web`` site that finds operations, asks, and answers in JSON.

Whoever asks is judged first (:mod:`txrproxy.admin.guard`), on every path, so that strangers learn
nothing of what there is. All that a request may make this hold is bounded: :data:`MAX_BODY` bytes
of a body, :data:`MAX_CONNECTIONS` connections, a minute of silence. When there are so many, the one
that has been open longest without a whole request gives way, so that probes are always answered.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from txrproxy.admin.guard import Denied, Guard
from txrproxy.admin.operations import OPERATIONS, Asked, Operation
from txrproxy.admin.schemas import Invalid, check, read
from txrproxy.admin.steward import Steward, Unknown
from txrproxy.transport.channel import Refused

MAX_BODY = 64 * 1024
MAX_CONNECTIONS = 200
_DISCARDED = 1024 * 1024  # bytes of a body that is too large, read so that the answer arrives
_IDLE = 60.0  # seconds
_MAX_QUERY = 64  # parameters

_logger = Logger()


class AdminSite(Site):
    """For ``listenTCP`` and the like. ``guard`` may be replaced at any time."""

    noisy = False

    def __init__(self, steward: Steward, guard: Guard, reactor: Any = None) -> None:
        super().__init__(
            _Operations(self, steward),
            requestFactory=_Request,
            timeout=_IDLE,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        # Not by way of Twisted's choice between HTTP/1.1 and HTTP/2.
        vars(self)["protocol"] = _Channel
        self.guard = guard
        self._open: dict[Any, None] = {}  # in order

    def startFactory(self) -> None:
        """Without what the base does: it would open a log of its own."""

    def stopFactory(self) -> None:
        """The same."""

    def log(self, request: Any) -> None:
        """The access log is for what the proxy carries."""

    def buildProtocol(self, addr: Any) -> Any:
        if len(self._open) >= MAX_CONNECTIONS:
            longest = next((channel for channel in self._open if not channel.working), None)
            if longest is None:
                return None
            del self._open[longest]
            longest.transport.abortConnection()
        channel: Any = super().buildProtocol(addr)
        channel.others = self._open
        self._open[channel] = None
        return channel

    def close_connections(self) -> None:
        """End those that are open."""
        for channel in list(self._open):
            channel.loseConnection()


class _Channel(HTTPChannel):
    """HTTP/1.1 alone."""

    others: dict[Any, None]
    working = False  # a whole request has not been answered

    def requestDone(self, request: Any) -> None:
        self.working = False
        super().requestDone(request)

    def connectionLost(self, reason: Any = None) -> None:
        self.others.pop(self, None)
        super().connectionLost(reason)


class _Request(Request):
    """Holds no more of a body than may be; more than that ends the connection."""

    received = 0
    _hung_up = False

    def process(self) -> None:
        channel: Any = self.channel
        channel.working = True
        super().process()

    def gotLength(self, length: int | None) -> None:
        super().gotLength(None if length is None else min(length, MAX_BODY))
        if length is not None and length > _DISCARDED:
            self._hang_up()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received <= MAX_BODY:
            super().handleContentChunk(data)
        elif self.received > _DISCARDED:
            self._hang_up()

    def _hang_up(self) -> None:
        channel: Any = self.channel
        if channel is not None and not self._hung_up:
            self._hung_up = True
            body = json.dumps(_TOO_LARGE).encode()
            channel.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            channel.transport.loseConnection()


_TOO_LARGE = {"error": f"the body is too large; allowed are {MAX_BODY} bytes"}


class _NotFound(Exception):
    pass


class _WrongMethod(Exception):
    def __init__(self, methods: list[str]) -> None:
        super().__init__()
        self.methods = methods


class _Status(Exception):
    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__()
        self.status, self.body = status, body


class _Operations(Resource):
    isLeaf = True

    def __init__(self, site: AdminSite, steward: Steward) -> None:
        super().__init__()
        self._site = site
        self._steward = steward

    def render(self, request: Any) -> int:
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        done = maybeDeferred(self._serve, request)
        done.addCallbacks(
            lambda answer: None if gone else _answer(request, *answer),
            lambda failure: None if gone else _answer(request, *_failed(request, failure)),
        )
        done.addErrback(lambda failure: _logger.failure("answering failed", failure))
        return NOT_DONE_YET

    async def _serve(self, request: Any) -> tuple[int, Any]:
        self._judge(request)
        words = _words(request.path)
        rows = {row.method: (row, parts) for row, parts in _find(words)}
        method = "GET" if request.method == b"HEAD" else request.method.decode("latin-1")
        row, parts = rows.get(method, (None, {}))
        if row is None or not row.open:
            self._site.guard.bearer(request.requestHeaders.getRawHeaders(b"authorization", []))
        if row is None:
            if rows:
                raise _WrongMethod(sorted(rows))
            raise _NotFound
        asked = Asked(
            self._steward,
            parts,
            read(_query(request.uri), row.query),
            _body(request, row),
            request.getHeader("accept") or "",
        )
        result = await maybeDeferred(row.call, asked)
        status = 503 if row.name == "readyz" and not result["ready"] else 200
        return status, result

    def _judge(self, request: Any) -> None:
        headers = request.requestHeaders
        hosts = [value.decode("latin-1") for value in headers.getRawHeaders(b"host", [])]
        self._site.guard.host(hosts)
        origins = [value.decode("latin-1") for value in headers.getRawHeaders(b"origin", [])]
        sites = [value.decode("latin-1") for value in headers.getRawHeaders(b"sec-fetch-site", [])]
        self._site.guard.origin(origins, sites, hosts[0] if hosts else "")


def _words(path: bytes) -> list[str]:
    """The parts of a path between its slashes, decoded one by one."""
    try:
        return [unquote_to_bytes(word).decode() for word in path.split(b"/")[1:]]
    except UnicodeDecodeError:
        raise _NotFound from None


_TEMPLATES = [(row.path.split("/")[1:], row) for row in OPERATIONS]


def _find(words: list[str]) -> list[tuple[Operation, dict[str, str]]]:
    """The rows of a path, with what stands in the place of their names."""
    found = []
    for template, row in _TEMPLATES:
        if len(template) != len(words):
            continue
        parts = {}
        for name, word in zip(template, words, strict=True):
            if name.startswith("{"):
                parts[name[1:-1]] = word
            elif name != word:
                break
        else:
            found.append((row, parts))
    return found


def _query(uri: bytes) -> dict[str, str]:
    text = uri.partition(b"?")[2].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY)
    except ValueError as error:
        raise Invalid("the query can not be read; expected NAME=VALUE in UTF-8") from error
    words = dict(pairs)
    if len(words) != len(pairs):
        raise Invalid("a parameter is there twice; expected each once")
    return words


def _body(request: Any, row: Operation) -> dict[str, Any]:
    if request.received > MAX_BODY:
        raise _Status(413, _TOO_LARGE)
    if row.body is None:
        if request.received:
            raise Invalid("this operation takes no body")
        return {}
    kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _Status(415, {"error": "expected Content-Type: application/json"})
    try:
        value = json.loads(request.content.read(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid("the body is no JSON") from error
    check(value, row.body)
    found: dict[str, Any] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _failed(request: Any, failure: Failure) -> tuple[int, Any]:
    error: Any = failure.value
    if isinstance(error, Denied):
        if error.status == 401:
            request.setHeader("www-authenticate", 'Bearer realm="txrproxy"')
        return error.status, {"error": error.why}
    if isinstance(error, _NotFound):
        paths = sorted({row.path for row in OPERATIONS})
        return 404, {"error": "there is nothing at this path", "allowed": paths}
    if isinstance(error, _WrongMethod):
        request.setHeader("allow", ", ".join(error.methods))
        return 405, {
            "error": f"this method is not offered here; allowed: {', '.join(error.methods)}",
            "allowed": error.methods,
        }
    if isinstance(error, _Status):
        return error.status, error.body
    if isinstance(error, Invalid):
        return 400, {"error": str(error)}
    if isinstance(error, Unknown):
        return 404, {"error": str(error), "allowed": error.known}
    if isinstance(error, Refused):
        return 409, {"error": str(error)}
    _logger.failure("the admin server failed", failure)
    return 500, {"error": "an internal error; the log tells more"}


def _answer(request: Any, status: int, value: Any) -> None:
    content_type = "application/json"
    if isinstance(value, tuple):
        body, content_type = value
    else:
        body = json.dumps(value, indent=1).encode() + b"\n"
    request.setResponseCode(status)
    for name, text in (
        ("server", "txrproxy"),
        ("content-type", content_type),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ):
        request.setHeader(name, text)
    if request.method != b"HEAD":
        request.write(body)
    request.finish()

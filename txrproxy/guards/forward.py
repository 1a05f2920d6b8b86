"""Another server is asked about each request, and its answer decides.

It gets a GET that describes the request. 2xx lets it pass, and the fields that are copied from the
answer are this server's alone to set. 3xx and 4xx are the answer to the client: a redirect to a
login page, a challenge. Anything else is no answer, and without one nobody passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen
from twisted.logger import Logger

from txrproxy.balance.pool import Pool
from txrproxy.errors import AUTH_DENIED, AUTH_UNAVAILABLE, Reason
from txrproxy.exchange import Exchange
from txrproxy.guards.passwords import told
from txrproxy.guards.subrequest import Answer, Server, Subrequest
from txrproxy.http.fields import Line
from txrproxy.http.forward import ResponseRules
from txrproxy.http.public import PublicAddress, public_lines
from txrproxy.routing.plan import Serve

_logger = Logger()

# For an answer that goes to the client.
_RULES = ResponseRules((b"server", b"x-powered-by", b"via"))


def description(exchange: Exchange, send: Sequence[bytes]) -> bytes:
    """The header lines that describe a request, with the fields of it named in ``send``."""
    head = exchange.head
    scheme = _scheme(exchange)
    lines = [line[2] for line in head.fields.lines if line[0] in send]
    lines += [
        b"X-Forwarded-Method: %b\r\n" % head.method,
        b"X-Forwarded-Proto: %b\r\n" % scheme,
        b"X-Forwarded-Host: %b\r\n" % head.authority,
        b"X-Forwarded-Uri: %b\r\n" % head.target.origin,
        b"X-Forwarded-For: %b\r\n" % exchange.client,
        b"X-Request-Id: %b\r\n" % exchange.request_id,
    ]
    return b"".join(lines)


def _scheme(exchange: Exchange) -> bytes:
    return b"https" if exchange.secure else b"http"


class _State:
    """Whether the server was there the last time, so that a change is logged and no more."""

    __slots__ = ("fails", "server")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.fails = False

    def seen(self, failure: str) -> None:
        if failure and not self.fails:
            _logger.error(
                "forward_auth: no answer from {server} ({why}); requests are refused",
                server=self.server.host.decode("ascii", "replace"),
                why=failure,
            )
        elif self.fails and not failure:
            _logger.info(
                "forward_auth: {server} answers again",
                server=self.server.host.decode("ascii", "replace"),
            )
        self.fails = bool(failure)


@frozen
class Passed:
    """What becomes of the fields of an answer that lets a request pass, by lower-case names.

    ``copy`` go to the backend, ``to_client`` to the client; ``user`` has the name for the log.
    """

    copy: Sequence[bytes]
    to_client: Sequence[bytes]
    user: bytes


def forward_auth(
    server: Server, pool: Pool, passed: Passed, send: Sequence[bytes], next: Serve
) -> Serve:
    """Only requests that ``server`` lets pass.

    ``pool`` is the one of the server, whose addresses clients do not get to see; ``send`` are
    lower-case names.
    """
    state = _State(server)

    def public(exchange: Exchange, lines: Iterable[Line]) -> list[Line]:
        head = exchange.head
        scheme = _scheme(exchange)
        address = PublicAddress(scheme, head.authority, head.host, pool.own, pool.own_hosts)
        return public_lines(lines, address)

    def judge(exchange: Exchange, answer: Answer | None, reason: Reason | None) -> None:
        status = answer.head.status if answer is not None else 0
        if answer is not None and 200 <= status < 300:
            state.seen("")
            fields = answer.head.fields
            lines = [line for line in fields.lines if line[0] in passed.copy]
            exchange.sent = told(exchange.sent, lines)
            exchange.user = fields.first(passed.user) or exchange.user
            if passed.to_client:
                lines = [line for line in fields.lines if line[0] in passed.to_client]
                exchange.added = (*exchange.added, *public(exchange, lines))
            next(exchange)
        elif answer is not None and 300 <= status < 500 and status != 304 and answer.whole:
            state.seen("")
            lines = [
                line
                for line in public(exchange, _RULES.block(answer.head).lines)
                if line[0] != b"content-length"
            ]
            exchange.reply(status, lines, answer.body, AUTH_DENIED)
        else:
            state.seen(reason.name if reason is not None else f"status {status}")
            exchange.fail(AUTH_UNAVAILABLE)

    def serve(exchange: Exchange) -> None:
        def done(answer: Answer | None, reason: Reason | None) -> None:
            exchange.go_on(lambda exchange: judge(exchange, answer, reason))

        request = Subrequest(server, description(exchange, send), done)
        exchange.at_end = (*exchange.at_end, lambda _: request.cancel())
        exchange.hold()
        request.start()

    return serve

"""What a route does with a request, besides sending it to a pool: the ``serve`` of its plan."""

from __future__ import annotations

from collections.abc import Iterable

from txrproxy.errors import BAD_HOST, REDIRECTED, RESPONDED
from txrproxy.exchange import Exchange
from txrproxy.http.fields import Line, make_line
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Plan, Serve
from txrproxy.routing.redirect import Template
from txrproxy.routing.tree import Tree

proxy = Exchange.proxy


def redirect(template: Template, status: int, conditions: Conditions) -> Serve:
    """Send the client elsewhere; ``conditions`` say what ``{path}`` stands for."""

    def serve(exchange: Exchange) -> None:
        head = exchange.head
        target = head.target
        if template.asks_host and not head.host:
            exchange.fail(BAD_HOST)  # a path alone would lead the client back here
            return
        location = template.expand(
            scheme=b"https" if exchange.secure else b"http",
            host=head.host,
            path=conditions.wildcard(head.path, target.path),
            raw_path=target.path,
            query=target.query,
        )
        exchange.reply(status, [make_line(b"Location", location)], b"", REDIRECTED)

    return serve


def to_https(template: Template, conditions: Conditions, tree: Tree[Plan]) -> Serve:
    """Send the client to https, unless a trusted proxy says that it comes from there."""
    elsewhere = redirect(template, 308, conditions)

    def serve(exchange: Exchange) -> None:
        if exchange.secure:
            exchange.take(tree)
        else:
            elsewhere(exchange)

    return serve


def respond(status: int, body: bytes, lines: Iterable[Line]) -> Serve:
    """Answer with what the configuration says."""
    own = list(lines)
    if body and not any(line[0] == b"content-type" for line in own):
        own.append(make_line(b"Content-Type", b"text/plain; charset=utf-8"))

    def serve(exchange: Exchange) -> None:
        exchange.reply(status, own, body, RESPONDED)

    return serve

"""Filters that decide at once: who may come, how many at a time, how often, and from which pages.

Each function makes a filter of what was settled beforehand and of what comes ``next``.
"""

from __future__ import annotations

from txrproxy.errors import (
    CORS_REFUSED,
    FORBIDDEN,
    PREFLIGHT,
    RATE_LIMITED,
    TOO_MANY_CONNECTIONS,
)
from txrproxy.exchange import Exchange
from txrproxy.filters.access import Access
from txrproxy.filters.concurrency import ConcurrencyLimit
from txrproxy.filters.cors import Cors
from txrproxy.filters.keys import Key
from txrproxy.filters.rate import RateLimit, refusal
from txrproxy.routing.plan import Serve


def access(rules: Access, next: Serve) -> Serve:
    """Only clients that are admitted."""
    admits = rules.admits

    def serve(exchange: Exchange) -> None:
        if admits(exchange.client):
            next(exchange)
        else:
            exchange.fail(FORBIDDEN)

    return serve


def connection_limit(limit: ConcurrencyLimit, key: Key, next: Serve) -> Serve:
    """Only so many exchanges of one key at a time; a tunnel is one until it ends."""

    def serve(exchange: Exchange) -> None:
        entered = key(exchange)
        if not limit.enter(entered):
            exchange.fail(TOO_MANY_CONNECTIONS)
            return
        exchange.at_end = (*exchange.at_end, lambda _: limit.leave(entered))
        next(exchange)

    return serve


def rate_limit(limit: RateLimit, key: Key, next: Serve, *, told: bool = False) -> Serve:
    """Only so many requests of one key in a time. ``told``: every response says how many."""
    take, policy = limit.take, limit.policy_line

    def serve(exchange: Exchange) -> None:
        counted = key(exchange)
        wait = take(counted, exchange.started)
        if wait:
            exchange.added = (*exchange.added, policy, *refusal(wait))
            exchange.fail(RATE_LIMITED)
            return
        if told:
            exchange.added = (*exchange.added, policy, limit.state(counted, exchange.started))
        next(exchange)

    return serve


def cors(rules: Cors, next: Serve) -> Serve:
    """Preflight requests are answered."""

    def serve(exchange: Exchange) -> None:
        if not _is_preflight(exchange):
            next(exchange)
            return
        fields = exchange.head.fields
        lines = rules.preflight(
            _origin(exchange),
            fields.first(b"access-control-request-method"),
            fields.all(b"access-control-request-headers"),
        )
        if lines is None:
            exchange.added = (*exchange.added, *rules.lines(b""))
            exchange.fail(CORS_REFUSED)
        else:
            exchange.reply(204, lines, b"", PREFLIGHT)

    return serve


def cors_fields(rules: Cors, next: Serve) -> Serve:
    """Other responses say what a page may do with them.

    This comes before all other filters: a page that was refused is to learn why (Retry-After).
    """

    def serve(exchange: Exchange) -> None:
        if not _is_preflight(exchange):
            exchange.added = (*exchange.added, *rules.lines(_origin(exchange)))
        next(exchange)

    return serve


def _is_preflight(exchange: Exchange) -> bool:
    head = exchange.head
    return (
        head.method == b"OPTIONS"
        and _origin(exchange) != b""
        and head.fields.first(b"access-control-request-method") != b""
    )


def _origin(exchange: Exchange) -> bytes:
    """The one that the request names."""
    origins = exchange.head.fields.all(b"origin")
    return origins[0] if len(origins) == 1 else b""

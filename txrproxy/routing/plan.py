"""A plan: all that is settled about a route before a byte of a request flows.

``config/build.py`` makes one for each route, and an exchange follows it. Whatever the configuration
decides is a value or a bound callable here, so that nothing is decided again per request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from txrproxy.http.forward import RequestRules, ResponseRules

# What an exchange is to do: a function of the exchange.
Serve = Callable[[Any], None]


@define(eq=False, kw_only=True)
class Plan:
    """How requests of one route are served.

    ``serve(exchange)`` does it. ``body_limit`` is in bytes, None for no limit. ``pool`` is
    the backend pool, or ``split(exchange)`` the one whose turn it is, of ``pools``. ``rewrite``
    changes the raw target sent on; ``mount`` is the prefix it takes off, which ``Location`` gets
    back. The queues are deadlines (:mod:`txrproxy.transport.deadlines`), ``connect`` is in seconds.
    ``total`` bounds all tries of one request together, None for no bound.
    """

    name: bytes
    serve: Serve
    trusted_rules: RequestRules
    rules: RequestRules
    response_rules: ResponseRules
    takes_connect: bool = False
    body_limit: int | None = None
    websocket: bool = True
    rewrite: Callable[[bytes], bytes] | None = None
    mount: bytes = b""
    pool: Any = None
    split: Callable[[Any], Any] | None = None
    pools: tuple[Any, ...] = ()
    connect: float = 2.0
    first_byte: Any = None
    idle: Any = None
    queue: Any = None
    total: Any = None
    tunnel_idle: Any = None

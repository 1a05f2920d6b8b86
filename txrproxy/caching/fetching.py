"""One request to a pool for what a cache is to keep: for a client's exchange, or for nobody's.

It goes the way of every request (:mod:`txrproxy.forwarding`), and what comes of it is told to the
route's cache (:mod:`txrproxy.caching`), which decides. The client's exchange waits meanwhile, and
may leave: who else waits for the same response gets it all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from txrproxy.cache.collapse import Flight
from txrproxy.cache.policy import Demand, Reuse
from txrproxy.cache.reading import Copy
from txrproxy.cache.stored import Stored
from txrproxy.errors import INTERNAL, Reason
from txrproxy.forwarding import Forwarding
from txrproxy.http.fields import Fields
from txrproxy.http.head import RequestHead, ResponseHead

_logger = Logger()


class Asked:
    """What a client's request means to the cache: its ``demand``, its ``key`` and ``url``.

    ``copy`` is what is stored for it, to be validated, with ``use`` saying why; ``fwd`` is the
    reason to ask a backend, for Cache-Status. ``mark`` is the store's when it was asked. ``looked``
    is a time before it was looked for (monotonic, as the site's). ``rounds`` counts how often it
    has waited for another's response. ``part`` is what is stored of the whole.
    """

    __slots__ = ("copy", "demand", "fwd", "key", "looked", "mark", "part", "rounds", "url", "use")

    def __init__(self, demand: Demand, key: bytes, url: bytes) -> None:
        self.demand = demand
        self.key = key
        self.url = url
        self.copy: Copy | None = None
        self.part: Copy | None = None
        self.use: Reuse | None = None
        self.fwd = b"uri-miss"
        self.looked = 0.0
        self.mark = 0
        self.rounds = 0

    @property
    def group(self) -> bytes:
        """Those who may wait for each other.

        What is asked with credentials is seldom for others, so nobody without waits for it.
        """
        return self.key + b"\nauthorized" if self.demand.authorized else self.key

    def close(self) -> None:
        """Let go of the copies."""
        for copy in (self.copy, self.part):
            if copy is not None:
                copy.close()
        self.copy = self.part = None


class Fetch(Forwarding):
    """``exchange`` is whose it is, None once nobody waits. ``head`` is what is asked.

    ``conditional`` says that ``head`` has our preconditions in place of the client's.
    """

    _body_ended = True  # what has a body is not for a cache
    settled: Callable[[Stored | None], None] | None = None  # told when it is stored, or will not be

    def __init__(
        self,
        outcome: Any,
        exchange: Any,
        asked: Asked,
        head: RequestHead,
        flight: Flight,
        conditional: bool,
    ) -> None:
        self.site = exchange.site
        self.downstream = exchange.downstream
        self.client = exchange.client
        self.request_id = exchange.request_id
        self.plan = exchange.plan
        self.sent = exchange.sent
        self.head = head
        self.outcome = outcome
        self.exchange: Any = exchange
        self.asked = asked
        self.flight = flight
        self.conditional = conditional
        self.requested = 0.0  # when it was sent, seconds since the epoch
        self.stored: Stored | None = None  # what is being filled

    def __repr__(self) -> str:
        return f"<Fetch of {self.asked.url!r}>"

    def start(self) -> None:
        """Ask a backend."""
        if self.exchange is not None:
            self.exchange.upstream = self
        self.requested = self.site.wall()
        self.flight.began = self.site.seconds()
        self.forward()

    # What the client's exchange asks of what it takes for its upstream connection.

    def pause(self) -> None:
        """Nothing of a response has gone to it yet."""

    def resume(self) -> None:
        """The same."""

    def abandon(self) -> None:
        """Its client has left."""
        self.exchange = None
        if not self.flight.wanted:
            self.over = True
            self._drop_upstream()
            self._settle()
            self.asked.close()
            self.flight.fail()

    def leave(self) -> Any:
        """The exchange, which goes on without this from now on; None if there is none."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.upstream = None
            exchange.learn(self)
        return exchange

    # What a connection to a backend tells.

    def on_informational(self, head: ResponseHead) -> None:
        """1xx."""
        if self.exchange is not None:
            self.exchange.on_informational(head)

    def on_response(self, head: ResponseHead, length: int, content: bytes, ended: bool) -> None:
        """The final head has arrived, with the beginning of the body or all of it."""
        now = self.site.seconds()
        self.first_byte = first_byte = now - self._attempt_at
        if ended:
            self.upstream = None
        if self.pool.watched and self._judge(head.status, first_byte, now):
            return
        self.status = head.status
        self._settle()
        exchange = self.exchange
        try:
            self.outcome.on_response(self, head, length, content, ended)
        except Exception:
            _logger.failure("{fetch!r} failed", fetch=self)
            self.exchange = None
            self.drop()
            self.flight.fail()
            if exchange is not None and not exchange.over:
                exchange.on_fault()

    def on_response_body(self, content: bytes, ended: bool, trailers: Fields) -> None:
        """More of the body that is being filled."""
        if ended:
            self._completed()
        self.write(content, ended)

    def write(self, content: bytes, ended: bool) -> None:
        """Fill in more of the body."""
        flight = self.flight
        if not flight.write(content) and self.upstream is not None:
            self.upstream.pause()
        if ended:
            self.over = True
            flight.end(self.settled)
        elif not flight.wanted and self.upstream is not None:
            self._drop_upstream()  # it is not stored, and nobody reads along any more
            self.over = True
            flight.fail()

    def go_on(self) -> None:
        """There is room for more of the body."""
        if self.upstream is not None:
            self.upstream.resume()

    def drop(self) -> None:
        """The rest of the response is of no use."""
        self.over = True
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()

    def pause_request(self) -> None:
        """The backend does not take the head; there is nothing to hold back."""

    def resume_request(self) -> None:
        """It does."""

    def fail(self, reason: Reason) -> None:
        """There will be no response."""
        if self.stored is not None:
            self.cut(reason)
        elif not self.over:
            self.over = True
            self._settle()
            self.outcome.on_failure(self, reason)

    def cut(self, reason: Reason) -> None:
        """It ended in the middle: not stored, and whoever read along can tell."""
        self.over = True
        self.flight.fail()

    def on_fault(self) -> None:
        """The proxy itself failed."""
        self._drop_upstream()
        self.fail(INTERNAL)

    def _settle(self) -> None:
        if self.plan.total is not None:
            self.plan.total.stop(self)

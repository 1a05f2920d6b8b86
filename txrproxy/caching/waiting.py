"""Requests that wait: for the response to another one, or for leave to ask a backend.

Each stands where its exchange expects a way to a backend, so that a client may leave meanwhile.
What happens when the wait is over is up to the route's cache (:mod:`txrproxy.caching`).
"""

from __future__ import annotations

from typing import Any

from txrproxy.cache.collapse import Flight
from txrproxy.cache.stored import Stored
from txrproxy.caching.fetching import Asked
from txrproxy.exchange import Exchange

MAX_ROUNDS = 2  # how often a request waits for another's response before it goes alone


class _InLine:
    """Stands where its exchange expects a connection to a backend."""

    def __init__(self, caching: Any, exchange: Exchange, asked: Asked, flight: Flight) -> None:
        self._caching = caching
        self._exchange: Exchange | None = exchange
        self._asked = asked
        self._flight = flight

    def pause(self) -> None:
        """Nothing of a response has gone to it yet."""

    def resume(self) -> None:
        """The same."""


class Waiting(_InLine):
    """A request that waits for what another one has asked for."""

    # Its exchange's side.

    def abandon(self) -> None:
        """Its client has left."""
        self._exchange = None
        self._flight.detach(self)
        self._asked.close()

    # The flight's side.

    def accepts(self, stored: Stored) -> bool:
        exchange = self._exchange
        return exchange is not None and self._caching.accepts(
            exchange, self._asked, self._flight, stored
        )

    def on_shared(self, reader: Any) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            reader.close()
        else:
            exchange.go_on(lambda exchange: self._caching.shared(exchange, self._asked, reader))

    def on_alone(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            asked, flight = self._asked, self._flight
            if flight.stored is None and not flight.failed:
                asked.rounds = MAX_ROUNDS  # it has waited long enough
            failure = flight.failure
            renewed = flight.renewed if flight.began > exchange.started else None
            exchange.go_on(lambda exchange: self._caching.again(exchange, asked, failure, renewed))

    def on_data(self) -> None:
        """By then another is its reader's."""


class Leasing(_InLine):
    """A request that waits for leave to ask a backend, which another process may have."""

    def abandon(self) -> None:
        """Its client has left; who else waits asks anew."""
        self._exchange = None
        self._flight.refuse()
        self._asked.close()

    def answered(self, lease: int | None) -> None:
        """The number of the lease, 0 for going on without one; None to look again."""
        flight, exchange, self._exchange = self._flight, self._exchange, None
        flight.lease = lease or 0
        if exchange is None or exchange.over:
            flight.refuse()
        elif lease is None:
            flight.refuse()
            exchange.go_on(lambda exchange: self._caching.again(exchange, self._asked, None))
        else:
            exchange.go_on(lambda exchange: self._caching.leased(exchange, self._asked, flight))

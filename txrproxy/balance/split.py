"""A share of requests for each of several pools: a canary, a move from old to new.

Where all the pools are sticky, a client stays with the pool it came to, as its cookie says. (If
only some were, clients would stay there and everybody would end up with those.) A pool that has no
backend to offer at the moment is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence

from txrproxy.balance.pool import Pool
from txrproxy.balance.select import Cycle
from txrproxy.http.head import RequestHead


class Split:
    """Pools by weight, of which at least one is above 0; one of 0 gets nothing."""

    __slots__ = ("_cycle", "_pools", "_sticky")

    def __init__(self, pools: Sequence[Pool], weights: Sequence[int], start: float = 0.0) -> None:
        self._cycle = Cycle(pools, weights, start)
        self._pools = [pool for pool, weight in zip(pools, weights, strict=True) if weight]
        self._sticky = all(pool.sticky is not None for pool in self._pools)

    def choose(self, head: RequestHead) -> Pool:
        """The pool for a request."""
        if self._sticky:
            lines = head.fields.all(b"cookie")
            if lines:
                for pool in self._pools:
                    if pool.candidates and pool.sticky.find(lines) is not None:
                        return pool
        chosen = self._cycle.next()
        if not chosen.candidates:
            for pool in self._pools:
                if pool.candidates:
                    return pool
        return chosen

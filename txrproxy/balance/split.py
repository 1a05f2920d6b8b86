"""A share of requests for each of several pools: a canary, a move from old to new.

Where all the pools are sticky, a client stays with the pool it came to, as its cookie says. (If
only some were, clients would stay there and everybody would end up with those.)

A pool that has no backend to offer, or none that its checks find well, is passed over. But when the
pools that are well have less than half of the split, they keep to their shares: a canary must not
be crushed by what everybody asks, perhaps only because a check is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from txrproxy.balance.pool import Pool
from txrproxy.balance.select import Cycle
from txrproxy.http.head import RequestHead


class Split:
    """Pools by weight, of which at least one is above 0; one of 0 gets nothing."""

    __slots__ = ("_cycle", "_pools", "_sticky", "_total")

    def __init__(self, pools: Sequence[Pool], weights: Sequence[int], start: float = 0.0) -> None:
        self._cycle = Cycle(pools, weights, start)
        self._pools = {pool: weight for pool, weight in zip(pools, weights, strict=True) if weight}
        self._total = sum(weights)
        self._sticky = all(pool.sticky is not None for pool in self._pools)

    def choose(self, head: RequestHead) -> Pool:
        """The pool for a request."""
        if self._sticky:
            lines = head.fields.all(b"cookie")
            if lines:
                for pool in self._pools:
                    if pool.candidates and pool.sticky.find(lines) is not None:
                        return pool if pool.well else self._instead_of(pool)
        chosen: Pool = self._cycle.next()
        return chosen if chosen.well else self._instead_of(chosen)

    def _instead_of(self, pool: Pool) -> Pool:
        """The largest that is well, if it may be asked for more than its share."""
        pools = self._pools
        well = [other for other in pools if other.well]
        if not well and not pool.candidates:
            well = [other for other in pools if other.candidates]
        elif pool.candidates and 2 * sum(pools[other] for other in well) < self._total:
            return pool
        return max(well, key=pools.__getitem__, default=pool)

"""Balance policies that look at what backends have to do, and how fast they do it.

Load is the requests that a backend has, in line or under way, for each unit of its share. Looking
at all of a thousand backends would cost more than the request, and what is known of load here is
this process's own part of it. So the larger pools are sampled: the better of two random candidates
already keeps the longest queue short (Mitzenmacher, "The power of two choices in randomized load
balancing", 2001), and among many workers it does not send everybody to the same idle backend.

Candidates are drawn by share, and where two are alike the one drawn first is taken: an idle pool is
thus shared out by weight.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Collection, Sequence
from math import exp

from txrproxy.balance.backend import Backend
from txrproxy.balance.select import Sampled

EXACT = 12  # candidates all of which are looked at
SAMPLE = 8  # of more than that
DECAY = 10.0  # seconds in which what is known of a latency fades to a third
UNKNOWN = 1e6  # seconds for each request that a backend has of which no answer was seen yet
PENALTY = 10.0  # a failure counts as that many of the slowest answers, which keeps a backend that
# has nothing to do because it fails at once apart from those that are busy
ASSUMED = 0.1  # seconds of the slowest answer when none was seen yet
MARGIN = 0.8  # of its cost: how much cheaper the second must be


class LeastConnections(Sampled):
    """The least loaded of all candidates, or of :data:`SAMPLE` where they are many."""

    __slots__ = ()

    def select(
        self, tried: Collection[Backend] = (), key: bytes = b"", now: float = 0.0
    ) -> Backend | None:
        """One that was not tried and has room; without one, one that is not closed."""
        candidates, draw, last = self._candidates, self._random, self._last
        best = None
        least = float("inf")
        if last < EXACT:
            alike = 0.0  # the shares of those that are equally loaded: each wins by its own
            for backend in candidates:
                load = (backend.in_use + backend.waiting) / backend.share
                if load > least or not backend.free or backend in tried:
                    continue
                if load < least:
                    least, alike, best = load, backend.share, backend
                else:
                    alike += backend.share
                    if draw() * alike < backend.share:
                        best = backend
        else:
            marks, total = self._marks, self._total
            for _ in range(SAMPLE):
                backend = candidates[bisect(marks, draw() * total, 0, last)]
                load = (backend.in_use + backend.waiting) / backend.share
                if load < least and backend.free and backend not in tried:
                    least, best = load, backend
        return best or self._spare(tried)


class PowerOfTwo(Sampled):
    """The less loaded of two random candidates."""

    __slots__ = ()

    def select(
        self, tried: Collection[Backend] = (), key: bytes = b"", now: float = 0.0
    ) -> Backend | None:
        """One that was not tried and has room; without one, one that is not closed."""
        last = self._last
        if last > 0:
            candidates, marks, total, draw = (
                self._candidates,
                self._marks,
                self._total,
                self._random,
            )
            at = bisect(marks, draw() * total, 0, last)
            other = bisect(marks, draw() * total, 0, last)
            if other == at:  # any other: half of the draws of two alike would compare nothing
                other = int(draw() * last)
                other += other >= at
            first, second = candidates[at], candidates[other]
            if second.free and second not in tried:
                if not first.free or first in tried or self._better(second, first, now):
                    return second
                return first
            if first.free and first not in tried:
                return first
        return self._spare(tried)

    def _better(self, second: Backend, first: Backend, now: float) -> bool:
        return (second.in_use + second.waiting) * first.share < (
            first.in_use + first.waiting
        ) * second.share


class Ewma(PowerOfTwo):
    """The one of two random candidates that is likely to answer sooner.

    The cost of a candidate is its latency, times what it has to do already. Its latency is a moving
    average that follows a slower answer at once, and a faster one within :data:`DECAY` seconds
    (peak EWMA, as in Finagle). It fades while nothing is heard, so that a slow backend is asked
    again some time. A failure counts as a slow answer: one that fails fast must not look good.
    """

    __slots__ = ("_mean", "_slowest")

    def __init__(self, members: Sequence[Backend], rng: random.Random | None = None) -> None:
        self._slowest = 0.0
        super().__init__(members, rng)

    def update(self, candidates: Sequence[Backend]) -> None:
        """These may be chosen from now on, by their present share."""
        super().update(candidates)
        self._mean = self._total / (self._last + 1) if self._candidates else 0.0

    def observe(self, backend: Backend, seconds: float, now: float) -> None:
        """A backend took this long to answer."""
        self._slowest = max(seconds, 0.999 * self._slowest)
        self._learn(backend, seconds, now)

    def failed(self, backend: Backend, now: float) -> None:
        """A request to a backend failed by its fault, however fast."""
        self._learn(backend, PENALTY * (self._slowest or ASSUMED), now)

    def _learn(self, backend: Backend, seconds: float, now: float) -> None:
        known = backend.latency
        if seconds < known:
            kept = exp(min(0.0, backend.latency_at - now) / DECAY)
            seconds += (known - seconds) * kept
        backend.latency = seconds
        backend.latency_at = now

    def _better(self, second: Backend, first: Backend, now: float) -> bool:
        # Latencies are never equal. Without a margin noise would choose, and undo the weights.
        return self._cost(second, now) < MARGIN * self._cost(first, now)

    def _cost(self, backend: Backend, now: float) -> float:
        load = backend.in_use + backend.waiting
        if not backend.latency:
            return load * UNKNOWN
        return (
            backend.latency
            * exp(min(0.0, backend.latency_at - now) / DECAY)
            * (1.0 + load * self._mean / backend.share)
        )

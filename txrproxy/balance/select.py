"""Balance policies that look at shares alone: round robin, and random.

Round robin with weights is smooth, as nginx interleaves (a a b a c a a, not a a a a a b c). A short
cycle is laid out whole when the candidates are settled, so that a choice is an index and a look. A
cycle that would be long (a thousand backends of different weights) is not laid out at all: each
backend has its next turn at a time of its own, one share apart, and the earliest is the next to go
(earliest deadline first). Both begin anywhere, for candidates are settled often and the first of
them must not be the first each time.

Every policy passes over backends that were tried or have no room. That takes a few looks as a rule,
and one pass over the candidates, by :func:`spare`, at most.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Collection, Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from typing import Generic, TypeVar

from txrproxy.balance.backend import Backend

T = TypeVar("T")

MAX_CYCLE = 10_000  # turns; weights that need a longer cycle are rounded to fit
STEPS_LAID_OUT = 10_000  # candidates times turns: a millisecond or so of laying out
LOOKS = 8  # before a policy looks at all candidates in turn


def interleave(weights: Sequence[int]) -> list[int]:
    """One cycle of smooth weighted round robin: indices, each as often as its weight says.

    Each turn every candidate gains its weight, the highest is taken and pays the sum; equal
    highest, the first. Weights of 0 are never taken.
    """
    total = sum(weights)
    if total == 0:
        return []
    divisor = math.gcd(*weights)
    parts = [weight // divisor for weight in weights]
    if sum(parts) > MAX_CYCLE:
        parts = [max(1, weight * MAX_CYCLE // total) if weight else 0 for weight in weights]
    taken = [index for index, part in enumerate(parts) if part]
    if len({parts[index] for index in taken}) == 1:
        return taken
    total = sum(parts)
    current = [0] * len(parts)
    cycle = []
    for _ in range(total):
        best = taken[0]
        for index in taken:
            current[index] += parts[index]
            if current[index] > current[best]:
                best = index
        current[best] -= total
        cycle.append(best)
    return cycle


class Cycle(Generic[T]):
    """Gives items in turn, by weight. At least one weight must be above 0.

    ``start``, from 0 to below 1, is where in the cycle it begins.
    """

    __slots__ = ("_at", "_turns")

    def __init__(self, items: Sequence[T], weights: Sequence[int], start: float = 0.0) -> None:
        self._turns = tuple(items[index] for index in interleave(weights))
        self._at = int(start * len(self._turns)) - 1

    def next(self) -> T:
        """The item whose turn it is."""
        turns = self._turns
        self._at = at = (self._at + 1) % len(turns)
        return turns[at]

    def __len__(self) -> int:
        return len(self._turns)


class Deadlines(Generic[T]):
    """Gives items in turn, by weight, without a cycle: O(log n) for each, O(n) to make.

    ``phases``, from 0 to below 1, say when in its first interval each item has its first turn.
    """

    __slots__ = ("_due", "_items")

    def __init__(
        self, items: Sequence[T], weights: Sequence[float], phases: Sequence[float]
    ) -> None:
        self._items = items
        self._due = [
            (phase / weight, index, 1 / weight)
            for index, (weight, phase) in enumerate(zip(weights, phases, strict=True))
        ]
        heapify(self._due)

    def next(self) -> T:
        """The item whose turn it is."""
        at, index, interval = self._due[0]
        heapreplace(self._due, (at + interval, index, interval))
        return self._items[index]


def spare(
    candidates: Sequence[Backend], start: int, tried: Collection[Backend] = ()
) -> Backend | None:
    """The first from ``start`` on that was not tried and has room, else the first not closed."""
    full = None
    for at in range(start - len(candidates), start):  # an index below 0 counts from the end
        backend = candidates[at]
        if backend not in tried:
            if backend.free:
                return backend
            if full is None and not backend.closed:
                full = backend
    return full


class RoundRobin:
    """Candidates in turn, by share. ``rng`` says where to begin."""

    __slots__ = ("_candidates", "_next", "_random")

    def __init__(self, members: Sequence[Backend], rng: random.Random | None = None) -> None:
        self._random = (rng or random.Random()).random
        self.update(members)

    def update(self, candidates: Sequence[Backend]) -> None:
        """These may be chosen from now on, by their present share."""
        self._candidates = candidates = [backend for backend in candidates if backend.share > 0]
        weights = [max(1, round(backend.share * 10)) for backend in candidates]
        count = len(candidates)
        cycle = sum(weights) // math.gcd(*weights) if weights else 0
        self._next = (
            Cycle(candidates, weights, self._random()).next
            if count == cycle or count * cycle <= STEPS_LAID_OUT
            else Deadlines(candidates, weights, [self._random() for _ in candidates]).next
        )

    def select(
        self, tried: Collection[Backend] = (), key: bytes = b"", now: float = 0.0
    ) -> Backend | None:
        """The next that was not tried and has room; without one, the next that is not closed."""
        candidates = self._candidates
        if not candidates:
            return None
        take = self._next
        for _ in range(LOOKS):
            backend = take()
            if backend.free and backend not in tried:
                return backend
        return spare(candidates, int(self._random() * len(candidates)), tried)


class Sampled:
    """A policy that draws candidates at random, each as often as its share says.

    ``_marks`` are the running sums of shares: a random number up to the last of them falls into an
    interval that is as wide as a candidate's share.
    """

    __slots__ = ("_candidates", "_last", "_marks", "_random", "_total")

    def __init__(self, members: Sequence[Backend], rng: random.Random | None = None) -> None:
        self._random = (rng or random.Random()).random
        self.update(members)

    def update(self, candidates: Sequence[Backend]) -> None:
        """These may be chosen from now on, by their present share."""
        self._candidates = candidates = [backend for backend in candidates if backend.share > 0]
        self._marks = list(accumulate(backend.share for backend in candidates))
        self._total = self._marks[-1] if candidates else 0.0
        self._last = len(candidates) - 1

    def _spare(self, tried: Collection[Backend]) -> Backend | None:
        candidates = self._candidates
        return spare(candidates, int(self._random() * len(candidates)), tried)


class RandomChoice(Sampled):
    """Any candidate, by share."""

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
            for _ in range(LOOKS):
                backend = candidates[bisect(marks, draw() * total, 0, last)]
                if backend.free and backend not in tried:
                    return backend
        return self._spare(tried)

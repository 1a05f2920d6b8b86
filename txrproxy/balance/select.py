"""Balance policies: which backend takes a request.

Round robin with weights is smooth, as nginx interleaves (a a b a c a a, not a a a a a b c): the
whole cycle is laid out when the pool is built, so that a choice is an index and a look.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

from txrproxy.balance.backend import Backend

T = TypeVar("T")

MAX_CYCLE = 10_000  # turns; weights that need a longer cycle are rounded to fit


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
    """Gives items in turn, by weight. At least one weight must be above 0."""

    __slots__ = ("_at", "_turns")

    def __init__(self, items: Sequence[T], weights: Sequence[int]) -> None:
        self._turns = tuple(items[index] for index in interleave(weights))
        self._at = -1

    def next(self) -> T:
        """The item whose turn it is."""
        turns = self._turns
        self._at = at = (self._at + 1) % len(turns)
        return turns[at]

    def __len__(self) -> int:
        return len(self._turns)


class RoundRobin:
    """Backends in turn, by share; full ones are passed over while another has room."""

    __slots__ = ("_cycle",)

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.update(backends)

    def update(self, candidates: Sequence[Backend]) -> None:
        """These may be chosen from now on."""
        self._cycle = Cycle(candidates, [round(backend.share * 10) for backend in candidates])

    def select(
        self, tried: Collection[Backend] = (), key: bytes = b"", now: float = 0.0
    ) -> Backend | None:
        """A backend that was not tried, or None; one with room comes before one that is full."""
        cycle = self._cycle
        if not len(cycle):
            return None
        backend = cycle.next()
        if not tried and not 0 < backend.max_connections <= backend.in_use:
            return backend
        full = None
        for _ in range(len(cycle)):
            if backend not in tried:
                if not backend.full:
                    return backend
                full = full or backend
            backend = cycle.next()
        return full

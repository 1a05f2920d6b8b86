"""Consistent hashing with bounded loads: a key keeps its backend while it can.

Each member has points on a ring, as many as its weight says and always the same ones for its name;
a key belongs to the first point after its hash. The ring holds all members, whoever may be chosen
at the moment: when one goes, its keys alone move, each to the next point of somebody else, so that
they spread over all who are left; when it comes back, so do they. A change of health changes no
point, only a change of membership or weights does, and then again only the keys at the points that
come or go move. The same names give the same ring in every process and on every machine.

Popular keys would make popular backends: who has :data:`FACTOR` times the average load for its
share passes the key on to the next (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with
bounded loads", 2016). A few requests at a time never count as too many, or an almost idle pool
would lose what hashing is for.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect
from collections.abc import Collection, Sequence
from hashlib import blake2b, shake_128
from struct import unpack

from txrproxy.balance.backend import Backend
from txrproxy.balance.select import spare

POINTS = 160  # of a member of average weight
FACTOR = 1.25
FEW = 4  # requests that a backend may always have
RECOUNT = 8  # choices, or an eighth of the candidates, before the load of all is counted anew

_MEMBER = (1 << 20) - 1  # the low bits of a point say whose it is


def ring(names: Sequence[bytes], weights: Sequence[int]) -> array[int]:
    """The points of all in order, 64 bits each, the index of their owner in the low 20."""
    total = sum(weights)
    heavy = sum(weight > 0 for weight in weights)
    found: list[int] = []
    for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
        if weight:
            count = max(1, round(POINTS * weight * heavy / total))
            # More points of a name begin with its fewer ones.
            points = unpack(f"<{count}Q", shake_128(name).digest(8 * count))
            found += [point & ~_MEMBER | index for point in points]
    found.sort()
    return array("Q", found)


class Hash:
    """The backend to which the request's key belongs. Takes ``rng`` as all policies do, unused."""

    __slots__ = (
        "_candidates",
        "_keeps",
        "_left",
        "_members",
        "_reach",
        "_ring",
        "_shares",
        "_total",
        "_total_share",
        "_weights",
    )

    def __init__(self, members: Sequence[Backend], rng: random.Random | None = None) -> None:
        self._members = tuple(members)
        self._weights: list[int] = []
        self._ring = ring((), ())
        self.update(members)

    def update(self, candidates: Sequence[Backend]) -> None:
        """These may be chosen from now on, by their present share."""
        members = self._members
        weights = [backend.weight for backend in members]
        if weights != self._weights:
            self._weights = weights
            self._ring = ring([backend.name for backend in members], weights)
        self._candidates = candidates = [backend for backend in candidates if backend.share > 0]
        able = set(candidates)
        self._shares = [backend.share if backend in able else 0.0 for backend in members]
        self._total_share = sum(self._shares)
        # How many of 2**20 keys at its points a member takes: all, or a part of them in slow start,
        # which is always the same part; or none.
        self._keeps = [
            int(share / backend.weight * (_MEMBER + 1)) if share else 0
            for share, backend in zip(self._shares, members, strict=True)
        ]
        # With this many steps on the ring some candidate is met, but for one time in thousands.
        reach = 8 * len(members) // len(candidates) + 8 if candidates else 0
        self._reach = min(reach, len(self._ring))
        self._left = 0
        self._total = 0

    def select(
        self, tried: Collection[Backend] = (), key: bytes = b"", now: float = 0.0
    ) -> Backend | None:
        """One that was not tried and has room; without one, one that is not closed."""
        candidates = self._candidates
        if not candidates:
            return None
        if self._left:
            self._left -= 1
            self._total += 1  # what has ended since is noticed with the next count
        else:
            self._left = max(RECOUNT, len(candidates) // RECOUNT)
            self._total = 1 + sum([backend.in_use + backend.waiting for backend in candidates])
        points = self._ring
        mark = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
        at = bisect(points, mark) - len(points)  # an index below 0 counts from the end
        index = points[at] & _MEMBER
        if mark & _MEMBER < self._keeps[index]:
            home = self._members[index]
            load = home.in_use + home.waiting
            if (
                (load < FEW or load < FACTOR * self._total * home.share / self._total_share)
                and home.free
                and home not in tried
            ):
                return home
        return self._next(mark, at, tried)

    def _next(self, mark: int, at: int, tried: Collection[Backend]) -> Backend | None:
        """The first on the ring that takes a key whose home does not."""
        points, members, shares, keeps = self._ring, self._members, self._shares, self._keeps
        bound = FACTOR * self._total / self._total_share
        busy = None
        for step in range(at, at + self._reach):
            index = points[step] & _MEMBER
            share = shares[index]
            if share:
                backend = members[index]
                if backend.free and backend not in tried:
                    load = backend.in_use + backend.waiting
                    if mark & _MEMBER < keeps[index] and (load < FEW or load < bound * share):
                        return backend
                    busy = busy or backend
        return busy or spare(self._candidates, mark % len(self._candidates), tried)

"""Simulated traffic: requests that arrive at random and take what their backend takes."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from txrproxy.balance.backend import Backend


def backends(*weights: int, **settings: Any) -> list[Backend]:
    names = [b"10.0.%d.%d:80" % divmod(index, 256) for index in range(len(weights))]
    return [
        Backend(name, name, weight, **settings) for name, weight in zip(names, weights, strict=True)
    ]


def near(found: float, expected: float, delta: float) -> bool:
    return abs(found - expected) <= delta


def shares(policy: Any, count: int, key: Callable[[int], bytes] = lambda n: b"") -> Counter[bytes]:
    """How often each backend is chosen while all are idle."""
    return Counter(policy.select((), key(n), float(n)).name for n in range(count))


def traffic(
    policy: Any,
    rng: random.Random,
    seconds: Mapping[Backend, float],
    *,
    rate: float,
    count: int,
    fails: Sequence[Backend] = (),
    key: Callable[[int], bytes] = lambda n: b"",
    look: Callable[[], object] = lambda: None,
) -> Counter[Backend]:
    """Who got how many of ``count`` requests, ``rate`` a second.

    ``seconds`` is what a backend takes on average (exponentially distributed); those that
    ``fails`` names fail every request. ``look`` is called at every arrival.
    """
    now = 0.0
    running: list[tuple[float, int, Backend, float]] = []
    chosen: Counter[Backend] = Counter()
    for number in range(count):
        now += rng.expovariate(rate)
        while running and running[0][0] <= now:
            end, _, backend, took = heapq.heappop(running)
            backend.in_use -= 1
            if backend in fails:
                getattr(policy, "failed", lambda backend, now: None)(backend, end)
            elif hasattr(policy, "observe"):
                policy.observe(backend, took, end)
        backend = policy.select((), key(number), now)
        chosen[backend] += 1
        backend.in_use += 1
        took = rng.expovariate(1 / seconds[backend])
        heapq.heappush(running, (now + took, number, backend, took))
        look()
    return chosen

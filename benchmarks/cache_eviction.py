"""Which policy for the cache's tier in memory: hit ratios on made-up traces.

``python benchmarks/cache_eviction.py``. SIEVE is the product's own; the others are here only to be
compared with it. All objects weigh the same. The traces:

- *zipf*: requests for 100,000 objects, the n-th most popular as often as n to the power of -0.9;
- *scan*: the same, and after every 1,000 of them 1,000 for objects that are asked for once;
- *drift*: the same as zipf, but which objects are popular changes bit by bit.
"""

from __future__ import annotations

import random
import sys
from bisect import bisect
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from txrproxy.cache.memory import Memory

OBJECTS = 100_000
REQUESTS = 400_000


class Sieve:
    def __init__(self, size: int) -> None:
        self._memory: Memory[int, bool] = Memory(size)

    def ask(self, key: int) -> bool:
        if self._memory.get(key):
            return True
        self._memory.put(key, True, 1)
        return False


class Lru:
    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[int, None] = OrderedDict()

    def ask(self, key: int) -> bool:
        known = self._known
        if key in known:
            known.move_to_end(key)
            return True
        known[key] = None
        if len(known) > self._size:
            known.popitem(last=False)
        return False


class S3Fifo:
    """Yang and others, SOSP 2023: a small queue to prove oneself in, a main one, and ghosts."""

    def __init__(self, size: int) -> None:
        self._small_size = max(1, size // 10)
        self._main_size = size - self._small_size
        self._small: deque[int] = deque()
        self._main: deque[int] = deque()
        self._uses: dict[int, int] = {}
        self._ghosts: OrderedDict[int, None] = OrderedDict()

    def ask(self, key: int) -> bool:
        uses = self._uses
        if key in uses:
            uses[key] = min(3, uses[key] + 1)
            return True
        if key in self._ghosts:
            del self._ghosts[key]
            self._to_main(key)
        else:
            while len(self._small) >= self._small_size:
                self._from_small()
            self._small.append(key)
            uses[key] = 0
        return False

    def _from_small(self) -> None:
        key = self._small.popleft()
        if self._uses[key] > 0:
            self._to_main(key)
            return
        del self._uses[key]
        self._ghosts[key] = None
        if len(self._ghosts) > self._main_size:
            self._ghosts.popitem(last=False)

    def _to_main(self, key: int) -> None:
        while len(self._main) >= self._main_size:
            old = self._main.popleft()
            if self._uses[old] > 0:
                self._uses[old] -= 1
                self._main.append(old)
            else:
                del self._uses[old]
        self._main.append(key)
        self._uses[key] = 0


def zipf(chance: random.Random, count: int) -> Iterator[int]:
    sums = list(accumulate(n**-0.9 for n in range(1, OBJECTS + 1)))
    for _ in range(count):
        yield bisect(sums, chance.random() * sums[-1])


def scan(chance: random.Random) -> Iterator[int]:
    once = OBJECTS
    for number, key in enumerate(zipf(chance, REQUESTS // 2)):
        yield key
        if not number % 1000:
            yield from range(once, once + 1000)
            once += 1000


def drift(chance: random.Random) -> Iterator[int]:
    for number, key in enumerate(zipf(chance, REQUESTS)):
        yield (key * 7919 + number // 20) % OBJECTS


TRACES: dict[str, Callable[[random.Random], Iterator[int]]] = {
    "zipf": lambda chance: zipf(chance, REQUESTS),
    "scan": scan,
    "drift": drift,
}


def main() -> None:
    print(f"{'trace':8}{'room for':>10}{'LRU':>10}{'S3-FIFO':>10}{'SIEVE':>10}   hits, %")
    for name, trace in TRACES.items():
        keys = list(trace(random.Random(1)))
        for size in (100, 1000, 10_000):
            policies = (Lru(size), S3Fifo(size), Sieve(size))
            ratios = [100 * sum(map(policy.ask, keys)) / len(keys) for policy in policies]
            print(f"{name:8}{size:>10}" + "".join(f"{ratio:>10.1f}" for ratio in ratios))


if __name__ == "__main__":
    main()

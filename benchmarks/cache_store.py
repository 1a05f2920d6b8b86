"""What the cache's store costs, alone: µs of CPU a hit, with few objects and with many.

``python benchmarks/cache_store.py [OBJECTS ...]``; 1,000 and 100,000 by default. Each object has a
body of 1 KiB under its own key. It also times a restart: to the first hit, with and without index,
and until the index agrees with the files. A million objects take 5 GiB of disk, and minutes.

Hits in memory are of as many objects as fit into the tier, with everything in the kernel's memory
that has room there; those on disk are among 500 objects, and among all of them.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from twisted.internet.task import Clock

from txrproxy.cache.index import Index
from txrproxy.cache.jobs import Inline
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import Pending, Store
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import EMPTY
from txrproxy.http.head import parse_response_head

BODY = os.urandom(1024)
HITS = 20_000
ROUNDS = 5


def head(number: int) -> Any:
    return parse_response_head(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: max-age=60\r\n"
        b'Server: origin\r\nETag: "%d"' % number
    )


def key(number: int) -> bytes:
    return b"GET http example.com /page/%d" % number


def no_variant(*_: object) -> bytes:
    return b""


def make(path: str, memory: int, threads: bool = False) -> Store:
    given: dict[str, Any] = {}
    if not threads:
        given = {"owner_thread": Inline(), "reader_threads": Inline()}
    return Store(
        path,
        max_size=64 << 30,
        max_object=1 << 20,
        memory=memory,
        clock=Clock(),
        deliver=lambda function, *arguments: function(*arguments),
        **given,
    )


def put(store: Store, number: int) -> None:
    url = b"http://example.com/page/%d" % number
    filling = store.fill(Stored(key(number), url, head(number), 0, 1.0, 2.0), len(BODY))
    assert filling is not None
    filling.write(BODY)
    filling.commit()


def fill(path: str, count: int) -> float:
    """Seconds of CPU an object."""
    store = make(path, 0)
    store.open()
    while store.owner.step():
        pass
    start = time.process_time()
    for number in range(count):
        put(store, number)
    spent = (time.process_time() - start) / count
    store.close()
    return spent


def each(function: Callable[[bytes], object], keys: list[bytes]) -> float:
    """µs of CPU a call, at best."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for one in keys:
            function(one)
        best = min(best, (time.process_time() - start) / len(keys) * 1e6)
    return best


class Restart:
    """Seconds from the start: to the first ``hit``, until ``storing``, until all is ``indexed``."""

    def __init__(self, path: str) -> None:
        start = time.perf_counter()
        store = make(path, 1 << 20, threads=True)
        store.open()
        there = threading.Event()
        found: list[Copy | None] = []

        def read(copy: Copy | None) -> None:
            found.append(copy)
            there.set()

        first = store.find(key(0), EMPTY, no_variant, read)
        if isinstance(first, Pending):
            there.wait()
            first = found[0]
        assert first is not None
        self.hit = time.perf_counter() - start
        pause = threading.Event()
        while not store.owner.ready or store.owner.counts.stored == 0:
            if store.owner.ready:
                put(store, -1)
            pause.wait(0.01)
        self.storing = time.perf_counter() - start
        while store.owner._walk is not None:
            pause.wait(0.01)
        self.indexed = time.perf_counter() - start
        store.close()

    def __str__(self) -> str:
        return (
            f"first hit after {self.hit:.3f} s, storing after {self.storing:.2f} s, "
            f"index agrees after {self.indexed:.1f} s"
        )


def measure(count: int, path: str) -> None:
    print(f"{count:,} objects, µs of CPU", flush=True)
    say("filling", fill(path, count) * 1e6)
    keys = [key(n) for n in random.Random(1).choices(range(count), k=HITS)]
    few = keys[:500] * (HITS // 500)
    waited = 0

    def found(_: Copy | None) -> None:
        nonlocal waited
        waited += 1  # the kernel had dropped it: a thread would read it

    disk_only, both = make(path, 0), make(path, 64 << 20)
    say("hit in memory, among 500", each(lambda k: both.find(k, EMPTY, no_variant, found), few))
    full = make(path, 64 << 20)
    for number in range(min(count, 40_000)):
        full.find(key(number), EMPTY, no_variant, found)
    held = list(full.memory._nodes)
    asked = random.Random(2).choices(held, k=HITS)
    say(
        f"hit in memory, among {len(held):,}",
        each(lambda k: full.find(k, EMPTY, no_variant, found), asked),
    )
    waited = 0
    say("hit on disk, among 500", each(lambda k: disk_only.find(k, EMPTY, no_variant, found), few))
    say("hit on disk, among all", each(lambda k: disk_only.find(k, EMPTY, no_variant, found), keys))
    print(f"    {waited} of {2 * HITS * ROUNDS} hits on disk were not in the kernel's memory")
    absent = [b"x" + one for one in keys]
    say("miss", each(lambda k: disk_only.find(k, EMPTY, no_variant, found), absent))
    size = sum(e.stat().st_size for e in os.scandir(path) if e.name.startswith("index"))
    print(f"    the index takes {size / count:.0f} bytes an object", flush=True)
    print(f"    restart: {Restart(path)}", flush=True)
    Index.delete(os.path.join(path, "index.sqlite"))
    print(f"    no index: {Restart(path)}", flush=True)


def say(what: str, spent: float) -> None:
    print(f"    {what}: {spent:.2f}", flush=True)


def main() -> None:
    for count in [int(argument) for argument in sys.argv[1:]] or [1000, 100_000]:
        with tempfile.TemporaryDirectory() as path:
            measure(count, path)


if __name__ == "__main__":
    main()

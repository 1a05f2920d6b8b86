"""What the cache's store costs, alone: µs of CPU a hit, with few objects and with many.

``python benchmarks/cache_store.py [OBJECTS ...]``; 1,000 and 100,000 by default. Each object has a
body of 1 KiB under its own key. It also times a restart: to the first hit, with and without index.
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
from txrproxy.cache.store import Store
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


def fill(path: str, count: int) -> float:
    """Seconds of CPU an object."""
    store = make(path, 0)
    store.open()
    while store.owner.step():
        pass
    start = time.process_time()
    for number in range(count):
        url = b"http://example.com/page/%d" % number
        filling = store.fill(Stored(key(number), url, head(number), 0, 1.0, 2.0), len(BODY))
        assert filling is not None
        filling.write(BODY)
        filling.commit()
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


def restart(path: str) -> tuple[float, float]:
    """Seconds of time to the first hit, and until storing is possible."""
    start = time.perf_counter()
    store = make(path, 1 << 20, threads=True)
    store.open()
    assert type(store.find(key(0), EMPTY, no_variant, lambda _: None)) is Copy
    hit = time.perf_counter() - start
    pause = threading.Event()
    while not store.owner.ready:
        pause.wait(0.01)
    ready = time.perf_counter() - start
    store.close()
    return hit, ready


def measure(count: int, path: str) -> None:
    filled = fill(path, count) * 1e6
    keys = [key(n) for n in random.Random(1).choices(range(count), k=HITS)]
    few = keys[:500] * (HITS // 500)
    waited = 0

    def found(_: Copy | None) -> None:
        nonlocal waited
        waited += 1  # the kernel had dropped it: a thread would read it

    disk_only, both = make(path, 0), make(path, 64 << 20)
    disk = each(lambda one: disk_only.find(one, EMPTY, no_variant, found), keys)
    disk_few = each(lambda one: disk_only.find(one, EMPTY, no_variant, found), few)
    absent = [b"x" + one for one in keys]
    miss = each(lambda one: disk_only.find(one, EMPTY, no_variant, found), absent)
    memory = each(lambda one: both.find(one, EMPTY, no_variant, found), few)
    warm = restart(path)
    Index.delete(os.path.join(path, "index.sqlite"))
    lost = restart(path)
    print(f"{count} objects, µs of CPU: filling {filled:.0f}, miss {miss:.2f},")
    print(f"    hit in memory {memory:.2f}, on disk {disk:.2f}, on disk among 500 {disk_few:.2f}")
    print(f"    {waited} of the hits on disk were not in the page cache")
    print(f"    restart: first hit after {warm[0]:.3f} s, storing after {warm[1]:.2f} s")
    print(f"    no index: first hit after {lost[0]:.3f} s, storing after {lost[1]:.2f} s")


def main() -> None:
    for count in [int(argument) for argument in sys.argv[1:]] or [1000, 100_000]:
        with tempfile.TemporaryDirectory() as path:
            measure(count, path)


if __name__ == "__main__":
    main()

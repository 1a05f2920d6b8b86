"""A process that fills, evicts and purges until it is killed, and what has to hold then.

Every response says in a tag as which number it was asked for, and its body follows from that. So
whoever finds one can tell whether its body is right, and whether it should have been purged.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import body_of, disk_use, find, make_store, response
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import Store

BOUND = 6 << 20
AHEAD = 2 << 20  # bytes that may wait to be written
KEYS = 60
SIZES = (0, 100, 5000, 70_000, 300_000, 1_500_000)


def body(number: int) -> bytes:
    """What the origin says at this number."""
    size = SIZES[number % len(SIZES)]
    seed = sha256(b"%d" % number).digest()
    return (seed * (size // 32 + 1))[:size]


class Loop:
    """What threads hand over is called where :meth:`turn` is."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()

    def deliver(self, function: Callable[..., object], *arguments: Any) -> None:
        self._calls.put((function, arguments))

    def turn(self) -> None:
        try:
            while True:
                function, arguments = self._calls.get_nowait()
                function(*arguments)
        except Empty:
            pass


def run(path: str, seed: int, number: int) -> None:
    """Work on the store at ``path`` until killed. Each step is a line; ``P n`` is a purge done."""
    chance = random.Random(seed)
    loop = Loop()
    store = Store(
        path,
        max_size=BOUND,
        max_object=2 << 20,
        memory=1 << 20,
        clock=Clock(),
        deliver=loop.deliver,
    )
    store.open()
    while True:
        loop.turn()
        while store.writer.queued > AHEAD:  # else how much is stored depends on the disk's speed
            time.sleep(0.001)
            loop.turn()
        number += 1
        step(store, chance, number)
        print("S", number, flush=True)


def step(store: Store, chance: random.Random, number: int) -> None:
    key = b"%d" % chance.randrange(KEYS)
    what = chance.random()
    if what < 0.05:
        store.purge(
            Purge("all" if what < 0.025 else "prefix", b"http://example.com/", soft=what < 0.01),
            lambda purged, error: what < 0.01 or error or print("P", number, flush=True),
        )
    elif what < 0.2:
        copy = store.find(key, response().head.fields, lambda *_: b"x", lambda _: None)
        if type(copy) is Copy:
            store.refresh(copy, copy.stored.replaced(responded=float(number)))
    else:
        varied: dict[str, Any] = {"vary": [b"accept"], "variant": b"x"} if what < 0.4 else {}
        fill = store.fill(response(key, tags=[b"%d" % number], **varied), None)
        if fill is None:
            return
        data = body(number)
        for start in range(0, len(data), 100_000):
            fill.write(data[start : start + 100_000])
        if what < 0.9:
            fill.commit()
        else:
            fill.abort()


class CrashScenario(SynchronousTestCase):
    def survive(self, rounds: int, seed: int) -> None:
        chance = random.Random(seed)
        path = os.path.abspath(self.mktemp())
        number = found = 0
        for turn in range(rounds):
            number, purged = self.kill_one(path, chance, seed * 1000 + turn, number)
            self.assertLessEqual(disk_use(path), BOUND * 1.05)
            store = make_store(path, max_size=BOUND)
            try:
                found += self.check(store, purged)
            finally:
                store.close()
        self.assertGreater(found, rounds)

    def kill_one(self, path: str, chance: random.Random, seed: int, number: int) -> tuple[int, int]:
        """Returns the last number, and that of the last purge that was done."""
        code = f"from tests.cache.crash import run; run({path!r}, {seed}, {number})"
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environ = {**os.environ, "PYTHONPATH": root}
        purged = 0
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environ, cwd="/"
        ) as child:
            assert child.stdout is not None
            left = chance.randrange(1, 600)
            for line in child.stdout:
                what, said = line.split()
                if what == b"P":
                    purged = int(said)
                else:
                    number = int(said)
                    left -= 1
                    if not left:
                        break
            os.kill(child.pid, signal.SIGKILL)
            # What it managed to say counts.
            for line in child.stdout:
                if line.startswith(b"P") and line.endswith(b"\n"):
                    purged = int(line.split()[1])
            child.wait()
        self.assertEqual(child.returncode, -signal.SIGKILL)
        return number + 100_000, purged

    def check(self, store: Store, purged: int) -> int:
        found = 0
        for key in range(KEYS):
            copy = find(store, b"%d" % key, b"Accept: x")
            if copy is None:
                continue
            (tag,) = copy.stored.tags
            self.assertGreater(int(tag), purged)
            self.assertEqual(body_of(copy), body(int(tag)))
            found += 1
        self.assertEqual(store.owner.counts.damaged, 0)
        return found

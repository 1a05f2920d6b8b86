"""Readers during filling, eviction and purge, with the store's own threads.

What a reader has begun with, it reads to the end, however often the file is replaced or removed
meanwhile; and what is found is never older than the last purge.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.crash import BOUND, KEYS, Loop, body
from tests.cache.storing import disk_use, response
from tests.twistd import PATIENCE
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import PENDING, Store
from txrproxy.http.fields import EMPTY

STEPS = 1500
READERS = 20
QUEUED = 2 << 20  # bytes that may wait for the thread


class Reading:
    """Reads a copy in pieces of its own size; ``over`` when it has all of it."""

    def __init__(self, copy: Copy, piece: int) -> None:
        (tag,) = copy.stored.tags
        self.copy = copy
        self.piece = piece
        self.expected = body(int(tag))
        self.place = 0
        self.waits = False
        self.wrong = ""
        assert copy.length == len(self.expected)

    @property
    def over(self) -> bool:
        return bool(self.wrong) or (not self.waits and self.place == self.copy.length)

    def go_on(self) -> None:
        if not self.waits and not self.over:
            self.waits = True
            data = self.copy.read(self.place, self.piece, self.take)
            if data is not None:
                self.take(data)

    def take(self, data: bytes) -> None:
        self.waits = False
        if not data or data != self.expected[self.place : self.place + len(data)]:
            self.wrong = f"{len(data)} bytes at {self.place} of {self.copy.length}"
        self.place += len(data)


class ReadersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop()
        self.path = os.path.abspath(self.mktemp())
        self.store = Store(
            self.path,
            max_size=BOUND,
            max_object=2 << 20,
            memory=1 << 20,
            clock=Clock(),
            deliver=self.loop.deliver,
        )
        opened: list[bool] = []
        self.store.open(lambda: opened.append(True))
        self.wait(lambda: opened and self.store.writer.storing)
        self.addCleanup(self.store.close)
        self.chance = random.Random(3)
        self.number = self.purged = self.largest = 0
        self.readings: list[Reading] = []

    def wait(self, done: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            self.assertLess(time.monotonic(), deadline)
            self.loop.turn()
            time.sleep(0.001)

    def read(self) -> None:
        def found(copy: Copy | None) -> None:
            if copy is None:
                return
            (tag,) = copy.stored.tags
            self.assertGreater(int(tag), self.purged)
            self.readings.append(Reading(copy, self.chance.choice((1000, 100_000, 2 << 20))))

        key = b"%d" % self.chance.randrange(KEYS)
        copy = self.store.find(key, EMPTY, lambda *_: b"", found)
        if copy is not PENDING:
            found(copy)  # type: ignore[arg-type]

    def fill(self) -> None:
        self.number += 1
        key = b"%d" % self.chance.randrange(KEYS)
        fill = self.store.fill(response(key, tags=[b"%d" % self.number]), None)
        if fill is not None:
            fill.write(body(self.number))
            fill.commit()

    def purge(self) -> None:
        self.number += 1
        self.purged = self.number
        kind, value = self.chance.choice((("all", b""), ("prefix", b"http://example.com/")))
        self.store.purge(Purge(kind, value), lambda purged, error: self.assertIsNone(error))

    def measured(self, size: int, error: BaseException | None) -> None:
        self.assertIsNone(error)
        self.largest = max(self.largest, size)

    def test_what_is_begun_is_read_to_its_end(self) -> None:
        finished = 0
        for step in range(STEPS):
            self.loop.turn()
            self.wait(lambda: self.store.writer.queued < QUEUED)
            chance = self.chance.random()
            if chance < 0.01:
                self.purge()
            elif chance < 0.4:
                self.fill()
            elif len(self.readings) < READERS:
                self.read()
            for reading in self.chance.sample(self.readings, len(self.readings) // 2):
                reading.go_on()
            for reading in [each for each in self.readings if each.over]:
                self.assertEqual(reading.wrong, "")
                reading.copy.close()
                self.readings.remove(reading)
                finished += 1
            if not step % 50:
                # In the thread that writes and removes, or files would move while they are counted.
                self.store.link.threads.submit(lambda: disk_use(self.path), self.measured)
        while self.readings:
            reading = self.readings.pop()

            def done(reading: Reading = reading) -> bool:
                reading.go_on()
                return reading.over

            self.wait(done)
            self.assertEqual(reading.wrong, "")
            reading.copy.close()
        self.assertGreater(finished, 100)
        self.wait(lambda: not self.store.writer.queued)
        self.assertLessEqual(self.largest, BOUND * 1.05)
        self.assertGreater(self.largest, BOUND * 0.8)
        self.assertGreater(self.store.owner.counts.evicted, 10)
        self.assertEqual(self.store.owner.counts.damaged, 0)

"""Where limits keep their numbers: in one process, or in memory that several workers share.

The master makes a :class:`SharedMemory`, which workers have from the fork; each has one
:class:`SharedState` with a place of its own, and gives it to every ``build``. There is no lock:
nobody ever waits for a worker that was stopped in the middle of something.

- A rate is a number for each key. Two workers that read the same number, and both write, count one
  request instead of two. Between reading and writing lies half a microsecond, so that happens to a
  share of requests that is the rate of that one key times half a microsecond: 1 % at 20,000/s.
- A count of requests in progress has a cell for each worker, which only that worker writes: it is
  exact. A worker that begins sets its cells to zero, so what a dead one held is given back. There
  is room for more workers than there are, which costs nothing: memory is had when it is written to,
  and only places that were ever used are added up.

All policies share one table of fixed size with open addressing. A key is there as a keyed hash of
64 bits, so nobody can choose keys that meet. It is the interpreter's own (SipHash, PEP 456), over a
secret and the key: forked processes agree on it, and it costs a tenth of what ``hashlib`` takes. A
new key takes a free place among the few where it may be; if there is none, that of the rate which
runs out first.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
from typing import Protocol

from txrproxy.filters.bounded import Bounded
from txrproxy.filters.concurrency import Counts, LocalCounts
from txrproxy.filters.rate import KEYS, Table

SLOTS = 1 << 17  # of each of the two tables: 4 MiB, and half a MiB for each worker
PROBES = 8  # places where a key may be

_MAGIC = b"txrproxy-limits1"
_SECRET = slice(16, 48)
_HEADER = 80  # magic, secret, slots, workers, how many of those were ever there, a hash
_BITS = 2**64 - 1


class State(Protocol):
    """Makes what a limit keeps its numbers in; ``name`` tells one limit from another."""

    def table(self, name: bytes) -> Table:
        """For a rate limit."""

    def counts(self, name: bytes) -> Counts:
        """For a connection limit."""


class LocalState:
    """Each limit has its own numbers, in this process."""

    def table(self, name: bytes) -> Bounded[float]:
        return Bounded(KEYS)

    def counts(self, name: bytes) -> LocalCounts:
        return LocalCounts()


class SharedMemory:
    """The tables, in a file that is nowhere; ``fd`` is to be inherited by a fork."""

    def __init__(self, fd: int) -> None:
        """Open what :meth:`create` has made. Raises ValueError for anything else."""
        self.fd = fd
        size = os.fstat(fd).st_size
        if size < _HEADER:
            raise ValueError("not the memory of limits")
        view = memoryview(mmap.mmap(fd, size))
        numbers = view[48:_HEADER].cast("Q")
        self.slots, self.workers = slots, workers = numbers[0], numbers[1]
        self.used = numbers[2:3]
        self._secret = secret = bytes(view[_SECRET])
        if view[:16] != _MAGIC or size != _size(slots, workers):
            raise ValueError("not the memory of limits")
        if numbers[3] != hash(secret) & _BITS:
            raise ValueError("the memory of processes that this one does not descend from")
        rates, keys, counts, end = (
            _HEADER + slots * offset for offset in (8, 16, 24, 24 + 4 * workers)
        )
        self.rate_keys = view[_HEADER:rates].cast("Q")
        self.rates = view[rates:keys].cast("d")
        self.count_keys = view[keys:counts].cast("Q")
        self.counts = view[counts:end].cast("I")

    @classmethod
    def create(cls, workers: int, slots: int = SLOTS) -> SharedMemory:
        """Empty tables for so many workers; ``slots`` is a power of two."""
        fd = os.memfd_create("txrproxy-limits", os.MFD_CLOEXEC)
        os.ftruncate(fd, _size(slots, workers))
        with mmap.mmap(fd, _HEADER) as header:
            header[:16] = _MAGIC
            header[_SECRET] = secret = os.urandom(32)
            for at, number in ((48, slots), (56, workers), (72, hash(secret) & _BITS)):
                header[at : at + 8] = number.to_bytes(8, sys.byteorder)
        return cls(fd)

    def prefix(self, name: bytes) -> bytes:
        """What comes before the keys of a limit when they are hashed."""
        return self._secret + hashlib.blake2b(name, digest_size=16).digest()

    def forget(self, worker: int) -> None:
        """A worker begins: what one in its place held before is given back."""
        if self.used[0] <= worker:  # the master comes here before any worker does
            self.used[0] = worker + 1
        start = worker * self.slots
        self.counts[start : start + self.slots] = memoryview(bytes(4 * self.slots)).cast("I")


def _size(slots: int, workers: int) -> int:
    return _HEADER + slots * (24 + 4 * workers)


class SharedTable:
    """The rates of one limit."""

    __slots__ = ("_hashed", "_hashes", "_key", "_mask", "_place", "_prefix", "_values")

    def __init__(self, memory: SharedMemory, name: bytes) -> None:
        self._prefix = memory.prefix(name)
        self._hashes = memory.rate_keys
        self._values = memory.rates
        self._mask = memory.slots - 1
        # The key that was asked for last, and where it is, or will be: it is put next.
        self._key: bytes | None = None
        self._hashed = self._place = 0

    def get(self, key: bytes) -> float | None:
        hashed = hash(self._prefix + key) & _BITS | 1
        place = hashed >> 8 & self._mask
        found = self._hashes[place]
        if found != hashed and found:
            place = self._among(hashed, place & -PROBES)
            found = self._hashes[place]
        self._key, self._hashed, self._place = key, hashed, place
        return self._values[place] if found == hashed else None

    def put(self, key: bytes, value: float) -> None:
        if key != self._key:
            self.get(key)
        place = self._place
        self._values[place] = value
        self._hashes[place] = self._hashed

    def _among(self, hashed: int, start: int) -> int:
        """Where a key is among the few places from ``start`` on, or where it may go."""
        row = self._hashes[start : start + PROBES].tolist()
        if hashed in row:
            return start + row.index(hashed)
        if 0 in row:
            return start + row.index(0)
        rates = self._values[start : start + PROBES].tolist()
        return start + rates.index(min(rates))


class SharedCounts:
    """The requests in progress of one limit, of all workers; ``worker`` is the number of this one.

    Where it has counted a key is remembered, so that it is taken back there, whatever the place has
    become meanwhile. A key for which there is no place counts in this worker alone.
    """

    __slots__ = ("_cells", "_hashes", "_mask", "_mine", "_own", "_prefix", "_rows", "_used")

    def __init__(self, memory: SharedMemory, name: bytes, worker: int) -> None:
        if not 0 <= worker < memory.workers:
            raise ValueError(f"worker {worker} of {memory.workers}")
        self._prefix = memory.prefix(name)
        self._mask = memory.slots - 1
        self._hashes = memory.count_keys
        self._cells = memory.counts
        self._used = memory.used
        self._own = worker * memory.slots
        self._rows = [number * memory.slots for number in range(memory.workers)]
        self._mine: dict[bytes, list[int]] = {}  # key -> place or -1, count

    def get(self, key: bytes) -> int:
        mine = self._mine.get(key)
        place = self._find(self._hash(key)) if mine is None or mine[0] < 0 else mine[0]
        if place < 0:
            return 0 if mine is None else mine[1]
        return self._total(place)

    def add(self, key: bytes, change: int) -> None:
        mine = self._mine.get(key)
        if mine is None:
            mine = self._mine[key] = [self._claim(self._hash(key)), 0]
        mine[1] += change
        if mine[0] >= 0:
            self._cells[self._own + mine[0]] = max(0, self._cells[self._own + mine[0]] + change)
        if mine[1] <= 0:
            del self._mine[key]

    def _hash(self, key: bytes) -> int:
        return hash(self._prefix + key) & _BITS | 1

    def _total(self, place: int) -> int:
        cells = self._cells
        return sum([cells[row + place] for row in self._rows[: self._used[0]]])

    def _places(self, hashed: int) -> list[int]:
        mask = self._mask
        return [probe & mask for probe in range(hashed >> 8, (hashed >> 8) + PROBES)]

    def _find(self, hashed: int) -> int:
        hashes = self._hashes
        for place in self._places(hashed):
            if hashes[place] == hashed:
                return place
        return -1

    def _claim(self, hashed: int) -> int:
        place = self._find(hashed)
        if place < 0:
            place = next((p for p in self._places(hashed) if not self._total(p)), -1)
            if place >= 0:
                self._hashes[place] = hashed
        return place


class SharedState:
    """What one worker makes of the shared memory."""

    def __init__(self, memory: SharedMemory, worker: int) -> None:
        self._memory = memory
        self._worker = worker
        memory.forget(worker)

    def table(self, name: bytes) -> SharedTable:
        return SharedTable(self._memory, name)

    def counts(self, name: bytes) -> SharedCounts:
        return SharedCounts(self._memory, name, self._worker)

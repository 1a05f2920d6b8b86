"""Collapsed forwarding: of many requests for one missing response, one goes to the origin.

::

    lead ─▶ Flight ──share(stored, fill)──▶ write … ─▶ end        the leader, once
              │                                │
    attach ───┴─▶ on_shared(reader) ──▶ on_data: reader.take      each waiter, at its own pace
              └─▶ on_alone                                        or it asks the origin itself

A flight is the growing body of one response. What arrived last is in memory, and all of it on its
way into the store; who is slower than :data:`WINDOW` bytes reads back what was written there. So
nobody waits for the slowest, and memory is bounded by the number of flights, not of readers.

Should the store give the response up in the middle, what is not written stays in memory for those
who still need it, and the origin is read no faster than the slowest of them:
:meth:`Flight.write` returns False, and ``resume`` is called when there is room again.

Waiting has an end: after ``lock_timeout`` a waiter goes its own way. A purge ends nothing that is
under way, but who comes after it starts a flight of its own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from txrproxy.cache.following import Listener, Reader
from txrproxy.cache.jobs import Runs
from txrproxy.cache.stored import Stored
from txrproxy.cache.writing import Fill

WINDOW = 256 * 1024
"""Bytes of a body that stay in memory for those who come late."""

LOCK_TIMEOUT = 5.0
"""Seconds that a request waits for another's response to begin."""

_logger = Logger()


class Waiter(Listener, Protocol):
    """Who asks for the same as the leader, and reads what comes. Hashed by identity."""

    def accepts(self, stored: Stored) -> bool:
        """Whether the leader's response answers this request, too; as by Vary it may not."""

    def on_shared(self, reader: Reader) -> None:
        """It does: the head is ``reader.stored``, and the body comes by the reader."""

    def on_alone(self) -> None:
        """Nothing comes from the leader, or not in time: ask the origin."""


class Flight:
    """One response on its way; made by :meth:`Flights.lead`, whose caller is the leader.

    ``stored`` is there once it is shared; ``length`` is how much of the body has arrived.
    """

    __slots__ = (
        "_base",
        "_fill",
        "_flights",
        "_offset",
        "_paused",
        "_pieces",
        "_readers",
        "_resume",
        "_spool",
        "_waiting",
        "_written",
        "began",
        "broken",
        "complete",
        "failed",
        "failure",
        "key",
        "lease",
        "length",
        "mark",
        "reading",
        "renewed",
        "stored",
        "url",
    )

    def __init__(self, flights: Flights, key: bytes, mark: int, url: bytes = b"") -> None:
        self.key = key
        self.url = url
        self.mark = mark
        self.lease = 0  # of the owner, where several processes fill the same folder
        self.began = 0.0  # when the origin was asked, monotonic seconds
        self.stored: Stored | None = None
        self.renewed: Stored | None = None  # what the origin has validated instead
        self.length = 0
        self.complete = False
        self.failed = False
        self.failure: int | None = None
        self.broken = False  # what was written can not be read back
        self.reading = 0  # jobs that use the spool
        self._flights = flights
        self._waiting: dict[Waiter, _Wait] = {}
        self._readers: dict[Reader, None] = {}
        self._fill: Fill | None = None
        self._pieces: deque[bytes] = deque()
        self._base = 0  # where in the body the first of them is
        self._spool = -1  # a descriptor of the store's file
        self._offset = 0  # where in it the body begins
        self._written = 0  # bytes of the body in it
        self._paused = False
        self._resume: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"<Flight {self.length} bytes, {len(self._readers)} readers>"

    @property
    def wanted(self) -> bool:
        """Whether anybody but the leader's client has a use for the response."""
        fill = self._fill
        return bool(self._waiting or self._readers) or (fill is not None and fill.alive)

    @property
    def over(self) -> bool:
        return self.complete or self.failed

    # The leader.

    def share(self, stored: Stored, fill: Fill, resume: Callable[[], object]) -> None:
        """The response is being stored, and may be shared with those who wait.

        ``resume`` is called after :meth:`write` returned False, when there is room again.
        """
        self.stored = stored
        self._fill = fill
        self._resume = resume
        self._offset = fill.offset
        fill.on_written = self._on_written
        waiting, self._waiting = self._waiting, {}
        for waiter, wait in waiting.items():
            self._flights.queue.stop(wait)
            self._join(waiter)

    def refuse(self, failure: int | None = None) -> None:
        """The response is for the leader alone, or none came: the others ask for themselves.

        ``failure`` is the status with which a backend failed, 0 if it gave no answer. The others
        can read it: it may be a reason to do with something stale.
        """
        self.failed = True
        self.failure = failure
        self._flights.remove(self)
        waiting, self._waiting = self._waiting, {}
        for waiter, wait in waiting.items():
            self._flights.queue.stop(wait)
            _call(waiter.on_alone)

    def write(self, data: bytes) -> bool:
        """More of the body; False when there should be no more for now."""
        assert self._fill is not None
        if data:
            self._fill.write(data)
            self._pieces.append(data)
            self.length += len(data)
            self._trim()
            self._notify()
        self._paused = self._is_full()
        return not self._paused

    def end(self, done: Callable[[Stored | None], None] | None = None) -> Stored | None:
        """The body is whole; it is stored. Returns, and tells ``done``, what ``Fill.commit`` does.

        Until it is in its place, who comes can still join.
        """
        assert self._fill is not None
        self.complete = True

        def settled(stored: Stored | None) -> None:
            self._flights.remove(self)
            if stored is not None:
                self._written = self.length
            self._trim()
            self._tidy()
            if done is not None:
                done(stored)

        stored = self._fill.commit(settled)
        if stored is None:
            self._flights.remove(self)
        self._notify()
        self._tidy()
        return stored

    def fail(self) -> None:
        """No more will come, and what came is not the whole."""
        if self._fill is not None:
            self._fill.abort()
        self.refuse()
        self._notify()
        self._tidy()

    # The others.

    def attach(self, waiter: Waiter, now: float) -> None:
        """Wait for the response, or read what there is of it. May answer before it returns."""
        if self.stored is not None:
            self._join(waiter)
        elif self.failed:
            waiter.on_alone()
        else:
            self._waiting[waiter] = wait = _Wait(self, waiter)
            self._flights.queue.start(wait, now)

    def detach(self, waiter: Waiter) -> None:
        """It does not wait any more."""
        wait = self._waiting.pop(waiter, None)
        if wait is not None:
            self._flights.queue.stop(wait)

    def follow(self, listener: Listener, place: int) -> Reader:
        """Read from ``place`` on: for the leader's own client, which may be a slow one, too.

        ``place`` is 0, or ``length``.
        """
        reader = Reader(self, listener, place)
        self._readers[reader] = None
        return reader

    def _join(self, waiter: Waiter) -> None:
        assert self.stored is not None
        if not self.joinable or not waiter.accepts(self.stored):
            _call(waiter.on_alone)
            return
        reader = self.follow(waiter, 0)
        try:
            waiter.on_shared(reader)
        except Exception:
            _logger.failure("a waiter for {flight!r} failed", flight=self)
            reader.close()

    @property
    def joinable(self) -> bool:
        """Whether the body can still be had from its beginning."""
        if self.failed or self.broken:
            return False
        # What is dropped already may still be on its way into the file.
        return not self._base or (self._spool >= 0 and self._base <= self._written)

    def leave(self, reader: Reader) -> None:
        self._readers.pop(reader, None)
        self.taken()
        self._tidy()

    # The body.

    def look(self, reader: Reader, limit: int) -> bytes:
        """What a reader can have now; otherwise it is told later."""
        place = reader.place
        if place >= self._base:
            at = self._base
            for piece in self._pieces:
                end = at + len(piece)
                if place < end:
                    if place == at and len(piece) <= limit:
                        return piece
                    return piece[place - at : place - at + limit]
                at = end
            return b""
        size = min(limit, self._base - place)
        try:
            data = _read_now(self._spool, size, self._offset + place)
        except OSError:
            data = b""
        if not data:
            reader.read_back(self._spool, self._offset + place, size, self._flights.threads)
        return data

    def taken(self) -> None:
        """A reader went on, or away."""
        if self._paused:
            self._trim()
            if not self._is_full():
                self._paused = False
                if self._resume is not None and not self.over:
                    self._resume()

    def was_read(self) -> None:
        """A thread is done with the spool."""
        self.reading -= 1
        self._tidy()

    def _is_full(self) -> bool:
        """Whether more is kept for slow readers than there is room for."""
        fill = self._fill
        if fill is not None and fill.alive:
            return False
        return self.length - self._base > 2 * WINDOW and bool(self._readers)

    def _trim(self) -> None:
        """Drop from memory what is old, and is written or needed by nobody."""
        pieces = self._pieces
        if self.length - self._base <= WINDOW:
            return
        needed = -1
        while pieces and self.length - self._base > WINDOW:
            end = self._base + len(pieces[0])
            if end > self._written or self._spool < 0:
                if self._fill is not None and self._fill.alive:
                    return  # it will be written
                if needed < 0:
                    needed = min((r.place for r in self._readers), default=self.length)
                if end > needed:
                    return
            pieces.popleft()
            self._base = end

    def _on_written(self, written: int, spool: int) -> None:
        """The store has written so much; ``spool`` is a descriptor of the file, the first time."""
        if spool >= 0:
            self._spool = spool
        self._written = written
        self._trim()
        self._tidy()

    def _notify(self) -> None:
        for reader in list(self._readers):
            reader.notify()

    def _tidy(self) -> None:
        """Let go of the file when nobody can need it."""
        if self.over and not self._readers and not self.reading and self._flights.lets_go(self):
            self._pieces.clear()
            if self._spool >= 0:
                os.close(self._spool)
                self._spool = -1


def _read_now(fd: int, size: int, place: int) -> bytes:
    buffer = bytearray(size)
    count = os.preadv(fd, (buffer,), place, os.RWF_NOWAIT)
    return bytes(memoryview(buffer)[:count])


def _call(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:
        _logger.failure("a waiter failed")


class _Wait:
    """A waiter's deadline."""

    __slots__ = ("flight", "waiter")

    def __init__(self, flight: Flight, waiter: Waiter) -> None:
        self.flight = flight
        self.waiter = waiter


class Flights:
    """The flights of one cache, by key.

    :param deadlines: has ``queue(seconds, on_expire)``, as ``transport.deadlines.Deadlines``.
    :param lock_timeout: seconds that a request waits for another's response to begin.
    :param threads: where to read back what was written.
    :param mark: the number of the last purge, as :meth:`~txrproxy.cache.store.Store.mark`.
    :param unlease: gives back the ``lease`` of a flight that has one.
    :param touched: whether a purge after a mark may be meant for what is asked for, by key and URL.
    """

    def __init__(
        self,
        deadlines: Any,
        lock_timeout: float,
        threads: Runs,
        mark: Callable[[], int],
        unlease: Callable[[int], object] = lambda _: None,
        touched: Callable[[int, bytes, bytes], bool] = lambda *_: True,
    ) -> None:
        self.queue = deadlines.queue(lock_timeout, self._expired)
        self.threads = threads
        self._mark = mark
        self._unlease = unlease
        self._touched = touched
        self._flights: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, key: bytes) -> Flight | None:
        """The flight to attach to, if there is one."""
        flight = self._flights.get(key)
        if flight is None:
            return None
        mark = self._mark()
        if flight.mark != mark:
            # A write to something else, of which there may be many, is no reason to ask again.
            if self._touched(flight.mark, flight.key, flight.url):
                return None
            flight.mark = mark
        if flight.stored is not None and not flight.joinable:
            return None
        return flight

    def lead(self, key: bytes, url: bytes = b"") -> Flight:
        """Begin one, which those who come now may attach to. Its leader asks the origin."""
        flight = self._flights[key] = Flight(self, key, self._mark(), url)
        return flight

    def alone(self, key: bytes) -> Flight:
        """One that nobody may attach to."""
        return Flight(self, key, self._mark())

    def remove(self, flight: Flight) -> None:
        """Nobody can find it from now on: what it led to is stored, or will not be."""
        if flight.lease:
            lease, flight.lease = flight.lease, 0
            self._unlease(lease)
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def lets_go(self, flight: Flight) -> bool:
        return self._flights.get(flight.key) is not flight

    def _expired(self, wait: _Wait) -> None:
        wait.flight._waiting.pop(wait.waiter, None)
        wait.waiter.on_alone()

"""One reader's place in the body of a response that is still growing.

What is read is in memory, or in the file that the store is writing: a reader that is far behind
waits for a thread there, and nobody waits for the reader.
"""

from __future__ import annotations

import os
from typing import Protocol

from twisted.logger import Logger

from txrproxy.cache.jobs import Runs
from txrproxy.cache.stored import Stored

_logger = Logger()


class Listener(Protocol):
    """Who reads."""

    def on_data(self) -> None:
        """There may be more to take, or the reader has ended or failed."""


class Growing(Protocol):
    """The body, as :class:`~txrproxy.cache.collapse.Flight` has it.

    ``length`` is how much there is, ``reading`` counts the jobs that use its file.
    """

    stored: Stored | None
    length: int
    complete: bool
    failed: bool
    broken: bool
    reading: int

    def look(self, reader: Reader, limit: int) -> bytes:
        """What the reader can have now; otherwise it is told later."""

    def taken(self) -> None:
        """A reader went on."""

    def leave(self, reader: Reader) -> None:
        """It reads no more."""

    def was_read(self) -> None:
        """A thread is done with the file."""


class Reader:
    """One listener's place in the body. ``place`` is in bytes from its beginning.

    ``ended``: everything was taken. ``failed``: no more will come, the body is cut short.
    ``listener`` is told of news; another may take its place.
    """

    __slots__ = ("_ahead", "_busy", "_closed", "flight", "listener", "place", "stored")

    def __init__(self, flight: Growing, listener: Listener, place: int) -> None:
        assert flight.stored is not None
        self.flight = flight
        self.stored = flight.stored
        self.place = place
        self.listener = listener
        self._ahead = b""  # read back by a thread
        self._busy = False
        self._closed = False

    @property
    def ended(self) -> bool:
        return self.flight.complete and self.place == self.flight.length

    @property
    def failed(self) -> bool:
        flight = self.flight
        return flight.broken or (flight.failed and self.place == flight.length)

    def take(self, limit: int) -> bytes:
        """Up to ``limit`` bytes, which are then taken; none while there are none to be had.

        ``on_data`` says when to ask again.
        """
        if self._ahead:
            data, self._ahead = self._ahead[:limit], self._ahead[limit:]
        elif self._busy or self._closed or self.flight.broken:
            return b""
        else:
            data = self.flight.look(self, limit)
        if data:
            self.place += len(data)
            self.flight.taken()
        return data

    def close(self) -> None:
        """Nothing more will be taken."""
        self._closed = True
        self._ahead = b""
        self.flight.leave(self)

    def notify(self) -> None:
        try:
            self.listener.on_data()
        except Exception:
            _logger.failure("a reader of {flight!r} failed", flight=self.flight)
            self.close()

    def read_back(self, fd: int, place: int, size: int, threads: Runs) -> None:
        """Let a thread read what is no longer in memory."""
        self._busy = True

        def read(data: bytes, error: BaseException | None) -> None:
            self._busy = False
            self.flight.was_read()
            if self._closed:
                return
            if not error and data:
                self._ahead = data
            else:
                self.flight.broken = True
            self.notify()

        self.flight.reading += 1
        threads.submit(lambda: os.pread(fd, size, place), read)

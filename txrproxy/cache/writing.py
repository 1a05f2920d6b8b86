"""From a response that is passing by to a file, in the background and never in the way.

A :class:`Fill` takes the body as it comes. What is small is kept until it is whole and goes to the
thread in one piece; what is large goes in pieces of :data:`PIECE` bytes. Pieces wait in a queue
with a bound in bytes for all fills together: where the disk is too slow for it a fill gives itself
up, and the response goes on to its client unstored.

A disk that is full, broken or read-only turns storing off for a while, with one line in the log;
the first fill after that time is the try.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from txrproxy.cache.entry import Entry, Vary, body_offset, slot_size
from txrproxy.cache.file import File, Room
from txrproxy.cache.jobs import Done, Runs
from txrproxy.cache.owner import NoRoom, NotReady
from txrproxy.cache.purge import Purges
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import Fields, make_line
from txrproxy.http.head import ResponseHead

PIECE = 256 * 1024
QUEUE = 32 * 1024 * 1024
RETRY = 10.0  # seconds that storing stays off after an error

_logger = Logger()

Published = tuple[Entry, os.stat_result, tuple[Vary, ...]]
"""What was published, the state of its file, and the lists of its key's marker."""


class Link(Protocol):
    """What a writer asks of the owner, wherever that is; see :mod:`txrproxy.cache.link`."""

    name: str
    room: Room
    threads: Runs

    @property
    def ready(self) -> bool: ...

    def finish(self, file: File, stored: Stored, pieces: list[bytes], done: Done) -> None: ...


class Fill:
    """One response on its way into the store; made by :meth:`Writer.fill`. On the loop.

    ``stored`` is what is known of it; its length is settled by :meth:`commit`. ``alive`` is whether
    it may still be stored. ``on_written`` is told how much of the body is in the file so far and,
    once, a descriptor to read it by, which is for it to close; otherwise -1.
    """

    __slots__ = (
        "_expected",
        "_file",
        "_held",
        "_held_size",
        "_since",
        "_writer",
        "alive",
        "length",
        "offset",
        "on_written",
        "spooled",
        "stored",
        "written",
    )

    def __init__(
        self, writer: Writer, stored: Stored, offset: int, expected: int | None, since: int
    ) -> None:
        self.stored = stored
        self.length = 0
        self.alive = True
        self.offset = offset  # of the body in the file
        self.spooled = False
        self.written = 0  # bytes of the body that are in the file
        self.on_written: Callable[[int, int], None] | None = None
        self._writer = writer
        self._expected = expected
        self._since = since
        self._held: list[bytes] = []
        self._held_size = 0
        self._file: File | None = None

    def write(self, data: bytes) -> bool:
        """Take more of the body; False when it will not be stored."""
        if not self.alive:
            return False
        self.length += len(data)
        if self.length > self._writer.max_object or (
            self._expected is not None and self.length > self._expected
        ):
            self.abort()
            return False
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= PIECE:
            return self._pass_on()
        return True

    def commit(self, done: Callable[[Stored | None], None] | None = None) -> Stored | None:
        """The body is whole: publish it. Returns the response as it is stored, None if it is not.

        After a response, ``done`` is called once it is in its place, or with None if it did not
        get there.
        """
        if not self.alive:
            return None
        stored = self.stored
        if self._expected is not None and self.length != self._expected:
            self.abort()
            return None
        known = self._writer.purges.since(self._since, stored)
        if known is None:
            self.abort()
            return None
        whole = _with_length(known, self.length)
        self.alive = False
        body = b"".join(self._held) if self._file is None else None
        if not self._writer.finish(self, whole, body, self._held, self._held_size, done):
            return None
        self._held = []
        return whole

    def abort(self) -> None:
        """It will not be stored."""
        self.alive = False
        self._held = []
        self._writer.ended(self)
        if self._file is not None:
            self._writer.drop(self._file)
            self._file = None

    def _pass_on(self) -> bool:
        pieces, size = self._held, self._held_size
        self._held, self._held_size = [], 0
        if self._file is None:
            self._file = File(self._writer.link.room, self.offset)
        if not self._writer.write(self, self._file, pieces, size):
            self.abort()
            return False
        return True


def _with_length(stored: Stored, length: int) -> Stored:
    head = stored.head
    if b"content-length" not in head.fields and head.status != 204:
        line = make_line(b"Content-Length", b"%d" % length)
        fields = Fields((*head.fields.lines, line))
        head = ResponseHead(
            head.status, head.status_line[13:-2], True, fields, head.size + len(line[2])
        )
    return Stored(
        stored.key,
        stored.url,
        head,
        length,
        stored.requested,
        stored.responded,
        vary=stored.vary,
        variant=stored.variant,
        tags=stored.tags,
        invalidated=stored.invalidated,
    )


class Writer:
    """The loop's side of all fills.

    :param link: to the owner, with the one thread that writes.
    :param committed: told of each small response that is whole, before it is written.
    :param published: told of each response that got into its place.
    :param seconds: a monotonic clock.
    """

    def __init__(
        self,
        link: Link,
        purges: Purges,
        seconds: Callable[[], float],
        max_object: int,
        committed: Callable[[Stored, bytes], None],
        published: Callable[[Published], None],
        queue: int = QUEUE,
    ) -> None:
        self.link = link
        self.purges = purges
        self.max_object = max_object
        self.queued = 0  # bytes
        self.given_up = 0  # fills that met a full queue
        self._threads = link.threads
        self._seconds = seconds
        self._committed = committed
        self._published = published
        self._queue = queue
        self._off_until: float | None = None
        self._failing = False
        self._open: set[Fill] = set()
        self._finishing = 0
        self._closing = False
        self._when_idle: list[Callable[[], object]] = []

    @property
    def storing(self) -> bool:
        """Whether a fill that begins now can come to anything."""
        if self._closing:
            return False
        off = self._off_until
        if off is not None:
            if self._seconds() < off:
                return False
            self._off_until = None
        return self.link.ready

    def fill(self, stored: Stored, expected: int | None, since: int) -> Fill | None:
        if expected is not None and expected > self.max_object:
            return None
        if not self.storing:
            return None
        try:
            offset = body_offset(slot_size(stored))
        except ValueError:
            return None
        fill = Fill(self, stored, offset, expected, since)
        self._open.add(fill)
        return fill

    def ended(self, fill: Fill) -> None:
        """It comes to nothing, or goes on by itself."""
        self._open.discard(fill)
        self._tell_idle()

    def close(self, idle: Callable[[], object], patient: bool) -> None:
        """Begin no more; tell ``idle`` when what was begun is written.

        What is not whole yet is given up, unless ``patient``.
        """
        self._closing = True
        self._when_idle.append(idle)
        if not patient:
            for fill in list(self._open):
                fill.abort()
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self._closing and not self._open and not self._finishing:
            while self._when_idle:
                self._when_idle.pop()()

    def write(self, fill: Fill, file: File, pieces: list[bytes], size: int) -> bool:
        if self.queued + size > self._queue:
            self.given_up += 1
            return False
        self.queued += size

        spool = fill.on_written is not None and not fill.spooled
        fill.spooled |= spool

        def write() -> tuple[int, bool]:
            return file.write(pieces, spool), file.failed

        def done(result: tuple[int, bool], error: BaseException | None) -> None:
            self.queued -= size
            if error is not None:
                fill.abort()
                self._failed(error)
                return
            fd, failed = result
            if failed:
                return  # given up by one before it: this one is not there to be read back
            fill.written += size
            if fill.on_written is not None:
                fill.on_written(fill.written, fd)

        self._threads.submit(write, done)
        return True

    def finish(
        self,
        fill: Fill,
        stored: Stored,
        body: bytes | None,
        held: list[bytes],
        size: int,
        done: Callable[[Stored | None], None] | None,
    ) -> bool:
        """Whether it is on its way."""
        if self.queued + size > self._queue:
            self.given_up += 1
            fill.abort()
            return False
        file = fill._file or File(self.link.room, fill.offset)
        self.queued += size
        self._finishing += 1
        self._open.discard(fill)
        pieces = held if body is None else [body]

        def finished(result: Any, error: BaseException | None) -> None:
            self.queued -= size
            self._finishing -= 1
            if error is not None:
                self._failed(error)
            else:
                self._worked()
                self._published(result)
            if done is not None:
                done(stored if error is None else None)
            self._tell_idle()

        if body is not None:
            self._committed(stored, body)
        self.link.finish(file, stored, pieces, finished)
        return True

    def drop(self, file: File) -> None:
        self._threads.submit(file.drop)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, (NoRoom, NotReady)):
            return
        if not isinstance(error, OSError):
            _logger.error("{name}: storing failed: {error!r}", name=self.link.name, error=error)
            return
        self._off_until = self._seconds() + RETRY
        if not self._failing:
            self._failing = True
            _logger.error(
                "{name}: nothing is stored for now, responses pass by: {error}",
                name=self.link.name,
                error=error,
            )

    def turn_off(self, error: OSError) -> None:
        """Something else than a fill found that the folder can not be written to."""
        self._failed(error)

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            _logger.info("{name}: storing responses again", name=self.link.name)

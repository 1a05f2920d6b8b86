"""The access log: one line an exchange, at the cost of a list append.

The data path appends a record (:data:`txrproxy.observe.formats.Record`); every 512 records, or
250 ms after the first of them, the batch is rendered and handed to the writer. A timer runs only
while records keep coming.

``SIGUSR1`` means :meth:`AccessLog.reopen`; the caller listens for it. Open the log when the service
starts, not before: a daemon's standard output is another one by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool

from txrproxy.observe.formats import Formatter, Record, combined_formatter, json_formatter
from txrproxy.observe.writer import Output, Writer

BATCH = 512
"""Records that are rendered at the latest."""

INTERVAL = 0.25
"""Seconds that a record waits at the most."""

_PIECE = 128  # records rendered at once: larger strings leave the allocator's pools and the cache

_FORMATTERS: dict[str, Callable[[Sequence[str]], Formatter]] = {
    "json": json_formatter,
    "combined": combined_formatter,
}


Count = Callable[[Sequence[Record]], object]
"""Is told of each batch."""


class NullWriter:
    """In the place of a :class:`Writer`, for records that are only counted."""

    __slots__ = ()

    def write(self, data: bytes, lines: int) -> None: ...

    def reopen(self) -> None: ...

    def close(self) -> Deferred[None]:
        return succeed(None)


class AccessLog:
    """Gathers records, and renders and writes them in batches. ``clock`` is an IReactorTime.

    ``count`` is told of each batch before.
    """

    __slots__ = ("_clock", "_count", "_format", "_records", "_timer", "_writer")

    enabled = True
    """Whether it is worth building a record."""

    def __init__(
        self,
        format: Formatter,
        writer: Writer | NullWriter,
        clock: Any,
        count: Count | None = None,
    ) -> None:
        self._format = format
        self._count = count
        self._writer = writer
        self._clock = clock
        self._records: list[Record] = []
        self._timer: Any = None

    def append(self, record: Record) -> None:
        """Log one exchange that has ended."""
        records = self._records
        records.append(record)
        if self._timer is None:
            self._timer = self._clock.callLater(INTERVAL, self._tick)
        elif len(records) >= BATCH:
            self.flush()

    def _tick(self) -> None:
        if self._records:
            self._timer = self._clock.callLater(INTERVAL, self._tick)
            self.flush()
        else:
            self._timer = None

    def flush(self) -> None:
        """Hand everything gathered so far to the writer."""
        records, self._records = self._records, []
        if self._count is not None:
            self._count(records)
        for start in range(0, len(records), _PIECE):
            piece = records[start : start + _PIECE]
            self._writer.write(self._format(piece), len(piece))

    def reopen(self) -> None:
        """Close the file and open its path again (for logrotate); no line is lost or split."""
        self.flush()
        self._writer.reopen()

    def close(self) -> Deferred[None]:
        """Flush; fires when the lines are written or given up. Later records are dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
        return self._writer.close()


class NullLog:
    """The same interface, for no log at all."""

    __slots__ = ()

    enabled = False

    def append(self, record: Record) -> None: ...

    def flush(self) -> None: ...

    def reopen(self) -> None: ...

    def close(self) -> Deferred[None]:
        return succeed(None)


def open_log(
    path: str,
    format: str,
    redact: Sequence[str],
    reactor: Any,
    count: Count | None = None,
) -> AccessLog | NullLog:
    """The log of the ``[log] access`` table.

    ``path`` is ``-`` for standard output, else absolute or relative to the working directory;
    ``format`` is ``json``, ``combined`` or ``off``; ``redact`` names query parameters whose values
    are not written; ``count`` is told of each batch. ``reactor`` provides IReactorTime and
    IReactorThreads and must still be running when ``close`` is called. Raises OSError when the
    file can not be opened.
    """
    if format == "off":
        if count is None:
            return NullLog()
        return AccessLog(lambda records: b"", NullWriter(), reactor, count)
    formatter = _FORMATTERS[format](redact)
    in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    return AccessLog(formatter, Writer(Output(path), reactor, in_thread), reactor, count)

"""Log lines on their way to a file, a pipe or a terminal, without ever holding up the loop.

The loop's side (:class:`Writer`) keeps a bounded backlog of whole lines and runs at most one job at
a time in a thread; the thread's side (:class:`Output`) owns the descriptor. What crosses between
them is a list of chunks out and one :class:`Result` back, so no lock is needed.

Why a thread: 512 lines cost 70 µs of CPU written from the loop and 170 µs through a thread. That
is 0.2 µs a line, and it buys that a disk that stalls (writeback, a full journal, a network file
system) or a terminal that was stopped never holds up the connections of the process.

Why lines stay whole: a file is opened for appending and one ``writev`` carries whole lines, so
several processes can share it. A pipe is atomic up to PIPE_BUF only, so it gets pieces of at most
that size, cut at line ends. What could not be written is kept from the byte where it stopped.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

BACKLOG = 8 * 1024 * 1024
"""Bytes that may wait for a slow or full disk; what comes beyond them is dropped and counted."""

_log = Logger()

_RETRY = 1.0  # seconds until the next try after an error
_RESUME = 0.05  # seconds until the next try after a job that ran out of room or time
_JOB_TIME = 1.0  # seconds that a job waits for a reader before it reports back
_JOB_CHUNKS = 256  # chunks in one job, below every system's IOV_MAX


@frozen
class Result:
    """What a job left."""

    rest: bytes = b""  # from the first byte that was not written
    error: OSError | None = (
        None  # why the rest was not written, unless it was only for lack of room
    )
    reopen_error: OSError | None = None
    lost: int = 0  # lines given up: the second half of one whose first half is in a closed file


class Output:
    """A descriptor and how to write to it. After ``__init__``, used by one thread at a time."""

    def __init__(self, path: str, stdout: int = 1) -> None:
        """Open ``path`` for appending; ``-`` is the descriptor ``stdout``. Raises OSError."""
        self.name = "standard output" if path == "-" else path
        self._path = path
        self._fd = _open_stdout(stdout) if path == "-" else _open_file(path)
        self._torn = False  # the last byte written was not the end of a line

    def write(self, chunks: list[bytes], reopen: bool = False) -> Result:
        """Write as much as there is room for, after opening the path again if asked to."""
        reopen_error, lost = None, 0
        if reopen and self._path != "-":
            try:
                fresh = _open_file(self._path)
            except OSError as error:
                reopen_error = error
            else:
                os.close(self._fd)
                self._fd = fresh
                if self._torn and chunks:
                    chunks[0] = chunks[0].partition(b"\n")[2]
                    lost = 1
                self._torn = False
        rest, failure = self._write(chunks) if any(chunks) else (b"", None)
        return Result(rest, failure, reopen_error, lost)

    def _write(self, chunks: list[bytes]) -> tuple[bytes, OSError | None]:
        error = None
        written = 0
        data = b""
        try:
            if _is_stream(self._fd):
                data = b"".join(chunks)
                for size in _stream(self._fd, data):
                    written += size
            else:
                written = os.writev(self._fd, chunks)
        except BlockingIOError:
            pass
        except OSError as problem:
            error = problem
        if written == sum(map(len, chunks)):
            self._torn = False
            return b"", None
        data = data or b"".join(chunks)
        if written:
            self._torn = data[written - 1] != 0x0A
        return data[written:], error

    def close(self) -> None:
        os.close(self._fd)


def _open_file(path: str) -> int:
    # Non-blocking matters for a named pipe alone: opening one must not wait for its reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK
    return os.open(path, flags, 0o640)


def _open_stdout(fd: int) -> int:
    # O_NONBLOCK belongs to the open file, which the shell and other processes share. Opening it
    # afresh makes one of our own, so that a pipe nobody reads can not block the thread for ever.
    if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
        try:
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            pass  # another user's terminal, or no /proc: polling alone has to do
    return os.dup(fd)


def _is_stream(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


def _stream(fd: int, data: bytes) -> Iterator[int]:
    """Write ``data`` piece by piece as the reader makes room, for at most a job's time."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    deadline = time.monotonic() + _JOB_TIME
    start = 0
    while start < len(data):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return
        end = start + select.PIPE_BUF
        if end < len(data):
            end = data.rfind(b"\n", start, end) + 1 or end
        size = os.write(fd, data[start:end])
        start += size
        yield size


class Writer:
    """The loop's side: takes lines, keeps them until they are written, says so when it can not.

    ``in_thread`` runs a job in a thread and fires with its result, as ``deferToThreadPool`` does.
    """

    def __init__(
        self,
        output: Output,
        clock: Any,  # IReactorTime
        in_thread: Callable[[Callable[[], Result]], Deferred[Result]],
        backlog: int = BACKLOG,
    ) -> None:
        self._output = output
        self._clock = clock
        self._in_thread = in_thread
        self._limit = backlog
        self._chunks: list[bytes] = []
        self._size = 0  # bytes in _chunks and in the running job
        self._job_size = 0
        self._busy = False
        self._reopen = False
        self._retry: Any = None
        self._failing = False  # said in the error log, and not taken back yet
        self._lost = 0  # lines dropped since then
        self._closing: Deferred[None] | None = None

    def write(self, data: bytes, lines: int) -> None:
        """Take ``data``, which is ``lines`` whole lines; drop them when the backlog is full."""
        if self._closing is not None:
            return
        if self._size + len(data) > self._limit:
            self._lost += lines
            self._complain("the backlog is full, lines are being dropped")
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._retry is None:
            self._run()

    def reopen(self) -> None:
        """Close the file and open its path again, between two lines (for logrotate)."""
        if self._closing is None:
            self._reopen = True
            self._run()

    def close(self) -> Deferred[None]:
        """Fires when everything is written, or what can not be written at once is given up."""
        if self._closing is None:
            self._closing = Deferred()
            self._run()
            if not self._busy:
                self._finish()
        done: Deferred[None] = Deferred()
        self._closing.chainDeferred(done)
        return done

    def _run(self) -> None:
        if self._busy or not (self._chunks or self._reopen):
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        chunks, self._chunks = self._chunks[:_JOB_CHUNKS], self._chunks[_JOB_CHUNKS:]
        reopen, self._reopen = self._reopen, False
        self._job_size = sum(map(len, chunks))
        self._busy = True
        job = self._in_thread(partial(self._output.write, chunks, reopen))
        job.addCallbacks(self._done, self._broken)

    def _done(self, result: Result) -> None:
        self._busy = False
        self._size -= self._job_size - len(result.rest)
        self._lost += result.lost
        if result.rest:
            self._chunks.insert(0, result.rest)
        if result.reopen_error is not None:
            _log.error(
                "access log: cannot open {name} again, keeping the old file: {error}",
                name=self._output.name,
                error=result.reopen_error,
            )
        if result.error is not None:
            self._complain(str(result.error))
        if self._closing is not None and result.rest:
            self._finish()
        elif result.rest:
            delay = _RESUME if result.error is None else _RETRY
            self._retry = self._clock.callLater(delay, self._again)
        elif self._chunks or self._reopen:
            self._run()
        else:
            self._recover()
            if self._closing is not None:
                self._finish()

    def _again(self) -> None:
        self._retry = None
        self._run()

    def _broken(self, failure: Failure) -> None:
        _log.failure("access log: writing failed", failure)
        self._done(Result())

    def _complain(self, problem: str) -> None:
        if not self._failing:
            self._failing = True
            _log.error(
                "access log: cannot write to {name}: {problem}",
                name=self._output.name,
                problem=problem,
            )

    def _recover(self) -> None:
        if self._failing or self._lost:
            _log.info(
                "access log: writing to {name} again, {lost} lines were lost",
                name=self._output.name,
                lost=self._lost,
            )
        self._failing = False
        self._lost = 0

    def _finish(self) -> None:
        assert self._closing is not None
        self._lost += sum(chunk.count(b"\n") for chunk in self._chunks)
        if self._lost:
            _log.error(
                "access log: {lost} lines for {name} were lost at the end",
                name=self._output.name,
                lost=self._lost,
            )
        self._chunks = []
        self._size = 0
        self._output.close()
        self._closing.callback(None)

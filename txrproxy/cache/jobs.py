"""Work that may block, in threads of the cache's own, and its results back on the loop.

Not the reactor's pool: name resolution and whatever else runs there must not wait for a disk. One
writer keeps the order in which things were asked for, so what is written needs no locks; a few
readers wait for a cold disk side by side.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from twisted.logger import Logger

_logger = Logger()

_BREATH = 0.001  # seconds that idle work leaves the interpreter to the loop each time

Done = Callable[[Any, BaseException | None], object]
"""Called on the loop with what a job returned, or with what it raised."""


class Runs(Protocol):
    """Runs jobs; :class:`Jobs`, or :class:`Inline` where nothing may run by itself."""

    def submit(self, job: Callable[[], Any], done: Done | None = None) -> None: ...

    def close(self) -> None: ...

    def end(self) -> None: ...


class Jobs:
    """Threads that run jobs in the order they come in. They start with the first job.

    :param deliver: calls a function on the loop, as ``reactor.callFromThread`` does.
    :param idle: called while there is nothing else to do, until it returns False. Woken by a job.
    """

    def __init__(
        self,
        deliver: Callable[..., object],
        threads: int = 1,
        name: str = "cache",
        idle: Callable[[], bool] | None = None,
    ) -> None:
        self._deliver = deliver
        self._limit = threads
        self._name = name
        self._idle = idle
        self._queue: SimpleQueue[tuple[Callable[[], Any], Done | None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._ended = False

    def submit(self, job: Callable[[], Any], done: Done | None = None) -> None:
        """Run ``job`` in a thread, then ``done`` on the loop; without one an error is logged."""
        self._queue.put((job, done))
        if self._ended or len(self._threads) < self._limit:
            with self._starting:
                self._start()
                if self._ended:
                    self._queue.put(None)

    def _start(self) -> None:
        if len(self._threads) < self._limit:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Wait for what was submitted, and end the threads."""
        with self._starting:
            threads = list(self._threads)
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join()
        self._threads.clear()

    def end(self) -> None:
        """Let the threads end by themselves when there is nothing to do; waits for nothing.

        A job that comes later still runs.
        """
        with self._starting:
            self._ended = True
            self._queue.put(None)

    def _next(self) -> tuple[Callable[[], Any], Done | None] | None:
        idle = self._idle
        while idle is not None:
            try:
                return self._queue.get_nowait()
            except Empty:
                pass
            try:
                if not idle():
                    break
                time.sleep(_BREATH)
            except Exception:
                _logger.failure("cache: {name} failed in the background", name=self._name)
                break
        return self._queue.get()

    def _run(self) -> None:
        while (item := self._next()) is not None or not self._leave():
            if item is None:
                continue
            job, done = item
            error = result = None
            try:
                result = job()
            except BaseException as problem:
                error = problem
                if done is None:
                    _logger.failure("cache: a job of {name} failed", name=self._name)
            if done is not None:
                self._deliver(done, result, error)

    def _leave(self) -> bool:
        """Whether this thread may end: nothing came while it made up its mind."""
        with self._starting:
            if not self._ended:
                return True  # someone waits for it
            if not self._queue.empty():
                return False
            self._threads.remove(threading.current_thread())
            if self._threads:
                self._queue.put(None)  # for the next one
            return True


class Inline:
    """Runs each job where it is submitted, and its ``done`` at once: for tests and tools."""

    def __init__(self, idle: Callable[[], bool] | None = None) -> None:
        self._idle = idle

    def submit(self, job: Callable[[], Any], done: Done | None = None) -> None:
        error = result = None
        try:
            result = job()
        except Exception as problem:
            if done is None:
                raise
            error = problem
        while self._idle is not None and self._idle():
            pass
        if done is not None:
            done(result, error)

    def close(self) -> None:
        pass

    def end(self) -> None:
        pass

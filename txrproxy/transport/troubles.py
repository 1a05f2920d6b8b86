"""What the error log is told of requests that backends fail: how, how many, and not too much.

::

    a request fails ─▶ a line ─ a while ─▶ more have failed: a line with their number, and again
                                      └──▶ none has: a line that it is over

So a backend that dies under load costs one line at once and one in a minute, and one that nothing
else looks after does not die in silence. Where workers share the load, each speaks for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger, LogLevel

from txrproxy.transport.deadlines import Deadlines

WHILE = 60.0  # seconds

_logger = Logger()


class TroubleLog:
    """Of one pool. ``seconds`` is the clock of the deadlines."""

    def __init__(self, pool: str, deadlines: Deadlines, seconds: Callable[[], float]) -> None:
        self.pool = pool
        self.queue = deadlines.queue(WHILE, _Trouble.expired)
        self.seconds = seconds
        self._troubles: dict[bytes, _Trouble] = {}

    def add(self, backend: bytes, how: bytes) -> None:
        """The backend of this name has failed a request; ``how`` is a reason, or a status."""
        trouble = self._troubles.get(backend)
        if trouble is None:
            trouble = self._troubles[backend] = _Trouble(self, backend)
            trouble.say("Pool {pool}: backend {backend} fails requests: {how}", how=how.decode())
            self.queue.start(trouble, self.seconds())
        else:
            trouble.counts[how] = trouble.counts.get(how, 0) + 1

    def over(self, backend: bytes) -> None:
        """Nothing has come of it any more."""
        del self._troubles[backend]


class _Trouble:
    """Of one backend, since the last line."""

    __slots__ = ("backend", "counts", "log")

    def __init__(self, log: TroubleLog, backend: bytes) -> None:
        self.log = log
        self.backend = backend
        self.counts: dict[bytes, int] = {}

    def say(self, text: str, level: Any = LogLevel.warn, **more: Any) -> None:
        name = self.backend.decode("latin-1")
        _logger.emit(level, text, pool=self.log.pool, backend=name, seconds=WHILE, **more)

    def expired(self) -> None:
        """A while is over."""
        counts, self.counts = self.counts, {}
        if not counts:
            self.log.over(self.backend)
            text = "Pool {pool}: backend {backend} has failed no request for {seconds:.0f} s"
            self.say(text, LogLevel.info)
            return
        how = ", ".join(f"{how.decode()} {count}" for how, count in counts.items())
        text = "Pool {pool}: backend {backend} has failed {more} more in {seconds:.0f} s: {how}"
        self.say(text, more=sum(counts.values()), how=how)
        self.log.queue.start(self, self.log.seconds())

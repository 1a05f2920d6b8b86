"""Taking a cache's folder: now, or when another process lets go of it, or the disk allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from txrproxy.cache.jobs import Done
from txrproxy.cache.writing import RETRY

_logger = Logger()

OPEN_AGAIN = 1.0  # seconds between two tries to take a folder that another process owns
HANDING = 5  # tries for which that is no trouble: an upgrade hands the folder from one to the other


class Taking:
    """Asks the owner to open the folder, again and again; logs once that it fails, and its end.

    :param ask: calls the owner's ``open``, and is told what comes of it.
    :param tried: called after the first try.
    :param taken: called when the folder is ours.
    """

    def __init__(
        self,
        ask: Callable[[Done], object],
        clock: Any,
        name: str,
        tried: Callable[[], object],
        taken: Callable[[], object],
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._name = name
        self._tried: Callable[[], object] | None = tried
        self._taken = taken
        self._again: Any = None
        self._failed = 0  # tries, since it is known that it fails
        self._told = False  # of trouble
        self._stopped = False

    def start(self) -> None:
        """Try."""
        self._again = None
        self._ask(self._opened)

    def stop(self) -> None:
        """Try no more."""
        self._stopped = True
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _opened(self, result: Any, error: BaseException | None) -> None:
        if error is not None or not result:
            self._failed += 1
            if error is not None and not self._told:
                self._tell(str(error))
            elif error is None and self._failed == 1:
                _logger.info("{name}: another process has the folder still", name=self._name)
            elif error is None and self._failed > HANDING and not self._told:
                self._tell("another process owns the folder")
            if not self._stopped:
                delay = OPEN_AGAIN if error is None else RETRY
                self._again = self._clock.callLater(delay, self.start)
        else:
            if self._told:
                _logger.info("{name}: storing responses again", name=self._name)
            if not self._stopped:
                self._taken()
        tried, self._tried = self._tried, None
        if tried is not None:
            tried()

    def _tell(self, why: str) -> None:
        self._told = True
        _logger.error("{name}: nothing is stored: {why}", name=self._name, why=why)

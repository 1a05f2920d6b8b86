"""A process that can have no more sockets: what the kernel says, and how often the log does."""

from __future__ import annotations

import errno

from twisted.logger import Logger

ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SILENCE = 10.0  # seconds until the log says so again


class Shortage:
    """Tells the log of it now and then, however often it is met. ``what`` does not go on."""

    def __init__(self, logger: Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._say_again = 0.0

    def met(self, now: float, why: str) -> None:
        """It was, at ``now`` (monotonic seconds); ``why`` is the kernel's word."""
        if now >= self._say_again:
            self._say_again = now + SILENCE
            self._logger.warn(
                "{what}: {why}; raise the limit of open files or lower server.max_connections",
                what=self._what,
                why=why.lower(),
            )

"""What the error log is told of handshakes that failed: who, which name, why; and not too much.

Anybody can make a handshake fail, as often as he likes. Of each reason the first few in a while get
a line each; the others are counted, and the count is one line more when the while is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger, LogLevel

from txrproxy.transport.deadlines import Deadlines

WHILE = 10.0  # seconds
LINES = 5  # of one reason, in that time
MAX_REASONS = 32  # told apart; OpenSSL has more, and a client chooses

_logger = Logger()


class FailureLog:
    """Of one listener, or of one backend; ``where`` names it.

    ``seconds`` is the clock of the deadlines.
    """

    def __init__(
        self,
        where: str,
        deadlines: Deadlines,
        seconds: Callable[[], float],
        level: Any = LogLevel.info,
    ) -> None:
        self._where = where
        self._queue = deadlines.queue(WHILE, FailureLog.expired)
        self._seconds = seconds
        self._level = level
        self._counts: dict[str, int] = {}

    def add(self, peer: object, reason: str, name: bytes | None = None) -> None:
        """A handshake has failed. ``name`` is the server name asked for, as the client sent it."""
        counts = self._counts
        if not counts:
            self._queue.start(self, self._seconds())
        known = reason in counts or len(counts) < MAX_REASONS
        kind = reason if known else "other reasons"
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= LINES:
            asked = f" for {ascii(name.decode('latin-1'))[1:-1]}" if name else ""
            _logger.emit(
                self._level,
                "TLS handshake failed: {where}, {peer}{asked}: {reason}",
                where=self._where,
                peer=peer,
                asked=asked,
                reason=reason,
            )

    def expired(self) -> None:
        """The while is over."""
        counts, self._counts = self._counts, {}
        for reason, count in counts.items():
            if count > LINES:
                _logger.emit(
                    self._level,
                    "TLS handshakes failed: {where}: {more} more in the last {seconds:.0f} s: "
                    "{reason}",
                    where=self._where,
                    more=count - LINES,
                    seconds=WHILE,
                    reason=reason,
                )

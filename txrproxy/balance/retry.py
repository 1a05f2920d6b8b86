"""When a failed request may go to another backend, and how many may.

A retry is more work for backends that may be failing because they have too much. So retries are a
share of requests (the budget), with a floor that lets a quiet pool retry at all. A request that
never reached a backend costs nobody anything there: connect failures are outside the budget.
"""

from __future__ import annotations

from collections.abc import Collection

from txrproxy.errors import Reason, Retry

WINDOW = 10  # seconds over which the budget is a share
FLOOR = 10  # retries in a window that are always allowed


class Budget:
    """Requests and retries of the last :data:`WINDOW` seconds. Times are in seconds, rising."""

    __slots__ = ("_requests", "_retries", "_second", "_share", "requests", "retries")

    def __init__(self, share: float) -> None:
        self._share = share
        self._second = 0
        self._requests = [0] * WINDOW
        self._retries = [0] * WINDOW
        self.requests = 0
        self.retries = 0

    def __repr__(self) -> str:
        return f"<Budget {self.retries} of {self.requests}>"

    def request(self, now: float) -> None:
        """A request has come, to be counted once however often it is tried."""
        second = int(now)
        if second > self._second:
            self._advance(second)
        self._requests[second % WINDOW] += 1
        self.requests += 1

    def take(self, now: float) -> bool:
        """Whether one more retry is within the budget; it is counted if so."""
        second = int(now)
        if second > self._second:
            self._advance(second)
        if self._share <= 0 or self.retries + 1 > max(FLOOR, self._share * self.requests):
            return False
        self._retries[second % WINDOW] += 1
        self.retries += 1
        return True

    def _advance(self, second: int) -> None:
        for passed in range(self._second + 1, min(second, self._second + WINDOW) + 1):
            at = passed % WINDOW
            self.requests -= self._requests[at]
            self.retries -= self._retries[at]
            self._requests[at] = self._retries[at] = 0
        self._second = second


class RetryRules:
    """What is retried: ``attempts`` beyond the first, ``on`` the failures named there.

    ``non_idempotent`` allows requests that a backend may have acted on already. ``share`` is the
    budget, None for none; ``statuses`` are those of ``on``.
    """

    __slots__ = ("attempts", "budget", "non_idempotent", "on", "statuses")

    def __init__(
        self,
        attempts: int = 2,
        on: Collection[str] = (Retry.CONNECT.value,),
        *,
        non_idempotent: bool = False,
        share: float | None = None,
    ) -> None:
        self.attempts = attempts
        self.on = frozenset(on)
        self.non_idempotent = non_idempotent
        self.budget = Budget(share) if share is not None else None
        self.statuses = frozenset(int(name) for name in self.on if name.isdigit())

    def allow(self, reason: Reason, tries: int, safe: bool, now: float) -> bool:
        """Whether a request that failed with ``reason`` may be tried again.

        ``tries`` have been made; ``safe`` says that sending it twice does no harm. A retry that is
        allowed counts against the budget.
        """
        if tries > self.attempts or reason.retry.value not in self.on:
            return False
        return reason.retry is Retry.CONNECT or self._spend(safe, now)

    def allow_status(self, tries: int, safe: bool, now: float) -> bool:
        """The same for a response whose status is one of ``statuses``."""
        return tries <= self.attempts and self._spend(safe, now)

    def _spend(self, safe: bool, now: float) -> bool:
        return (safe or self.non_idempotent) and (self.budget is None or self.budget.take(now))

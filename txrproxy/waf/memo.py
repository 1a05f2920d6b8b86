"""Heads that were cleared a moment ago, so that the same bytes are not inspected again.

A verdict by rules that look at nothing but the request is a function of its bytes, and the engine
takes a millisecond or more to compute it. What is kept is bounded in memory and in time.
"""

from __future__ import annotations

from txrproxy.http.memo import Memo

FRESH = 60.0
"""Seconds that a verdict is remembered."""

_WEIGHT = 200  # bytes that an entry takes beside its key


class Cleared:
    """Keys of requests in which no rule matched, and when. ``limit`` is in bytes."""

    __slots__ = ("_memo",)

    def __init__(self, limit: int) -> None:
        self._memo: Memo[float] = Memo(limit)

    def __contains__(self, key: bytes) -> bool:
        return key in self._memo

    def holds(self, key: bytes, now: float) -> bool:
        """Whether it was cleared lately."""
        cleared = self._memo.get(key)
        return cleared is not None and now - cleared < FRESH

    def note(self, key: bytes, now: float) -> None:
        """It was cleared; what comes for the first time is not kept yet."""
        if key in self._memo:
            self._memo[key] = now
        else:
            self._memo.remember(key, now, len(key) + _WEIGHT)

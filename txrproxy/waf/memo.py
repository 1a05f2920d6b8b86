"""Verdicts of a moment ago, so that the same bytes are not inspected again.

A verdict by rules that look at nothing but the request is a function of its bytes, and the engine
takes a millisecond or more to compute it. What is kept is bounded in memory and in time.
"""

from __future__ import annotations

from txrproxy.http.memo import Memo
from txrproxy.waf.verdict import Verdict

FRESH = 60.0
"""Seconds that a verdict is remembered."""

# Bytes that an entry takes beside its key, and each match in it.
_WEIGHT = 200
_MATCH_WEIGHT = 2500


class Verdicts:
    """Verdicts by what they were given on, and when. ``limit`` is in bytes."""

    __slots__ = ("_memo",)

    def __init__(self, limit: int) -> None:
        self._memo: Memo[tuple[float, Verdict]] = Memo(limit)

    def find(self, key: bytes, now: float) -> Verdict | None:
        """The verdict of lately, if there was one."""
        found = self._memo.get(key)
        return found[1] if found is not None and now - found[0] < FRESH else None

    def note(self, key: bytes, verdict: Verdict, now: float) -> None:
        """A verdict was given; on what comes for the first time it is not kept yet."""
        memo = self._memo
        if key in memo:
            memo[key] = (now, verdict)
        else:
            weight = len(key) + _WEIGHT + _MATCH_WEIGHT * len(verdict.matches)
            memo.remember(key, (now, verdict), weight)

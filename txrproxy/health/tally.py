"""When results of checks make a verdict: rise and fall.

A verdict changes after ``rise`` passes or ``fall`` failures in a row that speak against it; a
single result that agrees with it starts the count anew. Where there is no verdict yet, one pass
makes the first, for a start should not wait longer than it has to. Failures make no first verdict:
what never passed is not used, not even when too few others are well.
"""

from __future__ import annotations


class Tally:
    """The verdict on one backend: ``healthy``, None as long as it has not passed once."""

    __slots__ = ("_against", "_fall", "_rise", "healthy")

    def __init__(self, rise: int, fall: int, healthy: bool | None) -> None:
        self.healthy = healthy
        self._rise = rise
        self._fall = fall
        self._against = 0  # results in a row that contradict the verdict

    def count(self, passed: bool) -> bool:
        """Take one result; whether it changes the verdict."""
        if self.healthy is None:
            self.healthy = True if passed else None
            return passed
        if passed is self.healthy:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self._rise if passed else self._fall):
            return False
        self.healthy = passed
        self._against = 0
        return True

"""How many requests of one client are in progress.

A key is kept while something of it is, so there are never more keys than exchanges: nothing has to
be forgotten here, and a count that is wrong would lock somebody out.
"""

from __future__ import annotations

from typing import Protocol


class Counts(Protocol):
    """Where a limit keeps its counts."""

    def get(self, key: bytes) -> int:
        """How many there are."""

    def add(self, key: bytes, change: int) -> None:
        """One more, or one less."""


class LocalCounts:
    """The counts of this process."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def get(self, key: bytes) -> int:
        return self._counts.get(key, 0)

    def add(self, key: bytes, change: int) -> None:
        count = self._counts.get(key, 0) + change
        if count > 0:
            self._counts[key] = count
        else:
            self._counts.pop(key, None)


class ConcurrencyLimit:
    """At most ``limit`` at a time for each key."""

    __slots__ = ("_counts", "_limit")

    def __init__(self, limit: int, counts: Counts) -> None:
        self._limit = limit
        self._counts = counts

    def enter(self, key: bytes) -> bool:
        """Begin one, unless there are too many; who began one leaves once."""
        if self._counts.get(key) >= self._limit:
            return False
        self._counts.add(key, 1)
        return True

    def leave(self, key: bytes) -> None:
        """It has ended."""
        self._counts.add(key, -1)

"""A bounded memo of a pure function of bytes.

Whoever sends bytes can send new ones each time, so what a memo holds is bounded by an estimate of
its memory, not by a count. It forgets everything at once when it is full: that costs nothing while
a working set fits, and under a flood of distinct keys no order of eviction would help.
"""

from __future__ import annotations

from typing import TypeVar

V = TypeVar("V")


class Memo(dict[bytes, V]):
    """A dict from bytes that holds about ``limit`` bytes at most; read it with ``get``."""

    __slots__ = ("_limit", "_weight")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._weight = 0

    def remember(self, key: bytes, value: V, weight: int) -> None:
        """Keep a value that was not there, of an estimated ``weight`` in bytes."""
        self._weight += weight
        if self._weight > self._limit:
            self.clear()
            self._weight = weight
        self[key] = value

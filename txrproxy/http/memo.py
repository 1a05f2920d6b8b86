"""A bounded memo of a pure function of bytes.

Whoever sends bytes can send new ones each time, so what a memo holds is bounded by an estimate of
its memory, not by a count. It forgets everything at once when it is full: that costs nothing while
a working set fits, and under a flood of distinct keys no order of eviction would help.

A value is kept when its key comes for the second time. What comes only once, as a URL with a
one-time token does, is neither stored nor pushes out what comes again (the doorkeeper of TinyLFU).
"""

from __future__ import annotations

from typing import TypeVar

V = TypeVar("V")

MAX_SEEN = 8192  # hashes of keys that came once


class Memo(dict[bytes, V]):
    """A dict from bytes that holds about ``limit`` bytes at most; read it with ``get``."""

    __slots__ = ("_limit", "_seen", "_weight")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._weight = 0
        self._seen: set[int] = set()

    def remember(self, key: bytes, value: V, weight: int) -> None:
        """Note a value that was not there, of an estimated ``weight`` in bytes."""
        seen, mark = self._seen, hash(key)
        if mark not in seen:
            if len(seen) >= MAX_SEEN:
                seen.clear()
            seen.add(mark)
            return
        self._weight += weight
        if self._weight > self._limit:
            self.clear()
            self._weight = weight
        self[key] = value

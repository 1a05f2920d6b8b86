"""What is remembered of strangers, within a bound: a dict of two generations.

Whoever sends requests can send a new key each time, so nothing that is kept by key may grow. What
is put goes to the young generation. When that is full it becomes the old one, and what was old is
forgotten as a whole: no key costs more than its own insertion, and a key in use, which is put or
found again meanwhile, is never forgotten.
"""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class Bounded(Generic[V]):
    """Holds the last ``limit`` keys at least, and twice as many at most. No value is None."""

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[bytes, V] = {}
        self._old: dict[bytes, V] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def get(self, key: bytes) -> V | None:
        """The value, or None."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: bytes, value: V) -> None:
        """Remember, in place of what there was."""
        young = self._young
        if key not in young and len(young) >= self._limit:
            self._old = young
            self._young = young = {}
        young[key] = value

    def discard(self, key: bytes) -> None:
        """Forget, if it is there."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._young = {}
        self._old = {}

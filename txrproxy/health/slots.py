"""A bound on the checks in flight, over all pools of a process.

A thousand backends that hang must not cost a thousand sockets. Who finds no place waits in line,
first come, first served: checks come later then, but all come.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

LIMIT = 128  # checks in flight


class Slots:
    """``limit`` places, each held by a key from the moment its ``begin`` is called."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held: set[Hashable] = set()
        self._waiting: dict[Hashable, Callable[[], None]] = {}  # in order
        self._serving = False

    def __repr__(self) -> str:
        return f"<Slots {len(self._held)} of {self._limit} held, {len(self._waiting)} waiting>"

    def enter(self, key: Hashable, begin: Callable[[], None]) -> None:
        """Call ``begin`` when there is a place for ``key``: now, or when others have left."""
        self._waiting[key] = begin
        self._serve()

    def leave(self, key: Hashable) -> None:
        """Give a place back, or leave the line; nothing happens to who has neither."""
        if self._waiting.pop(key, None) is None:
            self._held.discard(key)
            self._serve()

    def _serve(self) -> None:
        """Let in who waits.

        One that is let in may leave at once: a loop here, for calls in calls would exhaust the
        stack.
        """
        if self._serving:
            return
        self._serving = True
        try:
            while self._waiting and len(self._held) < self._limit:
                key = next(iter(self._waiting))
                begin = self._waiting.pop(key)
                self._held.add(key)
                begin()
        finally:
            self._serving = False

"""How many handshakes begin in one turn of the loop, and how many may be unfinished.

The first flight of a full handshake is half a millisecond of signing and key agreement. A burst of
new connections would hold up every connection that is established already for as long as all of
them take together, so only some begin in one turn. The others wait in the order they came, unread.

A handshake that has begun waits for its client, and costs memory alone. When too many do, the one
that has taken longest gives way to the next: clients that stall can not keep out those that do not.
"""

from __future__ import annotations

from typing import Any, Protocol

CONCURRENT = 1024  # handshakes in progress
A_TURN = 8  # that begin in one turn of the loop: about 4 ms


class Waiting(Protocol):
    """Who asks to be let in: a TLS layer."""

    def admit(self) -> None:
        """A place is yours."""

    def give_way(self) -> None:
        """Your place is somebody else's: end."""


class Gate:
    """The handshakes of one process. ``clock`` is the reactor, or another ``IReactorTime``."""

    __slots__ = ("_a_turn", "_active", "_began", "_clock", "_concurrent", "_turning", "_waiting")

    def __init__(self, clock: Any, concurrent: int = CONCURRENT, a_turn: int = A_TURN) -> None:
        self._clock = clock
        self._concurrent = concurrent
        self._a_turn = a_turn
        self._active: dict[Waiting, None] = {}  # in order
        self._waiting: dict[Waiting, None] = {}  # in order
        self._began = 0  # in this turn, and in those before it that were not full
        self._turning = False  # that the turn ends is on its way to us

    def __repr__(self) -> str:
        return f"<Gate {len(self._active)} in progress, {len(self._waiting)} waiting>"

    def enter(self, waiting: Waiting) -> bool:
        """Whether a handshake may begin or go on now; else ``waiting.admit()`` follows."""
        if waiting in self._active:
            return True
        if not self._waiting and self._began < self._a_turn:
            self._begin(waiting)
            return True
        self._waiting[waiting] = None
        self._wake()
        return False

    def leave(self, waiting: Waiting) -> None:
        """Its handshake is over, whether it began or not."""
        self._waiting.pop(waiting, None)
        self._active.pop(waiting, None)

    def _begin(self, waiting: Waiting) -> None:
        if len(self._active) >= self._concurrent:
            longest = next(iter(self._active))
            del self._active[longest]
            longest.give_way()
        self._active[waiting] = None
        self._began += 1
        # Counted over several turns if need be: that a turn ends matters only when it is full.
        if self._began >= self._a_turn:
            self._wake()

    def _wake(self) -> None:
        if not self._turning:
            self._turning = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._began = 0
        while self._waiting and self._began < self._a_turn:
            waiting = next(iter(self._waiting))
            del self._waiting[waiting]
            self._begin(waiting)
            waiting.admit()

"""A bound on client connections: beyond it, new ones wait in the kernel's backlog."""

from __future__ import annotations

from typing import Any


class ConnectionLimit:
    """Counts connections over several ports, and stops accepting on all at ``most`` (0: no bound).

    A port accepts a few at a time, so the bound may be passed by as many. ``count`` are open,
    ``accepted`` were, ever.
    """

    __slots__ = ("_paused", "_ports", "accepted", "count", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self.accepted = 0
        self._ports: list[Any] = []
        self._paused = False

    def add(self, port: Any) -> None:
        """Watch over a listening port."""
        self._ports.append(port)
        if self._paused:
            port.stopReading()

    def remove(self, port: Any) -> None:
        """Forget a port that was closed."""
        self._ports.remove(port)

    def change(self, most: int) -> None:
        """Another bound, from now on."""
        self.most = most
        if 0 < most <= self.count:
            self._pause()
        else:
            self._go_on()

    def opened(self) -> None:
        """A connection was accepted."""
        self.count += 1
        self.accepted += 1
        if 0 < self.most <= self.count:
            self._pause()

    def closed(self) -> None:
        """A connection is gone."""
        self.count -= 1
        if self._paused and self.count < self.most:
            self._go_on()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            for port in self._ports:
                port.stopReading()

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            for port in self._ports:
                if port.connected:
                    port.startReading()

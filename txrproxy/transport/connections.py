"""The connections to one backend: lent, taken back, opened, and waited for.

    acquire(waiter) ──▶ an idle connection, the most recently used first
                    └─▶ None: one is being opened, or the request waits in line for one;
                        waiter.on_connected(upstream) or waiter.on_connect_failed(reason) follows

    release(upstream)   clean: to the first in line, else to the idle ones
    discard(upstream)   gone: its place is for the first in line

The most recently used first, so that connections nobody needs grow old and are closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from txrproxy.balance.backend import Backend
from txrproxy.errors import QUEUE_FULL, Reason
from txrproxy.transport.deadlines import Queue
from txrproxy.transport.upstream import Upstream

_logger = Logger()


class Waiter(Protocol):
    """Who asks for a connection: an exchange."""

    plan: Any

    def on_connected(self, upstream: Upstream) -> None:
        """Here it is."""

    def on_connect_failed(self, reason: Reason) -> None:
        """There will be none."""

    def on_turned_away(self) -> None:
        """No use to stay in line."""

    def on_fault(self) -> None:
        """Taking it raised an exception."""


Connected = Callable[[Upstream], None]
Failed = Callable[[Reason], None]
Dial = Callable[[Callable[[], Upstream], float, Connected, Failed], None]


class Connections:
    """The connections of one process to one backend.

    ``dial(make, timeout, connected, failed)`` opens a connection with the protocol that ``make``
    gives. ``keep`` bounds the idle ones, ``requests`` the exchanges of each; ``idle_queue`` is the
    deadline of an idle one.
    """

    __slots__ = (
        "_idle_queue",
        "_keep",
        "_opening",
        "_requests",
        "_serving",
        "_waiting",
        "backend",
        "closed",
        "dial",
        "idle",
        "seconds",
    )

    def __init__(
        self,
        backend: Backend,
        dial: Dial,
        seconds: Callable[[], float],
        idle_queue: Queue[Upstream],
        keep: int = 64,
        requests: int = 10_000,
    ) -> None:
        self.backend = backend
        self.seconds = seconds
        self.idle: list[Upstream] = []
        self.closed = False
        self.dial = dial
        self._idle_queue = idle_queue
        self._keep = keep
        self._requests = requests
        self._opening: dict[Waiter, _Opening] = {}
        self._waiting: dict[Waiter, None] = {}  # in order
        self._serving = False

    def __repr__(self) -> str:
        return (
            f"<Connections idle {len(self.idle)} in use {self.backend.in_use}"
            f" waiting {len(self._waiting)}>"
        )

    def acquire(self, waiter: Waiter, fresh: bool = False) -> Upstream | None:
        """A connection now, or None and a call later. ``fresh`` refuses one that was used."""
        backend = self.backend
        if self.idle:
            if not fresh:
                upstream = self.idle.pop()
                self._idle_queue.stop(upstream)
                upstream.lent = True
                backend.in_use += 1
                return upstream
            self._close(self.idle.pop(0))  # the fresh one takes its place under the bound
        if 0 < backend.max_connections <= backend.in_use:
            if len(self._waiting) >= backend.max_pending:
                waiter.on_connect_failed(QUEUE_FULL)
            else:
                self._waiting[waiter] = None
                backend.waiting += 1
                waiter.plan.queue.start(waiter, self.seconds())
            return None
        self._open(waiter)
        return None

    def leave(self, waiter: Waiter) -> None:
        """The waiter gives up: its client is gone, or it waited too long."""
        opening = self._opening.pop(waiter, None)
        if opening is not None:
            opening.waiter = None
        elif waiter in self._waiting:
            del self._waiting[waiter]
            self.backend.waiting -= 1
            waiter.plan.queue.stop(waiter)

    def release(self, upstream: Upstream) -> None:
        """Take back a lent connection whose exchange ended cleanly."""
        if upstream.served >= self._requests or self.closed or not self._keep:
            self.discard(upstream)
            upstream.transport.loseConnection()
        else:
            self.backend.in_use -= 1
            upstream.lent = False
            if len(self.idle) >= self._keep:
                self._close(self.idle.pop(0))  # the list is a stack: the longest idle is first
            self.idle.append(upstream)
            self._idle_queue.start(upstream, self.seconds())
            if self._waiting:
                self._serve()

    def discard(self, upstream: Upstream) -> None:
        """Forget a connection that is, or is about to be, closed. Idempotent."""
        if upstream.gone:
            return
        upstream.gone = True
        if upstream.lent:
            upstream.lent = False
            self._free()
        else:
            self.idle.remove(upstream)
            self._idle_queue.stop(upstream)

    def turn_away(self) -> None:
        """Nobody is to wait here any more: others may have room."""
        for waiter in [*self._waiting]:
            if waiter in self._waiting:  # what one does may make another leave
                self.leave(waiter)
                try:
                    waiter.on_turned_away()
                except Exception:
                    _logger.failure("{waiter!r} failed", waiter=waiter)
                    waiter.on_fault()

    def close(self) -> None:
        """Close the idle ones, and keep none from now on."""
        self.closed = True
        while self.idle:
            self._close(self.idle.pop())

    def _close(self, upstream: Upstream) -> None:
        """Close an idle connection that has been taken off the stack."""
        upstream.gone = True
        self._idle_queue.stop(upstream)
        upstream.transport.loseConnection()

    def _free(self) -> None:
        """A place has become free."""
        self.backend.in_use -= 1
        if self._waiting:
            self._serve()

    def _serve(self) -> None:
        """Give free places to those in line.

        What one does with its turn may free the next place at once, and so on through the whole
        line: a loop here, for calls in calls would exhaust the stack.
        """
        if self._serving:
            return
        self._serving = True
        try:
            backend = self.backend
            while self._waiting and not 0 < backend.max_connections <= backend.in_use:
                waiter = next(iter(self._waiting))
                self.leave(waiter)
                try:
                    upstream = self.acquire(waiter)
                    if upstream is not None:
                        waiter.on_connected(upstream)
                except Exception:
                    # Whoever gave the place back must not suffer for what the next does with it.
                    _logger.failure("{waiter!r} failed", waiter=waiter)
                    waiter.on_fault()
        finally:
            self._serving = False

    def _open(self, waiter: Waiter) -> None:
        self.backend.in_use += 1
        opening = self._opening[waiter] = _Opening(self, waiter)
        self.dial(self._make, waiter.plan.connect, opening.connected, opening.failed)

    def _make(self) -> Upstream:
        upstream = Upstream(self)
        upstream.lent = True
        return upstream


class _Opening:
    """A connection on its way to a waiter, who may be gone when it is there."""

    __slots__ = ("_connections", "waiter")

    def __init__(self, connections: Connections, waiter: Waiter) -> None:
        self._connections = connections
        self.waiter: Waiter | None = waiter

    def connected(self, upstream: Upstream) -> None:
        waiter = self.waiter
        if waiter is None:
            self._connections.release(upstream)
        else:
            self._connections._opening.pop(waiter, None)
            waiter.on_connected(upstream)

    def failed(self, reason: Reason) -> None:
        waiter = self.waiter
        if waiter is not None:
            self._connections._opening.pop(waiter, None)
        self._connections._free()
        if waiter is not None:
            waiter.on_connect_failed(reason)

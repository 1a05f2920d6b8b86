"""What one process has to tell of itself: what it has counted since it told last, and how it is.

The main process is told of counts within a second, so that a process that is killed takes little
with it, and asks (topic ``figures``) when somebody wants to know. What is told was counted once
only, so the main process adds it up. How things are, it takes as the latest word.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from txrproxy import metrics
from txrproxy.balance.backend import Backend
from txrproxy.balance.pool import Pool
from txrproxy.config.graph import Graph
from txrproxy.observe.counts import Counts, Row
from txrproxy.service.plane import Plane, resident
from txrproxy.transport.channel import AnyChannel, Body

INTERVAL = 1.0  # seconds that a count waits to be told, at most


class Figures:
    """Of the process that serves ``plane``. Topics: ``figures``, ``pools``; tells ``counted``."""

    def __init__(self, channel: AnyChannel, reactor: Any, plane: Plane, number: int = 1) -> None:
        self._channel = channel
        self._reactor = reactor
        self._plane = plane
        self._number = str(number)
        self._counts: Counts = plane.counts
        self._counts.changed = self._changed
        self._call: Any = None
        self._accepted = 0
        self._cpu = 0.0
        channel.register("figures", lambda _: self.all())
        channel.register("pools", lambda _: {"pools": self.pools()})

    def _changed(self) -> None:
        if self._call is None:
            self._call = self._reactor.callLater(INTERVAL, self.tell)

    def tell(self) -> None:
        """Tell what was counted, now: also for the end."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        self._channel.send("counted", {"rows": self._take()})

    def _take(self) -> list[Row]:
        graph = self._plane.graph
        if graph is not None:
            graph.log.flush()
            accepted = graph.limit.accepted
            self._counts.count(metrics.ACCEPTED, (), accepted - self._accepted)
            self._accepted = accepted
            for name, labels, number in graph.firewalls.counted():
                self._counts.count(name, labels, number)
        cpu = time.process_time()
        self._counts.count(metrics.CPU, (), cpu - self._cpu)
        self._cpu = cpu
        rows = self._counts.take()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        return rows

    def all(self) -> Body:
        """What was counted, ``rows``, and how things are, ``now``."""
        graph = self._plane.graph
        now: list[Row] = [(metrics.MEMORY, [self._number], resident())]
        if graph is not None:
            now += _state(graph)
        return {"rows": self._take(), "now": now}

    def pools(self) -> list[Body]:
        """The pools as this process sees them."""
        graph = self._plane.graph
        if graph is None:
            return []
        return [
            {
                "name": pool.name.decode(),
                "panic": pool.panicking,
                "backends": [_backend(backend) for backend in pool.backends],
            }
            for pool in graph.pools.values()
        ]


def _state(graph: Graph) -> Iterator[Row]:
    for name, site in graph.listeners.items():
        yield metrics.CONNECTIONS, [str(name)], len(site.connections)
        yield metrics.TUNNELS, [str(name)], len(site.tunnels)
    for name, (store, _) in graph.caches.items():
        yield metrics.CACHE_MEMORY, [str(name)], store.memory.size
    engines = graph.firewalls.engines
    if engines is not None:
        yield metrics.WAF_ENGINES, [], len(engines.pids)
        yield metrics.WAF_WAITING, [], engines.waiting
    for pool in graph.pools.values():
        yield from _pool(pool)


def _pool(pool: Pool) -> Iterator[Row]:
    name = pool.name.decode()
    yield metrics.PANIC, [name], int(pool.panicking)
    for backend in pool.backends:
        labels = [name, backend.name.decode("latin-1")]
        yield metrics.ACTIVE, labels, backend.in_use
        yield metrics.IDLE, labels, len(backend.connections.idle)
        yield metrics.WAITING, labels, backend.waiting
        yield metrics.AVAILABLE, labels, int(backend.available)
        yield metrics.HEALTHY, labels, int(bool(backend.healthy))
        yield metrics.EJECTED, labels, int(backend.ejected)


def _backend(backend: Backend) -> Body:
    return {
        "id": backend.name.decode("latin-1"),
        "state": backend.state.value,
        "weight": backend.weight,
        "healthy": backend.healthy,
        "ejected": backend.ejected,
        "available": backend.available,
        "active": backend.in_use,
        "idle": len(backend.connections.idle),
        "waiting": backend.waiting,
    }

"""What a process counts, made of the access log's records, and handed on from time to time.

::

    record ──▶ access log ── a batch ──▶ Counts.add ── a second later ──▶ take ──▶ main process

Every exchange makes one record anyway, so counting costs a request nothing where it runs: a batch
of 512 is counted when it is rendered. Records that are alike (the same route, method, status,
reason, backend) share a cell, and cells become metrics only in :meth:`Counts.take`, which gives
what has come since it was called before. Whoever adds that up never sees a count go back.

Labels are words of the configuration or of a fixed list (:mod:`txrproxy.metrics`): what a client or
an origin chose freely becomes "other".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from txrproxy import metrics
from txrproxy.errors import REASONS, TUNNEL_IDLE, UPGRADED
from txrproxy.metrics import BOUNDS
from txrproxy.observe.formats import Record

METHODS = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE"}
)
RESULTS = frozenset({b"hit", b"miss", b"stale", b"revalidated", b"collapsed", b"bypass"})
MAX_CELLS = 2048
"""Cells between two takes; methods and statuses are not ours to choose, and so not their number."""

MAX_VALUES = 20_000
"""Values that wait to be taken; beyond it new ones are dropped until then."""

_OTHER = "other"
_SLOTS = len(BOUNDS) + 1
_TUNNELS = frozenset({UPGRADED.log_name, TUNNEL_IDLE.log_name})
_OUTCOMES = frozenset(REASONS) | {"502", "503", "504"}

Row = tuple[str, list[str], Any]
"""A metric, its labels, and a number; for a histogram the counts of its buckets and the sum."""

_Key = tuple[bytes, bytes, int, bytes, bytes, bytes]


class _Cell:
    """What records that are alike add up to."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connect",
        "connect_seconds",
        "count",
        "first_byte",
        "first_byte_seconds",
        "seconds",
        "total",
    )

    def __init__(self) -> None:
        self.count = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.seconds = self.connect_seconds = self.first_byte_seconds = 0.0
        self.total = [0] * _SLOTS
        self.connect = [0] * _SLOTS
        self.first_byte = [0] * _SLOTS


class Counts:
    """``changed`` is called when there is something to take where there was nothing."""

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        self.changed = changed
        self._cells: dict[_Key, _Cell] = {}
        self._values: dict[tuple[str, tuple[str, ...]], Any] = {}

    def add(self, records: Sequence[Record]) -> None:
        """Count exchanges that have ended."""
        cells = self._cells
        idle = not cells and not self._values
        for (
            _,
            _,
            method,
            _,
            _,
            _,
            status,
            bytes_in,
            bytes_out,
            route,
            pool,
            backend,
            connect,
            first_byte,
            total,
            reason,
            _,
            _,
            _,
            _,
            notes,
        ) in records:
            key = (route, method, status, reason, pool, backend)
            cell = cells.get(key)
            if cell is None:
                if len(cells) >= MAX_CELLS:
                    self._settle()
                cell = cells[key] = _Cell()
            cell.count += 1
            cell.bytes_in += bytes_in
            cell.bytes_out += bytes_out
            cell.seconds += total
            cell.total[bisect_left(BOUNDS, total)] += 1
            if first_byte is not None:
                cell.first_byte_seconds += first_byte
                cell.first_byte[bisect_left(BOUNDS, first_byte)] += 1
            if connect is not None:
                cell.connect_seconds += connect
                cell.connect[bisect_left(BOUNDS, connect)] += 1
            if notes:
                self._note(key, notes)
        if idle and records:
            self.changed()

    def take(self) -> list[Row]:
        """What was counted since the last time."""
        self._settle()
        values, self._values = self._values, {}
        return [(name, list(labels), value) for (name, labels), value in values.items()]

    def count(self, name: str, labels: tuple[str, ...] = (), value: float = 1) -> None:
        """One more, or several, of a counter."""
        key = (name, labels)
        before = self._values.get(key)
        if before is not None:
            self._values[key] = before + value
        elif len(self._values) < MAX_VALUES:
            self._values[key] = value

    # From records to metrics.

    def _note(self, key: _Key, notes: tuple[tuple[bytes, bytes], ...]) -> None:
        route, _, status, reason, pool, backend = key
        for name, value in notes:
            if name == b"cache":
                result = value.decode() if value in RESULTS else _OTHER
                self.count(metrics.CACHE_REQUESTS, (route.decode(), result))
            elif name == b"tries":
                self._tries(pool.decode(), value, backend, {reason, b"%d" % status})

    def _tries(self, pool: str, tries: bytes, backend: bytes, ends: set[bytes]) -> None:
        """Every try but the last was followed by another, and that one too if it is not the end."""
        failed = [each.rpartition(b" ") for each in tries.split(b", ")]
        for name, _, outcome in failed:
            text = _text(outcome)
            labels = (pool, _text(name), text if text in _OUTCOMES else _OTHER)
            self.count(metrics.BACKEND_FAILURES, labels)
        name, _, outcome = failed[-1]
        retries = len(failed) - (name == backend and outcome in ends)
        if retries:
            self.count(metrics.RETRIES, (pool,), retries)

    def _settle(self) -> None:
        """Make metrics of cells."""
        count = self.count
        for key, cell in self._cells.items():
            route, pool, backend = key[0].decode(), key[4].decode(), _text(key[5])
            method = key[1].decode() if key[1] in METHODS else _OTHER
            status = _class(key[2])
            count(metrics.REQUESTS, (route, method, status), cell.count)
            count(metrics.REASONS, (route, _text(key[3])), cell.count)
            count(metrics.REQUEST_BYTES, (route,), cell.bytes_in)
            count(metrics.RESPONSE_BYTES, (route,), cell.bytes_out)
            if key[3] not in _TUNNELS:
                self._observe(metrics.DURATION, (route,), cell.total, cell.seconds)
            if backend:
                count(metrics.BACKEND_REQUESTS, (pool, backend, status), cell.count)
                slots, seconds = cell.first_byte, cell.first_byte_seconds
                self._observe(metrics.BACKEND_RESPONSE, (pool,), slots, seconds)
                slots, seconds = cell.connect, cell.connect_seconds
                self._observe(metrics.BACKEND_CONNECT, (pool,), slots, seconds)
        self._cells.clear()

    def _observe(
        self, name: str, labels: tuple[str, ...], slots: list[int], seconds: float
    ) -> None:
        if not any(slots):
            return
        key = (name, labels)
        before = self._values.get(key)
        if before is not None:
            self._values[key] = [a + b for a, b in zip(before, [*slots, seconds], strict=True)]
        elif len(self._values) < MAX_VALUES:
            self._values[key] = [*slots, seconds]


def _text(name: bytes) -> str:
    """A backend's name, or another word that may hold any byte of a path."""
    return name.decode("latin-1")


def _class(status: int) -> str:
    """``2xx``; ``none`` where none was sent."""
    if not status:
        return "none"
    return f"{status // 100}xx" if 100 <= status < 600 else _OTHER

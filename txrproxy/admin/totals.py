"""What all processes have counted, added up, and how it is written for Prometheus.

Processes tell what has come since they told last, and it is added here: so what a process has told
stays when it ends, and no count goes back. How things are (:meth:`Totals.state`) is the latest word
of each process, and goes with it.

The format is prometheus_client's; the registry, its locks and its metric objects are not needed
where values are gathered already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder

from txrproxy.metrics import BOUNDS, METRICS, Kind, Metric

MAX_SERIES = 100_000
"""Of all counters together. Backends that come and go by their names are the only ones that could
need so many; those beyond it are counted together, as "other"."""

_ENDS = [*map(str, BOUNDS), "+Inf"]
_COMBINE: dict[Kind, Callable[[list[float]], float]] = {
    Kind.SUM: sum,
    Kind.LEAST: min,
    Kind.MOST: max,
}

Row = tuple[str, list[str], Any]


class Totals:
    """Of one proxy."""

    def __init__(self, most: int = MAX_SERIES) -> None:
        self._most = most
        self._size = 0
        self._counts: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in METRICS}
        self._states: dict[Any, list[Row]] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Something was counted."""
        for name, labels, value in rows:
            series = self._counts[name]
            key = tuple(labels)
            before = series.get(key)
            if before is None and self._size >= self._most:
                key = self._beyond(METRICS[name], key)
                before = series.get(key)
            if before is None:
                self._size += 1
                series[key] = value
            elif METRICS[name].kind is Kind.HISTOGRAM:
                series[key] = [a + b for a, b in zip(before, value, strict=True)]
            else:
                series[key] = before + value

    @staticmethod
    def _beyond(metric: Metric, labels: tuple[str, ...]) -> tuple[str, ...]:
        names = metric.labels
        return tuple(
            "other" if name == "backend" else label
            for name, label in zip(names, labels, strict=True)
        )

    def state(self, process: Any, rows: list[Row]) -> None:
        """How a process is, in place of what it said before."""
        self._states[process] = rows

    def forget(self, gone: Iterable[Any]) -> None:
        """These processes are no more."""
        for process in gone:
            self._states.pop(process, None)

    @property
    def processes(self) -> set[Any]:
        """Those whose state is known."""
        return set(self._states)

    # Writing.

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Everything, and its content type, in the form that ``accept`` asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self), content_type

    def collect(self) -> Iterator[Any]:
        """All metrics as prometheus_client has them."""
        states: dict[str, dict[tuple[str, ...], list[float]]] = {}
        for rows in self._states.values():
            for name, labels, value in rows:
                states.setdefault(name, {}).setdefault(tuple(labels), []).append(value)
        for name, metric in METRICS.items():
            if metric.kind.grows:
                yield _counted(metric, self._counts[name])
            else:
                yield _measured(metric, states.get(name, {}))


def _counted(metric: Metric, series: dict[tuple[str, ...], Any]) -> Any:
    if metric.kind is Kind.COUNTER:
        counter = CounterMetricFamily(metric.full_name, metric.text, labels=metric.labels)
        for labels, value in series.items():
            counter.add_metric(labels, value)
        return counter
    histogram = HistogramMetricFamily(metric.full_name, metric.text, labels=metric.labels)
    for labels, (*slots, total) in series.items():
        buckets = list(zip(_ENDS, accumulate(slots), strict=True))
        histogram.add_metric(labels, buckets, total)
    return histogram


def _measured(metric: Metric, series: dict[tuple[str, ...], list[float]]) -> Any:
    gauge = GaugeMetricFamily(metric.full_name, metric.text, labels=metric.labels)
    combine = _COMBINE[metric.kind]
    for labels, values in series.items():
        gauge.add_metric(labels, combine(values))
    return gauge

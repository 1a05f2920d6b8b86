"""The table of metrics keeps to the conventions, and so do the dashboard and the manual to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import txrproxy
from txrproxy.metrics import BOUNDS, METRICS, PREFIX, Kind

TREE = Path(txrproxy.__file__).parent.parent

# Words that the configuration has, or that are of a fixed list.
LABELS = {
    *("route", "pool", "backend", "listener", "cache", "worker"),
    *("method", "status", "reason", "result", "version"),
}


class Table(SynchronousTestCase):
    def test_names(self) -> None:
        for name, metric in METRICS.items():
            self.assertRegex(name, r"^[a-z]+(_[a-z]+)*$")
            self.assertEqual(metric.kind is Kind.COUNTER, name.endswith("_total"), name)
            self.assertEqual(metric.full_name, PREFIX + name)
            self.assertTrue(metric.text.endswith("."), name)
            if metric.kind is Kind.HISTOGRAM:
                self.assertTrue(name.endswith("_seconds"), name)

    def test_labels_are_bounded(self) -> None:
        for metric in METRICS.values():
            self.assertLessEqual(set(metric.labels), LABELS)

    def test_what_grows(self) -> None:
        self.assertEqual([kind for kind in Kind if kind.grows], [Kind.COUNTER, Kind.HISTOGRAM])

    def test_bounds(self) -> None:
        self.assertEqual(list(BOUNDS), sorted(BOUNDS))


def expressions(value: Any) -> Iterator[str]:
    """Everything that a dashboard asks for."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("expr", "definition") and isinstance(part, str):
                yield part
            else:
                yield from expressions(part)
    elif isinstance(value, list):
        for part in value:
            yield from expressions(part)


class Dashboard(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = TREE / "etc" / "grafana" / "txrproxy.json"
        if not self.path.is_file():
            self.skipTest("an installed package has no etc")

    def test_asks_for_what_there_is(self) -> None:
        asked = list(expressions(json.loads(self.path.read_text("utf-8"))))
        self.assertGreater(len(asked), 10)
        known: dict[str, set[str]] = {}
        for metric in METRICS.values():
            names = [metric.full_name]
            if metric.kind is Kind.HISTOGRAM:
                names = [f"{metric.full_name}_{part}" for part in ("bucket", "sum", "count")]
            for name in names:
                known[name] = {*metric.labels, "le", "job", "instance"}
        for text in asked:
            found = re.findall(r"\btxrproxy_\w+", text)
            self.assertTrue(found, text)
            for name in found:
                self.assertIn(name, known, text)
            allowed = set().union(*(known[name] for name in found))
            for labels in re.findall(r"by \(([^)]*)\)", text):
                self.assertLessEqual(set(labels.replace(" ", "").split(",")), allowed, text)
            for labels in re.findall(r"\{([^}]*)\}", text):
                self.assertLessEqual(set(re.findall(r"(\w+)\s*[=!]", labels)), allowed, text)

    def test_shows_what_there_is(self) -> None:
        """A new metric has a place on it, or a reason to have none."""
        asked = " ".join(expressions(json.loads(self.path.read_text("utf-8"))))
        shown = set(re.findall(r"\btxrproxy_\w+", asked))
        missing = {
            name
            for name, metric in METRICS.items()
            if not shown & {metric.full_name, f"{metric.full_name}_bucket"}
        }
        # How many responses there are says less than their size; the start, than restarts.
        self.assertEqual(missing, {"cache_responses", "start_time_seconds"})

    def test_panels_beside_each_other(self) -> None:
        panels = json.loads(self.path.read_text("utf-8"))["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            at = panel["gridPos"]
            place = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            self.assertFalse(taken & place, panel["title"])
            taken |= place


class Manual(SynchronousTestCase):
    def test_names_every_metric(self) -> None:
        path = TREE / "docs" / "operations.md"
        if not path.is_file():
            self.skipTest("an installed package has no docs")
        text = path.read_text("utf-8")
        missing = [m.full_name for m in METRICS.values() if f"`{m.full_name}`" not in text]
        self.assertEqual(missing, [])
        told = set(re.findall(r"`(txrproxy_\w+)`", text))
        self.assertEqual(told - {m.full_name for m in METRICS.values()}, set())

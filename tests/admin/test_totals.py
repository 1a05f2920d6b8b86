"""What processes tell is added up, and written as Prometheus reads it."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from txrproxy import metrics
from txrproxy.admin.totals import Totals
from txrproxy.metrics import BOUNDS, METRICS


def samples(totals: Totals) -> dict[Any, float]:
    """Name and labels of every sample, as a parser of Prometheus' format finds them."""
    text, _ = totals.text()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.totals = Totals()

    def test_counters_add_up(self) -> None:
        for value in (2, 3):
            self.totals.add([(metrics.RETRIES, ["app"], value)])
        self.totals.add([(metrics.RETRIES, ["b"], 1)])
        found = samples(self.totals)
        self.assertEqual(found["txrproxy_retries_total", ("pool", "app")], 5)
        self.assertEqual(found["txrproxy_retries_total", ("pool", "b")], 1)

    def test_histograms(self) -> None:
        slots = [0] * (len(BOUNDS) + 1)
        slots[0], slots[-1] = 2, 1
        for _ in range(2):
            self.totals.add([(metrics.DURATION, ["all"], [*slots, 31.5])])
        found = samples(self.totals)
        name = "txrproxy_request_duration_seconds"
        self.assertEqual(found[f"{name}_count", ("route", "all")], 6)
        self.assertEqual(found[f"{name}_sum", ("route", "all")], 63)
        self.assertEqual(found[f"{name}_bucket", ("le", "0.001"), ("route", "all")], 4)
        self.assertEqual(found[f"{name}_bucket", ("le", "30.0"), ("route", "all")], 4)
        self.assertEqual(found[f"{name}_bucket", ("le", "+Inf"), ("route", "all")], 6)

    def test_state_is_the_latest_word(self) -> None:
        for value in (5, 7):
            self.totals.state("a", [(metrics.CONNECTIONS, ["http"], value)])
        self.totals.state("b", [(metrics.CONNECTIONS, ["http"], 1)])
        self.assertEqual(samples(self.totals)["txrproxy_connections", ("listener", "http")], 8)
        self.assertEqual(self.totals.processes, {"a", "b"})
        self.totals.forget({"a", "c"})
        self.assertEqual(samples(self.totals)["txrproxy_connections", ("listener", "http")], 1)

    def test_least_and_most(self) -> None:
        labels = ["app", "10.0.0.1:80"]
        for process, value in (("a", 0), ("b", 1)):
            self.totals.state(
                process, [(metrics.AVAILABLE, labels, value), (metrics.PANIC, ["app"], value)]
            )
        found = samples(self.totals)
        self.assertEqual(
            found["txrproxy_backend_available", ("backend", "10.0.0.1:80"), ("pool", "app")], 0
        )
        self.assertEqual(found["txrproxy_pool_panic", ("pool", "app")], 1)

    def test_backends_without_end(self) -> None:
        totals = Totals(most=3)
        for number in range(10):
            totals.add([(metrics.EJECTIONS, ["app", f"10.0.0.{number}:80"], 1)])
        found = samples(totals)
        self.assertEqual(
            found["txrproxy_ejections_total", ("backend", "other"), ("pool", "app")], 7
        )
        self.assertEqual(len(found), 4)

    def test_labels_are_quoted(self) -> None:
        self.totals.add([(metrics.RETRIES, ['a"\\\n'], 1)])
        self.assertIn(("txrproxy_retries_total", ("pool", 'a"\\\n')), samples(self.totals))

    def test_every_metric_is_described(self) -> None:
        text = self.totals.text()[0].decode()
        for metric in METRICS.values():
            self.assertIn(f"# HELP {metric.full_name} {metric.text}\n", text)

    def test_openmetrics(self) -> None:
        self.totals.add([(metrics.RETRIES, ["app"], 1)])
        text, kind = self.totals.text("application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text"))
        self.assertTrue(text.endswith(b"# EOF\n"))
        text, kind = self.totals.text()
        self.assertTrue(kind.startswith("text/plain; version=0.0.4"))

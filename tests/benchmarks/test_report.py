"""Samples to medians, ratios and tables."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.cases import CASES, Sample
from benchmarks.report import Report, markdown, summarise, write

CASE = CASES["proxied-1k"]


def report() -> Report:
    return Report(
        name="unit",
        date="2025-03-04T05:06:07+00:00",
        command="benchmarks/run.py",
        machine={"cpu": "abacus"},
        versions={"nginx": "1.2.3"},
        missing=["envoy"],
    )


def sample(cost: float, **errors: int) -> Sample:
    return Sample(cost=cost, peak_mib=10, answered=9, requests_per_second=1e6 / cost, errors=errors)


class SummariseTests(SynchronousTestCase):
    def test_medians_spread_and_ratio(self) -> None:
        rows = summarise(
            {
                "nginx": [sample(20), sample(22), sample(90)],
                "txrproxy": [sample(33), sample(30), sample(44)],
            }
        )
        mine = rows["txrproxy"]
        self.assertEqual((mine.cost, mine.low, mine.high, mine.ratio), (33, 30, 44, 1.5))
        self.assertEqual(rows["nginx"].ratio, 1)
        self.assertIsNone(mine.p99_ms)

    def test_no_ratio_without_the_baseline(self) -> None:
        self.assertIsNone(summarise({"haproxy": [sample(20)]})["haproxy"].ratio)

    def test_errors_are_added_up_over_the_rounds(self) -> None:
        rows = summarise({"nginx": [sample(20, read=1), sample(20, read=2, status=3)]})
        self.assertEqual(rows["nginx"].errors, {"read": 3, "status": 3})


class ReportTests(SynchronousTestCase):
    def test_markdown(self) -> None:
        results = report()
        results.add(CASE, "haproxy", sample(40))
        results.add(CASE, "nginx", sample(20, status=7))
        results.fail(CASE, "caddy", "exited with 1:\nno such option")
        text = markdown(results, [CASE])
        self.assertIn("not measured: envoy", text)
        self.assertIn("- caddy failed: exited with 1: no such option", text)
        rows = [line for line in text.splitlines() if line.startswith(("| nginx", "| haproxy"))]
        self.assertEqual([row.split(" | ")[3] for row in rows], ["1.00", "2.00"])
        self.assertTrue(rows[0].endswith("| 7 status |"))

    def test_faults_of_one_subject(self) -> None:
        results = report()
        results.add(CASE, "nginx", sample(20, status=7))
        results.add(CASE, "txrproxy", sample(30))
        self.assertEqual(results.faults("txrproxy"), [])
        results.add(CASE, "txrproxy", sample(30, read=1))
        results.fail(CASES["idle"], "txrproxy", "not listening")
        self.assertEqual(results.faults("txrproxy"), ["idle: not listening", "proxied-1k: 1 read"])

    def test_files(self) -> None:
        results = report()
        results.add(CASE, "nginx", sample(20))
        markdown_file, json_file = write(results, [CASE], Path(self.mktemp()))
        self.assertEqual(markdown_file.name, "2025-03-04-unit.md")
        found = json.loads(json_file.read_text())["cases"]["proxied-1k"]
        self.assertEqual(found["unit"], "µs CPU a request")
        self.assertEqual(found["subjects"]["nginx"]["samples"][0]["cost"], 20)

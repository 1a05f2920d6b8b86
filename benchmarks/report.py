"""The results: samples to medians and ratios, written as JSON for programs, Markdown for people."""

from __future__ import annotations

import json
import platform
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.cases import Case, Sample

BASELINE = "nginx"


@dataclass
class Report:
    """Everything one invocation found. ``samples`` and ``failures`` by case, then subject."""

    name: str
    date: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    missing: Sequence[str]
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, case: Case, subject: str, sample: Sample) -> None:
        self.samples.setdefault(case.name, {}).setdefault(subject, []).append(sample)

    def fail(self, case: Case, subject: str, why: str) -> None:
        self.failures.setdefault(case.name, {})[subject] = why

    def faults(self, subject: str) -> list[str]:
        """What went wrong for ``subject``: runs that failed, and requests that did."""
        found = [f"{case}: {why[subject]}" for case, why in self.failures.items() if subject in why]
        for case, subjects in self.samples.items():
            errors = count_errors(subjects.get(subject, ()))
            if errors:
                found.append(f"{case}: {_errors(errors)}")
        return found


@dataclass(frozen=True)
class Summary:
    """Medians over the rounds; ``low`` and ``high`` span the cost; errors are added up."""

    cost: float
    low: float
    high: float
    ratio: float | None
    peak_mib: float | None
    requests_per_second: float | None
    p50_ms: float | None
    p99_ms: float | None
    busy: float | None
    errors: Mapping[str, int]


def summarise(subjects: Mapping[str, Sequence[Sample]]) -> dict[str, Summary]:
    """One row a subject of one case, with its ratio to :data:`BASELINE` where that was run."""
    costs = {name: [sample.cost for sample in samples] for name, samples in subjects.items()}
    base = statistics.median(costs[BASELINE]) if BASELINE in costs else None
    return {
        name: Summary(
            cost=statistics.median(costs[name]),
            low=min(costs[name]),
            high=max(costs[name]),
            ratio=statistics.median(costs[name]) / base if base else None,
            peak_mib=_median(sample.peak_mib for sample in samples),
            requests_per_second=_median(sample.requests_per_second for sample in samples),
            p50_ms=_median(sample.p50_ms for sample in samples),
            p99_ms=_median(sample.p99_ms for sample in samples),
            busy=_median(sample.busy for sample in samples),
            errors=count_errors(samples),
        )
        for name, samples in subjects.items()
    }


def count_errors(samples: Iterable[Sample]) -> dict[str, int]:
    total: dict[str, int] = {}
    for sample in samples:
        for kind, count in sample.errors.items():
            total[kind] = total.get(kind, 0) + count
    return total


def machine() -> dict[str, str]:
    """What the figures depend on beside the programs."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    cores = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": str(cores),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load average at the start": Path("/proc/loadavg").read_text().split()[0],
    }


def write(report: Report, cases: Sequence[Case], folder: Path) -> tuple[Path, Path]:
    """Write ``DATE-NAME.md`` and ``.json`` into ``folder`` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{report.date[:10]}-{report.name}"
    markdown_file, json_file = folder / f"{stem}.md", folder / f"{stem}.json"
    markdown_file.write_text(markdown(report, cases))
    json_file.write_text(json.dumps(_plain(report, cases), indent=1) + "\n")
    return markdown_file, json_file


def markdown(report: Report, cases: Sequence[Case]) -> str:
    facts = {"date": report.date, "command": f"`{report.command}`", **report.machine}
    lines = [f"# Benchmark: {report.name}", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines.append("- versions: " + ", ".join(f"{n} {v}" for n, v in report.versions.items()))
    if report.missing:
        lines.append("- not installed, so not measured: " + ", ".join(report.missing))
    for case in cases:
        rows = summarise(report.samples.get(case.name, {}))
        failures = report.failures.get(case.name, {})
        if rows or failures:
            lines += ["", f"## {case.name}", "", case.about + ".", ""]
        if rows:
            lines += _table(case, rows)
        if failures:
            lines += ["", *(f"- {name} failed: {_one_line(why)}" for name, why in failures.items())]
    return "\n".join(lines) + "\n"


def _table(case: Case, rows: Mapping[str, Summary]) -> list[str]:
    head = ["subject", case.unit, "min to max", f"ratio to {BASELINE}", "peak MiB"]
    loaded = any(row.requests_per_second is not None for row in rows.values())
    if loaded:
        head += ["requests/s", "p50 ms", "p99 ms", "busy"]
    head.append("errors")
    lines = [_row(head), _row(["---"] + ["---:"] * (len(head) - 2) + ["---"])]
    for name, row in sorted(rows.items(), key=lambda item: item[1].cost):
        cells = [name, _figure(row.cost), f"{_figure(row.low)} to {_figure(row.high)}"]
        cells += [_figure(row.ratio, 2), _figure(row.peak_mib, 0)]
        if loaded:
            cells += [_figure(row.requests_per_second, 0)]
            cells += [_figure(row.p50_ms, 2), _figure(row.p99_ms, 2)]
            cells += ["-" if row.busy is None else f"{row.busy:.0%}"]
        lines.append(_row([*cells, _errors(row.errors) or "none"]))
    return lines


def _plain(report: Report, cases: Sequence[Case]) -> dict[str, object]:
    units = {case.name: case.unit for case in cases}
    summaries = {
        name: {
            "unit": units[name],
            "subjects": {
                subject: {
                    **asdict(row),
                    "samples": [asdict(sample) for sample in report.samples[name][subject]],
                }
                for subject, row in summarise(subjects).items()
            },
        }
        for name, subjects in report.samples.items()
    }
    facts = {
        key: value for key, value in asdict(report).items() if key not in ("samples", "failures")
    }
    return {**facts, "cases": summaries, "failures": report.failures}


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _figure(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return "-"
    if digits is None:
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in errors.items())


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())

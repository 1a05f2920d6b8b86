"""What clients notice when backends fail: ``python benchmarks/faults.py``.

Three backends behind the proxy, each a process, 200 requests a second (GET, PUT and POST),
and one fault after another (``tests/faults.py``). For each phase of a fault: requests, failures,
and how long answers took; to ``results/DATE-faults.{md,json}``.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Run as a script, the folder of this file comes first; what is imported is the package above it.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.report import machine  # noqa: E402
from tests import faults  # noqa: E402
from tests.faults import (  # noqa: E402
    HEALTH,
    OUTLIER,
    PATIENT,
    RATE,
    RETRY,
    Answer,
    standing,
)

COUNT = 3 * RATE  # requests a phase, or about that
RESULTS = Path(__file__).parent / "results"
EJECT = OUTLIER.format(eject="1s")
IMPATIENT = '\n[pools.app.timeouts]\nfirst_byte = "1s"\n'
HURRIED = HEALTH.format(timeout="500ms")

# What is done, the pool, workers, and what else the fault wants to know.
FAULTS: Mapping[str, tuple[Any, str, int, tuple[Any, ...]]] = {
    "kill -9, checks, ejection, retries": (faults.kill, PATIENT + EJECT + RETRY, 0, ()),
    "the same, 2 workers": (faults.kill, PATIENT + EJECT + RETRY, 2, ()),
    "kill -9, retries alone": (faults.kill, RETRY, 0, ()),
    "killed and restarted five times": (faults.flap, PATIENT + EJECT + RETRY, 0, ()),
    "SIGSTOP, first_byte 1s, checks": (
        faults.hang,
        HURRIED + OUTLIER.format(eject="60s") + RETRY + IMPATIENT,
        0,
        ("unhealthy",),
    ),
    "SIGSTOP, first_byte 1s, no checks": (
        faults.hang,
        EJECT + RETRY + IMPATIENT,
        0,
        ("left out",),
    ),
    "passes checks, resets all else": (faults.lie, PATIENT + EJECT + RETRY, 0, ("reset",)),
    "passes checks, 503 for all else": (faults.lie, PATIENT + EJECT + RETRY, 0, ("503",)),
    "passes checks, cuts all bodies": (faults.lie, PATIENT + EJECT + RETRY, 0, ("cut",)),
    "all killed, all restarted": (faults.lose_all, PATIENT + EJECT + RETRY, 0, ()),
    **{
        f"one answers in 200 ms, {policy}": (faults.slow_down, f'balance = "{policy}"\n', 0, ())
        for policy in ("round_robin", "least_connections", "power_of_two", "ewma")
    },
}

Row = dict[str, Any]


async def suffer(fault: Any, pool: str, workers: int, details: tuple[Any, ...]) -> list[Row]:
    """One row for each phase."""
    async with standing(pool, workers) as stand:
        await fault(stand, COUNT, *details)
    phases = dict.fromkeys(answer.phase for answer in stand.load.answers)
    return [row(phase, stand.load.of(phase)) for phase in phases if phase != "begin"]


def row(phase: str, answers: list[Answer]) -> Row:
    """Times in ms, of all answers, those that failed too; ``share`` is that of the victim."""
    times = sorted(1000 * answer.seconds for answer in answers)
    served = [answer.backend for answer in answers if answer.backend]
    return {
        "phase": phase,
        "requests": len(answers),
        "failures": sum(bool(answer.what) for answer in answers),
        "p50": round(percentile(times, 0.5), 1),
        "p99": round(percentile(times, 0.99), 1),
        "max": round(times[-1], 1),
        "share": round(served.count("b") / max(1, len(served)), 3),
    }


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def markdown(tables: Mapping[str, list[Row]], date: str, facts: Mapping[str, str]) -> str:
    lines = ["# Benchmark: faults of backends", "", f"- date: {date}"]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += [
        f"- load: {RATE} requests a second, three backends; all share the cores; retry budget 1.0",
        "",
        "Times in ms, of all requests; share: what the troubled backend answered of the answered.",
        "",
        "| fault | phase | requests | failures | p50 | p99 | max | share |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in tables.items():
        for number, each in enumerate(rows):
            cells = [name if not number else "", each["phase"], f"{each['requests']:,}"]
            cells += [str(each[key]) for key in ("failures", "p50", "p99", "max")]
            cells.append(f"{each['share']:.0%}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    date = datetime.datetime.now().date().isoformat()
    facts = {"command": "`python benchmarks/faults.py`", **machine()}
    tables = {}
    for name, what in FAULTS.items():
        print(name, flush=True)
        tables[name] = asyncio.run(suffer(*what))
    text = markdown(tables, date, facts)
    print(text, end="")
    (RESULTS / f"{date}-faults.md").write_text(text)
    plain = {"date": date, **facts, "ms": tables}
    (RESULTS / f"{date}-faults.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()

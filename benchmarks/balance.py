"""What choosing a backend costs, for 2 to 1,000 of them: ``python benchmarks/balance.py``.

Prints µs a choice for each policy, best of several runs, and how that grows from the smallest pool
to the largest, and writes both to ``results/DATE-balance.{md,json}``. Weights are 1 to 5, loads and
latencies random; nothing is tried or full, as for almost every request. Beside it, what it costs to
settle the candidates, which happens when something is learnt of a backend, and to begin with new
members.
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
import sys
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Run as a script, the folder of this file comes first; what is imported is the package above it.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.report import machine  # noqa: E402
from txrproxy.balance.backend import Backend  # noqa: E402
from txrproxy.balance.policies import POLICIES  # noqa: E402
from txrproxy.balance.pool import Pool  # noqa: E402

COUNTS = (2, 10, 100, 1000)
CHOICES = 2_000
RUNS = 40
KEYS = [b"192.0.2.%d:%d" % divmod(number, 256) for number in range(1000)]
RESULTS = Path(__file__).parent / "results"

Table = dict[str, dict[int, float]]


def members(count: int) -> list[Backend]:
    rng = random.Random(count)
    made = []
    for number in range(count):
        name = b"10.0.%d.%d:8080" % divmod(number, 256)
        backend = Backend(name, name, 1 + number % 5, max_connections=200)
        backend.in_use = rng.randrange(backend.weight * 2 + 1)
        backend.latency = rng.uniform(0.001, 0.01)
        made.append(backend)
    return made


def best(function: Callable[[], Any], number: int, runs: int = RUNS) -> float:
    """µs a call."""
    return min(timeit.repeat(function, number=number, repeat=runs)) / number * 1e6


def choice(policy: Any, count: int) -> float:
    select = Pool(b"app", members(count), policy).select
    keys = itertools.cycle(KEYS)
    idle = best(lambda: next(keys), CHOICES)
    return best(lambda: select((), next(keys), 3.0), CHOICES) - idle


def refresh(policy: Any, count: int) -> float:
    pool = Pool(b"app", members(count), policy)
    return best(lambda: pool.refresh(1.0), max(1, 1000 // count), 5)


def begin(policy: Any, count: int) -> float:
    backends = members(count)
    return best(lambda: policy(backends), 1, 3)


MEASURED: Mapping[str, Callable[[Any, int], float]] = {
    "a choice": choice,
    "settling the candidates": refresh,
    "new members": begin,
}


def markdown(tables: Mapping[str, Table], date: str, facts: Mapping[str, str]) -> str:
    lines = ["# Benchmark: balance", "", f"- date: {date}"]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    for title, table in tables.items():
        lines += ["", f"## {title}, µs", ""]
        lines.append("| policy | " + " | ".join(f"{n:,} backends" for n in COUNTS) + " | growth |")
        lines.append("| --- |" + " ---: |" * (len(COUNTS) + 1))
        for name, row in table.items():
            cells = [f"{row[count]:,.2f}" for count in COUNTS]
            growth = row[COUNTS[-1]] / row[COUNTS[0]]
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {growth:,.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    date = datetime.datetime.now().date().isoformat()
    facts = {"command": "`python benchmarks/balance.py`", **machine()}
    tables = {
        title: {
            name: {count: measure(policy, count) for count in COUNTS}
            for name, policy in POLICIES.items()
        }
        for title, measure in MEASURED.items()
    }
    text = markdown(tables, date, facts)
    print(text, end="")
    (RESULTS / f"{date}-balance.md").write_text(text)
    plain = {"date": date, **facts, "µs": tables}
    (RESULTS / f"{date}-balance.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What a second worker costs: ``python benchmarks/workers.py``.

CPU time a request of all processes of the proxy, with one worker and with two, proxied and from the
cache in memory, from ``/proc/PID/stat``. Where there are fewer than four cores, two workers can not
answer twice as much as one: the load and the origin need a core of their own. So the processes of
the proxy share one core, which they fill, and what counts is what a second of it carries. The one
worker has 32 connections; two have 32 once, and once 32 each: a worker with fewer connections finds
less to do in each turn of its loop.

Rounds are interleaved, each with a fresh process. To ``results/DATE-workers.{md,json}``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Run as a script, the folder of this file comes first; what is imported is the package above it.
ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks.load import BROWSER, verify, wrk  # noqa: E402
from benchmarks.measure import usage  # noqa: E402
from benchmarks.origin import BODIES, origin  # noqa: E402
from benchmarks.process import SUBJECT_CORE, find_program, running  # noqa: E402
from benchmarks.reload import ORIGINS, PORT, TWISTD  # noqa: E402
from benchmarks.report import machine  # noqa: E402

RESULTS = Path(__file__).parent / "results"
CONFIG = """\
version = 1
[server]
workers = {workers}
state_dir = "state"
[log]
access = {{ path = "access.log", format = "json" }}
error = {{ path = "error.log" }}
[listeners.in]
bind = ["127.0.0.1:{port}"]
keepalive_requests = 1000000000
[pools.origin]
backends = [{backends}]
keepalive = {{ idle = 64, timeout = "50s", requests = 1000000000 }}
[caches.kept]
path = "cache"
[[routes]]
name = "all"
pool = "origin"
{cache}
"""
CASES = {"proxied 1 KiB": "", "from memory 1 KiB": 'cache = { store = "kept", default_ttl = "1h" }'}
# Who is measured: workers, connections. The first is what the others are compared with.
SUBJECTS = ((1, 32), (2, 32), (2, 64))
HELD = ((1, 32), (2, 64))  # the same, each worker held to a share of a core
SHARE = 0.3
PERIOD = 20_000  # µs
GROUPS = Path("/sys/fs/cgroup/cpu")
HEADERS = {name: value for name, value in BROWSER.items() if name != "Cache-Control"}

Row = dict[str, Any]


@contextmanager
def held(pids: Sequence[int]) -> Iterator[None]:
    """Let each of these processes have :data:`SHARE` of a core, and no more."""
    groups = [GROUPS / f"txrproxy-{os.getpid()}-{pid}" for pid in pids]
    try:
        for group, pid in zip(groups, pids, strict=True):
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(f"{PERIOD}")
            (group / "cpu.cfs_quota_us").write_text(f"{PERIOD * SHARE:.0f}")
            (group / "cgroup.procs").write_text(f"{pid}")
        yield
    finally:
        for group, pid in zip(groups, pids, strict=True):
            (GROUPS / "cgroup.procs").write_text(f"{pid}")
            group.rmdir()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure(cache: str, workers: int, connections: int, seconds: int, hold: bool = False) -> Row:
    """µs of CPU a request, the share of the core that was used, and requests a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backends = ", ".join(f'"http://127.0.0.1:{port}"' for port in ORIGINS)
        text = CONFIG.format(workers=workers, port=PORT, backends=backends, cache=cache)
        (folder / "edge.toml").write_text(text)
        words = ["-n", "--pidfile=", "txrproxy", "--config", str(folder / "edge.toml")]
        with running(
            [sys.executable, "-c", TWISTD, *words],
            ports=[PORT],
            core=SUBJECT_CORE,
            folder=folder,
            env={"PYTHONPATH": str(ROOT)},
        ) as pid:
            verify(PORT, "/1k", BODIES["/1k"])
            url = f"http://127.0.0.1:{PORT}/1k"
            with held(children(pid) if hold else ()):
                wrk(url, 1, headers=HEADERS, connections=connections)
                before = usage(pid).cpu_seconds
                result = wrk(url, seconds, headers=HEADERS, connections=connections)
                spent = usage(pid).cpu_seconds - before
    if result.errors:
        raise RuntimeError(str(result.errors))
    return {
        "cost": spent / result.requests * 1e6,
        "busy": spent / result.seconds,
        "rate": result.requests / result.seconds,
    }


def markdown(
    found: Mapping[str, Any],
    shared: Mapping[str, Any],
    date: str,
    facts: Mapping[str, str],
    rounds: int,
) -> str:
    lines = ["# Benchmark: one worker and two", "", f"- date: {date}"]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += [
        f"- {rounds} interleaved rounds; all processes of the proxy on one core",
        "",
        "µs of CPU a request, of all processes; the ratio is the median of those of the rounds.",
        "",
        "| case | workers | connections | µs | lowest | highest | ratio | busy |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, subjects in found.items():
        for (workers, connections), one in subjects.items():
            row = [case, f"{workers}", f"{connections}", f"{one['cost']:.1f}"]
            row += [f"{one['low']:.1f}", f"{one['high']:.1f}", f"{one['ratio']:.3f}"]
            lines.append("| " + " | ".join([*row, f"{one['busy']:.0%}"]) + " |")
    lines += [
        "",
        "Two workers answer twice as much as one where each has a core, the load and the origin",
        "have others, and a request costs as much CPU as with one worker. Two cores can show the",
        "last of it only: by the rows of 64 connections, where each worker has as many as the one.",
        "With 32 for both, each finds less to do in a turn of its loop, and a request is dearer,",
        "as it is for one worker that is less busy.",
    ]
    if shared:
        lines += [
            "",
            f"Each worker held to {SHARE:.0%} of a core, so that the load and the origin keep up;",
            "the ratio is the median of those of the rounds.",
            "",
            "| case | 1 worker, requests/s | 2 workers, requests/s | ratio | lowest | highest |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
    for case, one in shared.items():
        rates = " | ".join(f"{rate:,.0f}" for rate in one["rates"])
        ratios = " | ".join(f"{one[name]:.2f}" for name in ("ratio", "low", "high"))
        lines.append(f"| {case} | {rates} | {ratios} |")
    return "\n".join(lines) + "\n"


def summary(rounds: list[dict[tuple[int, int], Row]]) -> dict[tuple[int, int], Row]:
    found = {}
    for subject in SUBJECTS:
        rows = [each[subject] for each in rounds]
        costs = [row["cost"] for row in rows]
        found[subject] = {
            "cost": statistics.median(costs),
            "low": min(costs),
            "high": max(costs),
            "ratio": statistics.median(e[subject]["cost"] / e[SUBJECTS[0]]["cost"] for e in rounds),
            "busy": statistics.median(row["busy"] for row in rows),
            "rate": statistics.median(row["rate"] for row in rows),
        }
    return found


def scaling(cache: str, rounds: int, seconds: int) -> Row:
    """Requests a second of one worker and of two that are held to a share, and their ratio."""
    rates = []
    for number in range(rounds):
        order = HELD if number % 2 else tuple(reversed(HELD))
        found = {each: measure(cache, *each, seconds, hold=True)["rate"] for each in order}
        rates.append([found[each] for each in HELD])
    ratios = [two / one for one, two in rates]
    return {
        "rates": [statistics.median(column) for column in zip(*rates, strict=True)],
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--note", help="a line about the circumstances, for the results")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    date = datetime.datetime.now().date().isoformat()
    facts = {"command": "`python benchmarks/workers.py`", **machine()}
    if options.note:
        facts["note"] = options.note
    found, shared = {}, {}
    may_hold = os.access(GROUPS, os.W_OK)
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        with origin(Path(name) / "origin", ORIGINS, find_program("nginx")):
            for case, cache in CASES.items():
                rounds = []
                for number in range(options.rounds):
                    order = SUBJECTS if number % 2 else tuple(reversed(SUBJECTS))
                    rounds.append({each: measure(cache, *each, options.seconds) for each in order})
                found[case] = summary(rounds)
                if may_hold:
                    shared[case] = scaling(cache, options.rounds, options.seconds)
    text = markdown(found, shared, date, facts, options.rounds)
    print(text, end="")
    if not options.dry:
        (RESULTS / f"{date}-workers.md").write_text(text)
        plain = {
            case: [{"workers": w, "connections": c, **one} for (w, c), one in subjects.items()]
            for case, subjects in found.items()
        }
        data = {"date": date, **facts, "rounds": options.rounds, "cases": plain, "held": shared}
        (RESULTS / f"{date}-workers.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()

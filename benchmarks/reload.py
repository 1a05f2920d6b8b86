"""What clients notice of reloads, and how long a start takes: ``python benchmarks/reload.py``.

One worker, 1,000 routes, and requests at a constant rate over kept-alive connections, each due at
a moment that was settled beforehand: one that is late counts from when it was due. Then one reload
after the other, each of a file with another route changed. Two groups of requests are compared:
those due before the first reload, and those due between a reload's beginning and 0.3 s after its
end, when what was replaced is taken apart. The proxy has a core for itself (its main process and
its worker share it); load and origin have another.

The start is the time from the command to the first answer, with 10,000 routes and with one. To
``results/DATE-reload.{md,json}``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Run as a script, the folder of this file comes first; what is imported is the package above it.
ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks.measure import usage  # noqa: E402
from benchmarks.origin import origin  # noqa: E402
from benchmarks.process import LOAD_CORE, SUBJECT_CORE, find_program, running  # noqa: E402
from benchmarks.report import machine  # noqa: E402
from txrproxy import control  # noqa: E402

RESULTS = Path(__file__).parent / "results"
PORT = 21480
ORIGINS = (21401, 21402)
RATE = 500  # requests a second
LANES = 32  # connections
QUIET = 8.0  # seconds before the first reload
BETWEEN = 1.0  # seconds between two
AFTER = 0.3  # seconds after one that are still counted to it
STARTS = 5

TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
CONFIG = """\
version = 1
[server]
workers = 1
state_dir = "state"
[log]
access = {{ path = "access.log", format = "json" }}
error = {{ path = "error.log" }}
[listeners.in]
bind = ["127.0.0.1:{port}"]
keepalive_requests = 1000000000
[pools.origin]
backends = [{backends}]
{routes}
"""


def write(file: Path, routes: int, changed: int = -1) -> None:
    """A configuration with so many routes, of which one is not as in others."""
    tables = [
        f'[[routes]]\nname = "r{n}"\nmatch = {{ path = "/r{n:05}/*" }}\npool = "origin"\n'
        + ("websocket = false\n" if n == changed else "")
        for n in range(routes)
    ]
    backends = ", ".join(f'"http://127.0.0.1:{port}"' for port in ORIGINS)
    file.write_text(CONFIG.format(port=PORT, backends=backends, routes="".join(tables)))


@contextmanager
def proxy(folder: Path, ports: Sequence[int] = (PORT,)) -> Iterator[int]:
    """txrproxy of this source, with ``edge.toml`` of the folder, when the ports accept."""
    words = ["-n", "--pidfile=", "txrproxy", "--config", str(folder / "edge.toml")]
    command = [sys.executable, "-c", TWISTD, *words]
    env = {"PYTHONPATH": str(ROOT)}
    with running(command, ports=ports, core=SUBJECT_CORE, folder=folder, env=env) as pid:
        yield pid


class Load:
    """Requests at a constant rate; ``done`` has when each was due, and the seconds it took."""

    def __init__(self, path: str) -> None:
        self.done: list[tuple[float, float]] = []
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._drive()
        except BaseException as failure:
            self._failure = failure

    def _drive(self) -> None:
        poll = selectors.EpollSelector()
        free: deque[Any] = deque()
        links = []
        for _ in range(LANES):
            link = socket.create_connection(("127.0.0.1", PORT), 10)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(link, selectors.EVENT_READ)
            links.append(link)
            free.append(link)
        asked: dict[Any, float] = {}
        due = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            while due <= now and free:
                link = free.popleft()
                asked[link] = due
                link.sendall(self._request)
                due += 1 / RATE
            for key, _ in poll.select(max(0.0, due - now) if free else None):
                link = key.fileobj
                data = link.recv(65536)
                if not data.startswith(b"HTTP/1.1 200") and link in asked:
                    raise RuntimeError(f"not an answer: {data[:80]!r}")
                # Head and body of 1 KiB are one write of the proxy, and one read here.
                began = asked.pop(link)
                self.done.append((began, time.monotonic() - began))
                free.append(link)
        for link in links:
            link.close()


def reloads(count: int, routes: int) -> dict[str, Any]:
    """Latencies in ms before and during, and how long a reload took, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "edge.toml"
        write(file, routes)
        with origin(folder / "origin", ORIGINS, find_program("nginx")), proxy(folder):
            load = Load(f"/r{routes - 1:05}/1k")
            time.sleep(1 + QUIET)
            windows = []
            taken = []
            for number in range(count):
                write(file, routes, number)
                began = time.monotonic()
                done = control.call(str(folder / "state"), "reload", 120)
                windows.append((began, time.monotonic() + AFTER))
                taken.append(done["seconds"])
                time.sleep(AFTER + BETWEEN)
            load.end()
    first = windows[0][0]
    before = [seconds for due, seconds in load.done if first - QUIET < due < first - 0.1]
    during = [seconds for due, seconds in load.done if any(a <= due < b for a, b in windows)]
    return {
        "routes": routes,
        "reloads": count,
        "seconds": round(statistics.median(taken), 3),
        "before": latencies(before),
        "during": latencies(during),
        "ratio": round(percentile(during, 0.99) / percentile(before, 0.99), 2),
    }


def latencies(seconds: list[float]) -> dict[str, Any]:
    return {
        "requests": len(seconds),
        "p50": round(1000 * percentile(seconds, 0.5), 2),
        "p99": round(1000 * percentile(seconds, 0.99), 2),
        "p999": round(1000 * percentile(seconds, 0.999), 2),
        "max": round(1000 * max(seconds), 2),
    }


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def first_answer(routes: int) -> tuple[float, float]:
    """Seconds from the command to the first answer of the proxy itself, and of CPU until then."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "edge.toml", routes)
        began = time.monotonic()
        with proxy(folder, ports=()) as pid:
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", PORT), 60) as link:
                        link.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                        if link.recv(64).startswith(b"HTTP/1.1 404"):
                            seconds = time.monotonic() - began
                            return round(seconds, 3), round(usage(pid).cpu_seconds, 2)
                except OSError:
                    time.sleep(0.005)


def markdown(found: Mapping[str, Any], date: str, facts: Mapping[str, str]) -> str:
    lines = ["# Benchmark: reloads and starts", "", f"- date: {date}"]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    one = found["reload"]
    lines += [
        f"- load: {RATE} requests a second of 1 KiB, {LANES} connections, 1 worker, "
        f"{one['routes']:,} routes",
        "",
        f"Latencies in ms; {one['reloads']} reloads, of {one['seconds']} s each (median).",
        "",
        "| requests due | requests | p50 | p99 | p99.9 | max |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in ("before", "during"):
        each = one[name]
        cells = [f"{each['requests']:,}", *(str(each[k]) for k in ("p50", "p99", "p999", "max"))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", f"p99 during reloads is {one['ratio']} times that before.", ""]
    lines += [
        "| start to first answer | median s | lowest | highest |",
        "| --- | ---: | ---: | ---: |",
    ]
    for routes, times in found["start"].items():
        row = [statistics.median(times), min(times), max(times)]
        lines.append(f"| {int(routes):,} routes | " + " | ".join(f"{t:.2f}" for t in row) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--routes", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    date = datetime.datetime.now().date().isoformat()
    facts = {"command": "`python benchmarks/reload.py`", **machine()}
    found: dict[str, Any] = {}
    found["reload"] = reloads(options.reloads, options.routes)
    found["start"] = {
        str(routes): [first_answer(routes) for _ in range(options.starts)] for routes in (1, 10_000)
    }
    text = markdown(found, date, facts)
    print(text, end="")
    if not options.dry:
        (RESULTS / f"{date}-reload.md").write_text(text)
        plain = {"date": date, **facts, **found}
        (RESULTS / f"{date}-reload.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()

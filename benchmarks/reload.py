"""What clients notice of reloads, and how long a start takes: ``python benchmarks/reload.py``.

One worker, 1,000 routes, and requests at a constant rate over kept-alive connections, each due at
a moment that was settled beforehand: one that is late counts from when it was due. One reload
follows the other, each of a file with another route changed. Two groups of requests are compared
for each: those due in the second before it, and those due between its beginning and 0.3 s after its
end, when what was replaced is taken apart. Work of others on the machine then touches both, or one
pair of many. The proxy has a core for itself (its main process and its worker share it); load and
origin have another. Beside that, a worker's share of a reload is played in this process, for the
CPU time of each turn of its loop.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

# Run as a script, the folder of this file comes first; what is imported is the package above it.
ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks.measure import usage  # noqa: E402
from benchmarks.origin import origin  # noqa: E402
from benchmarks.process import LOAD_CORE, SUBJECT_CORE, find_program, running  # noqa: E402
from benchmarks.report import machine  # noqa: E402
from txrproxy import control  # noqa: E402
from txrproxy.config.toml import load  # noqa: E402
from txrproxy.service import memory  # noqa: E402
from txrproxy.service.board import Follower  # noqa: E402
from txrproxy.service.plane import Plane  # noqa: E402
from txrproxy.service.slices import PAUSE  # noqa: E402

RESULTS = Path(__file__).parent / "results"
PORT = 21480
ORIGINS = (21401, 21402)
RATE = 500  # requests a second
LANES = 32  # connections
QUIET = 3.0  # seconds before the first reload
BETWEEN = 1.0  # seconds between two
AFTER = 0.3  # seconds after one that are still counted to it
STARTS = 5
ROUTES = (1, 10_000)  # of those

TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
CONFIG = """\
version = 1
[server]
workers = 1
state_dir = "state"
[log]
access = {{ path = "access.log", format = "{log}" }}
error = {{ path = "error.log" }}
[listeners.in]
bind = ["127.0.0.1:{port}"]
keepalive_requests = 1000000000
[pools.origin]
backends = [{backends}]
{routes}
"""


def write(file: Path, routes: int, changed: int = -1, log: str = "json") -> None:
    """A configuration with so many routes, of which one is not as in others."""
    tables = [
        f'[[routes]]\nname = "r{n}"\nmatch = {{ path = "/r{n:05}/*" }}\npool = "origin"\n'
        + ("websocket = false\n" if n == changed else "")
        for n in range(routes)
    ]
    backends = ", ".join(f'"http://127.0.0.1:{port}"' for port in ORIGINS)
    file.write_text(CONFIG.format(log=log, port=PORT, backends=backends, routes="".join(tables)))


@contextmanager
def proxy(folder: Path, source: Path, ports: Sequence[int] = (PORT,)) -> Iterator[int]:
    """txrproxy of a source tree, with ``edge.toml`` of the folder, when the ports accept."""
    words = ["-n", "--pidfile=", "txrproxy", "--config", str(folder / "edge.toml")]
    command = [sys.executable, "-c", TWISTD, *words]
    # With bytecode kept, as any installation has it: compiling everything anew is not what starts.
    env = {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": ""}
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

    def between(self, begin: float, end: float) -> list[float]:
        """The seconds that those took that were due then."""
        return [seconds for due, seconds in self.done if begin <= due < end]

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
                link = cast("socket.socket", key.fileobj)
                data = link.recv(65536)
                if not data.startswith(b"HTTP/1.1 200") and link in asked:
                    raise RuntimeError(f"not an answer: {data[:80]!r}")
                # Head and body of 1 KiB are one write of the proxy, and one read here.
                began = asked.pop(link)
                self.done.append((began, time.monotonic() - began))
                free.append(link)
        for link in links:
            link.close()


def reloads(count: int, routes: int, source: Path) -> dict[str, Any]:
    """Latencies in ms before and during, and how long a reload took, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "edge.toml"
        write(file, routes)
        with origin(folder / "origin", ORIGINS, find_program("nginx")), proxy(folder, source):
            clients = Load(f"/r{routes - 1:05}/1k")
            time.sleep(QUIET)
            windows = []
            taken = []
            for number in range(count):
                write(file, routes, number)
                began = time.monotonic()
                done = control.call(str(folder / "state"), "reload", 120)
                windows.append((began, time.monotonic() + AFTER))
                taken.append(done["seconds"])
                time.sleep(AFTER + BETWEEN)
            clients.end()
    quiet = [(began - BETWEEN, began - 0.02) for began, _ in windows]
    before = [clients.between(*window) for window in quiet]
    during = [clients.between(*window) for window in windows]
    ratios = [
        percentile(d, 0.99) / percentile(b, 0.99) for b, d in zip(before, during, strict=True)
    ]
    return {
        "routes": routes,
        "reloads": count,
        "seconds": round(statistics.median(taken), 3),
        "before": latencies([each for window in before for each in window]),
        "during": latencies([each for window in during for each in window]),
        "ratio": round(statistics.median(ratios), 2),
    }


class Turns:
    """A reactor that only takes turns; its time is the CPU time of this thread."""

    running = False
    seconds = staticmethod(time.thread_time)

    def __init__(self) -> None:
        self.waiting: list[Call] = []

    def callLater(self, delay: float, call: Callable[..., object], *arguments: Any) -> Call:
        made = Call(delay, partial(call, *arguments))
        self.waiting.append(made)
        return made

    def take(self) -> Iterator[float]:
        """Each turn until nothing is left that is due soon; how long each took, in seconds."""
        while soon := [call for call in self.waiting if call.delay <= PAUSE]:
            began = time.thread_time()
            for call in soon:
                self.waiting.remove(call)
                call.run()
            yield time.thread_time() - began


class Call:
    def __init__(self, delay: float, run: Callable[[], object]) -> None:
        self.delay = delay
        self.run = run

    def active(self) -> bool:
        return True

    def cancel(self) -> None:
        self.delay = float("inf")


def pieces(routes: int) -> dict[str, Any]:
    """How long a worker holds up its loop at a time: milliseconds of CPU for each of the turns.

    This is what no other work on the machine changes.
    """
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "edge.toml"
        reactor: Any = Turns()
        plane = Plane(reactor, Follower(reactor.seconds, lambda topic, body: None))
        write(file, routes, log="off")
        plane.prepare(load(file))
        plane.commit()
        write(file, routes, 0, log="off")
        fd = os.memfd_create("benchmark")
        with os.fdopen(os.dup(fd), "wb") as out:
            memory.write(load(file), out)
        plane.prepare(memory.unpacked(fd))
        os.close(fd)
        turns = list(reactor.take())
        began = time.thread_time()
        plane.commit()
        swap = time.thread_time() - began
        turns += reactor.take()
    return {
        "turns": len(turns),
        "ms": round(1000 * sum(turns), 1),
        "median": round(1000 * statistics.median(turns), 2),
        "longest": round(1000 * max(turns), 2),
        "swap": round(1000 * swap, 2),
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


def first_answer(routes: int, source: Path) -> tuple[float, float]:
    """Seconds from the command to the first answer of the proxy itself, and of CPU until then."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "edge.toml", routes)
        began = time.monotonic()
        with proxy(folder, source, ports=()) as pid:
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
    lines += [
        "",
        f"p99 during a reload is {one['ratio']} times that of the second before (median of all).",
        "",
    ]
    held = found["held up"]
    lines += [
        f"In the worker a reload is {held['turns']} turns of its loop, {held['ms']} ms of CPU. A",
        f"turn takes {held['median']} ms (median), the longest {held['longest']} ms, and the swap",
        f"{held['swap']} ms.",
        "",
    ]
    lines += ["| start to first answer | median s | lowest | highest | CPU s, median |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for routes, pairs in found["start"].items():
        times, spent = zip(*pairs, strict=True)
        row = [statistics.median(times), min(times), max(times), statistics.median(spent)]
        lines.append(f"| {int(routes):,} routes | " + " | ".join(f"{t:.2f}" for t in row) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--routes", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--source", type=Path, default=ROOT, help="the tree to be measured")
    parser.add_argument("--note", help="a line about the circumstances, for the results")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    date = datetime.datetime.now().date().isoformat()
    facts = {"command": "`python benchmarks/reload.py`", **machine()}
    if options.note:
        facts["note"] = options.note
    found: dict[str, Any] = {}
    found["held up"] = pieces(options.routes)
    found["reload"] = reloads(options.reloads, options.routes, options.source)
    found["start"] = {
        str(routes): [first_answer(routes, options.source) for _ in range(options.starts)]
        for routes in ROUTES
    }
    text = markdown(found, date, facts)
    print(text, end="")
    if not options.dry:
        (RESULTS / f"{date}-reload.md").write_text(text)
        plain = {"date": date, **facts, **found}
        (RESULTS / f"{date}-reload.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()

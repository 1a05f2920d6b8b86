"""What metrics cost: ``python benchmarks/metrics.py [--proxy]``.

Prints µs of CPU a request for counting batches of the access log's records, as the proxy does, and
for prometheus_client's counters and histograms called for each request, in one process and in its
mode for several; then what it costs to write all metrics of a large configuration. With ``--proxy``
whole proxies (one worker, a configured response, wrk) are compared, with metrics and without.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from txrproxy.admin.totals import Totals
from txrproxy.metrics import METRICS
from txrproxy.observe.accesslog import BATCH
from txrproxy.observe.counts import Counts
from txrproxy.observe.formats import Record

ROUNDS = 200
TAKEN = 20  # batches between two takes: 10,000 requests a second
BUDGET = 2.0  # µs a request

ROOT = Path(__file__).parent.parent

CONFIG = """\
version = 1
[server]
workers = 1
[log]
access = {{ path = "access.log", format = "{log}" }}
error = {{ path = "error.log" }}
[admin]
listen = "unix:admin.sock"
metrics = {metrics}
[listeners.http]
bind = ["127.0.0.1:{port}"]
keepalive_requests = 1000000000
[[routes]]
name = "all"
respond = {{ status = 200, body = "{body}" }}
"""


def records(routes: int) -> list[Record]:
    return [
        (
            *(1.8e9, b"198.51.100.1", b"GET", b"/items", b"1.1", b"www.example.com"),
            *(200, 400, 1024, b"route-%d" % (number % routes), b"app"),
            *(b"10.0.0.%d:8080" % (number % 4), None, 0.000234 + number * 1e-6),
            *(0.000412 + number * 1e-6, b"ok", b"0" * 32, b"Mozilla/5.0", b""),
            *((b"http", b"http", b"", b""), ()),
        )
        for number in range(BATCH)
    ]  # type: ignore[return-value]


def counted(routes: int) -> float:
    """µs for each record, with its part of handing the counts on."""
    counts = Counts()
    batch = records(routes)
    spent = []
    for _ in range(ROUNDS // TAKEN):
        started = time.thread_time_ns()
        for _ in range(TAKEN):
            counts.add(batch)
        counts.take()
        spent.append(time.thread_time_ns() - started)
    return min(spent) / TAKEN / BATCH / 1000


_CLIENT = """
import time
from prometheus_client import Counter, Histogram
requests = Counter("a", "-", ["route", "method", "status"])
reasons = Counter("b", "-", ["route", "reason"])
received, sent = Counter("c", "-", ["route"]), Counter("d", "-", ["route"])
backends = Counter("e", "-", ["pool", "backend", "status"])
total, first = Histogram("f", "-", ["route"]), Histogram("g", "-", ["pool"])
spent = []
for _ in range(20):
    started = time.thread_time_ns()
    for number in range(2000):
        requests.labels("all", "GET", "2xx").inc()
        reasons.labels("all", "ok").inc()
        received.labels("all").inc(400)
        sent.labels("all").inc(1024)
        backends.labels("app", "10.0.0.1:8080", "2xx").inc()
        total.labels("all").observe(0.0004)
        first.labels("app").observe(0.0002)
    spent.append(time.thread_time_ns() - started)
print(min(spent) / 2000 / 1000)
"""


def client(several: bool) -> float:
    """µs a request of prometheus_client, for the same seven metrics."""
    with tempfile.TemporaryDirectory() as folder:
        more = {"PROMETHEUS_MULTIPROC_DIR": folder} if several else {}
        done = subprocess.run(
            [sys.executable, "-c", _CLIENT],
            env={**os.environ, **more},
            check=True,
            capture_output=True,
            text=True,
        )
    return float(done.stdout)


def written(routes: int, backends: int) -> tuple[int, float]:
    """How many samples, and the milliseconds to write them."""
    counts, totals = Counts(), Totals()
    (row, *_) = records(1)
    counts.add([(*row[:9], b"route-%d" % number, *row[10:]) for number in range(routes)])  # type: ignore[misc]
    totals.add(counts.take())
    labels = [(name, m.labels) for name, m in METRICS.items() if m.labels == ("pool", "backend")]
    totals.state(
        "a",
        [(name, ["app", f"10.0.0.{n}:80"], 1) for name, _ in labels for n in range(backends)],
    )
    started = time.process_time()
    text, _ = totals.text()
    spent = time.process_time() - started
    return len([line for line in text.splitlines() if not line.startswith(b"#")]), spent * 1e3


# Whole proxies.


def ticks(pid: int) -> int:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def proxied(log: str, metrics: bool, port: int, seconds: int = 4) -> float:
    """µs of CPU a request, of the worker."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "edge.toml"
        values = {"log": log, "metrics": str(metrics).lower(), "port": port, "body": "x" * 1024}
        file.write_text(CONFIG.format(**values))
        run = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        words = ["-n", "--pidfile=", "txrproxy", "--config", str(file)]
        proxy = subprocess.Popen(
            [sys.executable, "-c", run, *words],
            cwd=name,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            errors = Path(name) / "error.log"
            deadline = time.monotonic() + 20
            while not (errors.exists() and "listening on" in errors.read_text()):
                if proxy.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the proxy did not start")
                time.sleep(0.05)
            children = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()
            (worker,) = map(int, children)
            wrk = ["wrk", "-t1", "-c32", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
            subprocess.run([*wrk[:3], "-d1s", wrk[4]], check=True, capture_output=True)
            before = ticks(worker)
            done = subprocess.run(wrk, check=True, capture_output=True, text=True)
            spent = ticks(worker) - before
            found = re.search(r"(\d+) requests in", done.stdout)
            assert found is not None
            return spent / os.sysconf("SC_CLK_TCK") / int(found[1]) * 1e6
        finally:
            proxy.terminate()
            proxy.wait(30)


def main() -> None:
    print("| counting a request | µs |\n|---|---|")
    print(f"| batches of records, 1 route, 4 backends | {counted(1):.2f} |")
    print(f"| batches of records, 100 routes, 4 backends | {counted(100):.2f} |")
    print(f"| prometheus_client, one process | {client(False):.1f} |")
    print(f"| prometheus_client, several processes | {client(True):.1f} |")
    print("\n| writing all metrics | samples | ms |\n|---|---|---|")
    for routes, backends in ((10, 10), (1000, 100)):
        samples, spent = written(routes, backends)
        print(f"| {routes} routes, {backends} backends | {samples} | {spent:.0f} |")
    if "--proxy" not in sys.argv:
        return
    print("\n| a configured response, 1 worker | µs without | with metrics | more |")
    print("|---|---|---|---|")
    for place, log in enumerate(("json", "off")):
        pairs = []
        for turn in range(4):
            port = 18200 + place * 10 + turn * 2
            pairs.append((proxied(log, False, port), proxied(log, True, port + 1)))
        without, having = (min(each) for each in zip(*pairs, strict=True))
        print(f"| access log {log} | {without:.2f} | {having:.2f} | {having - without:+.2f} |")


if __name__ == "__main__":
    main()

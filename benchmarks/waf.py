"""What the firewall costs and finds: ``python benchmarks/waf.py [--seconds N] [--engine-only]``.

Needs the OWASP core rule set (``apt-get install modsecurity-crs``). Three parts: milliseconds of
CPU for one inspection, by what is inspected and paranoia level; the share of attacks found and of
honest requests refused (``tests/waf/traffic.py``); and microseconds of CPU for one request through
the whole proxy, engine included, beside nginx with the ModSecurity connector where there is one.
Writes ``results/DATE-waf.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.load import BROWSER, wrk  # noqa: E402
from benchmarks.measure import usage  # noqa: E402
from benchmarks.origin import origin  # noqa: E402
from benchmarks.process import SUBJECT_CORE, StartError, find_program, running  # noqa: E402
from tests.waf.traffic import ATTACKS, FORM, HONEST, JSON, Sample, _upload  # noqa: E402
from txrproxy.waf.engine import Engine  # noqa: E402
from txrproxy.waf.rules import CRS, CoreRules, RuleSet, compose, find_crs  # noqa: E402

ORIGIN, PORT = 21180, 21181
CONNECTIONS = 16
ROUNDS = 5
LEVELS = (1, 2, 3, 4)
CONNECTOR = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")

# By a name: the CRS has a mind about a Host that is an address.
HEADERS = {"Host": "shop.example", **BROWSER}
_BROWSER = tuple((name.lower().encode(), value.encode()) for name, value in BROWSER.items())


def _json(fields: int) -> bytes:
    return json.dumps({f"field{n}": f"value number {n} of it" for n in range(fields)}).encode()


def shapes() -> Iterator[Sample]:
    """What is inspected, from cheap to dear."""
    yield Sample(
        "", "GET, 2 fields", b"/items", fields=((b"accept", b"*/*"), (b"user-agent", b"x"))
    )
    yield Sample("", "GET, 13 fields of a browser", b"/items?page=2&sort=price", fields=_BROWSER)
    text = b"name=Ann+Example&mail=ann%40shop.example&text=When+do+the+red+shoes+come+back%3F"
    yield Sample("", "form, 3 fields", b"/a", b"POST", body=text, content_type=FORM)
    for count in (10, 110, 900):
        body = _json(count)
        name = f"JSON, {count} fields, {len(body) / 1024:.1f} KiB"
        yield Sample("", name, b"/a", b"POST", body=body, content_type=JSON)
    yield _upload("", "upload.png", os.urandom(120 * 1024))


def cost(engine: Engine, index: int, sample: Sample) -> float:
    """Milliseconds of CPU for one inspection: the best of some rounds."""
    _, _, *parts = sample.parts
    asked = [b"%d" % index, *parts]
    best = float("inf")
    for _ in range(ROUNDS):
        count = 0
        started = time.thread_time_ns()
        while time.thread_time_ns() - started < 60_000_000:
            engine.request(asked)
            engine.end()
            count += 1
        best = min(best, (time.thread_time_ns() - started) / count / 1e6)
    return best


def engine_report(crs: CoreRules) -> Iterator[str]:
    started = time.process_time()
    engine = Engine([compose(RuleSet((CRS,), level, 5), crs, Path()).text for level in LEVELS])
    loading = (time.process_time() - started) / len(LEVELS)
    yield f"OWASP CRS {crs.version}, {engine.counts[0]} rules, loaded in {loading * 1e3:.0f} ms.\n"
    yield "## One inspection, milliseconds of CPU\n"
    yield f"| | {' | '.join(f'paranoia {level}' for level in LEVELS)} |"
    yield "|---|" + "---:|" * len(LEVELS)
    for sample in shapes():
        costs = [cost(engine, index, sample) for index in range(len(LEVELS))]
        yield f"| {sample.name} | {' | '.join(f'{each:.2f}' for each in costs)} |"
    for title, samples in (
        ("Attacks that are found", ATTACKS),
        ("Honest requests that are refused", HONEST),
    ):
        yield f"\n## {title}, threshold 5\n"
        yield f"| | number | {' | '.join(f'paranoia {level}' for level in LEVELS)} |"
        yield "|---|---:|" + "---:|" * len(LEVELS)
        found = [Counter(s.kind for s in samples if _blocks(engine, i, s)) for i in range(4)]
        numbers = Counter(sample.kind for sample in samples)
        for kind, number in numbers.items():
            yield f"| {kind} | {number} | {' | '.join(str(each[kind]) for each in found)} |"
        total = len(samples)
        shares = " | ".join(f"**{each.total() / total:.0%}**" for each in found)
        yield f"| **all** | {total} | {shares} |"
    yield "\nMissed at paranoia 1: " + "; ".join(
        f"{s.kind} ({s.name})" for s in ATTACKS if not _blocks(engine, 0, s)
    )


def _blocks(engine: Engine, index: int, sample: Sample) -> bool:
    _, _, *parts = sample.parts
    verdict = engine.request([b"%d" % index, *parts])
    engine.end()
    return bool(verdict and json.loads(verdict)["blocked"])


# Through the whole proxy.


def txrproxy(folder: Path, waf: str, engine: str = "") -> list[str]:
    policy = f"[policies.p]\nwaf = {{ {waf} }}\n" if waf else "[policies.p]\n"
    (folder / "edge.toml").write_text(
        f"""version = 1
[server]
workers = 1
[log]
access = {{ path = "{folder}/access.log" }}
[listeners.in]
bind = ["127.0.0.1:{PORT}"]
keepalive_requests = 1000000000
[pools.origin]
backends = ["http://127.0.0.1:{ORIGIN}"]
{policy}
[waf]
timeout = "30s"
{engine}
[[routes]]
name = "all"
pool = "origin"
use = ["p"]
"""
    )
    options = ["-n", "--pidfile=", "txrproxy", "--config", str(folder / "edge.toml")]
    run = "from twisted.scripts.twistd import run; run()"
    return [sys.executable, "-c", run, *options]


def nginx(folder: Path, program: str, crs: CoreRules | None) -> list[str]:
    waf = ""
    if crs is not None:
        rules = compose(RuleSet((CRS,), 1, 5), crs, Path()).text
        (folder / "rules.conf").write_text(rules)
        waf = f"modsecurity on; modsecurity_rules_file {folder}/rules.conf;"
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"""load_module {CONNECTOR};
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/access.log combined buffer=64k flush=1s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5; keepalive_requests 1000000000;
  upstream origin {{ server 127.0.0.1:{ORIGIN}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{PORT}; {waf}
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }}
  }}
}}
"""
    )
    return [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def through(command: Sequence[str], folder: Path, mode: str, seconds: int) -> str:
    """Microseconds of CPU a request, requests a second and latency, as cells."""
    path = "/upload" if mode == "form" else "/1k"
    url = f"http://127.0.0.1:{PORT}{path}"
    env = {"PYTHONPATH": str(ROOT)}
    with running(command, ports=[PORT], core=SUBJECT_CORE, folder=folder, env=env) as pid:
        wrk(url, 2, headers=HEADERS, connections=CONNECTIONS, script=mode)
        before = usage(pid)
        result = wrk(url, seconds, headers=HEADERS, connections=CONNECTIONS, script=mode)
        after = usage(pid)
    if result.errors:
        raise StartError(f"errors under load: {dict(result.errors)}")
    micros = (after.cpu_seconds - before.cpu_seconds) / result.requests * 1e6
    rate = result.requests / result.seconds
    memory = after.resident_kib / 1024
    return f"{micros:.0f} | {rate:.0f} | {result.p50_ms:.1f} | {result.p99_ms:.1f} | {memory:.0f}"


def proxy_report(crs: CoreRules, seconds: int) -> Iterator[str]:
    program = find_program("nginx")
    block = 'mode = "block"'
    subjects = [
        ("txrproxy, no firewall", lambda f: txrproxy(f, "")),
        ("txrproxy, firewall", lambda f: txrproxy(f, block)),
        ("txrproxy, firewall without memo", lambda f: txrproxy(f, block, 'memo = "0B"')),
        (
            "txrproxy, firewall, responses too",
            lambda f: txrproxy(f, f'{block}, responses = "headers"'),
        ),
    ]
    if program is not None and CONNECTOR.exists():
        subjects.append(("nginx, no firewall", lambda f: nginx(f, program, None)))
        subjects.append(("nginx, ModSecurity connector", lambda f: nginx(f, program, crs)))
    yield "\n## Through the proxy, at paranoia 1\n"
    yield f"{CONNECTIONS} connections, 13 fields of a browser, all processes on one core.\n"
    yield "| | request | µs CPU | requests/s | p50 ms | p99 ms | MiB |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for name, configure in subjects:
        for mode, what in (
            ("same", "the same GET"),
            ("varied", "GETs that differ"),
            ("form", "form"),
        ):
            with tempfile.TemporaryDirectory() as text:
                folder = Path(text)
                (folder / "origin").mkdir()
                with origin(folder / "origin", (ORIGIN,), program):
                    cells = through(configure(folder), folder, mode, seconds)
            yield f"| {name} | {what} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5, help="of load for each case (5)")
    parser.add_argument("--engine-only", action="store_true", help="leave out the whole proxy")
    options = parser.parse_args()
    crs = find_crs("auto")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    lines = [f"# Web application firewall, {today}\n"]
    reports = [engine_report(crs)]
    if not options.engine_only:
        reports.append(proxy_report(crs, options.seconds))
    for report in reports:
        for line in report:
            print(line, flush=True)
            lines.append(line)
    (ROOT / "benchmarks" / "results" / f"{today}-waf.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

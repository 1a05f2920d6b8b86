"""What one access log line costs in CPU time: ``python benchmarks/accesslog.py``.

Prints microseconds of CPU (this thread's) per line: for the append that the data path pays, and
for rendering batches of 512 in each format, with targets and request ids that never repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.task import Clock

from txrproxy.observe.accesslog import BATCH, AccessLog
from txrproxy.observe.formats import Formatter, Record, combined_formatter, json_formatter

_AGENT = (
    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/126.0.0.0 Safari/537.36"
)


def records(start: int) -> list[Record]:
    return [
        (
            1_800_000_000 + number // 8 / 2_500,  # eight to a reading of the coarse clock
            b"198.51.100.%d" % (number % 250),
            b"GET",
            b"/api/v1/items/%d?page=2&sort=name&filter=active" % number,
            b"1.1",
            b"www.example.com",
            200,
            0,
            1024,
            b"api",
            b"app",
            b"10.0.0.%d:8080" % (number % 4),
            None,
            0.000234 + number * 1e-9,
            0.000412 + number * 1e-9,
            b"ok",
            b"%032x" % (number * 0x9E3779B97F4A7C15),
            _AGENT,
            b"https://www.example.com/items?page=%d" % (number % 50),
            (b"http", b"http", b"", b""),
            (),
        )
        for number in range(start, start + BATCH)
    ]


def measure(work: Callable[[list[Record]], object], rounds: int = 60) -> float:
    """Microseconds of CPU per record: the best of ``rounds`` batches."""
    best = float("inf")
    for turn in range(rounds):
        batch = records(turn * BATCH)
        started = time.thread_time_ns()
        work(batch)
        best = min(best, time.thread_time_ns() - started)
    return best / BATCH / 1000


class _Discard:
    def write(self, data: bytes, lines: int) -> None: ...


def appends(batch: list[Record]) -> None:
    append = AccessLog(lambda records: b"", _Discard(), Clock()).append  # type: ignore[arg-type]
    for record in batch[1:]:  # one short of a batch, so that nothing is rendered
        append(record)


def rendering(formatter: Formatter) -> Callable[[list[Record]], None]:
    log = AccessLog(formatter, _Discard(), Clock())  # type: ignore[arg-type]

    def work(batch: list[Record]) -> None:
        log._records = batch
        log.flush()

    return work


if __name__ == "__main__":
    for name, work in (
        ("append", appends),
        ("json", rendering(json_formatter())),
        ("json, redacting", rendering(json_formatter(["token"]))),
        ("combined", rendering(combined_formatter())),
    ):
        print(f"{name:18} {measure(work):6.2f} us a line")

"""The cases: what is asked of each subject. A new case is one more entry in :data:`CASES`."""

from __future__ import annotations

import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from benchmarks.load import (
    BARE,
    BROWSER,
    LoadError,
    Result,
    closed,
    h2load,
    held_connections,
    s_time,
    verify,
    wrk,
)
from benchmarks.measure import usage
from benchmarks.origin import BODIES, UPLOADED
from benchmarks.subjects import route_path

WARM_UP_SECONDS = 1
SETTLE_SECONDS = 1.0

# The address and the time come from the run; the table has bound the rest.
Drive = Callable[[str, int], Result]

_BROWSING = partial(wrk, headers=BROWSER, connections=32)
# A browser that does not ask for news: nginx would not hear it, others would ask the origin.
_VISITOR = {name: value for name, value in BROWSER.items() if name != "Cache-Control"}
_VISITING = partial(wrk, headers=_VISITOR, connections=32)
_CACHING = ("nginx", "txrproxy")
_TERMINATING = ("nginx", "haproxy", "apache", "txrproxy")  # TLS


@dataclass(frozen=True)
class Sample:
    """One measurement. ``cost`` is in the case's unit; what a case does not measure is None."""

    cost: float
    peak_mib: float
    answered: int  # requests, those of the warm-up included: as many lines belong in the log
    requests_per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    busy: float | None = None  # share of its core that the subject used
    errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """``routes``: how many the subject is configured with; ``only``: who can run it, else all.

    ``tls``: the subject terminates it. ``cache``: where it keeps responses (see ``Place``).
    """

    unit: ClassVar[str]

    name: str
    about: str
    path: str = "/1k"
    answer: bytes = BODIES["/1k"]
    body: bytes | None = None
    routes: int = 0
    only: tuple[str, ...] = ()
    tls: bool = False
    cache: str = ""

    def measure(self, pid: int, port: int, seconds: int, trusting: ssl.SSLContext) -> Sample:
        """Run against the subject ``pid`` on ``port``. Raises :exc:`LoadError`.

        ``trusting`` is what a client of the TLS cases uses.
        """
        tls = trusting if self.tls else None
        verify(port, self.path, self.answer, body=self.body, tls=tls)
        return self._measure(pid, port, seconds, tls)

    @abstractmethod
    def _measure(self, pid: int, port: int, seconds: int, tls: ssl.SSLContext | None) -> Sample: ...


@dataclass(frozen=True, kw_only=True)
class Loaded(Case):
    """CPU time a request under constant load."""

    unit = "µs CPU a request"

    drive: Drive = _BROWSING

    def _measure(self, pid: int, port: int, seconds: int, tls: ssl.SSLContext | None) -> Sample:
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}{self.path}"
        warm_up = self.drive(url, WARM_UP_SECONDS)
        before = usage(pid)
        result = self.drive(url, seconds)
        after = usage(pid)
        if not result.requests:
            raise LoadError(f"no request was answered: {dict(result.errors)}")
        spent = after.cpu_seconds - before.cpu_seconds
        return Sample(
            cost=spent / result.requests * 1e6,
            peak_mib=after.peak_kib / 1024,
            answered=warm_up.requests + result.requests,
            requests_per_second=result.requests / result.seconds,
            p50_ms=result.p50_ms,
            p99_ms=result.p99_ms,
            busy=spent / result.seconds,
            errors=result.errors,
        )


@dataclass(frozen=True, kw_only=True)
class Handshakes(Loaded):
    """CPU time a TLS connection; each makes one request where ``asks``, else none."""

    unit = "µs CPU a connection"

    asks: bool = False
    tls: bool = True
    only: tuple[str, ...] = _TERMINATING

    def _measure(self, pid: int, port: int, seconds: int, tls: ssl.SSLContext | None) -> Sample:
        sample = super()._measure(pid, port, seconds, tls)
        return sample if self.asks else replace(sample, answered=0)


@dataclass(frozen=True, kw_only=True)
class Idle(Case):
    """Resident growth for each kept-alive connection that made one request and then rests.

    The first few connections are made before the growth is counted: they pay for buffers and
    pools that all later ones share.
    """

    unit = "KiB a connection"

    connections: int = 5000
    first: int = 50

    def _measure(self, pid: int, port: int, seconds: int, tls: ssl.SSLContext | None) -> Sample:
        with held_connections(port, self.path, self.first, tls):
            before = usage(pid)
            with held_connections(port, self.path, self.connections, tls) as held:
                time.sleep(SETTLE_SECONDS)
                after = usage(pid)
                gone = closed(held)
        growth = after.resident_kib - before.resident_kib
        return Sample(
            cost=growth / self.connections,
            peak_mib=after.peak_kib / 1024,
            answered=self.first + self.connections,
            errors={"closed": gone} if gone else {},
        )


def _routes(name: str, count: int) -> Case:
    return Loaded(
        name=name,
        about=f"As proxied-1k, with {count:,} path prefixes configured, through the last one",
        path=route_path(count - 1) + "1k",
        routes=count,
        only=("nginx", "txrproxy"),
    )


CASES = {
    case.name: case
    for case in (
        Loaded(
            name="proxied-1k",
            about="GET of 1 KiB, 13 header fields as a browser sends them, 32 connections",
        ),
        Loaded(
            name="proxied-1k-varied",
            about="As proxied-1k, but no two requests alike: query and Cookie differ each time",
            drive=partial(wrk, headers=BROWSER, connections=32, script="varied"),
        ),
        Loaded(
            name="proxied-1k-bare",
            about="As proxied-1k, with Host and Accept only",
            drive=partial(wrk, headers=BARE, connections=32),
        ),
        Loaded(
            name="proxied-1m",
            about="GET of 1 MiB, 32 connections",
            path="/1m",
            answer=BODIES["/1m"],
        ),
        Loaded(
            name="post-64k",
            about="POST of 64 KiB, answered when the origin has read all of it, 32 connections",
            path="/upload",
            answer=UPLOADED,
            body=b"x" * 65536,
            drive=partial(wrk, headers=BROWSER, connections=32, script="post"),
        ),
        Loaded(
            name="pipelined",
            about="GET of 1 KiB, 8 requests in flight on each of 8 connections",
            drive=partial(h2load, headers=BROWSER, connections=8, inflight=8),
        ),
        Idle(name="idle", about="5,000 keep-alive connections that made one request each"),
        _routes("routes-1", 1),
        _routes("routes-10k", 10_000),
        Loaded(
            name="hit-1k",
            about="GET of 1 KiB that is kept, in memory where the subject does that, log on",
            cache="memory",
            drive=_VISITING,
            only=_CACHING,
        ),
        Loaded(
            name="hit-1k-disk",
            about="As hit-1k, from a file",
            cache="disk",
            drive=_VISITING,
            only=_CACHING,
        ),
        Loaded(
            name="hit-1m",
            about="GET of 1 MiB that is kept",
            path="/1m",
            answer=BODIES["/1m"],
            cache="memory",
            drive=_VISITING,
            only=_CACHING,
        ),
        Loaded(
            name="tls-hit-1k",
            about="As hit-1k, over TLS 1.3",
            cache="memory",
            tls=True,
            drive=_VISITING,
            only=_CACHING,
        ),
        Loaded(
            name="tls-proxied-1k",
            about="As proxied-1k, over TLS 1.3",
            tls=True,
            only=_TERMINATING,
        ),
        Loaded(
            name="tls-proxied-1m",
            about="As proxied-1m, over TLS 1.3",
            path="/1m",
            answer=BODIES["/1m"],
            tls=True,
            only=_TERMINATING,
        ),
        Handshakes(
            name="tls-handshake",
            about="Full TLS 1.3 handshakes with a P-256 certificate, no request",
            drive=s_time,
        ),
        Handshakes(
            name="tls-resumed",
            about="Resumed TLS 1.3 connections, a GET of 1 KiB and a close on each",
            drive=partial(s_time, resumed=True, asking=len(BODIES["/1k"])),
            asks=True,
        ),
        Handshakes(
            name="tls-full-1k",
            about="As tls-resumed, with a full handshake: the difference is what resumption saves",
            drive=partial(s_time, asking=len(BODIES["/1k"])),
            asks=True,
        ),
        Handshakes(
            name="tls-resumed-12",
            about="Resumed TLS 1.2 handshakes, no request",
            drive=partial(s_time, resumed=True, version="1.2"),
        ),
        Idle(
            name="tls-idle",
            about="As idle, over TLS 1.3",
            tls=True,
            only=_TERMINATING,
        ),
    )
}

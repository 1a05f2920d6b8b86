"""What the proxy counts, as one table: names, kinds and labels of all metrics.

Whoever counts names a row of it, whoever exposes them reads the texts here, and tests hold the
dashboard and the manual against it. Names follow the conventions of Prometheus: base units, and
``_total`` for what only grows.

Labels hold what the configuration names, or one of a few fixed words; never what a client chooses.
"""

from __future__ import annotations

import enum

from attrs import frozen

PREFIX = "txrproxy_"


class Kind(enum.Enum):
    """How the values of several processes make one."""

    COUNTER = "counter"  # added up, and kept when a process ends
    HISTOGRAM = "histogram"  # the same; a value is the counts of its buckets, then the sum
    SUM = "sum"  # of those that run
    LEAST = "least"
    MOST = "most"

    @property
    def grows(self) -> bool:
        return self in (Kind.COUNTER, Kind.HISTOGRAM)


BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: the upper ends of a histogram's buckets, beside the last, which has none."""


@frozen(eq=False)
class Metric:
    """One row. ``name`` is without the prefix."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


METRICS: dict[str, Metric] = {}


def _row(name: str, kind: Kind, labels: str, text: str) -> str:
    METRICS[name] = Metric(name, kind, tuple(labels.split()), text)
    return name


_C, _H, _S = Kind.COUNTER, Kind.HISTOGRAM, Kind.SUM

# Requests, as the access log has them.
REQUESTS = _row("requests_total", _C, "route method status", "Requests that have ended.")
REASONS = _row("request_reasons_total", _C, "route reason", "The same, by how they ended.")
REQUEST_BYTES = _row("request_bytes_total", _C, "route", "Bytes of the bodies of requests.")
RESPONSE_BYTES = _row("response_bytes_total", _C, "route", "Bytes of the bodies of responses.")
DURATION = _row(
    "request_duration_seconds", _H, "route", "From arrival to the end, without tunnels."
)

# Backends, as requests found them.
BACKEND_REQUESTS = _row(
    "backend_requests_total", _C, "pool backend status", "Requests that a backend had last."
)
BACKEND_CONNECT = _row("backend_connect_seconds", _H, "pool", "Time to open a connection.")
BACKEND_RESPONSE = _row(
    "backend_response_seconds", _H, "pool", "From the last try to the head of its response."
)
BACKEND_FAILURES = _row(
    "backend_failures_total", _C, "pool backend reason", "Tries that failed, retried or not."
)
RETRIES = _row("retries_total", _C, "pool", "Tries beyond the first.")
EJECTIONS = _row("ejections_total", _C, "pool backend", "Ejections after failures in a row.")
PANICS = _row("panics_total", _C, "pool", "Times that health was ignored: too few were well.")

# Caches, as requests found them, and as they are.
CACHE_REQUESTS = _row("cache_requests_total", _C, "route result", "What a cache did for a request.")
CACHE_BYTES = _row("cache_bytes", Kind.MOST, "cache", "Bytes on disk of what is stored.")
CACHE_LIMIT = _row("cache_limit_bytes", Kind.MOST, "cache", "Bytes that there may be.")
CACHE_RESPONSES = _row("cache_responses", Kind.MOST, "cache", "Responses that are stored.")
CACHE_MEMORY = _row("cache_memory_bytes", _S, "cache", "Bytes in memory, of all workers.")

# Web application firewalls.
WAF_REQUESTS = _row(
    "waf_requests_total", _C, "route result", "What a firewall made of requests, by verdict."
)
WAF_RESPONSES = _row(
    "waf_responses_total", _C, "route result", "What a firewall made of responses, by verdict."
)
WAF_REMEMBERED = _row("waf_remembered_total", _C, "route", "Verdicts that were known already.")
WAF_FAILURES = _row(
    "waf_failures_total", _C, "route reason", "Inspections without a verdict, by what went wrong."
)
WAF_ENGINES = _row("waf_engines", _S, "", "Engine processes that run, of all workers.")
WAF_WAITING = _row("waf_waiting", _S, "", "Inspections that wait for an engine.")

# Connections.
ACCEPTED = _row("connections_accepted_total", _C, "", "Connections of clients, accepted.")
CONNECTIONS = _row("connections", _S, "listener", "Connections of clients that are open.")
TUNNELS = _row("tunnels", _S, "listener", "Those of them that have become tunnels.")

# Pools, as they are.
ACTIVE = _row("backend_connections_active", _S, "pool backend", "Connections in use.")
IDLE = _row("backend_connections_idle", _S, "pool backend", "Connections that are kept.")
WAITING = _row("backend_requests_waiting", _S, "pool backend", "Requests that wait in line.")
AVAILABLE = _row(
    "backend_available", Kind.LEAST, "pool backend", "1: takes requests, in every worker."
)
HEALTHY = _row("backend_healthy", Kind.LEAST, "pool backend", "1: its checks pass, or it has none.")
EJECTED = _row("backend_ejected", Kind.MOST, "pool backend", "1: left out by some worker.")
PANIC = _row("pool_panic", Kind.MOST, "pool", "1: some worker ignores health.")

# Processes.
CPU = _row("cpu_seconds_total", _C, "", "CPU time of the workers, user and system.")
MEMORY = _row("worker_resident_bytes", _S, "worker", "Memory of each worker.")
WORKERS = _row("workers", _S, "", "Workers that serve.")
WORKERS_CONFIGURED = _row(
    "workers_configured", _S, "", "Workers that there are to be; 1 where it is all one process."
)
RESTARTS = _row("worker_restarts_total", _C, "", "Workers replaced after a death.")
RELOADS = _row("reloads_total", _C, "result", "Reloads, ok or refused.")
RELOAD_OK = _row("last_reload_successful", _S, "", "1: the last reload was done, or there is none.")
RELOAD_TIME = _row(
    "last_reload_timestamp_seconds", _S, "", "When the last reload was, 0 without one."
)
READY = _row("ready", _S, "", "1: accepts connections.")
START_TIME = _row("start_time_seconds", _S, "", "When the main process began.")
INFO = _row("build_info", _S, "version", "Always 1.")

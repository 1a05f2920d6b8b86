"""The state of one server in a pool: what balancing looks at.

::

    usable    = has a weight, nobody drains it or took it down, and it passed a probe if it has to
    available = usable, healthy by its probes, and not ejected for failing real requests

The connections themselves are Twisted's business and hang on ``connections``, which the wiring puts
there.
"""

from __future__ import annotations

import enum
from typing import Any


class State(enum.Enum):
    """What people want of a backend."""

    UP = "up"
    DRAIN = "drain"  # no new exchanges, those that run finish
    DOWN = "down"  # the same, and no probes


class Backend:
    """One server of a pool.

    ``name`` is its address for logs; ``authority`` what Host says when the backend's own is sent.
    ``weight`` is its share against the others, ``share`` what slow start leaves of that at the
    moment; ``priority`` its group, 0 being used first. ``max_connections`` bounds the connections
    in use and ``max_pending`` the requests that wait in line for one; ``max_requests`` bounds both
    together. 0 is no bound, but for ``max_pending``, where nobody waits.

    ``in_use`` counts the connections that carry an exchange or are being opened for one,
    ``waiting`` the requests in line. ``healthy`` is what the last probes said, None when the first
    has to be waited for. ``errors`` counts failed requests in a row, ``ejections`` ejections in a
    row; ``on_trial`` means that one request decides whether an ejection is over, and ``trial_at``
    when there may be one. ``since`` is when
    it became available, in seconds. ``latency`` and ``latency_at`` belong to the policy
    that balances by them (seconds).
    """

    __slots__ = (
        "authority",
        "connections",
        "ejected",
        "ejected_until",
        "ejections",
        "errors",
        "healthy",
        "host_line",
        "in_use",
        "latency",
        "latency_at",
        "max_connections",
        "max_pending",
        "max_requests",
        "name",
        "on_trial",
        "priority",
        "share",
        "since",
        "state",
        "token",
        "trial_at",
        "waiting",
        "weight",
    )

    def __init__(
        self,
        name: bytes,
        authority: bytes,
        weight: int = 1,
        max_connections: int = 0,
        *,
        priority: int = 0,
        max_pending: int = 1024,
        max_requests: int = 0,
        healthy: bool | None = True,
    ) -> None:
        self.name = name
        self.authority = authority
        self.host_line = b"Host: %b\r\n" % authority
        self.weight = weight
        self.priority = priority
        self.max_connections = max_connections
        self.max_pending = max_pending
        self.max_requests = max_requests
        self.connections: Any = None
        self.in_use = 0
        self.waiting = 0
        self.state = State.UP
        self.healthy = healthy
        self.ejected = False
        self.ejected_until = 0.0
        self.ejections = 0
        self.errors = 0
        self.on_trial = False
        self.trial_at = 0.0
        self.since = float("-inf")
        self.share = float(weight)
        self.latency = 0.0
        self.latency_at = 0.0
        self.token = b""

    def __repr__(self) -> str:
        return f"<Backend {self.name.decode('latin-1')} in use {self.in_use}>"

    @property
    def usable(self) -> bool:
        """Whether it may be used at all, be it well or not."""
        return self.weight > 0 and self.state is State.UP and self.healthy is not None

    @property
    def available(self) -> bool:
        """Whether it is usable and, as far as is known, well."""
        return bool(self.usable and self.healthy and not self.ejected)

    @property
    def full(self) -> bool:
        """Whether a request would have to wait in line."""
        return 0 < self.max_connections <= self.in_use

    @property
    def free(self) -> bool:
        """Whether a request would be sent at once."""
        in_use = self.in_use
        return not (
            0 < self.max_connections <= in_use or 0 < self.max_requests <= in_use + self.waiting
        )

    @property
    def closed(self) -> bool:
        """Whether it takes no more requests, not even in line."""
        if 0 < self.max_requests <= self.in_use + self.waiting:
            return True
        return self.full and self.waiting >= self.max_pending

"""Rate limits: the generic cell rate algorithm (GCRA, ITU-T I.371), a leaky bucket in one number.

For each key there is one number, the time at which its bucket will be empty again ("theoretical
arrival time"). A request adds one interval to it, and is refused while the bucket holds more than
``burst`` intervals. Nothing has to be counted down, so nothing runs while no request comes, and a
key that was forgotten is a key whose bucket is empty.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import math
from typing import Protocol

from txrproxy.http.fields import Line, make_line

KEYS = 65536  # of one limit, twice as many at most: about 20 MB when it is full

_ROUNDING = 1e-9  # of an interval: sums of floats differ by less, and a clock by more


class Table(Protocol):
    """Where a limit keeps its numbers: a :class:`~txrproxy.filters.bounded.Bounded`, or memory that
    several processes share."""

    def get(self, key: bytes) -> float | None:
        """The number of a key; None when there is none, or it was forgotten."""

    def put(self, key: bytes, value: float) -> None:
        """Remember it."""


class RateLimit:
    """``count`` requests in ``seconds``, and ``burst`` more that may come at once."""

    __slots__ = ("_get", "_interval", "_put", "_room", "burst", "policy_line")

    def __init__(self, count: int, seconds: float, burst: int, table: Table) -> None:
        self.burst = burst
        self._interval = interval = seconds / count
        self._room = interval * (burst + _ROUNDING)
        self._get = table.get
        self._put = table.put
        window = max(1, math.ceil((burst + 1) * interval))
        self.policy_line = make_line(
            b"RateLimit-Policy",
            b'"default";q=%d;w=%d' % (max(burst + 1, count * window // seconds), window),
        )

    def take(self, key: bytes, now: float) -> float:
        """Count a request; 0.0, or the seconds after which it would not be refused."""
        empty = self._get(key)
        if empty is None or empty <= now:
            self._put(key, now + self._interval)
            return 0.0
        wait = empty - now - self._room
        if wait > 0.0:
            return wait
        self._put(key, empty + self._interval)
        return 0.0

    def state(self, key: bytes, now: float) -> Line:
        """The field that tells a client how many requests it has left, and for how long."""
        empty = self._get(key)
        filled = 0.0 if empty is None else max(0.0, empty - now)
        left = max(0, math.floor((self._room - filled) / self._interval + 1))
        return make_line(b"RateLimit", b'"default";r=%d;t=%d' % (left, math.ceil(filled)))


def refusal(wait: float) -> tuple[Line, Line]:
    """What a client is told that has to wait."""
    seconds = max(1, math.ceil(wait))
    return (
        make_line(b"Retry-After", b"%d" % seconds),
        make_line(b"RateLimit", b'"default";r=0;t=%d' % seconds),
    )

"""What the configuration of a route says about its cache."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

# Of ours alone, so nobody downstream is to see it; CDN-Cache-Control speaks to those as well.
OWN_TARGET = b"txrproxy-cache-control"


@frozen(eq=False, kw_only=True)
class Rules:
    """How one route caches; durations in seconds. Compared by identity.

    ``default_ttl``, ``heuristic`` and ``negative`` speak for responses that do not speak for
    themselves: never against a directive. ``default_ttl`` is how long those are fresh which may be
    stored without saying so, ``heuristic`` is the share of the time since Last-Modified that does
    instead where there is no ``default_ttl`` (0 turns it off), and ``negative`` has a time for
    single statuses. ``targeted`` are the lower-case names of targeted fields, in order of
    preference (RFC 9213). ``obey_requests`` says whether clients' Cache-Control counts; without,
    no client can make a backend work. ``keyed`` are the lower-case names of the request fields that
    are in the key, ``told`` of those in which the proxy tells a backend something of its own that
    differs from client to client and is in no key.
    """

    default_ttl: float = 0.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    targeted: tuple[bytes, ...] = (OWN_TARGET, b"cdn-cache-control")
    negative: Mapping[int, float] = Factory(dict)
    heuristic: float = 0.1
    obey_requests: bool = True
    keyed: frozenset[bytes] = frozenset()
    told: frozenset[bytes] = frozenset()

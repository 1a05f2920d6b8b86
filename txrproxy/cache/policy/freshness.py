"""How long a stored response may be used, and whether it may be used now (RFC 9111 section 4.2,
RFC 5861, RFC 8246).

What depends on the stored response alone is worked out once, in :class:`Freshness`, and kept with
it; a request then costs a subtraction and a comparison. The whole of a response's age is one point
in time: its *birth*, from which it ages by the clock.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from txrproxy.cache.policy.demand import Demand
from txrproxy.cache.policy.directives import MAX_DELTA, ResponseDirectives, response_directives
from txrproxy.cache.policy.rules import Rules
from txrproxy.cache.stored import Stored
from txrproxy.http.date import parse_http_date
from txrproxy.http.fields import Fields
from txrproxy.http.head import ResponseHead

# RFC 9110 section 15.1: what may be stored although it does not say for how long.
HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
MAX_HEURISTIC = 86400.0  # seconds
# RFC 5861 section 4: which answers of a backend count as none.
STALE_ERRORS = frozenset({500, 502, 503, 504})


class Verdict(enum.Enum):
    """What is to be done with a stored response that was selected."""

    FRESH = "fresh"  # serve it
    STALE = "stale"  # serve it: the client accepts it
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"  # serve it, and fetch a new one meanwhile
    VALIDATE = "validate"  # ask first


class Reuse(NamedTuple):
    """Whether a stored response answers a request.

    ``age`` is in seconds and ``ttl`` what is left of its lifetime, negative if it is over. If it is
    to be validated, ``fwd`` is the reason for Cache-Status, and until the time ``until`` (seconds
    since the epoch, 0 for never) it may be served if no backend gives an answer, or one of
    :data:`STALE_ERRORS`.
    """

    verdict: Verdict
    age: float
    ttl: float
    fwd: bytes = b""
    until: float = 0.0


def first_date(fields: Fields, name: bytes, now: float) -> int | None:
    """The time in the first line of a field; None without the field, or for what is no date."""
    values = fields.all(name)
    return parse_http_date(values[0], now) if values else None


def received_age(fields: Fields) -> float:
    """The Age that a response came with, in seconds (RFC 9111 section 5.1).

    Of a list, the first; what is not a number is not heard.
    """
    value = fields.first(b"age").partition(b",")[0].strip(b" \t")
    if not value.isdigit():
        return 0.0
    return float(value) if len(value) <= 10 else float(MAX_DELTA)


def lifetime(
    head: ResponseHead, directives: ResponseDirectives, rules: Rules, responded: float
) -> float:
    """The freshness lifetime of a response in seconds, at least 0 (RFC 9111 section 4.2.1)."""
    # 1 and 2: s-maxage, then max-age.
    if directives.lifetime is not None:
        return directives.lifetime
    fields = head.fields
    date = first_date(fields, b"date", responded)
    if date is None:
        date = int(responded)
    # 3: Expires; what is no date has passed (section 5.3).
    if not directives.targeted and fields.all(b"expires"):
        expires = first_date(fields, b"expires", responded)
        return 0.0 if expires is None else max(0.0, float(expires - date))
    # 4: what the configuration says in the response's place, then a guess (section 4.2.2).
    if _wants_no_guess(fields):
        return 0.0
    if head.status in rules.negative:
        return rules.negative[head.status]
    if head.status not in HEURISTIC and not directives.public:
        return 0.0
    if rules.default_ttl:
        return rules.default_ttl
    modified = first_date(fields, b"last-modified", responded)
    if modified is None:
        return 0.0
    return min(MAX_HEURISTIC, max(0.0, rules.heuristic * (date - modified)))


def _wants_no_guess(fields: Fields) -> bool:
    """Whether an old backend asks for no caching by the only means that it knows."""
    return b"no-cache" in fields.first(b"pragma").lower() and b"cache-control" not in fields


def is_explicit(head: ResponseHead, directives: ResponseDirectives) -> bool:
    """Whether the response itself says how long it is fresh."""
    if directives.lifetime is not None:
        return True
    return not directives.targeted and b"expires" in head.fields


class Freshness:
    """What reuse asks of a stored response under the rules of a route; times in seconds.

    ``born`` is the time from which its age counts. ``plainly`` is the age below which a plain
    request is answered. ``while_revalidating`` and ``if_error`` are how long past its ``lifetime``
    it may be used stale, and ``accepts_stale`` is whether a client's word alone is enough.
    """

    __slots__ = (
        "accepts_stale",
        "born",
        "if_error",
        "immutable",
        "lifetime",
        "plainly",
        "rules",
        "validates",
        "while_revalidating",
    )

    def __init__(self, stored: Stored, rules: Rules) -> None:
        head, responded = stored.head, stored.responded
        directives = response_directives(head.fields, rules.targeted)
        self.rules = rules
        self.lifetime = lifetime(head, directives, rules, responded)
        # Section 4.2.3: the larger of the two ages is the earlier of the births.
        self.born = min(stored.requested, responded)
        date = first_date(head.fields, b"date", responded)
        if date is not None:
            self.born = min(self.born, date)
        self.immutable = directives.immutable
        self.validates = directives.no_cache or stored.invalidated
        self.plainly = 0.0 if self.validates else self.lifetime
        self.accepts_stale = self.lifetime > 0.0 and not (
            self.validates or directives.revalidate or directives.s_maxage
        )
        self.while_revalidating, self.if_error = stale_windows(directives, rules, self.lifetime)
        if stored.invalidated:
            self.while_revalidating = self.if_error = 0.0


def stale_windows(
    directives: ResponseDirectives, rules: Rules, lifetime: float
) -> tuple[float, float]:
    """For how long past its lifetime a response may be used while it is revalidated, and if that
    fails; seconds (section 4.2.4, RFC 5861).

    What the response says goes before the configuration, which can not overrule s-maxage, and has
    no say on what is never fresh: that is not meant to be used without a look.
    """
    if directives.no_cache or directives.revalidate:
        return 0.0, 0.0
    revalidating, error = directives.stale_while_revalidate, directives.stale_if_error
    configured = lifetime > 0.0 and not directives.s_maxage
    if revalidating is None:
        revalidating = rules.stale_while_revalidate if configured else 0.0
    if error is None:
        error = rules.stale_if_error if configured else 0.0
    return revalidating, error


def freshness(stored: Stored, rules: Rules) -> Freshness:
    """The freshness of a stored response, remembered with it."""
    known: Freshness | None = stored.derived
    if known is None or known.rules is not rules:
        stored.derived = known = Freshness(stored, rules)
    return known


_FRESH = Verdict.FRESH
_reuse = tuple.__new__


def reuse(stored: Stored, demand: Demand, now: float, rules: Rules) -> Reuse:
    """Whether a stored response that was selected answers a request (RFC 9111 section 4)."""
    known = stored.derived
    if known is None or known.rules is not rules:
        known = freshness(stored, rules)
    age = now - known.born
    if demand.plain and 0.0 <= age < known.plainly:
        return _reuse(Reuse, (_FRESH, age, known.lifetime - age, b"", 0.0))
    # A clock that was set back makes nothing younger than it was.
    return _asked(known, demand, max(age, 0.0))


def _asked(known: Freshness, demand: Demand, age: float) -> Reuse:
    """The long way: a response that is stale, or a request with conditions of its own."""
    lifetime = known.lifetime
    ttl = lifetime - age
    is_fresh = ttl > 0.0
    fwd = b"request" if is_fresh and not known.validates else b"stale"
    window = _if_error(known, demand)
    until = known.born + lifetime + window if window else 0.0
    if known.validates or demand.no_cache:
        return Reuse(Verdict.VALIDATE, age, ttl, fwd, until)
    limit = lifetime
    wants_fresh = demand.max_age is not None or demand.min_fresh is not None
    # RFC 8246 section 2: a fresh response that never changes needs no look at its age.
    if wants_fresh and not (is_fresh and known.immutable):
        if demand.max_age is not None:
            limit = min(limit, demand.max_age or -1.0)  # 0 is asked for to have it validated
        if demand.min_fresh is not None:
            limit = min(limit, lifetime - demand.min_fresh)
    if is_fresh and age <= limit:
        return Reuse(Verdict.FRESH, age, ttl)
    if (
        demand.max_stale is not None
        and age - limit <= demand.max_stale
        and (is_fresh or known.accepts_stale)
    ):
        return Reuse(Verdict.STALE, age, ttl)
    if not is_fresh and not wants_fresh and age < lifetime + known.while_revalidating:
        return Reuse(Verdict.STALE_WHILE_REVALIDATE, age, ttl)
    return Reuse(Verdict.VALIDATE, age, ttl, fwd, until)


def _if_error(known: Freshness, demand: Demand) -> float:
    """How long past its lifetime a response may stand in for an error (RFC 5861 section 4)."""
    if demand.no_cache:
        return 0.0
    if demand.stale_if_error is not None and known.accepts_stale:
        return max(known.if_error, demand.stale_if_error)
    return known.if_error

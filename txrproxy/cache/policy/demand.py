"""What a request asks of a cache: whether it may be answered from it, how old, and in which form.

All of it follows from the method and the fields, and equal blocks of fields come again, so that the
answer is remembered with them; for nearly every request it is :data:`PLAIN`.
"""

from __future__ import annotations

from copy import copy

from txrproxy.cache.policy.directives import Directives, delta, first_delta, parse_directives
from txrproxy.cache.policy.rules import Rules
from txrproxy.http.fields import HOP_BY_HOP, Fields, fold
from txrproxy.http.head import RequestHead

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH"})

# Only a backend can tell whether these hold (RFC 9111 section 4.3.2).
_FOR_ORIGIN = (b"if-match", b"if-unmodified-since")
# Frameworks let these stand for the method, the path or the host, and many do not tell their
# aliases from them (``X_Host``). They are in no key, so that what comes back says nothing of what
# the key stands for.
OVERRIDES = frozenset(
    {
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-original-host",
        b"x-host",
        b"x-override-url",
    }
)
_NO_ALIASES = HOP_BY_HOP | {b"host", b"referer", b"user-agent"}
# By these a backend knows who asks. The second is a trusted proxy's word for a client certificate.
_CREDENTIALS = frozenset({b"authorization", b"x-forwarded-client-cert"})
_HAVE_A_SAY = frozenset(
    {
        b"cache-control",
        b"if-modified-since",
        b"if-none-match",
        b"pragma",
        b"range",
        *_CREDENTIALS,
        *_FOR_ORIGIN,
        *OVERRIDES,
    }
)


class Demand:
    """How a request meets the cache. Shared between requests; do not change it.

    ``lookup`` is whether it may be answered from the cache. If not, ``fwd`` is the reason for
    Cache-Status (RFC 9211 section 2.2) and ``detail`` a word more. ``stores`` is whether its
    response may be kept, if that is storable. ``invalidates`` is whether it may change what is
    stored. ``plain`` says that nothing but the key and Vary matters. ``no_cache`` asks for
    validation first; ``max_age``, ``min_fresh``, ``max_stale`` and ``stale_if_error`` are seconds,
    None if not given. ``only_if_cached`` is to be answered with 504 rather than sent on.
    ``authorized`` is whether a backend is told who asks, by credentials or by the proxy itself.
    ``conditional`` and ``ranged`` say that the client asks for less than the whole; ``whole`` that
    it does not.
    """

    __slots__ = (
        "authorized",
        "conditional",
        "detail",
        "fwd",
        "invalidates",
        "lookup",
        "max_age",
        "max_stale",
        "min_fresh",
        "no_cache",
        "only_if_cached",
        "plain",
        "ranged",
        "stale_if_error",
        "stores",
    )

    def __init__(
        self,
        fwd: bytes = b"",
        detail: bytes = b"",
        *,
        stores: bool = True,
        invalidates: bool = False,
        plain: bool = False,
    ) -> None:
        self.lookup = not fwd
        self.fwd = fwd
        self.detail = detail
        self.stores = stores
        self.invalidates = invalidates
        self.plain = plain
        self.no_cache = False
        self.only_if_cached = False
        self.authorized = False
        self.conditional = False
        self.ranged = False
        self.max_age: float | None = None
        self.min_fresh: float | None = None
        self.max_stale: float | None = None
        self.stale_if_error: float | None = None

    @property
    def whole(self) -> bool:
        return not (self.conditional or self.ranged)

    def __repr__(self) -> str:
        said = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}
        return f"<Demand {said}>"


PLAIN = Demand(plain=True)
_SAFE = Demand(b"method", stores=False)
_UNSAFE = Demand(b"method", stores=False, invalidates=True)
_POST = Demand(b"method", invalidates=True)  # a response may say that it is what a GET would get
_BODY = Demand(b"bypass", b"body", stores=False)
_UPGRADE = Demand(b"bypass", b"upgrade", stores=False)


def for_request(head: RequestHead, rules: Rules) -> Demand:
    """How a request meets the cache."""
    method = head.method
    facts = head.facts
    if method in (b"GET", b"HEAD"):
        # A body may change the answer, and is in no key ("fat GET").
        if facts.body:
            return _BODY
        if facts.upgrade:
            return _UPGRADE
    elif method in SAFE:
        return _SAFE
    elif method != b"POST":
        return _UNSAFE
    known: Demand | None = head.fields.derived.get("demand" if rules.obey_requests else "unheeded")
    if known is None:
        known = _of_fields(head.fields, rules.obey_requests)
        head.fields.derived["demand" if rules.obey_requests else "unheeded"] = known
    if method == b"POST":
        return _POST if known.stores and not known.authorized else _UNSAFE
    return known


def satisfied(demand: Demand) -> Demand:
    """What is left of a demand for something that a backend has said since it was made."""
    left = copy(demand)
    left.no_cache = False
    left.max_age = None
    return left


def _has_alias(fields: Fields) -> bool:
    """Whether there is an alias of an override; they are marked, as little else is."""
    marked = fields.marked
    return not marked <= _NO_ALIASES and not OVERRIDES.isdisjoint(map(fold, marked))


def _of_fields(fields: Fields, obey: bool) -> Demand:
    said = {line[0] for line in fields.lines if line[0] in _HAVE_A_SAY}
    if not OVERRIDES.isdisjoint(said) or _has_alias(fields):
        return Demand(b"bypass", b"override", stores=False)
    if not said:
        return PLAIN
    directives: Directives = {}
    if obey:
        # Pragma is heard only where Cache-Control says nothing (RFC 9111 section 5.4).
        name = b"cache-control" if b"cache-control" in said else b"pragma"
        directives = parse_directives(fields.all(name))
        if name == b"pragma":
            directives = {n: [None] for n in directives if n == b"no-cache"}
    if b"no-store" in directives:
        demand = Demand(b"request", b"no-store", stores=False)
    elif not said.isdisjoint(_FOR_ORIGIN):
        demand = Demand(b"request", b"precondition")
    else:
        demand = Demand()
    demand.no_cache = b"no-cache" in directives
    demand.only_if_cached = b"only-if-cached" in directives
    demand.authorized = not said.isdisjoint(_CREDENTIALS)
    demand.conditional = b"if-none-match" in said or b"if-modified-since" in said
    demand.ranged = b"range" in said
    demand.max_age = first_delta(directives, b"max-age")
    demand.min_fresh = first_delta(directives, b"min-fresh")
    demand.stale_if_error = first_delta(directives, b"stale-if-error")
    stale = directives.get(b"max-stale")
    if stale:
        demand.max_stale = float("inf") if stale[0] is None else delta(stale[0])
    return demand

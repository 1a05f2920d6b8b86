"""Whether a response may be stored, and what is kept of it (RFC 9111 section 3).

One decision, one numbered function; what it turns down has a word for the reason, which is for
whoever wonders (``txrproxy explain``, the detail of Cache-Status). What a decision depends on are
the two heads and the rules, so that it can be made before a byte of the body.
"""

from __future__ import annotations

from collections.abc import Iterable

from txrproxy.cache.key import is_in_every_key, variant
from txrproxy.cache.policy.demand import Demand
from txrproxy.cache.policy.directives import ResponseDirectives, response_directives
from txrproxy.cache.policy.freshness import (
    HEURISTIC,
    first_date,
    is_explicit,
    lifetime,
    received_age,
    stale_windows,
)
from txrproxy.cache.policy.invalidation import resolved
from txrproxy.cache.policy.rules import OWN_TARGET, Rules
from txrproxy.cache.policy.validators import has_validator
from txrproxy.cache.stored import Stored
from txrproxy.http.date import http_date_line
from txrproxy.http.fields import (
    HOP_BY_HOP,
    Fields,
    Line,
    fold,
    is_client_certificate,
    is_token,
    make_line,
    split_list,
)
from txrproxy.http.forward import is_proxy_field
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.http.status import PHRASES

# Partial content is another matter (policy.partial); 304, 412 and 416 answer what is in no key; the
# rest must not be stored (RFC 6585, RFC 8470 section 5.2), or speaks of this hop.
NEVER = frozenset({206, 304, 407, 412, 416, 425, 428, 429, 431, 511})
UNDERSTOOD = frozenset(PHRASES) - NEVER

# Section 3.1.
NOT_STORED = HOP_BY_HOP | {b"age", b"proxy-authentication-info"}

# Fields that speak to this cache alone: no client sees them.
CONSUMED = frozenset({b"surrogate-key", b"cache-tag", OWN_TARGET})


class Decision:
    """Whether a response is stored. ``reason`` is empty if it is, else a word.

    ``vary`` and ``variant`` are those of the stored response, ``tags`` its names.
    """

    __slots__ = ("_age", "_head", "_responded", "_withheld", "reason", "tags", "variant", "vary")

    def __init__(
        self,
        reason: str,
        head: ResponseHead,
        responded: float = 0.0,
        vary: tuple[bytes, ...] = (),
        variant: bytes = b"",
        withheld: Iterable[bytes] = (),
    ) -> None:
        self.reason = reason
        self.vary = vary
        self.variant = variant
        if not reason:
            self.tags = tags(head.fields)
            self._age = received_age(head.fields)
            self._responded = responded
            self._withheld = withheld
            self._head = with_lines(head, kept_lines(head, withheld, responded))

    def __bool__(self) -> bool:
        return not self.reason

    def __repr__(self) -> str:
        return f"<Decision {self.reason or 'store'}>"

    @property
    def partial(self) -> bool:
        """Whether what is stored is a part."""
        return not self.reason and self._head.status == 206

    def of(self, head: ResponseHead) -> Decision:
        """The same decision to store, for another form of the response."""
        return Decision("", head, self._responded, self.vary, self.variant, self._withheld)

    def stored(self, key: bytes, url: bytes, length: int, requested: float) -> Stored:
        """The record of a body that has arrived whole, of ``length`` bytes.

        ``requested`` is the time at which the request went out. Its head gets a Content-Length if
        the backend sent none; the caller has seen to it that one of the backend's holds.
        """
        head = self._head
        if b"content-length" not in head.fields and head.status != 204:
            lines = (*head.fields.lines, make_line(b"Content-Length", b"%d" % length))
            head = with_lines(head, lines)
        return Stored(
            key,
            url,
            head,
            length,
            requested - self._age,
            self._responded,
            vary=self.vary,
            variant=self.variant,
            tags=self.tags,
        )


def storable(
    request: RequestHead,
    demand: Demand,
    response: ResponseHead,
    rules: Rules,
    url: bytes,
    responded: float,
) -> Decision:
    """Whether the response to a request may be stored (RFC 9111 section 3).

    ``url`` is what the request is for (:func:`~txrproxy.cache.key.absolute_url`), ``responded`` the
    time at which the head came in.
    """
    directives = response_directives(response.fields, rules.targeted)
    vary = vary_names(response.fields)
    reason = (
        _unsuitable(request, demand, response, directives, url)
        or _forbidden(demand, response, directives)
        or _unshared(request, response, directives, rules)
        or ("vary" if vary is None else _unlike(request, vary, rules))
        or _useless(response, directives, rules, responded)
    )
    if reason or vary is None:
        return Decision(reason, response)
    selecting = variant(vary, request.fields)
    return Decision("", response, responded, vary, selecting, directives.withheld)


def _unsuitable(
    request: RequestHead,
    demand: Demand,
    response: ResponseHead,
    directives: ResponseDirectives,
    url: bytes,
) -> str:
    # 1: the request lets it, and its method is understood.
    if not demand.stores:
        return (demand.detail or demand.fwd).decode("ascii")
    if request.method == b"POST":
        # RFC 9110 section 9.3.3: what a later GET would get, if it says so, and for how long.
        location = response.fields.all(b"content-location")
        if (
            response.status != 200
            or not is_explicit(response, directives)
            or len(location) != 1
            or resolved(url, location[0]) != url
        ):
            return "method"
    elif request.method != b"GET":
        return "method"
    # 2: the status is final, and one that stands for the whole answer.
    if response.status < 200 or response.status in NEVER:
        return "status"
    return ""


def _forbidden(demand: Demand, response: ResponseHead, directives: ResponseDirectives) -> str:
    # 3: must-understand takes the place of no-store for a status that is understood.
    if directives.must_understand:
        if response.status not in UNDERSTOOD:
            return "must-understand"
    elif directives.no_store:
        return "no-store"
    # 4: it is not for one user alone.
    if directives.private:
        return "private"
    # 5: what somebody got for their credentials (section 3.5).
    if demand.authorized and not directives.shared:
        return "authorization"
    return ""


def _unshared(
    request: RequestHead, response: ResponseHead, directives: ResponseDirectives, rules: Rules
) -> str:
    # 6: something allows it.
    status = response.status
    explicit = is_explicit(response, directives)
    configured = status in rules.negative or (rules.default_ttl > 0.0 and status in HEURISTIC)
    meant = explicit or directives.public or configured
    if not meant and status not in HEURISTIC:
        return "status"
    # 7: a cookie is for one user, unless the backend knows that the response is for many.
    if b"set-cookie" in response.fields and b"set-cookie" not in directives.withheld:
        shared = directives.public or directives.s_maxage or directives.targeted
        if not shared:
            return "set-cookie"
    # 8: nor is a guess enough for what may be one user's because of the cookie that came.
    if not meant and not directives.no_cache and b"cookie" in request.fields:
        return "cookie"
    return ""


def _unlike(request: RequestHead, vary: Iterable[bytes], rules: Rules) -> str:
    # 9: the backend was told by what the response is selected, just as the request says it here
    # (section 4.1). It was not where the proxy says something of its own; such responses differ
    # from client to client.
    names = rules.keyed.union(vary)
    if any(map(is_told, names)) or not names.isdisjoint(rules.told):
        return "vary"
    # Nor where the client has a field removed on the way. Without those that tell of a proxy the
    # backend is told what is in no key.
    options = request.facts.options
    if not names.isdisjoint(options) or any(map(is_proxy_field, options)):
        return "fields"
    # Nor where there is an alias besides, which many backends do not tell from the field.
    folded = set(map(fold, names))
    aliases = {line[0] for line in request.fields.lines if fold(line[0]) in folded} - names
    return "fields" if aliases else ""


def is_told(name: bytes) -> bool:
    """Whether the proxy tells this of itself, or drops it, as it tells or trusts the client.

    What a field with this lower-case name selects is not stored.
    """
    if name in HOP_BY_HOP or is_client_certificate(name):
        return True
    return is_proxy_field(name) and not is_in_every_key(name)


def is_for_all(
    request: RequestHead,
    demand: Demand,
    response: ResponseHead,
    vary: Iterable[bytes],
    rules: Rules,
) -> bool:
    """Whether what a backend says to this request of a stored response is for others, too.

    If not, nothing of it may get into what they are served (sections 3.5 and 4.1). ``vary`` are
    the names by which the stored response was selected.
    """
    shared = response_directives(response.fields, rules.targeted).shared
    return (shared or not demand.authorized) and not _unlike(request, vary, rules)


def _useless(
    response: ResponseHead, directives: ResponseDirectives, rules: Rules, responded: float
) -> str:
    # 10: it can be used again: now, or while or after it is validated. What has a validator and
    # says nothing more is left alone: it is hardly meant for a cache, and may be one user's.
    fresh = lifetime(response, directives, rules, responded)
    validated = response.status == 200 and has_validator(response.fields, responded)
    if directives.no_cache:
        return "" if validated else "no-cache"
    if fresh or (validated and is_explicit(response, directives)):
        return ""
    return "" if any(stale_windows(directives, rules, fresh)) else "not-fresh"


def vary_names(fields: Fields) -> tuple[bytes, ...] | None:
    """The lower-case names of Vary, sorted; None for what never matches (section 4.1)."""
    names = {name.lower() for name in split_list(fields.all(b"vary"))}
    if b"*" in names or not all(map(is_token, names)):
        return None
    return tuple(sorted(names))


def tags(fields: Fields) -> tuple[bytes, ...]:
    """The names that a backend gives a response to purge it by."""
    found = [tag for value in fields.all(b"surrogate-key") for tag in value.split()]
    return tuple(dict.fromkeys(found + split_list(fields.all(b"cache-tag"))))


def kept_lines(head: ResponseHead, withheld: Iterable[bytes], responded: float) -> list[Line]:
    """The lines of a response that are stored, with a Date that is one (RFC 9110 section 6.6.1)."""
    dropped = (NOT_STORED | head.options | frozenset(withheld)) - {b"content-length"}
    dates = head.fields.all(b"date")
    if first_date(head.fields, b"date", responded) is None:
        dates = (http_date_line(responded)[6:-2],)
    lines = [line for line in head.fields.lines if line[0] not in dropped and line[0] != b"date"]
    return [make_line(b"Date", dates[0]), *lines]


def with_lines(head: ResponseHead, lines: Iterable[Line]) -> ResponseHead:
    """The head with other fields, as one of HTTP/1.1."""
    fields = Fields(lines)
    size = len(head.status_line) + sum(len(line[2]) for line in fields.lines)
    return ResponseHead(head.status, head.status_line[13:-2], True, fields, size)

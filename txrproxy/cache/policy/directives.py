"""Cache directives, as they are written (RFC 9111 section 5.2, RFC 9213) and as they are meant.

Nothing is an error here. What is malformed still names its directive, so that a broken restriction
restricts (``no-store =1``) and a broken number is a response that is stale (``max-age=1.5``); what
is unknown is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from txrproxy.cache.policy.rules import OWN_TARGET
from txrproxy.http.fields import Fields, is_token, split_list, split_members
from txrproxy.http.structured import Item, Token, parse_dictionary

# RFC 9111 section 1.2.2: what is larger counts as this, which is as good as for ever.
MAX_DELTA = 2**31

# The arguments of each directive, in order; None for one without.
Directives = dict[bytes, list[bytes | None]]

_name = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").match
_unescape = re.compile(rb"\\(.)", re.DOTALL).sub

_DELTAS = (b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error")
# What gives the rest of a response its meaning: without it, the rest is not to be reused.
_ESSENTIAL = frozenset(
    {
        b"cache-control",
        b"cdn-cache-control",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"date",
        b"expires",
        b"vary",
        OWN_TARGET,
    }
)


def parse_directives(values: Iterable[bytes]) -> Directives:
    """The directives of all lines of a Cache-Control field, by lower-case name."""
    directives: Directives = {}
    for value in values:
        for member in split_members(value):
            name, equals, argument = member.partition(b"=")
            found: bytes | None = argument if equals else None
            if not is_token(name):
                match = _name(name)
                if match is None:
                    continue
                name, found = match[0], b""
            elif argument[:1] == b'"' and len(argument) > 1 and argument.endswith(b'"'):
                found = _unescape(rb"\1", argument[1:-1])
            directives.setdefault(name.lower(), []).append(found)
    return directives


def delta(argument: bytes | None) -> float | None:
    """The delta-seconds of an argument, at most :data:`MAX_DELTA`; None for what is none."""
    if argument is None or not argument.isdigit():
        return None
    digits = argument.lstrip(b"0")
    if len(digits) > 10:
        return float(MAX_DELTA)
    return float(min(int(digits or b"0"), MAX_DELTA))


def first_delta(directives: Directives, name: bytes) -> float | None:
    """The value of a directive that takes delta-seconds; None without it, or with another."""
    arguments = directives.get(name)
    return delta(arguments[0]) if arguments else None


class ResponseDirectives:
    """What a response says to a shared cache.

    ``lifetime`` is the explicit one of s-maxage or max-age in seconds, None without either, and 0
    for one that is broken; where there are several, the first. ``shared`` is whether a directive
    lets a shared cache have what a request with credentials got (section 3.5). ``revalidate`` says
    that it is never used stale; ``s_maxage``, that it is not unless the response itself allows it:
    an extension modifies what s-maxage implies (section 5.2.3). ``withheld`` are the fields that
    no other request is to see (the qualified no-cache and private). ``targeted`` says that a
    targeted field spoke, so that Cache-Control and Expires have no say.
    """

    __slots__ = (
        "immutable",
        "lifetime",
        "must_understand",
        "no_cache",
        "no_store",
        "private",
        "public",
        "revalidate",
        "s_maxage",
        "shared",
        "stale_if_error",
        "stale_while_revalidate",
        "targeted",
        "withheld",
    )

    def __init__(self, directives: Directives, targeted: bool = False) -> None:
        self.targeted = targeted
        self.no_store = b"no-store" in directives
        self.must_understand = b"must-understand" in directives
        self.public = b"public" in directives
        self.immutable = b"immutable" in directives
        self.no_cache, withheld = _qualified(directives.get(b"no-cache", ()))
        self.private, privately = _qualified(directives.get(b"private", ()))
        self.withheld = withheld | privately
        must = b"must-revalidate" in directives
        self.revalidate = must or b"proxy-revalidate" in directives
        self.s_maxage = b"s-maxage" in directives
        self.shared = must or self.public or self.s_maxage
        self.lifetime: float | None = None
        for name in (b"s-maxage", b"max-age"):
            if name in directives:
                self.lifetime = first_delta(directives, name) or 0.0
                break
        self.stale_while_revalidate = first_delta(directives, b"stale-while-revalidate")
        self.stale_if_error = first_delta(directives, b"stale-if-error")


def _qualified(arguments: Iterable[bytes | None]) -> tuple[bool, frozenset[bytes]]:
    """Whether the whole response is meant, and the names if only single fields are."""
    names: set[bytes] = set()
    for argument in arguments:
        listed = {name.lower() for name in split_list([argument or b""])}
        if not listed or listed & _ESSENTIAL or not all(map(is_token, listed)):
            return True, frozenset()
        names |= listed
    return False, frozenset(names)


def response_directives(fields: Fields, targeted: Iterable[bytes]) -> ResponseDirectives:
    """The directives in force: those of the first targeted field that is valid, else Cache-Control.

    ``targeted`` has lower-case names in order of preference (RFC 9213 section 2.2).
    """
    for name in targeted:
        values = fields.all(name)
        if values:
            directives = _of_dictionary(parse_dictionary(values))
            if directives:
                return ResponseDirectives(directives, targeted=True)
    return ResponseDirectives(parse_directives(fields.all(b"cache-control")))


def _of_dictionary(members: dict[bytes, Item] | None) -> Directives | None:
    """A structured dictionary as directives; None for one that can not be meant (section 2.1)."""
    directives: Directives = {}
    for name, item in (members or {}).items():
        if name in _DELTAS:
            if isinstance(item, bool) or not isinstance(item, int):
                return None
            directives[name] = [b"%d" % item]
        elif item is not False:
            directives[name] = [item if isinstance(item, bytes | Token) else None]
    return directives

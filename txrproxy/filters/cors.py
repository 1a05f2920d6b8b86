"""Cross-origin resource sharing, as the Fetch standard has it (section 3.3).

A browser asks before it lets a page of one origin read, or change, what belongs to another. The
answer depends on the page's origin, and caches must know: Vary is set even where none was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from txrproxy.http.fields import Line, make_line, split_list

# What a backend says of the same is dropped: two answers to one question are none.
RESPONSE_FIELDS = (
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"access-control-allow-methods",
    b"access-control-allow-headers",
    b"access-control-expose-headers",
    b"access-control-max-age",
    b"access-control-allow-private-network",
)

_VARY = make_line(b"Vary", b"Origin")
_VARY_PREFLIGHT = make_line(
    b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
)
_CREDENTIALS = make_line(b"Access-Control-Allow-Credentials", b"true")
_LABELS = rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_ANY = b"*"


class Cors:
    """Who may ask for what. ``max_age`` is in seconds.

    An origin is ``https://app.example``, ``https://*.example.com`` (one or more labels), or ``*``
    for all. A list of headers may be ``*`` as well. Raises ValueError for credentials with all
    origins: any page at all could act for whoever is logged in.
    """

    def __init__(
        self,
        origins: Iterable[bytes],
        methods: Iterable[bytes] = (b"GET", b"HEAD", b"POST"),
        headers: Iterable[bytes] = (),
        expose: Iterable[bytes] = (),
        credentials: bool = False,
        max_age: int = 600,
    ) -> None:
        known = {origin.lower() for origin in origins}
        self._everyone = _ANY in known
        if self._everyone and credentials:
            raise ValueError("credentials need origins by name")
        self._origins = frozenset(known)
        patterns = [
            re.escape(origin).replace(rb"://\*\.", b"://" + _LABELS + rb"\.")
            for origin in known
            if b"://*." in origin
        ]
        self._pattern = re.compile(b"|".join(patterns)) if patterns else None
        self._methods = frozenset(methods)
        wanted = list(headers)
        self._headers = frozenset(name.lower() for name in wanted)
        self._credentials = credentials
        exposed = b", ".join(expose)
        self._exposed: tuple[Line, ...] = ()
        if exposed:
            self._exposed = (make_line(b"Access-Control-Expose-Headers", exposed),)
        self._allowed = [
            make_line(b"Access-Control-Allow-Methods", b", ".join(sorted(self._methods))),
            make_line(b"Access-Control-Max-Age", b"%d" % max_age),
        ]

    def preflight(
        self, origin: bytes, method: bytes, headers: Iterable[bytes]
    ) -> tuple[Line, ...] | None:
        """The fields that answer a preflight request; None: it may not be.

        ``headers`` are the values of Access-Control-Request-Headers.
        """
        asked = split_list(headers)
        if not self._knows(origin) or method not in self._methods:
            return None
        if _ANY not in self._headers:
            allowed = self._headers
            if any(name.lower() not in allowed for name in asked):
                return None
        lines = [_VARY_PREFLIGHT, self._allow(origin), *self._allowed]
        if asked:
            lines.append(make_line(b"Access-Control-Allow-Headers", b", ".join(asked)))
        if self._credentials:
            lines.append(_CREDENTIALS)
        return tuple(lines)

    def lines(self, origin: bytes) -> tuple[Line, ...]:
        """The fields for any other response; ``origin`` is empty where the request has none."""
        if self._everyone:
            return (self._allow(origin), *self._exposed) if origin else ()
        if not origin or not self._knows(origin):
            return (_VARY,)
        lines = (_VARY, self._allow(origin), *self._exposed)
        return (*lines, _CREDENTIALS) if self._credentials else lines

    def _allow(self, origin: bytes) -> Line:
        return make_line(b"Access-Control-Allow-Origin", _ANY if self._everyone else origin)

    def _knows(self, origin: bytes) -> bool:
        if self._everyone or origin in self._origins:
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None

"""Request targets and authorities: which bytes are accepted, and what they mean for routing.

Two readings of one target live side by side. The *raw* one is what the client wrote; it is
forwarded byte for byte. The *normalised* path is a copy that routing matches on, and it exists so
that no spelling of a path reaches a route that its plain spelling does not: origins differ in what
they decode, merge and strip, so the copy resolves everything that some origin might resolve.

The normalised path has exactly one spelling for each decoded path:

* every visible ASCII character stands for itself, whether it arrived escaped or not; ``%25``,
  ``%3F``, ``%23``, and all that is not visible ASCII stay escaped, in upper case. Decoding happens
  once: ``%252e`` is the text ``%2e``, not a dot. (RFC 3986 section 6.2.2 decodes only unreserved
  characters; but origins decode all of them before they dispatch, so ``/%40me`` and ``/@me`` must
  not be two addresses.)
* ``/``, ``\\``, ``%2F`` and ``%5C`` all separate segments.
* empty segments and ``.`` vanish, ``..`` takes its parent along (RFC 3986 section 5.2.4), also with
  path parameters (``/..;x/``, ``/;x/``), which servlet containers strip first. Parameters of other
  segments are kept. A path that climbs above the root is an error, not the root.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final, Literal, NamedTuple

from txrproxy import errors

Form = Literal["origin", "absolute", "authority", "asterisk"]

MAX_HOST: Final = 255  # bytes: RFC 1035 section 2.3.4; also what a memo of hosts is bounded by

# What may stand in a path and in a query unescaped. Wider than RFC 3986 by the visible characters
# that browsers and clients do send raw: " < > ^ ` { | } (and "\" in a query).
_PATH = rb"/(?:[!\"$&->@-\[\]-~]++|%(?!00)[0-9A-Fa-f]{2})*+"
_QUERY = rb"[!\"$-~]*+"

_origin_form = re.compile(rb"(" + _PATH + rb")(?:\?(" + _QUERY + rb"))?").fullmatch
_absolute_form = re.compile(
    rb"([Hh][Tt][Tt][Pp][Ss]?)://([^/?#]++)(" + _PATH + rb")?(?:\?(" + _QUERY + rb"))?"
).fullmatch

# host [":" port] of RFC 3986 section 3.2 without userinfo. A reg-name is narrower than the
# grammar: no escapes and no sub-delims, which no resolvable name has, and no empty labels.
_LABEL = rb"[A-Za-z0-9_~-]++"
_authority = re.compile(
    rb"(?:(" + _LABEL + rb"(?:\." + _LABEL + rb")*+)\.?|\[([0-9A-Fa-f:.]++)\])(?::([0-9]{0,5}))?"
).fullmatch

# A path that is its own normalised copy: no escapes, and no segment that is empty or begins with a
# dot or a semicolon. Others of that kind ("/.well-known/") come out unchanged the long way.
_is_plain = re.compile(rb"(?:/[!\"$&-\-0-:<->@-\[\]-~][!\"$&-.0->@-\[\]-~]*+)++/?|/").fullmatch

_to_spell = re.compile(rb"%(?:[0-9A-Fa-f]{2})?|[^!-~]|[?#\\]").sub


class BadTarget(ValueError):
    """A target, path or authority that is refused; ``reason`` is the row to answer with."""

    def __init__(self, reason: errors.Reason) -> None:
        super().__init__(reason.text)
        self.reason = reason


class Target(NamedTuple):
    """A request target taken apart (RFC 9112 section 3.2), every part as the client spelled it.

    ``path`` is the raw path, ``*`` for an OPTIONS of the whole server, empty for the authority
    form. ``query`` comes without its ``?``: an empty query is ``b""``, none is ``None``. ``origin``
    is the origin form or ``*`` to send on. ``scheme`` is lower case, and known for the absolute
    form only.
    """

    form: Form
    path: bytes
    query: bytes | None
    origin: bytes
    scheme: bytes | None = None
    authority: bytes | None = None


def parse_target(method: bytes, target: bytes) -> Target:
    """Take a request target apart, or raise :class:`BadTarget` (RFC 9112 section 3.2)."""
    if method == b"CONNECT":
        return _parse_connect(target)
    match = _origin_form(target)
    if match is not None:
        path, query = match.groups()
        return Target("origin", path, query, target)
    if target == b"*" and method == b"OPTIONS":
        return Target("asterisk", b"*", None, b"*")
    match = _absolute_form(target)
    if match is None:
        raise BadTarget(errors.BAD_TARGET)
    scheme, authority, path, query = match.groups()
    if not valid_host(authority):
        raise BadTarget(errors.BAD_TARGET)
    if path is None:
        # Section 3.2.4: OPTIONS of a bare authority is about the server, not about "/".
        path = b"*" if method == b"OPTIONS" and query is None else b"/"
    origin = path if query is None else b"%b?%b" % (path, query)
    return Target("absolute", path, query, origin, scheme.lower(), authority)


def _parse_connect(target: bytes) -> Target:
    # RFC 9110 section 9.3.6: there is no default port.
    try:
        _, port = split_authority(target)
    except BadTarget:
        port = None
    if port is None:
        raise BadTarget(errors.BAD_TARGET)
    return Target("authority", b"", None, target, None, target)


def split_authority(value: bytes) -> tuple[bytes, int | None]:
    """Split ``host [":" port]`` into the host to compare with and the port, if one is given.

    The host is lower case and without the trailing dot of an absolute name; an IPv6 address keeps
    its brackets and takes its canonical spelling (RFC 5952). Raises :class:`BadTarget`.
    """
    match = _authority(value)
    if match is None:
        raise BadTarget(errors.BAD_HOST)
    name, address, digits = match.groups()
    if name is None:
        try:
            host = b"[%b]" % str(IPv6Address(address.decode("ascii"))).encode("ascii")
        except ValueError:
            raise BadTarget(errors.BAD_HOST) from None
    else:
        host = name.lower()
    port = int(digits) if digits else None
    if len(host) > MAX_HOST or (port is not None and port > 65535):
        raise BadTarget(errors.BAD_HOST)
    return host, port


def valid_host(value: bytes) -> bool:
    """Whether a Host field or an authority may have this value."""
    try:
        split_authority(value)
    except BadTarget:
        return False
    return True


def normalise_path(path: bytes) -> bytes:
    """The copy of a raw path that routing matches on; see the top of this file.

    Returns the very object for a path that needs no change, and ``*`` as it is. Raises
    :class:`BadTarget` for a path above the root or with a malformed escape.
    """
    if _is_plain(path) or path[:1] != b"/":
        return path
    return remove_dot_segments(spell(path))


def normalise_prefix(prefix: bytes) -> bytes:
    """Normalise the beginning of a path, as in a pattern ``/.git*``: its last segment may go on,
    so a dot there is not yet a dot segment."""
    above, slash, last = spell(prefix).rpartition(b"/")
    return remove_dot_segments(above + slash) + last


def keeps_segments(path: bytes, normalised: bytes) -> bool:
    """Whether a raw path differs from its normalised copy in spelling only, not in structure."""
    return path == normalised or spell(path) == normalised


def spell(path: bytes) -> bytes:
    """Give each character its one spelling, and each separator the slash."""
    try:
        return _to_spell(lambda match: _SPELLING[match[0]], path)
    except KeyError:
        raise BadTarget(errors.BAD_TARGET) from None


def _spellings() -> dict[bytes, bytes]:
    table = {}
    for code in range(256):
        char = bytes([code])
        escape = b"%%%02X" % code
        if char == b"\\":
            spelling = b"/"
        else:
            spelling = char if 0x21 <= code <= 0x7E and char not in b"%?#" else escape
        high, low = escape[1:2], escape[2:3]
        for digits in (high + low, high + low.lower(), high.lower() + low, escape[1:].lower()):
            table[b"%" + digits] = spelling
        if char != b"%":
            table[char] = spelling
    return table


_SPELLING = _spellings()


def remove_dot_segments(path: bytes) -> bytes:
    """Resolve ``.``, ``..`` and empty segments of a path that begins with a slash and is spelled
    canonically. Raises :class:`BadTarget` above the root."""
    kept: list[bytes] = []
    last = b""
    for last in path.split(b"/")[1:]:
        name = last.partition(b";")[0]
        if name == b"..":
            if not kept:
                raise BadTarget(errors.TARGET_ABOVE_ROOT)
            kept.pop()
        elif name not in (b"", b"."):
            kept.append(last)
    # What ends in a dot segment or a slash names a folder (RFC 3986 section 5.2.4).
    if kept and last.partition(b";")[0] in (b"", b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)

"""Where the client believes to be: what a response says of its backend's own address, said anew.

A backend that knows itself by an internal name puts that into redirects, cookies and links, where
it is of no use to a client and none of its business. In the fields in which servers give addresses
of their own, one that is the backend's becomes the public one; every other stays as it is. A field
that can only be about the backend's own socket (Alt-Svc, RFC 7838) goes.

============================================  ====================================================
Location, Content-Location                    one URL
Refresh, Link, SourceMap, Report-To,          text with URLs in it
Reporting-Endpoints, X-SourceMap, X-Pingback,
WWW-Authenticate
Set-Cookie                                    its Domain
Alt-Svc                                       dropped where it names the backend
============================================  ====================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

from txrproxy.http.fields import Line
from txrproxy.http.target import BadTarget, split_authority

_ONE_URL = frozenset({b"location", b"content-location"})
_WITH_URLS = frozenset(
    {
        b"link",
        b"refresh",
        b"report-to",
        b"reporting-endpoints",
        b"sourcemap",
        b"www-authenticate",
        b"x-pingback",
        b"x-sourcemap",
    }
)
NAMES_BACKEND = _ONE_URL | _WITH_URLS | {b"set-cookie", b"alt-svc"}

_ABSOLUTE = re.compile(rb"(?:(https?):)?//([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
# An address in a text, and the slashes behind it.
_EMBEDDED = re.compile(rb"(?:(https?):)?//([^/?#\s\"'<>,;\\]++)([/\\]*)", re.IGNORECASE)
_DOMAIN = re.compile(rb"(;\s*domain\s*=\s*)\.?([^;\s]*)", re.IGNORECASE)
_ALTERNATIVE = re.compile(rb'"([^"]*)"')


@frozen
class PublicAddress:
    """Where the client believes to be, and which authorities are the backend's own.

    ``own`` holds lower-case authorities ("10.0.0.1:8080"), ``own_hosts`` their names alone.
    ``mount`` is the path prefix that the route takes off on the way in. ``authority`` and ``host``
    are empty for a client that named none.
    """

    scheme: bytes
    authority: bytes
    host: bytes
    own: frozenset[bytes]
    own_hosts: frozenset[bytes]
    mount: bytes = b""


def may_name_backend(line: Line) -> bool:
    """Whether the line may hold an address of the backend's own."""
    name, value = line[0], line[1]
    if name not in NAMES_BACKEND:
        return False
    if name == b"set-cookie":
        return b"domain" in value.lower()
    return b"//" in value or name == b"alt-svc"


def public_lines(lines: Iterable[Line], public: PublicAddress) -> list[Line]:
    """The lines, with the backend's own address replaced by the public one wherever it is named."""
    changed = (_public_line(line, public) if line[0] in NAMES_BACKEND else line for line in lines)
    return [line for line in changed if line is not None]


def _public_line(line: Line, public: PublicAddress) -> Line | None:
    name, value, whole, marked = line
    changed = _public_value(name, value, public)
    if changed is None or changed == value:
        return None if changed is None else line
    return name, changed, whole[: len(name)] + b": " + changed + b"\r\n", marked


def _public_value(name: bytes, value: bytes, public: PublicAddress) -> bytes | None:
    """The value to send; None for a line that is not for clients."""
    if name == b"set-cookie":
        return _DOMAIN.sub(lambda match: _public_domain(match, public), value)
    if name == b"alt-svc":
        named = (authority.rpartition(b":")[0] for authority in _ALTERNATIVE.findall(value))
        return None if any(host.lower() in public.own_hosts for host in named) else value
    if name in _WITH_URLS:
        return _EMBEDDED.sub(lambda match: _public_url(match, public), value)
    match = _ABSOLUTE.fullmatch(value)
    return value if match is None else _public_url(match, public)


def _public_domain(match: re.Match[bytes], public: PublicAddress) -> bytes:
    if match[2].lower() not in public.own_hosts:
        return match[0]
    # Without a Domain, the cookie is for the host that set it (RFC 6265 section 5.3).
    return match[1] + public.host if public.host else b""


def _public_url(match: re.Match[bytes], public: PublicAddress) -> bytes:
    """For scheme, authority and what follows it of a URL."""
    scheme = (match[1] or b"").lower()
    if not _is_own(scheme, match[2].rpartition(b"@")[2], public.own):
        return match[0]
    if not public.authority:
        # Nowhere to point to: a path alone, which begins with one slash or would name a host.
        return b"/" + (public.mount + match[3]).lstrip(b"/\\")
    prefix = public.scheme + b":" if scheme else b""
    return prefix + b"//" + public.authority + public.mount + match[3]


def _is_own(scheme: bytes, authority: bytes, own: frozenset[bytes]) -> bool:
    """Whether it is one of ``own``, however it is spelled."""
    try:
        host, port = split_authority(authority)
    except BadTarget:
        return False
    # An authority with the default port and one without are the same.
    default = 443 if scheme == b"https" else 80
    if port is None or port == default:
        return not own.isdisjoint((host, b"%b:%d" % (host, default)))
    return b"%b:%d" % (host, port) in own

"""Response fields that browsers act on: the sets behind ``security_headers``.

Each is a default: a response that says otherwise for itself is left alone, because the application
knows better what may frame it or which scripts it loads. Strict-Transport-Security is sent over TLS
only (RFC 6797 section 7.2).

``basic`` breaks hardly any application. ``strict`` is for those that are written for it: nothing
is loaded from other origins, nobody frames it, powerful features are off, and every subdomain
speaks TLS.
"""

from __future__ import annotations

from txrproxy.http.fields import Line, make_line

_YEAR = 31536000  # seconds
_COMMON = {
    b"X-Content-Type-Options": b"nosniff",
    b"Referrer-Policy": b"strict-origin-when-cross-origin",
    b"X-Frame-Options": b"SAMEORIGIN",
}

_FIELDS: dict[str, dict[bytes, bytes]] = {
    "off": {},
    "basic": _COMMON,
    "strict": {
        **_COMMON,
        b"X-Frame-Options": b"DENY",
        b"Content-Security-Policy": (
            b"default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
            b"frame-ancestors 'none'"
        ),
        b"Permissions-Policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        b"Cross-Origin-Opener-Policy": b"same-origin",
    },
}
_OVER_TLS: dict[str, dict[bytes, bytes]] = {
    "off": {},
    "basic": {b"Strict-Transport-Security": b"max-age=%d" % _YEAR},
    "strict": {b"Strict-Transport-Security": b"max-age=%d; includeSubDomains" % (2 * _YEAR)},
}


def security_lines(level: str) -> tuple[list[Line], list[Line]]:
    """The fields of "off", "basic" or "strict": on every connection, and with TLS besides."""
    return _lines(_FIELDS[level]), _lines(_OVER_TLS[level])


def _lines(fields: dict[bytes, bytes]) -> list[Line]:
    return [make_line(name, value) for name, value in fields.items()]

"""The Date field (RFC 9110 section 5.6.7), rendered once a second."""

from __future__ import annotations

from email.utils import formatdate

_last = (-1, b"")


def http_date_line(seconds: float) -> bytes:
    """``Date: ...`` with its CRLF, for a time in unix seconds."""
    global _last  # a memo of one
    second = int(seconds)
    if _last[0] != second:
        _last = second, b"Date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")
    return _last[1]

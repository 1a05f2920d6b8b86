"""Age and Cache-Status (RFC 9111 section 5.1, RFC 9211): what a response tells of this cache."""

from __future__ import annotations

from math import floor

from txrproxy.cache.policy.directives import MAX_DELTA

_SEEN = bytes(c if 0x20 <= c < 0x7F else ord(".") for c in range(256))
_MAX_KEY = 512  # bytes of a key that are shown


def hit_lines(age: float, ttl: float, key: bytes = b"", detail: bytes = b"") -> bytes:
    """The two whole lines of a response that no backend was asked for; seconds.

    ``ttl`` is negative for a stale one. ``key`` is shown if it is given.
    """
    status = hit(ttl, key, detail) if key or detail else b"txrproxy; hit; ttl=%d" % floor(ttl)
    return b"Age: %d\r\nCache-Status: %b\r\n" % (min(age, MAX_DELTA), status)


def hit(ttl: float, key: bytes = b"", detail: bytes = b"") -> bytes:
    """The value of Cache-Status for a response that no backend was asked for."""
    return b"txrproxy; hit; ttl=%d%b" % (floor(ttl), _more(key, detail))


def forwarded(
    fwd: bytes,
    status: int = 0,
    *,
    ttl: float | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: bytes = b"",
    detail: bytes = b"",
) -> bytes:
    """The value of Cache-Status for a response that a backend had a part in.

    ``fwd`` is the reason: ``uri-miss``, ``vary-miss``, ``miss``, ``stale``, ``request``, ``bypass``
    or ``method``. ``status`` is what the backend answered, given where the client gets another.
    """
    value = b"txrproxy; fwd=" + fwd
    if status:
        value += b"; fwd-status=%d" % status
    if ttl is not None:
        value += b"; ttl=%d" % floor(ttl)
    if stored:
        value += b"; stored"
    if collapsed:
        value += b"; collapsed"
    return value + _more(key, detail)


def unanswered(detail: bytes, key: bytes = b"") -> bytes:
    """The value of Cache-Status for a request that was neither answered nor sent on."""
    return b"txrproxy" + _more(key, detail)


def _more(key: bytes, detail: bytes) -> bytes:
    value = b""
    if key:
        shown = key.replace(b"\n", b" ").translate(_SEEN)[:_MAX_KEY]
        value = b'; key="%b"' % shown.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    if detail:
        value += b"; detail=" + detail
    return value

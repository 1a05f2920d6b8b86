"""The ways in which a TLS connection ends that are not in order.

All are what Twisted calls a lost connection, so that a protocol above need not know of TLS. The
text is for logs: OpenSSL's reason, or ours.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost


class Truncated(ConnectionLost):
    """The connection ended without a close_notify: what arrived may not be all that was sent."""

    def __str__(self) -> str:
        return "the connection ended without close_notify"


class TlsError(ConnectionLost):
    """The TLS connection broke; the text is OpenSSL's reason."""

    def __str__(self) -> str:
        return str(self.args[0])


class HandshakeFailed(TlsError):
    """There was no TLS connection; the text is OpenSSL's reason."""


class HandshakeTimeout(HandshakeFailed):
    """The handshake took too long."""


class PlainHttp(HandshakeFailed):
    """The client speaks HTTP, and not over TLS."""


class HungUp(HandshakeFailed):
    """The connection ended before the handshake did: often only somebody's health check."""

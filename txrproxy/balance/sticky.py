"""A client stays with its backend, by a cookie.

The cookie holds a token of the backend: an HMAC of its name under the proxy's secret. It tells
nothing of the address, nobody can make one for a backend of their choice, and every process that
has the secret makes and understands the same ones, before and after a restart. A token of a backend
that has left is a token of nobody, and the client gets a new one.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from txrproxy.balance.backend import Backend
from txrproxy.balance.pool import Pool
from txrproxy.http.cookies import cookie_values
from txrproxy.http.fields import Line, make_line

TOKEN = 16  # bytes


def token(secret: bytes, pool: bytes, backend: bytes) -> bytes:
    """The token of a backend: 22 characters that may stand in a cookie (RFC 6265 section 4.1.1)."""
    digest = hmac.digest(secret, pool + b"\0" + backend, "sha256")
    return urlsafe_b64encode(digest[:TOKEN]).rstrip(b"=")


class Sticky:
    """The tokens of a pool's backends, in a cookie of this name. ``secret`` is not empty."""

    __slots__ = ("_by_token", "_cookie", "_members", "_pool", "_secret")

    def __init__(self, cookie: bytes, secret: bytes, pool: Pool) -> None:
        if not secret:
            raise ValueError("a token without a secret could be made by anybody")
        self._cookie = cookie
        self._secret = secret
        self._pool = pool
        self._follow()

    def _follow(self) -> None:
        pool = self._pool
        self._members = pool.backends
        self._by_token: dict[bytes, Backend] = {}
        for backend in pool.backends:
            backend.token = token(self._secret, pool.name, backend.name)
            self._by_token[backend.token] = backend

    def find(self, lines: Sequence[bytes]) -> Backend | None:
        """The backend that the values of a request's Cookie fields ask for, in whatever state."""
        if not lines:
            return None
        if self._pool.backends is not self._members:
            self._follow()
        by_token = self._by_token
        for value in cookie_values(lines, self._cookie):
            backend = by_token.get(value)
            if backend is not None:
                return backend
        return None

    def set_cookie(self, backend: Backend, secure: bool) -> Line:
        """The Set-Cookie line for a client that came to a member of the pool over TLS or not."""
        if self._pool.backends is not self._members:
            self._follow()
        end = b"; Secure" if secure else b""
        return make_line(
            b"Set-Cookie",
            b"%b=%b; Path=/; HttpOnly; SameSite=Lax%b" % (self._cookie, backend.token, end),
        )

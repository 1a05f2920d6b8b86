"""A backend pool: a named group of servers that serve the same thing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from txrproxy.balance.backend import Backend
from txrproxy.balance.select import RoundRobin


class Pool:
    """``name`` for logs, its ``backends``, and ``select``, the balance policy bound to them.

    ``own`` and ``own_hosts`` are the addresses, lower case with and without port, by which a
    response may name a backend; a route rewrites them to the public address.
    """

    __slots__ = ("_policy", "attempts", "backends", "name", "own", "own_hosts", "select")

    def __init__(
        self,
        name: bytes,
        backends: Sequence[Backend],
        attempts: int = 3,
        aliases: Collection[bytes] = (),
    ) -> None:
        self.name = name
        self.backends = tuple(backends)
        self.attempts = attempts
        self._policy = RoundRobin(self.backends)
        self.select = self._policy.select
        authorities = {backend.authority.lower() for backend in backends} | set(aliases)
        self.own = frozenset(authorities)
        self.own_hosts = frozenset(_host_of(authority) for authority in authorities)

    def __repr__(self) -> str:
        return f"<Pool {self.name.decode('latin-1')} of {len(self.backends)}>"


def _host_of(authority: bytes) -> bytes:
    host, colon, port = authority.rpartition(b":")
    return host if colon and port.isdigit() else authority

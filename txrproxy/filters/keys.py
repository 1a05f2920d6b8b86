"""What tells one client from another: the key of a limit.

A client chooses most of what it sends, so a field or a cookie that it leaves out must not be a way
round a limit: its address stands in. A key has a bounded size, whatever it was made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from txrproxy.filters.address import number
from txrproxy.http.cookies import cookie_values

LONGEST = 64  # bytes of a key; a longer one is represented by its digest


class Plan(Protocol):
    """Of a plan, its name."""

    name: bytes


class Request(Protocol):
    """Of an exchange, what a key is made of."""

    client: bytes
    head: Any
    plan: Any


Key = Callable[[Request], bytes]


def key(parts: Sequence[tuple[str, str]], ipv6_prefix: int = 64) -> Key:
    """The key of ``parts``, each a kind and a name (of a header or cookie, else empty).

    ``ipv6_prefix`` is how many bits of an IPv6 address make a client: one has at least 64 bits of
    addresses to itself.
    """
    address = _address(ipv6_prefix)
    made = [_part(kind, name, address) for kind, name in parts]
    if len(made) == 1:
        return made[0]

    def combined(request: Request) -> bytes:
        return _bounded(b"\0".join([part(request) for part in made]))

    return combined


def _part(kind: str, name: str, address: Key) -> Key:
    match kind:
        case "client_ip":
            return address
        case "route":
            return lambda request: bytes(request.plan.name)
        case "path":
            # As routes see it: other spellings of a path lead to the same.
            return lambda request: _bounded(request.head.path)
        case "uri":
            return _uri
    wanted = name.encode("ascii")
    lower = wanted.lower()
    if kind == "header":

        def value(request: Request) -> bytes:
            return b"\0".join(request.head.fields.all(lower))

    else:

        def value(request: Request) -> bytes:
            values = cookie_values(request.head.fields.all(b"cookie"), wanted)
            return values[0] if values else b""

    def field(request: Request) -> bytes:
        found = value(request)
        # The mark keeps a value from passing for somebody's address.
        return _bounded(b"=" + found) if found else address(request)

    return field


def _address(ipv6_prefix: int) -> Key:
    shift = 128 - ipv6_prefix
    size = 1 + (ipv6_prefix + 7) // 8  # a zero begins it, which text does not

    def address(request: Request) -> bytes:
        client = request.client
        if b":" not in client:
            return client
        try:
            found, v6 = number(client)
        except ValueError:
            return client
        return (found >> shift).to_bytes(size) if v6 else client

    return address


def _uri(request: Request) -> bytes:
    query = request.head.target.query
    path: bytes = request.head.path
    return _bounded(path if query is None else b"%b?%b" % (path, query))


def _bounded(key: bytes) -> bytes:
    return key if len(key) <= LONGEST else hashlib.blake2b(key, digest_size=16).digest()

"""What policies cost before a request goes on: ``python benchmarks/guards.py``.

Prints µs of CPU a request, best of several runs, for filters that let it pass: each alone, and
allow, deny and rate limit together, which are to take no more than 3. Clients are few (their
addresses are known already) or as many as requests (a flood: every table turns over). Then what a
remembered password and token cost, and one whose signature has to be checked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

from txrproxy.filters import htpasswd
from txrproxy.filters.access import Access
from txrproxy.filters.bounded import Bounded
from txrproxy.filters.concurrency import ConcurrencyLimit, LocalCounts
from txrproxy.filters.keys import key
from txrproxy.filters.rate import KEYS, RateLimit
from txrproxy.guards import limits
from txrproxy.guards.bearers import FixedKeys, Tokens, jwt
from txrproxy.guards.passwords import Passwords, basic_auth
from txrproxy.guards.state import SharedMemory, SharedState
from txrproxy.http.head import parse_request_head

REQUESTS = 100_000
RUNS = 7
BUDGET = 3.0  # µs for allow, deny and rate limit together

Serve = Callable[[Any], None]


class Exchange:
    """As much of one as a filter that lets it pass asks for."""

    __slots__ = ("added", "at_end", "client", "head", "plan", "sent", "started", "user")

    def __init__(self, client: bytes, started: float, head: Any = None) -> None:
        self.client = client
        self.started = started
        self.head = head
        self.plan = None
        self.added: tuple[Any, ...] = ()
        self.sent: tuple[Any, ...] = ()
        self.at_end: tuple[Any, ...] = ()
        self.user = b""


def passed(exchange: Any) -> None:
    """What comes next."""


def access(next: Serve) -> Serve:
    allow = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("192.0.2.0/24")]
    deny = [ip_network(f"10.{n}.0.0/16") for n in range(200, 250)]
    return limits.access(Access(allow, deny), next)


def rate_limit(next: Serve) -> Serve:
    limit = RateLimit(1_000_000, 1, 1_000_000, Bounded(KEYS))
    return limits.rate_limit(limit, key([("client_ip", "")]), next)


def shared(next: Serve) -> Serve:
    state = SharedState(SharedMemory.create(2), 0)
    limit = RateLimit(1_000_000, 1, 1_000_000, state.table(b"limit"))
    return limits.rate_limit(limit, key([("client_ip", "")]), next)


def shared_connections(next: Serve) -> Serve:
    state = SharedState(SharedMemory.create(2), 0)
    limit = ConcurrencyLimit(10_000_000, state.counts(b"limit"))
    return limits.connection_limit(limit, key([("client_ip", "")]), next)


def told(next: Serve) -> Serve:
    limit = RateLimit(1_000_000, 1, 1_000_000, Bounded(KEYS))
    return limits.rate_limit(limit, key([("client_ip", "")]), next, told=True)


def connection_limit(next: Serve) -> Serve:
    limit = ConcurrencyLimit(10_000_000, LocalCounts())
    return limits.connection_limit(limit, key([("client_ip", "")]), next)


def cost(serve: Serve, exchanges: Sequence[Any]) -> float:
    start = time.process_time()
    for exchange in exchanges:
        serve(exchange)
    return (time.process_time() - start) / len(exchanges) * 1e6


def best(make: Callable[[Serve], Serve], clients: Sequence[bytes], head: Any = None) -> float:
    """µs for each request, beyond those of calling what comes next."""
    serve = make(passed)
    found, base = [], []
    for _ in range(RUNS):
        exchanges = [Exchange(clients[n % len(clients)], n * 1e-6, head) for n in range(REQUESTS)]
        found.append(cost(serve, exchanges))
        base.append(cost(passed, exchanges))
    return min(found) - min(base)


def lost(pause: int) -> float:
    """The share of one key's requests that two workers fail to count.

    Both ask all the time, at the same key, with ``pause`` turns of other work between.
    """
    memory, requests = SharedMemory.create(2), 100_000
    children = []
    for worker in range(2):
        child = os.fork()
        if not child:
            limit = RateLimit(1, 1, 10**9, SharedState(memory, worker).table(b"limit"))
            for _ in range(requests):
                limit.take(b"client", 0.0)
                for _ in range(pause):
                    pass
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    counted = SharedState(memory, 0).table(b"limit").get(b"client")
    return 1 - (counted or 0.0) / (2 * requests)


def main() -> None:
    few = [b"10.0.0.%d" % n for n in range(100)]
    many = [b"10.%d.%d.%d" % (n >> 16, n >> 8 & 255, n & 255) for n in range(REQUESTS)]
    six = [b"2001:db8:%x:%x::1" % divmod(n, 65536) for n in range(REQUESTS)]
    rows: list[tuple[str, Callable[[Serve], Serve]]] = [
        ("allow + deny", access),
        ("rate limit", rate_limit),
        ("rate limit, told with every response", told),
        ("rate limit, of all workers", shared),
        ("connection limit", connection_limit),
        ("connection limit, of all workers", shared_connections),
        ("allow + deny + rate limit", lambda next: access(rate_limit(next))),
        ("allow + deny + rate limit, of all workers", lambda next: access(shared(next))),
    ]
    print("| filters | few clients, µs | a flood of clients, µs | of IPv6, µs |\n|---|---|---|---|")
    for name, make in rows:
        costs = " | ".join(f"{best(make, clients):.2f}" for clients in (few, many, six))
        print(f"| {name} | {costs} |", flush=True)
    print("\n| authentication | µs |\n|---|---|")
    for name, make, line in (password(), token()):
        head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + line)
        print(f"| {name} | {best(make, few[:1], head):.2f} |")
    signature()
    print("\n| two workers at one key | not counted |\n|---|---|")
    for name, pause in (("nothing else to do", 0), ("some 40 µs between", 2000)):
        print(f"| {name} | {lost(pause):.2%} |")


def password() -> tuple[str, Callable[[Serve], Serve], bytes]:
    hashed = b"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
    users = htpasswd.parse(b"alice:" + hashed)
    passwords = Passwords(lambda: users)
    value = b"Basic YWxpY2U6c2VjcmV0"
    passwords._right.put(passwords.mark(value), (b"alice", hashed, 1e9))
    return (
        "basic, remembered",
        lambda next: basic_auth(passwords, "x", b"Remote-User", next),
        b"Authorization: " + value,
    )


def _tokens() -> tuple[Tokens, bytes]:
    import jwt as pyjwt
    from cryptography.hazmat.primitives.asymmetric import rsa
    from jwt.algorithms import RSAAlgorithm

    from txrproxy.filters.tokens import Rules, parse_keys

    secret = rsa.generate_private_key(65537, 2048)
    keys = parse_keys(b'{"keys": [%b]}' % RSAAlgorithm.to_jwk(secret.public_key()).encode())
    tokens = Tokens(Rules(("RS256",), claims={"sub": b"X-User"}), time.time)
    tokens.keys = FixedKeys(lambda: keys)
    signed = pyjwt.encode({"exp": time.time() + 900, "sub": "alice"}, secret, "RS256")
    return tokens, signed.encode()


def token() -> tuple[str, Callable[[Serve], Serve], bytes]:
    tokens, signed = _tokens()
    return (
        "jwt, remembered",
        lambda next: jwt(tokens, "x", True, next),
        b"Authorization: Bearer " + signed,
    )


def signature() -> None:
    tokens, signed = _tokens()
    start = time.process_time()
    for _ in range(1000):
        tokens.forget()
        tokens.verify(signed)
    print(f"| jwt, RS256 checked | {(time.process_time() - start) * 1e3:.0f} |")


if __name__ == "__main__":
    main()

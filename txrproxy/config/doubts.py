"""What a configuration never uses, says twice, or trusts too easily: valid, and likely a mistake.

Findings of what no route uses depend on all routes (``also``): where one of those did not fit, they
would be echoes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from txrproxy.cache.policy.storing import is_told
from txrproxy.config.problems import Finding, KeyPath, quote
from txrproxy.config.schema import Config

_ROUTES: tuple[KeyPath, ...] = (("routes",),)


def doubts(config: Config) -> Iterator[Finding]:
    """All of it."""
    yield from _unused(config)
    yield from _repeated(config)
    yield from _checks(config)
    yield from _trust(config)
    yield from _keys(config)


def _unused(config: Config) -> Iterator[Finding]:
    routes = config.routes
    pools = {route.pool for route in routes} | {pool for route in routes for pool in route.split}
    policies = {policy for route in routes for policy in route.use}
    caches = {route.cache.store for route in routes if route.cache is not None}
    for table, what, known, used in (
        ("pools", "pool", config.pools, pools),
        ("policies", "policy", config.policies, policies),
        ("caches", "cache", config.caches, caches),
    ):
        for name in known:
            if name not in used:
                yield Finding((table, name), f"no route uses this {what}", also=_ROUTES)


def _repeated(config: Config) -> Iterator[Finding]:
    for name, pool in config.pools.items():
        backends: dict[str, int] = {}
        for index, backend in enumerate(pool.backends):
            first = backends.setdefault(str(backend.url), index)
            if first != index:
                yield Finding(
                    ("pools", name, "backends", index),
                    f"{quote(str(backend.url))} is in this pool already; weight counts it more",
                    first=("pools", name, "backends", first),
                )
    for number, route in enumerate(config.routes):
        for index, policy in enumerate(route.use):
            first = route.use.index(policy)
            if first != index:
                yield Finding(
                    ("routes", number, "use", index),
                    f"{quote(policy)} is used already; twice is as once",
                    first=("routes", number, "use", first),
                )


def _checks(config: Config) -> Iterator[Finding]:
    for name, pool in config.pools.items():
        health = pool.health
        if health is not None and health.timeout > health.interval:
            yield Finding(
                ("pools", name, "health", "timeout"),
                "longer than health.interval: a backend that hangs is checked less often than that",
            )


def _trust(config: Config) -> Iterator[Finding]:
    for index, network in enumerate(config.server.trusted_proxies):
        if not network.prefixlen:
            yield Finding(
                ("server", "trusted_proxies", index),
                f"{network} is everybody: any client can pass for any other",
            )
    for name, policy in config.policies.items():
        if policy.jwt is not None and not policy.jwt.audience:
            yield Finding(
                ("policies", name, "jwt", "audience"),
                "empty: tokens that were made for another service are accepted too",
            )
        if policy.jwt is not None and _is_open(policy.jwt.keys):
            yield Finding(
                ("policies", name, "jwt", "keys"),
                "not https: who can change what is on the way decides whose tokens are good",
            )


def _is_open(keys: object) -> bool:
    """Whether they are fetched without TLS from another machine."""
    url = urlsplit(keys if isinstance(keys, str) else "")
    if url.scheme != "http":
        return False
    host = url.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _keys(config: Config) -> Iterator[Finding]:
    for index, route in enumerate(config.routes):
        if route.cache is None:
            continue
        path: KeyPath = ("routes", index, "cache", "key")
        several = not route.match.path or any(each.endswith("*") for each in route.match.path)
        if "path" not in route.cache.key and several:
            yield Finding(path, 'without "path": one response is used for all paths')
        for place, part in enumerate(route.cache.key):
            name = part.removeprefix("header:").lower().encode("latin-1")
            if part.startswith("header:") and is_told(name):
                yield Finding((*path, place), "the proxy sets or drops this: nothing is stored")

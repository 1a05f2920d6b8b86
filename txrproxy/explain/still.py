"""A configuration without the world around it: what has to stay away so that nothing is sent,
written or looked up, and all else as it is.

Certificates are not read, names of backends are not looked up, health is what somebody says it is,
caches are empty, embedded resources are not imported, firewalls are not asked. What decides about a
request is not touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.task import Clock

from txrproxy.config.policies import promised
from txrproxy.config.schema import BackendTls, Config, Policy, Pool, Respond, Route
from txrproxy.config.values import FieldName, FilePath, Secret, Status
from txrproxy.wiring import MIN_SECRET, STICKY_FILE

#: A policy's name and a kind of its filters.
Step = tuple[str, str]

_NOWHERE = FilePath(f"{os.devnull}/cache")  # no folder can be there


class Still(Clock):
    """A reactor on which nothing happens, and time passes when somebody says so."""

    running = False

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        call(*arguments)

    def getThreadPool(self) -> Still:
        return self

    def callInThreadWithCallback(self, *_: Any) -> None:
        """No thread is begun: what would run in one is never done."""


def still(config: Config, without: Collection[Step] = ()) -> Config:
    """What a request meets inside the proxy; ``without`` are filters that let everyone pass."""
    return attrs.evolve(
        config,
        listeners={n: attrs.evolve(one, tls=None) for n, one in config.listeners.items()},
        pools={name: _pool(config, pool) for name, pool in config.pools.items()},
        caches={n: attrs.evolve(one, path=_NOWHERE) for n, one in config.caches.items()},
        policies={
            name: _policy(policy, [kind for of, kind in without if of == name])
            for name, policy in config.policies.items()
        },
        routes=tuple(map(_route, config.routes)),
    )


def _pool(config: Config, pool: Pool) -> Pool:
    sticky = pool.sticky
    if sticky is not None:
        # Without the secret nobody has a cookie that could be understood.
        kept = Path(config.resolve(config.server.state_dir)) / STICKY_FILE
        secret = sticky.secret or Secret("file", str(kept))
        sticky = attrs.evolve(sticky, secret=secret) if _is_there(config, secret) else None
    return attrs.evolve(pool, health=None, sticky=sticky, tls=BackendTls(verify=False))


def _is_there(config: Config, secret: Secret) -> bool:
    try:
        if secret.kind == "env":
            content = os.environb[secret.name.encode()]
        else:
            content = Path(config.resolve(secret.name)).read_bytes()
    except (OSError, KeyError):
        return False
    return len(content.strip()) >= MIN_SECRET


def _policy(policy: Policy, without: Collection[str]) -> Policy:
    """What only these filters set stays away from a client's request, as with them.

    A firewall's engines are processes, which are not started for this.
    """
    policy = attrs.evolve(policy, waf=None)
    if not without:
        return policy
    changes = policy.request_headers
    remove = (*changes.remove, *(FieldName(name.decode()) for name in promised([policy])))
    open_: dict[str, Any] = dict.fromkeys(without)
    return attrs.evolve(policy, request_headers=attrs.evolve(changes, remove=remove), **open_)


def _route(route: Route) -> Route:
    if route.resource is None:
        return route
    return attrs.evolve(route, resource=None, respond=Respond(status=Status(200)))

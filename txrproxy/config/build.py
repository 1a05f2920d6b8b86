"""From the configuration to live objects: the only place that wires.

Everything that the configuration decides is decided here and bound into plans, rules and queues, so
that a request only follows them. ``config/backends`` makes pools, ``config/routes`` what becomes of
a request, ``config/listeners`` what listens; together they are a ``Graph`` (``config/graph``).

A process that serves can not stop for as long as thousands of routes take, so building has steps:
each ends where something else may be done first, and none takes much longer than a route.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from txrproxy.balance.pool import Tell
from txrproxy.cache.link import Links
from txrproxy.config import schema
from txrproxy.config.backends import PoolBuilder
from txrproxy.config.caches import Caches
from txrproxy.config.graph import Graph
from txrproxy.config.listeners import ListenerBuilder
from txrproxy.config.policies import Policies
from txrproxy.config.routes import RouteBuilder
from txrproxy.config.steps import Steps, finish
from txrproxy.config.waf import Firewalls
from txrproxy.guards.state import State
from txrproxy.routing.tree import Tree
from txrproxy.site import NO_LOG, ProxySite, request_ids
from txrproxy.tls.listener import ListenerTls
from txrproxy.transport.limit import ConnectionLimit
from txrproxy.wiring import log_event


def build(
    config: schema.Config,
    reactor: Any,
    log: Any = NO_LOG,
    wall: Callable[[], float] = time.time,
    old: Graph | None = None,
    checks: bool = True,
    state: State | None = None,
    tell: Tell = log_event,
    links: Links | None = None,
) -> Graph:
    """The objects of a configuration that was loaded without errors.

    ``old`` is the graph that it is to take over from, which notices nothing until it does. ``log``
    takes access log records (:func:`txrproxy.observe.accesslog.open_log`). Without ``checks``,
    another process asks the backends whether they are well. ``state`` is where limits count, one
    for each process: :mod:`txrproxy.guards.state`. ``tell`` hears what happens to pools, in place
    of the log. ``links`` lead to the process that owns the folders of caches; without them, this
    one does. Raises :class:`ConfigErrors` for what only shows when it is tried, such as a resource
    that can not be imported.
    """
    return finish(build_in_steps(config, reactor, log, wall, old, checks, state, tell, links))


def build_in_steps(
    config: schema.Config,
    reactor: Any,
    log: Any = NO_LOG,
    wall: Callable[[], float] = time.time,
    old: Graph | None = None,
    checks: bool = True,
    state: State | None = None,
    tell: Tell = log_event,
    links: Links | None = None,
) -> Steps[Graph]:
    """The same, a step at a time: one for each pool, route and listener.

    Closed before its end, it lets go of what it had made.
    """
    pool_builder = PoolBuilder(config, reactor, old, checks, tell)
    wiring, deadlines = pool_builder.wiring, pool_builder.deadlines
    policies = Policies(config, wiring, wall, None if old is None else old.policies, state)
    firewalls = Firewalls(config, reactor, deadlines, wall, None if old is None else old.firewalls)
    former_caches = None if old is None else old.caches
    caches = Caches(config, reactor, deadlines, links)
    try:
        backends = yield from pool_builder.backends()
        caches.make(former_caches)
        route_builder = RouteBuilder(
            config, reactor, wiring, backends["pools"], caches, policies, firewalls
        )
        tree = yield from Tree.grow(map(route_builder.route, config.routes))
        limit = ConnectionLimit(config.server.max_connections) if old is None else old.limit
        shared: dict[str, Any] = {
            "log": log,
            "seconds": reactor.seconds,
            "wall": wall,
            "trusted": config.server.trusted_proxies,
            "request_id": request_ids(),
        }
        listener_builder = ListenerBuilder(config, reactor, deadlines, wall, old)
        sites = []
        listeners: dict[str, ProxySite] = {}
        certificates: dict[str, ListenerTls] = {}
        for name, listener in config.listeners.items():
            site, tls = listener_builder.site(name, listener, tree, limit, shared)
            sites += [(address, site) for address in listener.bind]
            listeners[name] = site
            if tls is not None:
                certificates[name] = tls
            yield
    except BaseException:
        caches.discard(former_caches)
        raise
    return Graph(
        **backends,
        sites=sites,
        listeners=listeners,
        log=log,
        limit=limit,
        tls=certificates,
        gate=listener_builder.gate,
        policies=policies,
        caches=caches,
        firewalls=firewalls,
        tree=tree,
        shared=shared,
        reactor=reactor,
    )

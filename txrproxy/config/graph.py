"""The live objects of one configuration, from their start to their end, and how one takes over from
another. ``config/build`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults

from txrproxy.balance.pool import Pool
from txrproxy.config.backends import Backends
from txrproxy.config.caches import Caches
from txrproxy.config.policies import Policies
from txrproxy.config.steps import Steps
from txrproxy.config.values import Bind
from txrproxy.config.waf import Firewalls
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Plan
from txrproxy.routing.tree import Tree
from txrproxy.site import ProxySite
from txrproxy.tls.gate import Gate
from txrproxy.tls.listener import ListenerTls
from txrproxy.transport.limit import ConnectionLimit

if TYPE_CHECKING:
    from txrproxy.resource import ReverseProxyResource


@define(eq=False, kw_only=True)
class Graph(Backends):
    """The live objects of one configuration. ``sites`` has each address with what serves it.

    A graph may be built beside one that runs, and then :meth:`take_over`: connections stay, and see
    the new tree with their next request. What both have alike goes over from the old to the new.
    """

    sites: list[tuple[Bind, ProxySite]]
    listeners: dict[str, ProxySite]
    log: Any
    limit: ConnectionLimit
    tls: Mapping[str, ListenerTls]
    gate: Gate = field(repr=False)
    policies: Policies = field(repr=False)
    caches: Caches = field(repr=False)
    firewalls: Firewalls = field(repr=False)
    _tree: Tree[Plan] = field(repr=False)
    _shared: Mapping[str, Any] = field(repr=False)
    _reactor: Any = field(repr=False)
    _retired: list[ProxySite] = field(factory=list)  # of listeners that are gone
    _endings: list[Any] = field(factory=list, repr=False)  # delayed calls of reloads

    def resource(self) -> ReverseProxyResource:
        """The tree of routes as an ``IResource``, to be mounted in a ``twisted.web`` site."""
        from txrproxy.resource import ReverseProxyResource  # twisted.web, only if used

        return ReverseProxyResource.of_tree(self._tree, self._reactor, self._shared)

    @property
    def routes(self) -> tuple[tuple[Conditions, Plan], ...]:
        """What each route asks of a request, and how it is served; in the order of the file."""
        return self._tree.routes

    def start(self) -> None:
        """Begin what goes on by itself: following files, names, health checks."""
        self.policies.start()
        for tls in self.tls.values():
            tls.start()
        super().start()
        self.caches.start()
        self.firewalls.start()

    def ready(self) -> Deferred[Any]:
        """Fires when what is known of backends will do to serve, and engines are there."""
        engines = self.firewalls.engines
        waits = [super().ready()]
        if engines is not None:
            waits.append(engines.ready())
        return gatherResults(waits)

    def take_over(self, old: Graph) -> None:
        """Take the place of a graph that runs, and that this one was built beside.

        Exchanges end by the plans they began with. Listeners that are gone drain; what is left of
        them, and the tunnels of pools that are gone, ends at ``drain_timeout``.
        """
        for name, site in self.listeners.items():
            kept = old.listeners.get(name)
            if kept is not None:
                kept.become(site)
                self.listeners[name] = kept
                self.sites = [(a, kept if s is site else s) for a, s in self.sites]
        gone = [site for name, site in old.listeners.items() if name not in self.listeners]
        for site in gone:
            site.drain()
        self._retired = [site for site in old._retired if site.connections] + gone
        self.limit.change(self.config.server.max_connections)
        self.follow(old)
        self.policies.take_over(old.policies)
        for name, tls in self.tls.items():
            if old.tls.get(name) is not tls:
                tls.start()
        for name, tls in old.tls.items():
            if self.tls.get(name) is not tls:
                tls.stop()
        self.caches.take_over(old.caches, self.config.server.drain_timeout)
        removed = {pool for name, pool in old.pools.items() if name not in self.pools}
        timeout = self.config.server.drain_timeout
        self._endings = [call for call in old._endings if call.active()]
        if removed or gone:
            call = self._reactor.callLater(timeout, _end, removed, gone, self._all_sites())
            self._endings.append(call)
        end = self.firewalls.take_over(old.firewalls)
        if end is not None:
            self._endings.append(self._reactor.callLater(timeout, end))

    def take_apart(self) -> Steps[None]:
        """Let go of the routes of a graph that another one has taken over, a step for each.

        With the last one who knows them, thousands would all be freed in one moment.
        """
        routes: list[Any] = [*self.routes, *self.config.routes]
        return _free(routes)

    def _all_sites(self) -> list[ProxySite]:
        return [*self.listeners.values(), *self._retired]

    def drain(self, softly: bool = False) -> None:
        """Close what is idle (not yet, if ``softly``), and everything else after its exchange."""
        for site in self._all_sites():
            site.drain(softly)

    def abort(self) -> None:
        """End everything now."""
        for site in self._all_sites():
            site.abort()

    def close(self) -> Deferred[Any]:
        """Let go of the connections to backends, and stop the clockwork.

        Fires when what is to be kept of responses is written.
        """
        self.policies.close()
        closed = self.caches.close()
        for tls in self.tls.values():
            tls.stop()
        self.firewalls.close()
        for call in self._endings:
            if call.active():
                call.cancel()
        super().close()
        return closed

    def reopen(self) -> None:
        """Open the files of logs again: they were moved away."""
        self.log.reopen()
        self.firewalls.reopen()

    @property
    def busy(self) -> int:
        """Connections and tunnels that are still open."""
        return sum(len(site.connections) for site in self._all_sites())


def _free(values: list[Any]) -> Steps[None]:
    while values:
        values.pop()
        yield


def _end(pools: set[Pool], gone: Sequence[ProxySite], sites: Sequence[ProxySite]) -> None:
    """The time of what a reload removed is over."""
    for site in sites:
        for tunnel in list(site.tunnels):
            if tunnel.pool in pools:
                tunnel.close()
    for site in gone:
        site.abort()

"""From the configuration to live objects: the only place that wires.

Everything that the configuration decides is decided here and bound into plans, rules and queues, so
that a request only follows them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.reflect import namedAny

from txrproxy import actions
from txrproxy.balance.pool import Pool, Tell
from txrproxy.balance.split import Split
from txrproxy.cache.key import KeyMaker
from txrproxy.cache.link import Links
from txrproxy.cache.policy import CONSUMED, Rules
from txrproxy.caching import Caching
from txrproxy.config import schema
from txrproxy.config.backends import Backends, PoolBuilder
from txrproxy.config.caches import Caches
from txrproxy.config.certificates import rules_of, sources
from txrproxy.config.policies import Policies, promised, replaced
from txrproxy.config.problems import ConfigErrors, Problem
from txrproxy.config.values import Bind
from txrproxy.config.waf import Firewalls
from txrproxy.guards.state import State
from txrproxy.http.fields import make_line
from txrproxy.http.forward import Changes
from txrproxy.http.security import security_lines
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Plan, Serve
from txrproxy.routing.redirect import Template
from txrproxy.routing.rewrite import Rewrite
from txrproxy.routing.tree import Tree
from txrproxy.site import NO_LOG, ProxySite, request_ids
from txrproxy.tls.certificates import Source
from txrproxy.tls.failures import FailureLog
from txrproxy.tls.gate import Gate
from txrproxy.tls.layer import TlsLayer
from txrproxy.tls.listener import ListenerTls
from txrproxy.tls.pem import BadPem
from txrproxy.tls.selfsigned import self_signed
from txrproxy.tls.server import TlsServer
from txrproxy.tls.store import Disagreement
from txrproxy.transport.downstream import Downstream, Service
from txrproxy.transport.limit import ConnectionLimit
from txrproxy.transport.proxied import HeaderReader
from txrproxy.wiring import log_event, rules

if TYPE_CHECKING:
    from txrproxy.resource import ReverseProxyResource

HANDSHAKE = 10.0  # seconds for a TLS handshake, however it trickles in
LINGER = 5.0  # seconds that a closing connection still reads, so that its last response arrives


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


def _end(pools: set[Pool], gone: Sequence[ProxySite], sites: Sequence[ProxySite]) -> None:
    """The time of what a reload removed is over."""
    for site in sites:
        for tunnel in list(site.tunnels):
            if tunnel.pool in pools:
                tunnel.close()
    for site in gone:
        site.abort()


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
    return _Builder(config, reactor, log, wall, old, checks, state, tell, links).graph()


class _Builder(PoolBuilder):
    def __init__(
        self,
        config: schema.Config,
        reactor: Any,
        log: Any,
        wall: Callable[[], float],
        old: Graph | None,
        checks: bool,
        state: State | None,
        tell: Tell,
        links: Links | None,
    ) -> None:
        super().__init__(config, reactor, old, checks, tell)
        self.log = log
        self.wall = wall
        self.old = old
        self.seconds = reactor.seconds
        self.gate = Gate(reactor) if old is None else old.gate
        kept = None if old is None else old.policies
        self.policies = Policies(config, self.wiring, wall, kept, state)
        former = None if old is None else old.firewalls
        self.firewalls = Firewalls(config, reactor, self.deadlines, wall, former)
        self.caches = Caches(config, reactor, self.deadlines, links)

    def graph(self) -> Graph:
        config = self.config
        backends = self.backends()
        pools = backends["pools"]
        self.caches.make(None if self.old is None else self.old.caches)
        tree = Tree([self.route(route, pools) for route in config.routes])
        limit = self.old.limit if self.old else ConnectionLimit(config.server.max_connections)
        shared: dict[str, Any] = {
            "log": self.log,
            "seconds": self.seconds,
            "wall": self.wall,
            "trusted": config.server.trusted_proxies,
            "request_id": request_ids(),
        }
        sites = []
        listeners: dict[str, ProxySite] = {}
        certificates: dict[str, ListenerTls] = {}
        for name, listener in config.listeners.items():
            tls = self.tls(name, listener)
            site = ProxySite(
                self.to_https(listener, tree) if listener.redirect_https else tree,
                limit=limit,
                proxy_headers=self.proxy_headers(listener),
                scheme=b"http" if tls is None else b"https",
                tls=None if tls is None else (tls, self.tls_server(name, tls)),
                **shared,
            )
            site.serve(self.service(site, listener))
            sites += [(address, site) for address in listener.bind]
            listeners[name] = site
            if tls is not None:
                certificates[name] = tls
        return Graph(
            **backends,
            sites=sites,
            listeners=listeners,
            log=self.log,
            limit=limit,
            tls=certificates,
            gate=self.gate,
            policies=self.policies,
            caches=self.caches,
            firewalls=self.firewalls,
            tree=tree,
            shared=shared,
            reactor=self.reactor,
        )

    def tls_server(self, name: str, tls: ListenerTls) -> TlsServer:
        return TlsServer(
            tls.contexts.connection,
            self.reactor,
            self.deadlines.queue(HANDSHAKE, TlsLayer.expired),
            self.gate,
            FailureLog(f"listener {name}", self.deadlines, self.seconds),
            tls.contexts.greet,
        )

    def tls(self, name: str, listener: schema.Listener) -> ListenerTls | None:
        """What a listener needs for TLS; None for one that speaks plain text."""
        tls = listener.tls
        if tls is None:
            return None
        resolve = self.config.resolve
        if (kept := self.inherited_tls(name, listener)) is not None:
            return kept

        def own() -> Source:
            return self_signed(resolve(self.config.server.state_dir), self.wall())

        try:
            found = sources(tls, resolve)
            if tls.self_signed:
                found.append(attrs.evolve(own(), **rules_of(tls, resolve)))
            return ListenerTls(
                found,
                resolve,
                self.reactor,
                self.wall,
                name=name,
                protocols=listener.protocols,
                profile=tls.profile,
                session_tickets=tls.session_tickets,
                strict=tls.strict_sni,
                reload=tls.reload,
                renew=own if tls.self_signed else lambda: None,
            )
        except (BadPem, Disagreement) as error:
            raise ConfigErrors([Problem("", 0, f"listeners.{name}.tls", str(error))]) from error

    # What goes over from the old graph: live objects whose settings are the same.

    def inherited_tls(self, name: str, listener: schema.Listener) -> ListenerTls | None:
        """It follows its files by itself; and with it stay the keys of session tickets."""
        old = self.old
        before = old.config.listeners.get(name) if old is not None else None  # type: ignore[call-overload]
        if old is None or before is None or old.config.base != self.config.base:
            return None
        same = (before.tls, before.protocols) == (listener.tls, listener.protocols)
        return old.tls.get(name) if same else None

    def caching(self, route: schema.Route, serve: Serve) -> Serve:
        """What a route does, with a cache before it."""
        cache = route.cache
        if cache is None:
            return serve
        store, flights = self.caches[cache.store]
        caching = Caching(
            store,
            flights,
            cache_rules(cache),
            cache_keys(route, cache),
            serve,
            partial(self.reactor.callLater, 0),
            collapse=cache.collapse,
            min_uses=cache.min_uses,
            show_key=cache.show_key,
        )
        return caching.serve

    def proxy_headers(self, listener: schema.Listener) -> Any:
        if listener.proxy_protocol == "off":
            return None
        return (
            listener.proxy_protocol,
            self.deadlines.queue(listener.head_timeout, HeaderReader.expired),
        )

    def service(self, site: ProxySite, listener: schema.Listener) -> Service:
        queue = self.deadlines.queue
        return Service(
            begin=site.begin,
            refuse=site.refuse,
            lost=site.lost,
            later=partial(self.reactor.callLater, 0),
            seconds=self.seconds,
            wall=self.wall,
            idle=queue(listener.idle_timeout, Downstream.idle_expired),
            head=queue(listener.head_timeout, Downstream.head_expired),
            body=queue(listener.body_timeout, Downstream.body_expired),
            write=queue(listener.write_timeout, Downstream.write_expired),
            linger=queue(LINGER, Downstream.linger_expired),
            max_head=listener.max_head,
            max_fields=listener.max_fields,
            keepalive_requests=listener.keepalive_requests,
            min_sent=max(1, round(listener.min_body_rate * listener.body_timeout)),
            min_taken=max(1, round(listener.min_write_rate * listener.write_timeout)),
        )

    def to_https(self, listener: schema.Listener, tree: Tree[Plan]) -> Tree[Plan]:
        """The tree of a listener that sends everyone to https."""
        port = listener.redirect_https
        named = "" if port is True or port == 443 else f":{port}"
        template = Template.compile("https://{host}" + named + "{uri}")
        conditions = Conditions()
        rules = self.rules((), None)
        plan = Plan(name=b"", serve=actions.to_https(template, conditions, tree), **rules)
        return Tree([(conditions, plan)])

    # Routes.

    def route(self, route: schema.Route, pools: Mapping[Any, Pool]) -> tuple[Conditions, Plan]:
        match = route.match
        conditions = Conditions(
            [host.encode() for host in match.host],
            [path.encode() for path in match.path],
            methods=frozenset(m.encode() for m in match.method) or None,
            fields=[
                (name.lower().encode(), frozenset(v.encode() for v in values))
                for name, values in match.header.items()
            ],
            query=[
                (name.encode(), frozenset(v.encode() for v in values))
                for name, values in match.query.items()
            ],
            path_regex=match.path_regex,
            clients=match.client,
            client_cert=[
                (kind, frozenset(values))
                for kind in ("subject", "san", "fingerprint")
                if (values := getattr(match.client_cert, kind, ()))
            ],
        )
        policies = [self.config.policies[name] for name in route.use]
        limits = [policy.body_limit for policy in policies]
        rewrite = Rewrite(
            route.rewrite.strip_prefix.encode(),
            route.rewrite.prefix.encode(),
            (route.rewrite.replace[0].encode(), route.rewrite.replace[1].encode()),
        )
        plan = Plan(
            name=route.name.encode(),
            serve=self.policies.chain(
                route.use,
                self.firewalls.before(route, self.caching(route, self.serve(route, conditions))),
            ),
            takes_connect=bool({"CONNECT", "TRACE"} & set(match.method)) and not self._pools(route),
            body_limit=min(limits) if limits else None,
            websocket=route.websocket,
            rewrite=rewrite.apply if rewrite else None,
            mount=route.rewrite.strip_prefix.rstrip("/").encode(),
            **self.rules(policies, route),
        )
        self._towards_pools(plan, route, pools)
        return conditions, plan

    @staticmethod
    def _pools(route: schema.Route) -> dict[Any, int]:
        return {route.pool: 1} if route.pool else {**route.split}

    def _towards_pools(self, plan: Plan, route: schema.Route, pools: Mapping[Any, Pool]) -> None:
        shares = self._pools(route)
        if not shares:
            return
        names = list(shares)
        plan.pools = tuple(pools[name] for name in names)
        if len(names) == 1:
            plan.pool = pools[names[0]]
        else:
            split = Split(plan.pools, list(shares.values()))
            plan.split = lambda exchange: split.choose(exchange.head)
        # Of a split, the first pool has the say where the route has not.
        timeouts = self.config.pools[names[0]].timeouts
        self.wiring.deadlines_of(plan, timeouts, route.timeouts)

    def rules(
        self, policies: Sequence[schema.Policy], route: schema.Route | None
    ) -> dict[str, Any]:
        """What happens to the fields of requests and responses."""
        requests = _changes([policy.request_headers for policy in policies])
        responses = _changes([policy.response_headers for policy in policies])
        levels = [policy.security_headers for policy in policies]
        level = max(levels, key=("off", "basic", "strict").index, default="off")
        requests = attrs.evolve(requests, remove=requests.remove | promised(policies))
        hide = [name.encode() for policy in policies for name in policy.hide]
        hide += replaced(policies)
        if route is not None and route.cache is not None:
            hide += CONSUMED
        shares = self._pools(route) if route is not None else {}
        return rules(
            requests,
            responses,
            hide,
            *security_lines(level),
            host=self.config.pools[next(iter(shares))].host if shares else None,
            websocket=route is not None and route.websocket,
        )

    def serve(self, route: schema.Route, conditions: Conditions) -> Any:
        if route.redirect is not None:
            template = Template.compile(route.redirect.to)
            return actions.redirect(template, route.redirect.status, conditions)
        if route.respond is not None:
            lines = [
                make_line(name.encode(), value.encode())
                for name, value in route.respond.headers.items()
            ]
            return actions.respond(route.respond.status, route.respond.body.encode(), lines)
        if route.resource is not None:
            return self.resource(route, conditions)
        return actions.proxy

    def resource(self, route: schema.Route, conditions: Conditions) -> Any:
        from txrproxy.foreign import serve_resource  # twisted.web, only if used

        assert route.resource is not None
        module, _, name = route.resource.partition(":")
        try:
            return serve_resource(namedAny(f"{module}.{name}"), conditions, self.reactor)
        except Exception as error:
            raise ConfigErrors(
                [Problem("", 0, f"routes.{route.name}.resource", f"{route.resource}: {error}")]
            ) from error


def cache_rules(cache: schema.RouteCache) -> Rules:
    """What a route says of how long its responses are kept."""
    return Rules(
        default_ttl=cache.default_ttl,
        stale_while_revalidate=cache.stale_while_revalidate,
        stale_if_error=cache.stale_if_error,
    )


def cache_keys(route: schema.Route, cache: schema.RouteCache) -> KeyMaker:
    """What tells the responses of a route apart."""
    return KeyMaker([str(part) for part in cache.key], route.name.encode())


def _changes(parts: Sequence[schema.FieldChanges]) -> Changes:
    return Changes(
        tuple(make_line(n.encode(), v.encode()) for part in parts for n, v in part.set.items()),
        tuple(make_line(n.encode(), v.encode()) for part in parts for n, v in part.add.items()),
        frozenset(name.lower().encode() for part in parts for name in part.remove),
    )

"""What becomes of a request: the conditions and the plan of each route of a configuration.

A route is made of the settings of its own, of its policies and of its pool; what follows from them
is bound here, so that a request only follows its plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.python.reflect import namedAny

from txrproxy import actions
from txrproxy.balance.pool import Pool
from txrproxy.balance.split import Split
from txrproxy.cache.key import KeyMaker
from txrproxy.cache.policy import CONSUMED, Rules
from txrproxy.caching import Caching
from txrproxy.config import schema
from txrproxy.config.caches import Caches
from txrproxy.config.policies import Policies, promised, replaced
from txrproxy.config.problems import ConfigErrors, Problem
from txrproxy.config.waf import Firewalls
from txrproxy.http.fields import make_line
from txrproxy.http.forward import Changes
from txrproxy.http.security import security_lines
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Plan, Serve
from txrproxy.routing.redirect import Template
from txrproxy.routing.rewrite import Rewrite
from txrproxy.wiring import Wiring, rules


class RouteBuilder:
    """Makes plans towards live pools, caches, policies and firewalls."""

    def __init__(
        self,
        config: schema.Config,
        reactor: Any,
        wiring: Wiring,
        pools: Mapping[Any, Pool],
        caches: Caches,
        policies: Policies,
        firewalls: Firewalls,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._wiring = wiring
        self._pools = pools
        self._caches = caches
        self._policies = policies
        self._firewalls = firewalls
        self._known_rules: dict[Any, dict[str, Any]] = {}

    def route(self, route: schema.Route) -> tuple[Conditions, Plan]:
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
        shares = _shares(route)
        policies = [self._config.policies[name] for name in dict.fromkeys(route.use)]
        limits = [policy.body_limit for policy in policies]
        rewrite = Rewrite(
            route.rewrite.strip_prefix.encode(),
            route.rewrite.prefix.encode(),
            (route.rewrite.replace[0].encode(), route.rewrite.replace[1].encode()),
        )
        plan = Plan(
            name=route.name.encode(),
            serve=self._policies.chain(
                route.use,
                self._firewalls.before(route, self._caching(route, self._serve(route, conditions))),
            ),
            takes_connect=bool({"CONNECT", "TRACE"} & set(match.method)) and not shares,
            body_limit=min(limits) if limits else None,
            websocket=route.websocket,
            rewrite=rewrite.apply if rewrite else None,
            mount=route.rewrite.strip_prefix.rstrip("/").encode(),
            **self._field_rules(route, policies, shares),
        )
        if shares:
            self._towards_pools(plan, route, shares)
        return conditions, plan

    def _field_rules(
        self, route: schema.Route, policies: Sequence[schema.Policy], shares: Mapping[Any, int]
    ) -> dict[str, Any]:
        """Routes that ask for the same have the same objects."""
        host = self._config.pools[next(iter(shares))].host if shares else None
        key = (route.use, host, route.websocket, route.cache is None)
        known = self._known_rules.get(key)
        if known is None:
            known = self._known_rules[key] = field_rules(
                policies, host, websocket=route.websocket, cached=route.cache is not None
            )
        return known

    def _towards_pools(self, plan: Plan, route: schema.Route, shares: Mapping[Any, int]) -> None:
        names = list(shares)
        plan.pools = tuple(self._pools[name] for name in names)
        if len(names) == 1:
            plan.pool = self._pools[names[0]]
        else:
            split = Split(plan.pools, list(shares.values()))
            plan.split = lambda exchange: split.choose(exchange.head)
        # Of a split, the first pool has the say where the route has not.
        timeouts = self._config.pools[names[0]].timeouts
        self._wiring.deadlines_of(plan, timeouts, route.timeouts)

    def _serve(self, route: schema.Route, conditions: Conditions) -> Any:
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
            return self._resource(route, conditions)
        return actions.proxy

    def _resource(self, route: schema.Route, conditions: Conditions) -> Any:
        from txrproxy.foreign import serve_resource  # twisted.web, only if used

        assert route.resource is not None
        module, _, name = route.resource.partition(":")
        try:
            return serve_resource(namedAny(f"{module}.{name}"), conditions, self._reactor)
        except Exception as error:
            raise ConfigErrors(
                [Problem("", 0, f"routes.{route.name}.resource", f"{route.resource}: {error}")]
            ) from error

    def _caching(self, route: schema.Route, serve: Serve) -> Serve:
        """What a route does, with a cache before it."""
        cache = route.cache
        if cache is None:
            return serve
        store, flights = self._caches[cache.store]
        caching = Caching(
            store,
            flights,
            cache_rules(cache, [self._config.policies[name] for name in route.use]),
            cache_keys(route, cache),
            serve,
            partial(self._reactor.callLater, 0),
            collapse=cache.collapse,
            min_uses=cache.min_uses,
            show_key=cache.show_key,
        )
        return caching.serve


def _shares(route: schema.Route) -> dict[Any, int]:
    """The pools of a route, by weight."""
    return {route.pool: 1} if route.pool else {**route.split}


def field_rules(
    policies: Sequence[schema.Policy] = (),
    host: str | None = None,
    *,
    websocket: bool = False,
    cached: bool = False,
) -> dict[str, Any]:
    """What happens to the fields of requests and responses, as arguments for a ``Plan``.

    ``host`` is what the pool says of Host.
    """
    requests = _changes([policy.request_headers for policy in policies])
    responses = _changes([policy.response_headers for policy in policies])
    levels = [policy.security_headers for policy in policies]
    level = max(levels, key=("off", "basic", "strict").index, default="off")
    requests = attrs.evolve(requests, remove=requests.remove | promised(policies))
    hide = [name.encode() for policy in policies for name in policy.hide]
    hide += replaced(policies)
    if cached:
        hide += CONSUMED
    return rules(
        requests,
        responses,
        hide,
        *security_lines(level),
        host=host,
        websocket=websocket,
    )


def cache_rules(cache: schema.RouteCache, policies: Iterable[schema.Policy] = ()) -> Rules:
    """What a route says of which of its responses are kept, and for how long.

    ``policies`` are those of the route, which may tell backends who asks.
    """
    parts = [str(part).partition(":") for part in cache.key]
    kinds = {kind for kind, _, _ in parts}
    keyed = {name.lower().encode() for kind, _, name in parts if kind == "header"}
    if "cookie" in kinds:
        keyed.add(b"cookie")
    told = promised(policies)
    if "host" not in kinds:
        told |= {b"x-forwarded-host"}
    return Rules(
        keyed=frozenset(keyed),
        told=told,
        default_ttl=cache.default_ttl,
        stale_while_revalidate=cache.stale_while_revalidate,
        stale_if_error=cache.stale_if_error,
    )


def cache_keys(route: schema.Route, cache: schema.RouteCache) -> KeyMaker:
    """What tells the responses of a route apart."""
    return KeyMaker([str(part) for part in cache.key], route.name.encode())


def _changes(parts: Sequence[schema.FieldChanges]) -> Changes:
    last = {n.lower(): (n, v) for part in parts for n, v in part.set.items()}
    return Changes(
        tuple(make_line(n.encode(), v.encode()) for n, v in last.values()),
        tuple(make_line(n.encode(), v.encode()) for part in parts for n, v in part.add.items()),
        frozenset(name.lower().encode() for part in parts for name in part.remove),
    )

"""The ``[[tests]]`` of a configuration: requests, and where they must lead.

They run through the code that serves (:mod:`txrproxy.explain.rehearsal`), without a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from txrproxy.cache.policy import for_request
from txrproxy.config.problems import Finding, quote
from txrproxy.config.routes import cache_rules
from txrproxy.config.schema import Config, Route, RouteTest
from txrproxy.errors import ONLY_IF_CACHED
from txrproxy.explain.listeners import choose
from txrproxy.explain.rehearsal import Ask, Outcome, Rehearsal


def failures(config: Config) -> Iterator[Finding]:
    """Each expectation that a configuration without errors does not meet."""
    if not config.tests:
        return
    rehearsal = Rehearsal(config)
    try:
        yield from _failures(config, rehearsal)
    finally:
        rehearsal.close()


def _failures(config: Config, rehearsal: Rehearsal) -> Iterator[Finding]:
    for index, test in enumerate(config.tests):
        try:
            ask = asked(test)
            outcome = rehearsal.play(ask, choose(config, ask)[-1].name)
        except ValueError as error:
            yield Finding(("tests", index, "request"), str(error))
            continue
        for key, wanted, found in compare(config, test, outcome):
            said = f"{found}, expected {shown(wanted)}"
            what = f"{test.request.method} {test.request.url}"
            yield Finding(("tests", index, "expect", key), f"{what}: {said}")


def asked(test: RouteTest) -> Ask:
    """The request of a test. Raises ValueError for one that can not be sent."""
    request = test.request
    return Ask(
        request.method,
        request.url,
        tuple((str(name), str(value)) for name, value in request.headers.items()),
        str(request.client.network_address),
        request.listener,
    )


def compare(config: Config, test: RouteTest, outcome: Outcome) -> Iterator[tuple[str, Any, str]]:
    """Each key that is not as expected, with what was wanted, and a text of what was found."""
    expect = test.expect
    route = route_of(config, outcome)
    if expect.route is not None and outcome.route != expect.route:
        found = f"route {quote(outcome.route)}" if outcome.route else f"no route: {_end(outcome)}"
        yield "route", expect.route, found
    if expect.pool is not None and expect.pool not in _pools(route, outcome):
        yield "pool", expect.pool, _end(outcome)
    if expect.cacheable is not None:
        why = why_not_cached(route, outcome)
        if expect.cacheable is bool(why):
            yield "cacheable", expect.cacheable, why or f"cache {quote(_store(route))} is asked"
    if expect.status is not None and outcome.status != expect.status:
        yield "status", expect.status, _end(outcome)
    if expect.location is not None and outcome.location != expect.location:
        location = outcome.location
        where = _end(outcome) if location is None else f"location {quote(location)}"
        yield "location", expect.location, where
    if expect.policy is not None:
        uses = list(map(str, route.use)) if route is not None else []
        if expect.policy not in uses:
            named = ", ".join(map(quote, uses)) or "no policy"
            yield "policy", expect.policy, f"the route uses {named}"


def route_of(config: Config, outcome: Outcome) -> Route | None:
    """The route that took a request."""
    return next((one for one in config.routes if one.name == outcome.route), None)


def why_not_cached(route: Route | None, outcome: Outcome) -> str:
    """Why a cache is not asked for a request; empty where it is."""
    if route is None:
        return "no route takes it"
    if outcome.answer and not outcome.pool and outcome.reason is not ONLY_IF_CACHED:
        return _end(outcome)
    if route.cache is None:
        return "the route has no cache"
    assert outcome.head is not None
    demand = for_request(outcome.head, cache_rules(route.cache))
    if demand.lookup:
        return ""
    words = [word.decode() for word in (demand.fwd, demand.detail) if word]
    return f"the cache is passed by: {', '.join(words)}"


def shown(value: object) -> str:
    """A value as the file has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else str(value)


def _pools(route: Route | None, outcome: Outcome) -> list[str]:
    """Where a request may go: of a split, to each pool with a share."""
    if not outcome.forwarded or route is None or not route.split:
        return [outcome.pool] if outcome.pool else []
    return [str(name) for name, weight in route.split.items() if weight]


def _store(route: Route | None) -> str:
    return str(route.cache.store) if route is not None and route.cache is not None else ""


def _end(outcome: Outcome) -> str:
    if outcome.forwarded:
        return f"it is sent to pool {quote(outcome.pool)}"
    if outcome.reason is None:
        return "nobody can tell"
    reason = outcome.reason.name
    return f"status {outcome.status} ({reason})"

"""Why a request goes where it goes: what the rehearsal found, put in the order of its way.

An explanation is plain data, the same for people (:mod:`txrproxy.explain.report`) and for programs
(JSON): strings, numbers, lists and dicts. Bytes are text in Latin-1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from txrproxy.balance.pool import Pool
from txrproxy.config.effective import MASK, does, is_hidden
from txrproxy.config.forms.numbers import write_seconds, write_size
from txrproxy.config.graph import Graph
from txrproxy.config.routes import cache_keys, cache_rules
from txrproxy.config.schema import Config, Policy, Route
from txrproxy.config.values import Name
from txrproxy.config.waf import waf_of
from txrproxy.explain.listeners import Choice, choose
from txrproxy.explain.rehearsal import Ask, Filter, Outcome, Rehearsal
from txrproxy.explain.routetests import route_of
from txrproxy.explain.running import States, apply, condition
from txrproxy.explain.stored import look_up
from txrproxy.routing.match import Refusal

Explanation = dict[str, Any]


def explain(
    config: Config,
    ask: Ask,
    known: States | None = None,
    wall: Callable[[], float] = time.time,
) -> Explanation:
    """What becomes of a request, and why. Nothing is sent, and nothing is written.

    ``known`` is what a running proxy knows of its backends; without it they are as configured.
    Raises ValueError where no listener serves, and ConfigErrors as ``build`` does.
    """

    def prepare(graph: Graph) -> None:
        if known is not None:
            apply(known, graph)

    choices = choose(config, ask)
    with closing(Rehearsal(config, prepare, wall)) as rehearsal:
        return _explain(config, ask, choices, rehearsal, known is not None, wall())


def _explain(
    config: Config,
    ask: Ask,
    choices: list[Choice],
    rehearsal: Rehearsal,
    running: bool,
    now: float,
) -> Explanation:
    listener = choices[-1].name
    outcome = rehearsal.play(ask, listener)
    route = route_of(config, outcome)
    redirects = not outcome.route and bool(config.listeners[Name(listener)].redirect_https)
    found: Explanation = {
        "request": _request(outcome),
        "listeners": [
            {"name": choice.name, "why_not": choice.why_not or None, "note": choice.note or None}
            for choice in choices
        ],
        "listener": listener,
        "routes": [],
        "route": outcome.route or None,
        "redirects_to_https": redirects and not outcome.secure,
        "plan": None,
        "policies": [],
        "cache": None,
        "pool": None,
        "to_backend": _text(outcome.forwarded) if outcome.forwarded else None,
        "to_client": None,
    }
    if outcome.head is not None and not found["redirects_to_https"]:
        found["routes"] = list(_routes(rehearsal.graph, outcome))
    if route is not None:
        found["plan"] = _plan(config, route)
        found["policies"] = list(_policies(config, route, outcome.filters))
        if found["to_backend"]:
            found["to_backend"] = _masked(config, route, found["to_backend"])
        found["cache"] = _cache(config, route, outcome, now)
    if outcome.pool:
        pool = next(p for p in rehearsal.graph.pools.values() if p.name.decode() == outcome.pool)
        found["pool"] = _pool(config, pool, outcome, running)
    if outcome.answer:
        found["to_client"] = {
            "status": outcome.status,
            "reason": outcome.reason.name if outcome.reason is not None else None,
            "location": outcome.location,
            "bytes": _text(outcome.answer),
        }
    return found


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _masked(config: Config, route: Route, head: str) -> str:
    """A request head without what the configuration, as opposed to the client, makes a secret."""
    for name in route.use:
        changes = config.policies[name].request_headers
        for field, value in (*changes.set.items(), *changes.add.items()):
            if is_hidden(field):
                head = head.replace(f"{field}: {value}\r\n", f"{field}: {MASK}\r\n")
    return head


def _request(outcome: Outcome) -> Explanation:
    ask, head = outcome.ask, outcome.head
    return {
        "method": ask.method,
        "url": ask.url,
        "client": outcome.client or ask.client,
        "from": ask.client,
        "trusted": outcome.trusted,
        "https": outcome.secure,
        "host": _text(head.host) if head is not None else None,
        "path": _text(head.path) if head is not None else None,
    }


def _routes(graph: Graph, outcome: Outcome) -> Iterator[Explanation]:
    head = outcome.head
    assert head is not None
    query = head.target.query
    for conditions, plan in graph.routes:
        refusal = conditions.why_not(
            head.host, head.path, head.method, head.fields.all, query, outcome.client
        )
        yield {"name": plan.name.decode(), "why_not": _refusal(refusal)}
        if refusal is None:
            return


def _refusal(refusal: Refusal | None) -> Explanation | None:
    if refusal is None:
        return None
    kind, _, name = refusal.condition.partition(" ")
    if kind == "header" and is_hidden(name):
        refusal = refusal._replace(wanted=MASK)
    return {**refusal._asdict(), "text": str(refusal)}


def _plan(config: Config, route: Route) -> Explanation:
    """What is settled for a route before bytes flow."""
    pools = [str(name) for name in ([route.pool] if route.pool else route.split)]
    found: Explanation = {"does": does(route)}
    if pools:
        timeouts = config.pools[Name(pools[0])].timeouts
        over = route.timeouts
        found["timeouts"] = {
            name: write_seconds(getattr(over, name) or getattr(timeouts, name))
            for name in ("connect", "first_byte", "idle", "queue")
        }
        total = timeouts.total if over.total is None else over.total
        if total:
            found["timeouts"]["total"] = write_seconds(total)
        found["websocket"] = route.websocket
        found["host"] = str(config.pools[Name(pools[0])].host)
        rewrite = route.rewrite
        for key in ("strip_prefix", "prefix"):
            if getattr(rewrite, key):
                found[f"rewrite.{key}"] = str(getattr(rewrite, key))
        if rewrite.replace[0]:
            found["rewrite.replace"] = list(rewrite.replace)
    limits = [config.policies[name].body_limit for name in route.use]
    if limits:
        found["body_limit"] = write_size(min(limits))
    return found


# Policies.


def _policies(config: Config, route: Route, filters: list[Filter]) -> Iterator[Explanation]:
    """What each filter says, in their order, then what policies do besides."""
    for one in filters:
        yield {
            "policy": one.policy,
            "kind": one.kind,
            "settings": _settings(one),
            "says": _says(one),
            "reason": one.reason.name if one.reason is not None else None,
        }
    waf = waf_of(config, route)
    if waf is not None:
        of = [str(name) for name in route.use if config.policies[name].waf is waf]
        yield {
            "policy": of[-1],
            "kind": "waf",
            "settings": f"{waf.mode} by {', '.join(waf.rules)}",
            "says": "not asked; taken to let it pass",
            "reason": None,
        }
    for name in dict.fromkeys(route.use):
        policy = config.policies[name]
        for kind, settings in _changes(policy):
            yield {
                "policy": str(name),
                "kind": kind,
                "settings": settings,
                "says": "applies",
                "reason": None,
            }


def _says(one: Filter) -> str:
    if not one.reached:
        return "not reached"
    if one.waits:
        return "asks; taken to let it pass"
    if one.passed and one.kind in ("rate_limit", "connection_limit"):
        return "passes, unless too many came before"
    return "passes" if one.passed else "answers"


def _settings(one: Filter) -> str:
    settings = one.settings
    match one.kind:
        case "access":
            allow, deny, geo = settings
            parts = [("allow", allow), ("deny", deny)]
            if geo is not None:
                parts += [("allow", geo.allow), ("deny", geo.deny)]
            return ", ".join(f"{word} {' '.join(map(str, of))}" for word, of in parts if of)
        case "rate_limit":
            return f"{settings.rate} by {settings.key}, burst {settings.burst}"
        case "connection_limit":
            return f"{settings.limit} at a time by {settings.key}"
        case "basic_auth":
            return f"realm {settings.realm}"
        case "forward_auth":
            return f"asks {settings.url}"
        case "cors":
            return f"origins {' '.join(map(str, settings.origins))}"
    return ""


def _changes(policy: Policy) -> Iterator[tuple[str, str]]:
    yield "body_limit", write_size(policy.body_limit)
    for kind in ("request_headers", "response_headers"):
        changes = getattr(policy, kind)
        parts = [f"set {n}: {MASK if is_hidden(n) else v}" for n, v in changes.set.items()]
        parts += [f"add {n}: {MASK if is_hidden(n) else v}" for n, v in changes.add.items()]
        parts += [f"remove {name}" for name in changes.remove]
        if parts:
            yield kind, ", ".join(parts)
    if policy.hide:
        yield "hide", ", ".join(map(str, policy.hide))
    if policy.security_headers != "off":
        yield "security_headers", str(policy.security_headers)


# The cache, and the pool.


def _cache(config: Config, route: Route, outcome: Outcome, now: float) -> Explanation | None:
    settings = route.cache
    if settings is None or outcome.head is None:
        return None
    path = str(config.resolve(config.caches[settings.store].path))
    keys, rules = cache_keys(route, settings), cache_rules(settings)
    found = look_up(outcome, path, keys, rules, now)
    return {
        "store": str(settings.store),
        "key": _text(found.key) if found.key else None,
        "url": _text(found.url),
        "asked": not found.why_not,
        "why_not": found.why_not or None,
        "stored": found.stored,
        "problem": found.problem or None,
    }


def _pool(config: Config, pool: Pool, outcome: Outcome, running: bool) -> Explanation:
    settings = config.pools[Name(outcome.pool)]
    balance = str(settings.balance)
    if balance == "hash":
        balance += f" of {settings.hash_key}"
    names = [str(backend.url) for backend in settings.backends if backend.url.is_name]
    return {
        "name": outcome.pool,
        "balance": balance,
        "panic": pool.panicking,
        "states": "of the proxy that runs" if running else "as configured",
        "names": names,
        "backends": [
            {
                "name": backend.name.decode("latin-1"),
                "state": condition(backend),
                "weight": backend.weight,
                "priority": backend.priority,
                "candidate": backend in pool.candidates,
            }
            for backend in pool.backends
        ],
        "backend": outcome.backend or None,
        "why": _why(pool, outcome, balance),
    }


def _why(pool: Pool, outcome: Outcome, balance: str) -> str:
    if not outcome.backend:
        return "no backend may be chosen"
    if outcome.sticky:
        return "its cookie asks for this backend"
    if len(pool.candidates) == 1:
        return "it is the only candidate"
    if pool.key is not None:
        return f"{balance}: the same for each request with this key"
    return f"{balance}: one of {len(pool.candidates)} candidates; the next request may get another"

"""What only the whole can tell: names that lead nowhere, keys that exclude each other.

Single values were judged when they were parsed (``config/forms``). Each rule here is a generator
of findings over the finished classes. ``errors`` refuse a configuration, ``warnings`` do not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import re2

from txrproxy.config.doubts import doubts
from txrproxy.config.problems import Finding, KeyPath, did_you_mean, quote
from txrproxy.config.reach import unreachable
from txrproxy.config.schema import (
    BackendTls,
    Config,
    FieldChanges,
    Listener,
    Policy,
    Pool,
    Rewrite,
    Route,
    Tls,
)
from txrproxy.config.values import FieldName
from txrproxy.http.fields import is_client_certificate
from txrproxy.http.forward import is_proxy_field

_ANSWERED = ("http/1.1",)  # of listeners.*.protocols
TARGETS = ("pool", "split", "redirect", "respond", "resource")

# Fields that say how a message is framed and routed are the proxy's business alone.
_OWN_FIELDS = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Request fields that are made anew for each request; `pool.host` is the way to another Host.
_RENDERED = frozenset({"host", "forwarded", "x-forwarded-for", "x-request-id"})
_ESCAPE = re.compile(r"\\(?:([0-9])|g<([^>]*)>|.?)")


def errors(config: Config) -> Iterator[Finding]:
    """Everything for which a configuration is refused."""
    yield from _admin(config)
    yield from _listeners(config)
    for name, pool in config.pools.items():
        yield from _pool(("pools", name), pool)
    for name, policy in config.policies.items():
        for part in ("request_headers", "response_headers"):
            changes: FieldChanges = getattr(policy, part)
            path: KeyPath = ("policies", name, part)
            own = _RENDERED if part == "request_headers" else frozenset()
            yield from _fields((*path, "set"), changes.set, own)
            yield from _fields((*path, "add"), changes.add, own)
            yield from _own_fields((*path, "remove"), enumerate(changes.remove), own)
        yield from _own_fields(("policies", name, "hide"), enumerate(policy.hide), frozenset())
        yield from _guards(("policies", name), policy)
    yield from _caches(config)
    yield from _routes(config)
    for index, test in enumerate(config.tests):
        path = ("tests", index, "expect")
        routes = [route.name for route in config.routes]
        yield from _reference((*path, "route"), test.expect.route, routes, "route", "routes")
        yield from _reference((*path, "pool"), test.expect.pool, config.pools, "pool", "pools")
        yield from _reference(
            (*path, "policy"), test.expect.policy, config.policies, "policy", "policies"
        )
        place: KeyPath = ("tests", index, "request")
        yield from _fields((*place, "headers"), test.request.headers, frozenset())
        if test.request.client.num_addresses > 1:
            yield Finding((*place, "client"), "a client has one address")
        listener = test.request.listener
        yield from _reference(
            (*place, "listener"), listener, config.listeners, "listener", "listeners"
        )


def warnings(config: Config) -> Iterator[Finding]:
    """What is valid and likely a mistake."""
    for name, listener in config.listeners.items():
        if listener.proxy_protocol != "off" and not config.server.trusted_proxies:
            yield Finding(
                ("listeners", name, "proxy_protocol"),
                "no connection will be accepted: server.trusted_proxies is empty",
            )
    yield from _client_certificates(config)
    yield from _ways_around(config)
    for name, policy in config.policies.items():
        if policy.geo is not None and not policy.geo.allow and not policy.geo.deny:
            yield Finding(("policies", name, "geo"), "without effect: allow and deny are empty")
    yield from doubts(config)
    for index, route in enumerate(config.routes):
        if not route.pool and not route.split:
            for key, default in (("cache", None), ("rewrite", Rewrite())):
                if getattr(route, key) != default:
                    yield Finding(("routes", index, key), "without effect: the route has no pool")
    for index, first in unreachable([route.match for route in config.routes]):
        name = config.routes[first].name
        yield Finding(
            ("routes", index),
            f"never matches: route {quote(name)} before it takes everything that it would",
            first=("routes", first),
        )


def _ways_around(config: Config) -> Iterator[Finding]:
    """Authorities that nobody is held against, and listeners that do not ask what others do."""
    asked = {}
    for name, listener in config.listeners.items():
        tls = listener.tls
        if tls is None:
            continue
        asked[name] = {tls.client_auth, *(own.client_auth or "off" for own in tls.certificates)}
        given = tls.client_ca or any(own.client_ca for own in tls.certificates)
        if given and asked[name] == {"off"}:
            yield Finding(
                ("listeners", name, "tls", "client_ca"),
                'nobody is asked for a certificate: client_auth is "off"',
            )
    strict = [name for name, kinds in asked.items() if "required" in kinds]
    for name, listener in config.listeners.items():
        if strict and name not in strict and not listener.redirect_https:
            yield Finding(
                ("listeners", name),
                "serves all routes, and asks for no client certificate as "
                f"listeners.{strict[0]} does; match.client_cert keeps a route to those who show "
                "one",
            )


def _client_certificates(config: Config) -> Iterator[Finding]:
    asked = {
        answer
        for listener in config.listeners.values()
        if listener.tls is not None
        for answer in (
            listener.tls.client_auth,
            *(certificate.client_auth for certificate in listener.tls.certificates),
        )
    }
    for index, route in enumerate(config.routes):
        if route.match.client_cert is not None and asked <= {"off", None}:
            yield Finding(
                ("routes", index, "match", "client_cert"),
                "never matches: no listener asks for client certificates (client_auth)",
            )


def _admin(config: Config) -> Iterator[Finding]:
    admin = config.admin
    if admin is None:
        return
    if admin.listen.kind == "fd":
        yield Finding(("admin", "listen"), 'found "fd:NAME", expected "host:port" or "unix:PATH"')
    elif admin.token is None and not admin.listen.is_local:
        yield Finding(
            ("admin",), f"missing; expected token, as others can connect to {admin.listen}"
        )


def _listeners(config: Config) -> Iterator[Finding]:
    if not config.listeners:
        yield Finding(("listeners",), "no listeners; expected at least one [listeners.NAME]")
    bound: dict[str, KeyPath] = {}
    for name, listener in config.listeners.items():
        path = ("listeners", name)
        if not listener.bind:
            yield Finding((*path, "bind"), "found an empty list, expected at least one address")
        for index, bind in enumerate(listener.bind):
            here = (*path, "bind", index)
            first = bound.setdefault(str(bind).lower(), here)
            if first != here and not (bind.kind == "tcp" and bind.port == 0):
                yield Finding(here, f"{quote(str(bind))} is bound already", first=first)
        if listener.max_head < 1024:
            yield Finding(
                (*path, "max_head"), 'less than any request needs, expected "1KiB" or more'
            )
        yield from _tls(path, listener)


def _tls(path: KeyPath, listener: Listener) -> Iterator[Finding]:
    tls: Tls | None = listener.tls
    if tls is None:
        return
    if not listener.protocols:
        yield Finding((*path, "protocols"), "found an empty list, expected at least one protocol")
    if not tls.certificates and not tls.self_signed:
        yield Finding((*path, "tls"), "missing; expected certificates, or self_signed = true")
    answered = [name for name in listener.protocols if name in _ANSWERED]
    if listener.protocols and not answered:
        yield Finding(
            (*path, "protocols"),
            f"found {', '.join(map(quote, listener.protocols))} alone, expected "
            f"{', '.join(map(quote, _ANSWERED))} as well: nothing else is answered yet",
        )
    if tls.client_auth != "off" and tls.client_ca is None:
        yield Finding(
            (*path, "tls", "client_auth"),
            f"found {quote(tls.client_auth)} without client_ca, the authorities to check against",
        )
    for index, own in enumerate(tls.certificates):
        if own.client_auth not in (None, "off") and (own.client_ca or tls.client_ca) is None:
            yield Finding(
                (*path, "tls", "certificates", index, "client_auth"),
                f"found {quote(own.client_auth)} without client_ca, the authorities to check "
                "against",
            )


def _pool(path: KeyPath, pool: Pool) -> Iterator[Finding]:
    if not pool.backends:
        yield Finding((*path, "backends"), "found an empty list, expected at least one backend")
    elif not any(backend.weight for backend in pool.backends):
        yield Finding((*path, "backends"), "every weight is 0: no backend would get a request")
    tls: BackendTls = pool.tls
    if bool(tls.cert) != bool(tls.key):
        has, lacks = ("cert", "key") if tls.cert else ("key", "cert")
        yield Finding((*path, "tls", has), f"found {has} without {lacks}, expected both or neither")


def _guards(path: KeyPath, policy: Policy) -> Iterator[Finding]:
    """What policies promise to backends must not be set by anything else."""
    if policy.geo is not None and not policy.geo.files:
        yield Finding((*path, "geo", "files"), "found an empty list, expected a database")
    if policy.cors is not None:
        if not policy.cors.origins:
            yield Finding((*path, "cors", "origins"), "found an empty list, expected an origin")
        if policy.cors.credentials and "*" in policy.cors.origins:
            yield Finding(
                (*path, "cors", "credentials"),
                'found true with the origin "*", expected origins by name: any page at all could '
                "act for whoever is logged in",
            )
    asked: list[tuple[KeyPath, object]] = []
    if policy.forward_auth is not None:
        asked.append(((*path, "forward_auth", "url"), policy.forward_auth.url))
    if policy.jwt is not None:
        asked.append(((*path, "jwt", "keys"), policy.jwt.keys))
    for where, url in asked:
        if isinstance(url, str) and "@" in urlsplit(url).netloc:
            yield Finding(where, "a user name and password have no place in it")
    promised: list[tuple[KeyPath, str]] = []
    if policy.basic_auth is not None:
        promised.append(((*path, "basic_auth", "user_field"), policy.basic_auth.user_field))
    if policy.jwt is not None:
        if not policy.jwt.algorithms:
            yield Finding(
                (*path, "jwt", "algorithms"), "found an empty list, expected an algorithm"
            )
        for claim, name in policy.jwt.claims.items():
            promised.append(((*path, "jwt", "claims", claim), name))
    if policy.forward_auth is not None:
        for index, name in enumerate(policy.forward_auth.copy):
            promised.append(((*path, "forward_auth", "copy", index), name))
        for index, name in enumerate(policy.forward_auth.to_client):
            if name.lower() in _OWN_FIELDS:
                yield Finding(
                    (*path, "forward_auth", "to_client", index),
                    f"found {quote(name)}, which only the proxy itself sets",
                )
        for index, name in enumerate(policy.forward_auth.send):
            lower = name.lower().encode("ascii")
            # Beside what the proxy says of the request itself, or in its place.
            claimed = is_proxy_field(lower) or is_client_certificate(lower)
            if name.lower() in _OWN_FIELDS | _RENDERED or claimed:
                yield Finding(
                    (*path, "forward_auth", "send", index),
                    f"found {quote(name)}, which only the proxy itself sets",
                )
    changed = {
        name.lower()
        for part in (policy.request_headers.set, policy.request_headers.add)
        for name in part
    }
    for where, field in promised:
        if field.lower() in _OWN_FIELDS | _RENDERED:
            yield Finding(where, f"found {quote(field)}, which only the proxy itself sets")
        elif field.lower() in changed:
            yield Finding(where, f"{quote(field)} is set by request_headers as well")


def _caches(config: Config) -> Iterator[Finding]:
    """Two caches in one folder would be one, of the size that was said last."""
    folders: dict[str, KeyPath] = {}
    for name, cache in config.caches.items():
        path: KeyPath = ("caches", name, "path")
        first = folders.setdefault(os.path.normpath(config.resolve(cache.path)), path)
        if first != path:
            what = f"{quote(cache.path)} is the folder of another cache"
            yield Finding(path, what, first=first)


def _routes(config: Config) -> Iterator[Finding]:
    if not config.routes:
        yield Finding(("routes",), "no routes; expected at least one [[routes]]")
    names: dict[str, KeyPath] = {}
    for index, route in enumerate(config.routes):
        path: KeyPath = ("routes", index)
        here = (*path, "name")
        first = names.setdefault(route.name, here)
        if first != here:
            yield Finding(here, f"{quote(route.name)} is the name of another route", first=first)
        yield from _target(path, route)
        yield from _references(path, route, config)
        yield from _conditions(path, route)
        yield from _rewrite((*path, "rewrite"), route.rewrite)
        if route.respond is not None:
            respond = (*path, "respond")
            yield from _fields((*respond, "headers"), route.respond.headers, frozenset())
            if route.respond.body and route.respond.status in {204, 205, 304}:
                yield Finding((*respond, "body"), f"{route.respond.status} has no body")


def _target(path: KeyPath, route: Route) -> Iterator[Finding]:
    given = [key for key in TARGETS if getattr(route, key)]
    if not given:
        expected = f"missing; expected exactly one of {', '.join(TARGETS)}"
        yield Finding(path, expected, also=tuple((*path, key) for key in TARGETS))
    elif len(given) > 1:
        yield Finding(path, f"found {' and '.join(given)}, expected exactly one of them")


def _references(path: KeyPath, route: Route, config: Config) -> Iterator[Finding]:
    yield from _reference((*path, "pool"), route.pool, config.pools, "pool", "pools")
    for pool in route.split:
        yield from _reference((*path, "split", pool), pool, config.pools, "pool", "pools")
    for index, policy in enumerate(route.use):
        where = (*path, "use", index)
        yield from _reference(where, policy, config.policies, "policy", "policies")
    if route.cache is not None:
        where = (*path, "cache", "store")
        yield from _reference(where, route.cache.store, config.caches, "cache", "caches")


def _reference(
    path: KeyPath, name: str | None, known: Iterable[str], what: str, table: str
) -> Iterator[Finding]:
    names = list(known)
    if name is None or name in names:
        return
    hint = did_you_mean(name, names)
    if not hint and names:
        hint = f"; known: {', '.join(map(quote, sorted(names)[:10]))}"
    elif not names:
        hint = f"; there are no {table}"
    yield Finding(path, f"unknown {what} {quote(name)}{hint}", also=((table, name),))


def _conditions(path: KeyPath, route: Route) -> Iterator[Finding]:
    match = route.match
    if match.path_regex is not None:
        problem = _regex_problem(match.path_regex)
        if problem:
            yield Finding((*path, "match", "path_regex"), problem)
    yield from _repeated((*path, "match", "header"), match.header)


def _regex_problem(pattern: str) -> str:
    options = re2.Options()
    options.log_errors = False  # RE2 would print them
    try:
        re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        return f"found {quote(pattern)}, not a regular expression of RE2: {text}"
    return ""


def _rewrite(path: KeyPath, rewrite: Rewrite) -> Iterator[Finding]:
    for key in ("strip_prefix", "prefix"):
        value = getattr(rewrite, key)
        if value and (not value.startswith("/") or re.search(r"[?#\s\x00-\x1f\x7f]", value)):
            yield Finding(
                (*path, key), f'found {quote(value)}, expected a path that begins with "/"'
            )
    pattern, replacement = rewrite.replace
    if not pattern:
        if replacement:
            yield Finding((*path, "replace"), "found a replacement for an empty pattern")
        return
    problem = _regex_problem(pattern)
    if problem:
        yield Finding((*path, "replace", 0), problem)
        return
    if re.search(r"[?#\s\x00-\x1f\x7f]", replacement):
        yield Finding(
            (*path, "replace", 1),
            f"found {quote(replacement)}, expected part of a path, without white space, "
            'query or "#"',
        )
    compiled = re2.compile(pattern)
    for escape in _ESCAPE.finditer(replacement):
        group = escape[1] or escape[2] or ""
        known = int(group) <= compiled.groups if group.isdigit() else group in compiled.groupindex
        if not known and escape[0] != "\\\\":
            yield Finding(
                (*path, "replace", 1),
                f"found {quote(replacement)}, where {escape[0]} is no group of the pattern",
            )


def _fields(
    path: KeyPath, fields: Mapping[FieldName, object], own: frozenset[str]
) -> Iterator[Finding]:
    yield from _own_fields(path, ((name, name) for name in fields), own)
    yield from _repeated(path, fields)


def _own_fields(
    path: KeyPath, names: Iterable[tuple[str | int, str]], own: frozenset[str]
) -> Iterator[Finding]:
    for key, name in names:
        if name.lower() in _OWN_FIELDS | own:
            yield Finding((*path, key), f"found {quote(name)}, which only the proxy itself sets")


def _repeated(path: KeyPath, fields: Iterable[str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name in fields:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            yield Finding(
                (*path, name),
                f"{quote(name)} is the same header as {quote(first)}: names ignore case",
                first=(*path, first),
            )

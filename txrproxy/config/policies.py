"""Policies that say who may pass, from their settings to filters and back to what they concern.

A policy's state (counters, users, keys) is one for all routes that use it; what is made for each
route is a chain of functions only. The order of a chain is that of :meth:`Policies.chain`, whatever
the order of a route's policies: what costs least and refuses most comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from txrproxy.balance.pool import Pool
from txrproxy.config import schema
from txrproxy.config.forms.addresses import backend_url
from txrproxy.config.problems import ConfigErrors, Problem
from txrproxy.config.values import FilePath, LimitKey, Secret
from txrproxy.filters import cors, htpasswd
from txrproxy.filters.access import Access, Places
from txrproxy.filters.concurrency import ConcurrencyLimit
from txrproxy.filters.cors import Cors
from txrproxy.filters.keys import Key, key
from txrproxy.filters.rate import RateLimit
from txrproxy.filters.tokens import BadKeys, Rules, parse_keys
from txrproxy.guards import limits
from txrproxy.guards.bearers import FetchedKeys, FixedKeys, Tokens, jwt
from txrproxy.guards.forward import Passed, forward_auth
from txrproxy.guards.geo import MAX_DATABASE, BadDatabase, Database, places
from txrproxy.guards.passwords import Passwords, basic_auth
from txrproxy.guards.state import LocalState, State
from txrproxy.guards.subrequest import Server, server
from txrproxy.guards.watched import Watched, signature_of
from txrproxy.http.fields import fold
from txrproxy.routing.plan import Serve
from txrproxy.tls.pem import MAX_FILE, BadPem
from txrproxy.wiring import Unusable, Wiring, close

FOLLOWED = 10.0  # seconds between two looks at a file of users
MAX_KEY_SET = 1024 * 1024  # bytes

T = TypeVar("T")
Filter = Callable[[Serve], Serve]
Watch = Callable[[str, str, Any, Serve], Serve]


@define(eq=False)
class Part:
    """One key of one policy, live: its filter, and what goes on by itself for it.

    ``unchanged`` are asked whether files that it was made of are still the same. ``before`` is what
    it does ahead of the filters of all others, if anything.
    """

    settings: Any
    filter: Filter
    running: list[Any]
    pools: list[Pool]
    unchanged: list[Callable[[], bool]]
    before: list[Filter]

    def is_current(self, settings: Any) -> bool:
        """Whether another one with these settings would be no different."""
        return bool(self.settings == settings) and all(ask() for ask in self.unchanged)

    def start(self) -> None:
        for one in self.running:
            one.start()

    def stop(self) -> None:
        for one in self.running:
            one.stop()
        close(self.pools)


class Policies:
    """What the policies of one configuration keep.

    What an ``old`` configuration has alike is used on, so that a reload sets no counter back. What
    was made of a file that is another one now is made anew: after a reload, what files say counts.
    ``state`` is where limits count: in this process, unless it says otherwise.
    """

    def __init__(
        self,
        config: schema.Config,
        wiring: Wiring,
        wall: Callable[[], float],
        old: Policies | None = None,
        state: State | None = None,
    ) -> None:
        self._config = config
        self._wiring = wiring
        self._wall = wall
        self._state: State = state or (LocalState() if old is None else old._state)
        self.parts: dict[tuple[str, str], Part] = {}
        self._old = {} if old is None or old._config.base != config.base else old.parts
        self._running: list[Any] = []  # of the part that is being made
        self._pools: list[Pool] = []
        self._unchanged: list[Callable[[], bool]] = []
        self._before: list[Filter] = []

    def start(self) -> None:
        """Begin to follow files and URLs."""
        for part in self.parts.values():
            part.start()

    def take_over(self, old: Policies) -> None:
        """Go on in the place of those of before."""
        mine, theirs = set(self.parts.values()), set(old.parts.values())
        for part in mine - theirs:
            part.start()
        for part in theirs - mine:
            part.stop()
        self._old = {}

    def close(self) -> None:
        """Follow nothing any more, and let go of connections."""
        for part in self.parts.values():
            part.stop()

    def chain(self, names: Sequence[Any], serve: Serve, watch: Watch | None = None) -> Serve:
        """What these policies let pass, and then ``serve``.

        ``watch(kind, name, settings, next)`` is for who wants to see them at work: it is asked for
        each filter, the last one first, and what it returns is called in place of ``next``.
        """
        makers: tuple[tuple[str, Callable[[str, Any], Filter]], ...] = (
            ("access", self._access),
            ("connection_limit", self._connection_limit),
            ("rate_limit", self._rate_limit),
            ("cors", self._cors),
            ("basic_auth", self._basic_auth),
            ("jwt", self._jwt),
            ("forward_auth", self._forward_auth),
        )
        before: list[Filter] = []
        for kind, make in reversed(makers):
            for name in reversed(list(dict.fromkeys(names))):
                policy = self._config.policies[name]
                if kind == "access":
                    given = (policy.allow, policy.deny, policy.geo)
                    settings = given if any(given) else None
                else:
                    settings = getattr(policy, kind)
                if settings is None:
                    continue
                part = self._part(name, kind, settings, make)
                serve = part.filter(serve if watch is None else watch(kind, name, settings, serve))
                before += part.before
        for first in before:
            serve = first(serve)
        return serve

    def _part(
        self, name: str, kind: str, settings: Any, make: Callable[[str, Any], Filter]
    ) -> Part:
        part = self.parts.get((name, kind))
        if part is None:
            part = self._old.get((name, kind))
            if part is None or not part.is_current(settings):
                self._running, self._pools, self._unchanged, self._before = [], [], [], []
                part = Part(
                    settings,
                    make(name, settings),
                    self._running,
                    self._pools,
                    self._unchanged,
                    self._before,
                )
            self.parts[name, kind] = part
        return part

    # Each gives a filter that still wants to know what comes next.

    def _access(self, name: str, settings: Any) -> Filter:
        allow, deny, geo = settings

        def changed() -> None:
            rules.forget()

        rules = Access(allow, deny, self._places(name, geo, changed) if geo else None)
        return lambda next: limits.access(rules, next)

    def _connection_limit(self, name: str, settings: schema.ConnectionLimit) -> Filter:
        limit = ConcurrencyLimit(settings.limit, self._state.counts(_identity(name, settings)))
        counted = _key(settings.key, settings.ipv6_prefix)
        return lambda next: limits.connection_limit(limit, counted, next)

    def _rate_limit(self, name: str, settings: schema.RateLimit) -> Filter:
        table = self._state.table(_identity(name, settings))
        limit = RateLimit(settings.rate.count, settings.rate.seconds, settings.burst, table)
        counted = _key(settings.key, settings.ipv6_prefix)
        return lambda next: limits.rate_limit(limit, counted, next, told=settings.fields)

    def _cors(self, name: str, settings: schema.Cors) -> Filter:
        rules = Cors(
            _encoded(settings.origins),
            _encoded(settings.methods),
            _encoded(settings.headers),
            _encoded(settings.expose),
            settings.credentials,
            int(settings.max_age),
        )
        self._before.append(lambda next: limits.cors_fields(rules, next))
        return lambda next: limits.cors(rules, next)

    def _basic_auth(self, name: str, settings: schema.BasicAuth) -> Filter:
        place = f"policies.{name}.basic_auth.users"
        users = self._watched(place, settings.users, htpasswd.parse, FOLLOWED)
        for module in htpasswd.libraries(users.value):
            _import(place, module)
        passwords = Passwords(lambda: users.value, in_thread=self._in_thread)
        user_field = settings.user_field.encode()
        return lambda next: basic_auth(passwords, settings.realm, user_field, next)

    def _jwt(self, name: str, settings: schema.Jwt) -> Filter:
        place = f"policies.{name}.jwt"
        _import(place, "jwt")
        kind, _, cookie = settings.token.partition(":")
        rules = Rules(
            settings.algorithms,
            (settings.audience,) if settings.audience else (),
            settings.issuer,
            settings.leeway,
            {claim: field.encode() for claim, field in settings.claims.items()},
            cookie.encode() if kind == "cookie" else None,
        )
        tokens = Tokens(rules, self._wall)
        if isinstance(settings.keys, Secret):
            keys = self._watched(
                f"{place}.keys", settings.keys, parse_keys, settings.refresh, tokens.forget
            )
            tokens.keys = FixedKeys(lambda: keys.value)
        else:
            asked, _ = self._server(f"{place}.keys", settings.keys, settings.ca, 10.0, MAX_KEY_SET)
            tokens.keys = FetchedKeys(
                asked, settings.keys, settings.refresh, self._wiring.reactor, tokens.forget
            )
            self._running.append(tokens.keys)
        return lambda next: jwt(tokens, settings.realm, settings.required, next)

    def _forward_auth(self, name: str, settings: schema.ForwardAuth) -> Filter:
        place = f"policies.{name}.forward_auth.url"
        asked, pool = self._server(place, settings.url, settings.ca, settings.timeout, 64 * 1024)
        copy, to_client, send, (user_field,) = (
            tuple(field.lower().encode() for field in fields)
            for fields in (settings.copy, settings.to_client, settings.send, [settings.user_field])
        )
        passed = Passed(copy, to_client, user_field)
        return lambda next: forward_auth(asked, pool, passed, send, next)

    # What they are made of.

    def _places(self, name: str, geo: schema.Geo, changed: Callable[[], None]) -> Places:
        place = f"policies.{name}.geo.files"
        _import(place, "maxminddb", "geo")
        databases = [
            self._watched(
                f"{place}[{index}]",
                Secret("file", file),
                Database,
                FOLLOWED,
                changed,
                MAX_DATABASE,
            )
            for index, file in enumerate(geo.files)
        ]
        return places(lambda: [one.value for one in databases], geo.allow, geo.deny)

    def _in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        """Of the reactor that all of it was built for."""
        reactor = self._wiring.reactor
        return deferToThreadPool(reactor, reactor.getThreadPool(), call)

    def _watched(
        self,
        place: str,
        secret: Secret,
        parse: Callable[[bytes], T],
        interval: float,
        changed: Callable[[], None] = lambda: None,
        limit: int = MAX_FILE,
    ) -> Watched[T]:
        try:
            watched = Watched(
                secret,
                self._config.resolve,
                parse,
                interval,
                self._wiring.reactor,
                changed=changed,
                limit=limit,
            )
        except (BadPem, htpasswd.BadUsers, BadKeys, BadDatabase) as error:
            raise ConfigErrors([Problem("", 0, place, str(error))]) from error
        self._running.append(watched)
        self._unchanged.append(watched.is_current)
        return watched

    def _server(
        self, place: str, url: str, ca: FilePath, timeout: float, limit: int
    ) -> tuple[Server, Pool]:
        """A server that is asked by URL, with connections of its own."""
        parts = urlsplit(url)
        authority = parts.netloc
        if ca != "system":
            file = self._config.resolve(ca)
            before = signature_of(file)
            self._unchanged.append(lambda: signature_of(file) == before)
        settings = schema.Pool(
            backends=(schema.Backend(url=backend_url(f"{parts.scheme}://{authority}")),),
            tls=schema.BackendTls(ca=ca),
        )
        try:
            pool = self._wiring.pool(place, settings)
        except Unusable as error:
            raise ConfigErrors([Problem("", 0, place, str(error))]) from error
        self._pools.append(pool)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        wiring = self._wiring
        asked = server(
            pool.backends[0].connections,
            authority.encode("ascii"),
            target.encode("ascii"),
            timeout,
            wiring.deadlines,
            wiring.reactor.seconds,
            limit,
        )
        return asked, pool


def promised(policies: Iterable[schema.Policy]) -> frozenset[bytes]:
    """Request fields, in lower case, that only the proxy itself sets: a client's own are dropped.

    Both spellings, where one has a character that CGI and the like would fold.
    """
    names: set[str] = set()
    for policy in policies:
        if policy.basic_auth is not None:
            names.add(policy.basic_auth.user_field)
            if not policy.basic_auth.forward:
                names.add("Authorization")
        if policy.jwt is not None:
            names.update(policy.jwt.claims.values())
        if policy.forward_auth is not None:
            names.update(policy.forward_auth.copy)
    lower = {name.lower().encode() for name in names}
    return frozenset(lower | {fold(name) for name in lower})


def replaced(policies: Iterable[schema.Policy]) -> tuple[bytes, ...]:
    """Response fields that only the proxy itself sets."""
    return cors.RESPONSE_FIELDS if any(policy.cors is not None for policy in policies) else ()


def _key(key_: LimitKey, ipv6_prefix: int) -> Key:
    return key([(part.kind, part.name) for part in key_.parts], ipv6_prefix)


def _identity(name: str, settings: Any) -> bytes:
    """What tells one limit from another, in all workers alike."""
    return f"{name} {settings!r}".encode()


def _encoded(values: Iterable[str]) -> list[bytes]:
    return [value.encode("ascii") for value in values]


def _import(place: str, module: str, extra: str = "auth") -> None:
    try:
        __import__(module)
    except ImportError:
        raise ConfigErrors(
            [Problem("", 0, place, f"needs {module}; install the extra: txrproxy[{extra}]")]
        ) from None

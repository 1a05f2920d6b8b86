"""From the settings of a pool to its live objects, for every program that has backends.

``config/build.py`` wires whole configurations with this; :mod:`txrproxy.resource` a single pool
inside somebody else's program. The settings are the configuration's own classes either way, so that
defaults and meaning are the same.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.logger import Logger, LogLevel

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.keys import compile_key
from txrproxy.balance.policies import POLICIES
from txrproxy.balance.pool import (
    CALM,
    DOWN,
    EJECTED,
    MEMBERS,
    PANIC,
    RESTORED,
    STATE,
    UP,
    Ejection,
    Pool,
    Tell,
)
from txrproxy.balance.retry import RetryRules
from txrproxy.balance.sticky import Sticky
from txrproxy.config import schema
from txrproxy.config.values import BackendUrl, Secret
from txrproxy.exchange import Exchange
from txrproxy.http.fields import Line
from txrproxy.http.forward import Changes, RequestRules, ResponseRules
from txrproxy.names.lookup import Addresses, LookUp, Services, Target
from txrproxy.names.members import Members, Named
from txrproxy.names.resolver import Resolver
from txrproxy.names.watch import Watch
from txrproxy.routing.plan import Plan
from txrproxy.tls.client import ClientTls, TlsDialer
from txrproxy.tls.failures import FailureLog
from txrproxy.transport.connections import Connections
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.dial import LocalDialer, TcpDialer, UnixDialer
from txrproxy.transport.troubles import TroubleLog
from txrproxy.transport.upstream import Upstream

_logger = Logger()

MIN_SECRET = 32  # bytes
STICKY_FILE = "sticky.key"

_NOTHING = schema.RouteTimeouts()


class Unusable(Exception):
    """What ``key`` of the configuration names can not be used; the text says why."""

    def __init__(self, key: str, why: str) -> None:
        self.key = key
        super().__init__(why)


class Wiring:
    """Makes what belongs to pools.

    ``resolve`` says where a relative path is. ``state_dir`` is where a secret is kept that nobody
    has given. ``servers`` are the name servers to ask; those of the machine without any. ``names``
    has the members of each pool with names among its backends, by the pool's name, to be started.
    ``tell`` hears what happens to pools: the log, or who knows better what is worth a line.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        resolve: Callable[[str], Any],
        state_dir: str = "",
        servers: Sequence[tuple[str, int]] = (),
        tell: Tell | None = None,
    ) -> None:
        self.reactor = reactor
        self.deadlines = deadlines
        self.names: dict[str, Members] = {}
        self._resolve = resolve
        self._resolver = Resolver(reactor, servers)
        self._state_dir = state_dir
        self._tell = tell or log_event

    def pool(self, name: str, settings: schema.Pool) -> Pool:
        """A pool whose backends have their connections. Raises :class:`Unusable`."""
        secure = any(backend.url.scheme == "https" for backend in settings.backends)
        tls = self._tls(name, settings.tls) if secure else None
        entries = [self._entry(backend, settings, tls) for backend in settings.backends]
        aliases = {settings.host.lower().encode()} - {b"preserve", b"backend"}
        pool = Pool(
            name.encode(),
            [entry for entry in entries if isinstance(entry, Backend)],
            POLICIES[settings.balance],
            panic_threshold=settings.panic_threshold,
            slow_start=settings.slow_start,
            ejection=_ejection(settings.outlier),
            retry=_retry(settings.retry),
            key=compile_key(settings.hash_key) if settings.balance == "hash" else None,
            aliases=aliases,
            wake=lambda seconds: reactor.callLater(seconds, tick),
            tell=_keep_idle,
            complain=TroubleLog(name, self.deadlines, self.reactor.seconds).add,
        )
        pool.listeners.append(self._tell)
        reactor = self.reactor

        def tick() -> None:
            pool.tick(reactor.seconds())

        def let_go(pool: Pool, event: str, backend: Backend | None) -> None:
            # Later, when the candidates are settled: others will take who waits in line there.
            if backend is not None and backend.waiting:
                reactor.callLater(0, turn_away, backend)

        def turn_away(backend: Backend) -> None:
            if pool.candidates and backend not in pool.candidates:
                backend.connections.turn_away()

        pool.listeners.append(let_go)

        if settings.sticky is not None:
            secret = self._sticky_secret(f"pools.{name}.sticky.secret", settings.sticky.secret)
            pool.sticky = Sticky(settings.sticky.cookie.encode(), secret, pool)
        if len(pool.backends) < len(entries):
            self.names[name] = Members(pool, entries, reactor)
        return pool

    def _sticky_secret(self, place: str, given: str | Secret) -> bytes:
        try:
            if given:
                secret = self._material(given)
                if len(secret.strip()) < MIN_SECRET:
                    raise Unusable(place, f"is shorter than {MIN_SECRET} bytes")
                return secret.strip()
            return kept_secret(Path(self._resolve(self._state_dir)) / STICKY_FILE)
        except (OSError, KeyError) as error:
            what = error.strerror if isinstance(error, OSError) else "not set"
            raise Unusable(place, f"cannot be read: {what}") from None

    def deadlines_of(
        self,
        plan: Plan,
        timeouts: schema.PoolTimeouts,
        over: schema.RouteTimeouts = _NOTHING,
    ) -> None:
        """Give a plan towards a pool its deadlines; what ``over`` has goes before ``timeouts``."""
        queue = self.deadlines.queue
        plan.connect = over.connect or timeouts.connect
        plan.first_byte = queue(over.first_byte or timeouts.first_byte, Upstream.first_byte_expired)
        idle = over.idle or timeouts.idle
        plan.idle = queue(idle, Upstream.idle_expired)
        plan.tunnel_idle = queue(idle, _expire)
        plan.queue = queue(over.queue or timeouts.queue, Exchange.queue_expired)
        total = timeouts.total if over.total is None else over.total
        plan.total = queue(total, Exchange.deadline_expired) if total else None

    def _tls(self, pool: str, settings: schema.BackendTls) -> ClientTls:
        """TLS towards the backends of a pool."""
        place = f"pools.{pool}.tls"
        read: dict[str, bytes | None] = {}
        for key in ("ca", "cert", "key"):
            value = getattr(settings, key)
            try:
                read[key] = self._material(value) if value not in ("", "system") else None
            except (OSError, KeyError) as error:
                what = error.strerror if isinstance(error, OSError) else "not set"
                raise Unusable(f"{place}.{key}", f"cannot be read: {what}") from None
        try:
            return ClientTls(
                verify=settings.verify,
                authorities=read["ca"],
                certificate=read["cert"],
                key=read["key"],
            )
        except ValueError as error:
            raise Unusable(place, str(error)) from error

    def _material(self, value: str | Secret) -> bytes:
        """The content of a file of the configuration, or of a secret."""
        if isinstance(value, Secret) and value.kind == "env":
            return os.environb[value.name.encode()]
        name = value.name if isinstance(value, Secret) else value
        return Path(self._resolve(name)).read_bytes()

    def _entry(
        self, backend: schema.Backend, pool: schema.Pool, tls: ClientTls | None
    ) -> Backend | Named:
        """The backend at an address, or those of a name."""
        url = backend.url
        if not url.is_name:
            return self._backend(backend, pool, tls, url, url)
        look_up: LookUp
        if url.is_service:
            look_up = Services(self._resolver, url.host)
        else:
            look_up = Addresses(self._resolver, url.host, url.port)

        def make(target: Target) -> Backend:
            at = evolve(url, host=target.address, port=target.port)
            known_as = evolve(at, host=target.host or url.host)
            return self._backend(backend, pool, tls, at, known_as)

        name = str(url).removeprefix("http://")
        watch = Watch(name, look_up, pool.resolve, self.reactor)
        return Named(watch, make, backend.weight, backend.priority)

    def _backend(
        self,
        backend: schema.Backend,
        pool: schema.Pool,
        tls: ClientTls | None,
        url: BackendUrl,
        known_as: BackendUrl,
    ) -> Backend:
        """The backend at ``url``, which believes to be at ``known_as``."""
        made = Backend(
            str(url).removeprefix("http://").encode(),
            _authority(known_as),
            backend.weight,
            backend.max_connections,
            priority=backend.priority,
            max_pending=backend.max_pending,
            max_requests=backend.max_requests,
            # None: not used until its checks say so.
            healthy=None if pool.health and pool.health.initial == "probe" else True,
        )
        keepalive = pool.keepalive
        made.connections = Connections(
            made,
            self._dialer(url, known_as.host, pool, tls),
            self.reactor.seconds,
            self.deadlines.queue(keepalive.timeout, Upstream.kept_long_enough),
            keepalive.idle,
            keepalive.requests,
        )
        return made

    def _dialer(self, url: BackendUrl, name: str, pool: schema.Pool, tls: ClientTls | None) -> Any:
        if url.scheme == "unix":
            return UnixDialer(self.reactor, str(self._resolve(url.path)))
        dialer: Any
        if url.is_local_name:
            dialer = LocalDialer(self.reactor, url.port)
        else:
            dialer = TcpDialer(self.reactor, url.host, url.port)
        if url.scheme == "https":
            assert tls is not None
            if pool.tls.server_name != "auto":
                name = pool.tls.server_name
            log = FailureLog(f"backend {url}", self.deadlines, self.reactor.seconds, LogLevel.error)
            dialer = TlsDialer(self.reactor, dialer, tls.backend(name), log)
        return dialer


def rules(
    requests: Changes,
    responses: Changes,
    hide: Iterable[bytes],
    defaults: Iterable[Line] = (),
    secure_defaults: Iterable[Line] = (),
    *,
    host: str | None = None,
    websocket: bool = False,
) -> dict[str, Any]:
    """What a plan does to fields, as arguments for one; ``host`` is what its pool says of Host.

    ``defaults`` are response fields for who sends none such, ``secure_defaults`` over TLS only.
    """
    sent = None if host in (None, "preserve", "backend") else str(host).encode()
    trusted, untrusted = (
        RequestRules(trusted, sent, websocket, requests, host == "backend")
        for trusted in (True, False)
    )
    return {
        "trusted_rules": trusted,
        "rules": untrusted,
        "response_rules": ResponseRules(hide, responses, defaults, secure_defaults),
    }


def close(pools: Iterable[Pool]) -> None:
    """Close the idle connections of pools, and keep none from now on."""
    for pool in pools:
        for backend in pool.backends:
            backend.connections.close()


def kept_secret(path: Path) -> bytes:
    """The secret in a file, which is made if there is none. Raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
    fresh = os.urandom(MIN_SECRET)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # nobody else may read it
    with open(descriptor, "wb") as file:
        file.write(fresh)
    try:
        os.link(name, path)  # whoever is first has made it
    except FileExistsError:
        return path.read_bytes()
    finally:
        os.unlink(name)
    return fresh


def _keep_idle(pool: Pool, event: str, backend: Backend | None) -> None:
    """Keep no idle connections to what is not used."""
    if event == STATE and backend is not None:
        connections = backend.connections
        connections.closed = backend.state is not State.UP
        if connections.closed:
            connections.close()


def log_event(pool: Pool, event: str, backend: Backend | None) -> None:
    """Log what happens to a pool."""
    if backend is None:
        if event != MEMBERS:
            level = LogLevel.warn if event == PANIC else LogLevel.info
            _logger.emit(level, _POOL_EVENTS[event], pool=pool.name.decode())
        return
    if event in (UP, DOWN):
        return  # who checks it says so, and why
    level = LogLevel.warn if event == EJECTED else LogLevel.info
    _logger.emit(
        level,
        _BACKEND_EVENTS[event],
        pool=pool.name.decode(),
        backend=backend.name.decode(),
        seconds=pool.ejection.eject * backend.ejections if pool.ejection else 0,
        errors=backend.errors,
        state=backend.state.value,
        weight=backend.weight,
    )


_POOL_EVENTS = {
    PANIC: "Pool {pool}: too few healthy backends; requests go to all of them",
    CALM: "Pool {pool}: enough healthy backends; requests go to those alone",
}
_BACKEND_EVENTS = {
    EJECTED: "Pool {pool}: backend {backend} is left out for {seconds:g} s after {errors} errors"
    " in a row",
    RESTORED: "Pool {pool}: backend {backend} takes requests again",
    STATE: "Pool {pool}: backend {backend} is set to {state}, weight {weight}",
}


def _ejection(rules: schema.Outlier | None) -> Ejection | None:
    if rules is None:
        return None
    return Ejection(rules.consecutive_errors, rules.eject, rules.max_ejected)


def _retry(rules: schema.RetryRules | None) -> RetryRules | None:
    if rules is None:
        return None
    return RetryRules(
        rules.attempts, rules.on, non_idempotent=rules.non_idempotent, share=rules.budget
    )


def _expire(tunnel: Any) -> None:
    tunnel.expire()


def _authority(url: BackendUrl) -> bytes:
    """What Host says of a backend: its port only where it is not the scheme's own."""
    if url.scheme == "unix":
        return b"localhost"
    host = f"[{url.host}]" if ":" in url.host else url.host
    default = {"http": 80, "https": 443}[url.scheme]
    return (host if url.port == default else f"{host}:{url.port}").encode()

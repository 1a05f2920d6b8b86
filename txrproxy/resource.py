"""``ReverseProxyResource``: the proxy as an ``IResource``, for a stock ``twisted.web`` site.

Requests go through the same exchanges, rules and connections as those of the product's own server.
What differs is the client's side: :mod:`txrproxy.stock` stands in for a connection there::

    twisted.web Request ─ StockDownstream ─ Exchange ─ Upstream ─▶ backend

The limits are those of ``twisted.web``: request bodies have been read whole before this sees them,
trailers and upgrades do not pass, and the timeouts towards the client are the site's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from txrproxy import actions
from txrproxy.balance.pool import Pool
from txrproxy.cache.collapse import LOCK_TIMEOUT, Flights
from txrproxy.cache.control import listen
from txrproxy.cache.key import KeyMaker
from txrproxy.cache.policy import CONSUMED, Rules
from txrproxy.cache.store import Store
from txrproxy.caching import Caching
from txrproxy.config import schema
from txrproxy.config.forms.addresses import backend_url
from txrproxy.config.forms.basics import Unfit
from txrproxy.config.values import (
    FilePath,
    Natural,
    Seconds,
    Secret,
    Size,
    Text,
    Timeout,
    UpstreamHost,
)
from txrproxy.errors import NO_ROUTE
from txrproxy.http.forward import Changes
from txrproxy.http.head import BadHead
from txrproxy.http.peer import Network
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Plan, Serve
from txrproxy.routing.rewrite import Rewrite
from txrproxy.routing.tree import Tree
from txrproxy.site import NO_LOG, ProxySite, request_ids
from txrproxy.stock import StockDownstream, head_of, is_below
from txrproxy.transport.deadlines import Deadlines
from txrproxy.wiring import Unusable, Wiring, close, rules

_logger = Logger()

HIDE = ("server", "x-powered-by", "via")  # as in a policy

_NO_CHANGES = Changes()


class BackendPool:
    """Backends and their connections, for any number of resources. Made by :func:`backend_pool`."""

    def __init__(self, name: str, settings: schema.Pool, reactor: Any) -> None:
        self.reactor = reactor
        self._settings = settings
        self._deadlines = Deadlines(reactor)
        self._wiring = Wiring(reactor, self._deadlines, str)
        self._pool: Pool = self._wiring.pool(name, settings)
        # Requests that wait for the first look-up of names; None when none has to.
        self._waiting: list[Callable[[], object]] | None = [] if self._wiring.names else None

    def __repr__(self) -> str:
        return f"<BackendPool {self._pool!r}>"

    def plan(
        self,
        *,
        hide: Iterable[str],
        request_headers: Changes,
        response_headers: Changes,
        rewrite: Rewrite | None,
        body_limit: int | None,
        cache: ResponseCache | None,
    ) -> Plan:
        """A plan that leads here."""
        serve: Serve = actions.proxy
        hidden = [name.encode("ascii") for name in hide]
        if cache is not None:
            serve = cache.before(self._pool.name, serve)
            hidden += CONSUMED
        plan = Plan(
            name=b"",
            serve=serve,
            pool=self._pool,
            body_limit=body_limit,
            websocket=False,
            rewrite=rewrite.apply if rewrite else None,
            mount=rewrite.mount if rewrite else b"",
            **rules(
                request_headers,
                response_headers,
                hidden,
                host=self._settings.host,
            ),
        )
        self._wiring.deadlines_of(plan, self._settings.timeouts)
        return plan

    def when_ready(self, begin: Callable[[], object]) -> None:
        """Call ``begin`` when the names have been looked up: now, but for the first requests."""
        waiting = self._waiting
        if waiting is None:
            begin()
            return
        waiting.append(begin)
        if len(waiting) == 1:
            for members in self._wiring.names.values():
                members.start().addCallback(self._ready)

    def _ready(self, _: object) -> None:
        waiting, self._waiting = self._waiting, None
        for begin in waiting or ():
            begin()

    def close(self) -> None:
        """Close the idle connections and keep none; exchanges in progress go on."""
        for members in self._wiring.names.values():
            members.stop()
        self._ready(None)
        close([self._pool])
        self._deadlines.close()


def backend_pool(
    *urls: str,
    reactor: Any = None,
    name: str = "pool",
    host: str = "preserve",
    connect: float = 2.0,
    first_byte: float = 30.0,
    idle: float = 60.0,
    queue: float = 5.0,
    keepalive: int = 64,
    max_connections: int = 0,
    resolve: float = 30.0,
    verify: bool = True,
    ca: str = "system",
    server_name: str = "auto",
    cert: str = "",
    key: str = "",
) -> BackendPool:
    """A pool of the servers at these URLs, in turn.

    ``urls`` are ``http://host[:port]``, ``https://host[:port]`` or ``unix:/path``. ``host`` is what
    they get as Host: "preserve" (the client's), "backend" (the URL's) or a name. All times are in
    seconds: ``connect`` to connect, ``first_byte`` from the end of the request to the response,
    ``idle`` between two pieces of it, ``queue`` in wait for one of ``max_connections`` for each
    backend (0 for no limit), ``resolve`` until a host name is looked up again. ``keepalive`` idle
    connections are kept for each backend.

    Of backends with https the certificate is verified, unless ``verify`` is False: by the
    authorities of the system or those in the PEM file ``ca``, for the host of the URL or for
    ``server_name``. ``cert`` and ``key`` are PEM files of what is shown to them. They are read now.

    Raises ValueError for a URL, a time or a file that can not be used.
    """
    if reactor is None:
        from twisted.internet import reactor  # the caller has chosen it by now
    if not urls:
        raise ValueError("a pool has at least one backend")
    backends = []
    for written in urls:
        try:
            url = backend_url(written)
        except Unfit as error:
            raise ValueError(f"{written!r} is no URL of a backend: {error}") from None
        backends.append(schema.Backend(url=url, max_connections=Natural(max_connections)))
    settings = schema.Pool(
        backends=tuple(backends),
        host=UpstreamHost(host),
        resolve=_timeout(resolve),
        keepalive=schema.Keepalive(idle=Natural(keepalive)),
        timeouts=schema.PoolTimeouts(
            connect=_timeout(connect),
            first_byte=_timeout(first_byte),
            idle=_timeout(idle),
            queue=_timeout(queue),
        ),
        tls=schema.BackendTls(
            verify=verify,
            ca=FilePath(ca),
            server_name=Text(server_name),
            cert=FilePath(cert),
            key=Secret("file", key) if key else "",
        ),
    )
    try:
        return BackendPool(name, settings, reactor)
    except Unusable as error:
        raise ValueError(f"{error.key.rpartition('.')[2]}: {error}") from None


def _timeout(seconds: float) -> Timeout:
    if seconds <= 0:
        raise ValueError(f"a time is longer than {seconds} seconds")
    return Timeout(Seconds(seconds))


class ResponseCache:
    """A store of responses, for any number of resources. Made by :func:`response_cache`."""

    def __init__(self, settings: schema.Cache, rules: Rules, reactor: Any) -> None:
        self._reactor = reactor
        self._rules = rules
        self._deadlines = Deadlines(reactor)
        self._listening: Any = None
        self._store = store = Store(
            settings.path,
            max_size=settings.max_size,
            max_object=settings.max_object,
            memory=settings.memory,
            clock=reactor,
            deliver=reactor.callFromThread,
            name=f"cache {settings.path}",
        )
        self._flights = Flights(
            self._deadlines,
            LOCK_TIMEOUT,
            store.threads,
            store.mark,
            store.unlease,
            store.touched,
        )
        store.open(owned=self._owned)

    def __repr__(self) -> str:
        return f"<ResponseCache {self._store.folder.path}>"

    def _owned(self) -> None:
        try:
            self._listening = listen(self._store, self._reactor)
        except OSError as error:
            _logger.warn("{cache!r}: nobody can ask for it: {error}", cache=self, error=error)

    def before(self, name: bytes, serve: Serve) -> Serve:
        """What is done with a request whose response may be kept; ``name`` is of its pool."""
        later = partial(self._reactor.callLater, 0)
        keys = KeyMaker(("host", "path", "query"), name)
        return Caching(self._store, self._flights, self._rules, keys, serve, later).serve

    def close(self) -> Deferred[None]:
        """Keep nothing more, and let go of the folder; fires when what is whole is written."""
        closed: Deferred[None] = Deferred()

        def finished() -> None:
            self._deadlines.close()
            closed.callback(None)

        if self._listening is not None:
            self._listening.stopListening()
        self._store.finish(finished)
        return closed


def response_cache(
    folder: str,
    *,
    reactor: Any = None,
    max_size: int = 1 << 30,
    max_object: int = 100 << 20,
    memory: int = 64 << 20,
    default_ttl: float = 0.0,
    stale_while_revalidate: float = 0.0,
    stale_if_error: float = 0.0,
) -> ResponseCache:
    """A cache in a folder, which is made if there is none, and is this process's own.

    ``max_size`` bounds all that is stored, ``max_object`` one response of it, ``memory`` what is
    held in memory as well; in bytes. In seconds: ``default_ttl`` is how long a response is fresh
    that says nothing of it, ``stale_while_revalidate`` how long it is served stale while a fresh
    one is fetched, ``stale_if_error`` how long when backends fail. What may be stored, and who may
    have it, is RFC 9111. Opened now, and open until it is closed: let that be done before the
    reactor stops. ``txrproxy cache --folder`` looks into it.
    """
    if reactor is None:
        from twisted.internet import reactor  # the caller has chosen it by now
    settings = schema.Cache(
        path=FilePath(folder),
        max_size=Size(max_size),
        max_object=Size(max_object),
        memory=Size(memory),
    )
    rules = Rules(
        default_ttl=default_ttl,
        stale_while_revalidate=stale_while_revalidate,
        stale_if_error=stale_if_error,
    )
    return ResponseCache(settings, rules, reactor)


@implementer(IResource)
class ReverseProxyResource:
    """Sends every request below it to a pool of backends.

    The raw target is sent on as the client wrote it, unless ``rewrite`` changes it: mounted with
    ``root.putChild(b"api", …)``, ``/api/x`` arrives as ``/api/x``. A target that leaves the mount
    by dot segments is not sent on.

    ``hide`` names fields of responses that clients do not get; ``request_headers`` and
    ``response_headers`` are made by :func:`txrproxy.http.forward.changes`. ``trusted_proxies`` are
    networks whose ``X-Forwarded-*`` and ``Forwarded`` are believed. ``body_limit`` is in bytes.
    ``cache`` keeps responses. ``log`` takes access log records
    (:func:`txrproxy.observe.accesslog.open_log`).
    """

    isLeaf = True
    server = None  # putChild sets it

    def __init__(
        self,
        pool: BackendPool,
        *,
        hide: Iterable[str] = HIDE,
        request_headers: Changes = _NO_CHANGES,
        response_headers: Changes = _NO_CHANGES,
        trusted_proxies: Iterable[str] = (),
        rewrite: Rewrite | None = None,
        body_limit: int | None = None,
        cache: ResponseCache | None = None,
        log: Any = NO_LOG,
    ) -> None:
        self._when_ready = pool.when_ready
        plan = pool.plan(
            hide=hide,
            request_headers=request_headers,
            response_headers=response_headers,
            rewrite=rewrite,
            body_limit=body_limit,
            cache=cache,
        )
        trusted: Sequence[Network] = [ip_network(network) for network in trusted_proxies]
        shared = {
            "log": log,
            "seconds": pool.reactor.seconds,
            "wall": time.time,
            "trusted": trusted,
            "request_id": request_ids(),
        }
        self._mount(Tree([(Conditions(), plan)]), pool.reactor, shared)

    @classmethod
    def of_tree(
        cls, tree: Tree[Plan], reactor: Any, shared: Mapping[str, Any]
    ) -> ReverseProxyResource:
        """The resource of a whole tree of routes; ``shared`` are arguments of the site's."""
        made = cls.__new__(cls)
        made._when_ready = _now
        made._mount(tree, reactor, shared)
        return made

    def _mount(self, tree: Tree[Plan], reactor: Any, shared: Mapping[str, Any]) -> None:
        self._reactor = reactor
        self._sites = {
            secure: ProxySite(tree, scheme=b"https" if secure else b"http", **shared)
            for secure in (False, True)
        }

    def getChildWithDefault(self, name: bytes, request: Any) -> Any:
        """Never called of a leaf."""
        return self

    def putChild(self, path: bytes, child: Any) -> None:
        raise TypeError("a ReverseProxyResource is a leaf: it has no children")

    def render(self, request: Any) -> int:
        """Begin the exchange; it finishes the request."""
        site = self._sites[bool(request.isSecure())]
        address = getattr(request.getClientAddress(), "host", "unknown")
        downstream = StockDownstream(request, site.peer(address), self._reactor)
        try:
            head = head_of(request)
        except BadHead as error:
            site.refuse(downstream, error.reason)
        else:
            if is_below(head.path, request.prepath):
                self._when_ready(lambda: downstream.begin(site, head))
            else:
                site.refuse(downstream, NO_ROUTE)
        return NOT_DONE_YET


def _now(begin: Callable[[], object]) -> None:
    begin()

"""A request is played through the real proxy, on a connection without a wire.

::

    bytes ─▶ Downstream ─▶ Exchange ─▶ policies ─▶ cache ─▶ pool ─▶ a backend
      ▲                       └─ answers itself: what the client gets  │
    Ask.data                                                           └─ what it would get

Everything between the two ends is the code that serves, built by ``config/build`` from the same
configuration (:mod:`txrproxy.explain.still` says what is kept from it). A backend's connection only
notes what is written to it, and nobody answers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import define, field, frozen
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from txrproxy.config.build import build
from txrproxy.config.graph import Graph
from txrproxy.config.schema import Config
from txrproxy.errors import REASONS, RESPONDED, Reason
from txrproxy.explain.still import Step, Still, still
from txrproxy.http.fields import is_field_value, is_token
from txrproxy.http.head import RequestHead
from txrproxy.http.peer import Peer, is_trusted, unmapped
from txrproxy.names.lookup import Target
from txrproxy.routing.plan import Plan, Serve
from txrproxy.transport.downstream import Downstream

REQUEST_ID = b"made-for-each-request"
NOBODY = "192.0.2.1"  # an address for documentation (RFC 5737): no network of anyone's
ADDRESS = bytes((192, 0, 2, 1))  # what stands for the addresses of a name

_LATER = 2 * 86400.0  # seconds after which no rate limit remembers anything
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE = "%/:?#[]@!$&'()*+,;=-._~|\\^`{}\"<>"


@frozen
class Ask:
    """A request as a client would send it, and where. Raises ValueError for what none can send."""

    method: str
    url: str
    fields: tuple[tuple[str, str], ...] = ()
    client: str = NOBODY
    listener: str | None = None
    scheme: str = field(init=False)
    port: int = field(init=False)
    data: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"not an absolute http or https URL: {self.url}")
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), _SAFE)
        named = {name.lower() for name, _ in self.fields}
        authority = parts.netloc.rpartition("@")[2]
        own = [] if "host" in named else [("Host", authority)]
        lines = [f"{self.method} {target} HTTP/1.1\r\n".encode("ascii")]
        for name, value in (*own, *self.fields):
            raw = name.encode(), value.encode()
            if not is_token(raw[0]) or not is_field_value(raw[1]):
                raise ValueError(f"not a header field: {name}: {value}")
            lines.append(b"%b: %b\r\n" % raw)
        if not re.fullmatch(r"[!#-'*+.^_`|~0-9A-Za-z-]+", self.method):
            raise ValueError(f"not a method: {self.method}")
        init = object.__setattr__
        init(self, "scheme", parts.scheme)
        init(self, "port", parts.port or _DEFAULT_PORTS[parts.scheme])
        init(self, "data", b"".join([*lines, b"\r\n"]))


@define
class Filter:
    """A filter of a policy on the way of a request, and whether it let it pass."""

    policy: str
    kind: str
    settings: Any
    reached: bool = False
    passed: bool = False
    reason: Reason | None = None  # why it answered
    answer: bytes = b""
    waits: bool = False  # it has to ask somebody, and is taken to let it pass

    @property
    def step(self) -> Step:
        return self.policy, self.kind


@define
class Outcome:
    """What became of a request.

    ``plan`` is that of its route; its name is empty where none takes it. ``answer`` is what the
    client gets from the proxy itself, with its ``status`` and ``reason``; ``forwarded`` what a
    backend gets instead. ``filters`` are those of the policies, in their order.
    """

    ask: Ask
    head: RequestHead | None = None
    client: str = ""
    secure: bool = False
    trusted: bool = False
    plan: Plan | None = None
    filters: list[Filter] = field(factory=list)
    answer: bytes = b""
    status: int = 0
    reason: Reason | None = None
    pool: str = ""
    backend: str = ""
    sticky: bool = False  # a cookie asked for that backend
    forwarded: bytes = b""

    @property
    def route(self) -> str:
        return self.plan.name.decode() if self.plan is not None else ""

    @property
    def location(self) -> str | None:
        """Where an answer sends the client."""
        found = re.search(rb"\r\nlocation: ?([^\r]*)", self.answer.partition(b"\r\n\r\n")[0], re.I)
        return found[1].decode("latin-1") if found else None


Prepare = Callable[[Graph], None]


class Rehearsal:
    """Plays requests through one configuration, one after the other, none of which leaves a trace.

    ``prepare(graph)`` may say what is known of backends. Raises ConfigErrors as ``build`` does.
    """

    def __init__(
        self,
        config: Config,
        prepare: Prepare = lambda graph: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._prepare = prepare
        self._wall = wall
        self._stages: dict[frozenset[Step], _Stage] = {}
        self.graph = self._stage(frozenset()).graph

    def close(self) -> None:
        """Let go of everything, for a process that lives on."""
        for stage in self._stages.values():
            stage.graph.close()
        self._stages.clear()

    def _stage(self, without: frozenset[Step]) -> _Stage:
        stage = self._stages.get(without)
        if stage is None:
            stage = _Stage(still(self.config, without), self._prepare, self._wall)
            self._stages[without] = stage
        return stage

    def play(self, ask: Ask, listener: str) -> Outcome:
        """What becomes of a request on a listener.

        A filter that has to ask somebody, such as ``forward_auth``, is taken to let it pass.
        """
        stage = self._stage(frozenset())
        outcome = stage.play(ask, listener)
        route = next((one for one in self.config.routes if one.name == outcome.route), None)
        if route is None:
            return outcome
        filters = stage.watch(ask, listener, route.use) if route.use else []
        without: frozenset[Step] = frozenset()
        while (stopped := _stopped(filters)) is not None and stopped.waits:
            without |= {stopped.step}
            stopped.passed = True
            stage = self._stage(without)
            rest = {one.step: one for one in stage.watch(ask, listener, route.use)}
            filters = [rest.get(one.step, one) for one in filters]
        if without:
            outcome = stage.play(ask, listener)
        outcome.filters = filters
        if route.resource is not None and outcome.reason is RESPONDED:
            outcome.answer, outcome.status, outcome.reason = b"", 0, None  # its own, not ours
        return outcome


def _stopped(filters: list[Filter]) -> Filter | None:
    """Where a request went no further."""
    return next((one for one in filters if one.reached and not one.passed), None)


class _Stage:
    """One graph of live objects, whose backends take notes."""

    def __init__(self, config: Config, prepare: Prepare, wall: Callable[[], float]) -> None:
        self._reactor = Still()
        self._log = _Log()
        self.config = config
        self.graph = graph = build(config, self._reactor, self._log, wall, tell=_nothing)
        for members in graph.names.values():
            members.assume(lambda name: [Target(4, ADDRESS, _port(name), "")])
        prepare(graph)
        self._plans = {plan.name.decode(): plan for _, plan in graph.routes}
        self._noted: list[_Noted] = []
        for pool in graph.pools.values():
            for backend in pool.backends:
                backend.connections = _Notes(backend, self._noted)
        for part in graph.policies.parts.values():
            for pool in part.pools:
                for backend in pool.backends:
                    backend.connections.dial = _nobody
        for site in graph.listeners.values():
            site.request_id = lambda: REQUEST_ID

    def play(self, ask: Ask, listener: str) -> Outcome:
        """Send a request, and take down what happens."""
        site = self.graph.listeners[listener]
        peer = self._peer(ask)
        wire = _Wire()
        outcome = Outcome(ask, secure=peer.secure, trusted=peer.trusted)
        self._log.records.clear()
        self._noted.clear()
        self.graph.limit.opened()
        downstream = Downstream(site.service, peer)
        site.connections.add(downstream)

        def begin(downstream: Any, head: RequestHead) -> None:
            outcome.head = head
            site.begin(downstream, head)

        site.service.begin = begin
        downstream.makeConnection(wire)
        downstream.dataReceived(ask.data)
        exchange = downstream.exchange
        if outcome.head is not None:
            told = outcome.head.fields
            behind = site.client_address(peer.address, told) if peer.trusted else peer.address
            outcome.client = behind.decode("ascii")
        if exchange is not None:
            outcome.plan, outcome.secure = exchange.plan, exchange.secure
        for record in self._log.records:
            name = record[9].decode()
            outcome.plan = self._plans.get(name, site.nowhere)
            outcome.status, outcome.reason = record[6], REASONS[record[15].decode()]
            outcome.answer = b"".join(wire.written)
            outcome.pool, outcome.backend = record[10].decode(), record[11].decode()
        for noted in self._noted:
            waiter = noted.waiter
            outcome.pool, outcome.backend = waiter.pool.name.decode(), waiter.backend.name.decode()
            outcome.sticky = waiter._wanted is waiter.backend
            outcome.forwarded = noted.data
        downstream.connectionLost(Failure(ConnectionDone()))
        site.service.begin = site.begin
        self._reactor.advance(_LATER)
        return outcome

    def watch(self, ask: Ask, listener: str, names: tuple[Any, ...]) -> list[Filter]:
        """Send a request through the filters of its route, and nothing else."""
        filters: list[Filter] = []

        def step(kind: str, name: str, settings: Any, serve: Serve) -> Serve:
            one = Filter(name, kind, settings)
            filters.insert(0, one)

            def passed(exchange: Any) -> None:
                one.passed = True
                serve(exchange)

            return passed

        plan = self.play(ask, listener).plan
        assert plan is not None
        before = plan.serve
        plan.serve = self.graph.policies.chain(names, lambda exchange: None, step)
        try:
            outcome = self.play(ask, listener)
        finally:
            plan.serve = before
        for one in filters:
            one.reached = True
            if not one.passed:
                one.answer, one.reason = outcome.answer, outcome.reason
                one.waits = not outcome.answer
                break
        return filters

    def _peer(self, ask: Ask) -> Peer:
        address = unmapped(ask.client)
        trusted = is_trusted(address, self.config.server.trusted_proxies)
        return Peer(address.encode("ascii"), ask.scheme.encode("ascii"), trusted)


def _nothing(*_: Any) -> None:
    """What happens to pools in a rehearsal is nobody's concern."""


def _port(name: str) -> int:
    port = name.rpartition(":")[2]
    return int(port) if port.isdigit() else 80


def _nobody(make: Any, timeout: float, connected: Any, failed: Any) -> None:
    """A dialler whose connection is never there."""


class _Log:
    """Keeps the records of the access log: how each exchange ended."""

    enabled = True

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.append = self.records.append


@define
class _Noted:
    waiter: Any
    data: bytes


class _Notes:
    """The connections to one backend, and each of them: notes what is sent, and answers nothing."""

    closed = False
    stale = False
    transport = None

    def __init__(self, backend: Any, noted: list[_Noted]) -> None:
        self.backend = backend
        self._noted = noted

    def acquire(self, waiter: Any, fresh: bool = False) -> _Notes:
        self._waiter = waiter
        return self

    def start(self, exchange: Any, data: bytes, body: int, now: float) -> None:
        self._noted.append(_Noted(self._waiter, data))

    def _nothing(self, *_: Any) -> None:
        pass

    send = end = abandon = pause = resume = leave = discard = close = _nothing


class _Wire:
    """A transport that keeps what is written."""

    disconnecting = False

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append

    def unsent(self) -> int:
        return 0

    def _nothing(self, *_: Any) -> None:
        pass

    registerProducer = unregisterProducer = pauseProducing = resumeProducing = _nothing
    loseConnection = abortConnection = loseWriteConnection = _nothing

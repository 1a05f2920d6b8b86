"""The HTTP server factory: accepts connections, and knows what every exchange on them needs.

One site serves one listener. It walks the tree of routes natively: a proxied request never becomes
a ``twisted.web.http.Request``, which spools whole bodies and cannot answer before they end.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.errors import (
    BAD_PROXY_HEADER,
    CLIENT_TLS_FAILED,
    CLIENT_TLS_TIMEOUT,
    NO_ROUTE,
    PLAIN_HTTP,
    Reason,
)
from txrproxy.exchange import Exchange
from txrproxy.http.fields import EMPTY
from txrproxy.http.forward import RequestRules, ResponseRules
from txrproxy.http.head import RequestFacts, RequestHead
from txrproxy.http.peer import Network, Peer, Way, client_address, is_trusted, unmapped
from txrproxy.http.target import Target
from txrproxy.routing.plan import Plan
from txrproxy.routing.tree import Tree
from txrproxy.tls.ends import HandshakeFailed, HandshakeTimeout, HungUp, PlainHttp
from txrproxy.tls.layer import TlsLayer
from txrproxy.tls.listener import ListenerTls
from txrproxy.tls.profiles import VERSION_NAMES
from txrproxy.tls.server import TlsServer
from txrproxy.transport.deadlines import Queue
from txrproxy.transport.downstream import Downstream, Service
from txrproxy.transport.limit import ConnectionLimit
from txrproxy.transport.proxied import HeaderReader
from txrproxy.transport.proxyprotocol import Mode

_logger = Logger()

# What a site keeps when it becomes another.
_OWN = frozenset({"connections", "tunnels", "service", "request_id"})

MAX_PEERS = 1024  # clients whose rendered address is remembered
MAX_NAME = 255  # bytes of a server name that are logged

# What stands in for a request that could not be read.
_UNREADABLE = RequestHead(
    b"-",
    Target("origin", b"-", None, b"-"),
    b"-",
    b"",
    b"",
    EMPTY,
    RequestFacts(EMPTY, False),
    0,
)
_UNREADABLE.facts.http_11 = True


class _Met:
    """Stands for a connection on which nothing was ever asked: who is at its other end."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer


class _NoLog:
    """Stands where nobody wants an access log."""

    enabled = False

    def append(self, record: Any) -> None:
        """Forget it."""


NO_LOG = _NoLog()


def nowhere() -> Plan:
    """The plan of a request that no route takes."""
    return Plan(
        name=b"",
        serve=lambda exchange: exchange.fail(NO_ROUTE),
        trusted_rules=RequestRules(True),
        rules=RequestRules(False),
        response_rules=ResponseRules(),
    )


def request_ids() -> Callable[[], bytes]:
    """A source of request ids: 64 random bits for the process, then a count."""
    prefix = os.urandom(8).hex().encode("ascii")
    count = itertools.count(1).__next__
    return lambda: b"%b%08x" % (prefix, count())


@implementer(IProtocolFactory)
class ProxySite:
    """The factory of one listener's connections.

    ``tree`` leads from a request to its plan, and may be swapped at any time: exchanges in progress
    keep the plan they have. ``trusted`` are the networks of proxies whose word is believed. ``tls``
    makes it a listener for https. ``proxy_headers`` says which PROXY headers trusted proxies send,
    and their deadline. ``name`` is the listener's, for the log. ``log`` takes access log records.
    ``seconds`` is a monotonic clock, ``wall`` unix time.
    """

    def __init__(
        self,
        tree: Tree[Plan],
        *,
        log: Any,
        seconds: Callable[[], float],
        wall: Callable[[], float],
        trusted: Sequence[Network] = (),
        scheme: bytes = b"http",
        limit: ConnectionLimit | None = None,
        proxy_headers: tuple[Mode, Queue[HeaderReader]] | None = None,
        tls: tuple[ListenerTls, TlsServer] | None = None,
        request_id: Callable[[], bytes] | None = None,
        name: str = "",
    ) -> None:
        self.tree = tree
        self.log = log
        self.seconds = seconds
        self.wall = wall
        self.request_id = request_id or request_ids()
        self.nowhere = nowhere()
        self.tunnels: set[Any] = set()
        self.connections: set[Any] = set()
        self.service: Service  # set by ``serve``
        self._trusted = trusted
        self._scheme = scheme
        self._proxy_headers = proxy_headers
        self._tls = tls
        self._limit = limit or ConnectionLimit(0)
        self._peers: dict[str, Peer] = {}
        self._ways: dict[tuple[bytes, bool, Way], Peer] = {}
        self._name = name.encode()

    def serve(self, service: Service) -> None:
        """Bind what connections share: limits and deadlines."""
        self.service = service

    def become(self, other: ProxySite) -> None:
        """Serve as ``other`` would, from the next request on: it was built to take this place.

        Connections stay, and exchanges in progress keep the plan they have.
        """
        for name, value in vars(other).items():
            if name not in _OWN:
                setattr(self, name, value)
        self.service.become(other.service)
        vars(other).clear()  # a cycle less: nobody else holds it

    # What Twisted asks of a factory.

    def doStart(self) -> None:
        """Nothing to begin: the site is whole when it is built."""

    def doStop(self) -> None:
        """Nothing to end: a stopped port leaves its connections alone."""

    def buildProtocol(self, addr: IAddress) -> Any:
        self._limit.opened()
        peer = self.peer(getattr(addr, "host", "unknown"))
        protocol: Any
        # Where a PROXY header is expected, anyone but a trusted proxy is an ordinary client.
        if self._proxy_headers is not None and peer.trusted:
            mode, queue = self._proxy_headers

            def accepted(reader: HeaderReader, address: str | None) -> Any:
                self.connections.discard(reader)
                # A header without an address leaves the connection's own, and nobody's word.
                if address is None:
                    return self._protocol(self._made(Peer(peer.address, self._scheme, False)))
                return self._protocol(self.peer(address))

            protocol = HeaderReader(mode, queue, self.seconds, accepted, self._header_ended)
            self.connections.add(protocol)
            return protocol
        return self._protocol(peer)

    def _protocol(self, peer: Peer) -> Any:
        """What speaks first with this peer: HTTP, or TLS with HTTP to follow."""
        if self._tls is None:
            return self._downstream(peer)
        tls, server = self._tls

        def made(layer: TlsLayer) -> Downstream:
            self.connections.discard(layer)
            connection = layer.connection
            version = VERSION_NAMES[connection.get_protocol_version()]
            name = connection.get_servername() or b""
            way = (self._name, self._scheme, version, name[:MAX_NAME])
            client = tls.peer(connection, peer.address, peer.trusted, self._scheme)
            if client is None:
                client = self._like(peer, way)
            client.way = way
            return self._downstream(client)

        def ended(layer: TlsLayer, failure: Failure) -> None:
            self.lost(layer)
            error: Any = failure.value
            server.failed(layer, peer.address.decode("ascii"), error)
            self._handshake_failed(peer, layer, error)

        layer = server.wrap(made, ended)
        self.connections.add(layer)
        return layer

    def _handshake_failed(self, peer: Peer, layer: TlsLayer, error: HandshakeFailed) -> None:
        if isinstance(error, HungUp):
            return  # nothing was asked of us: a port scan, a balancer's health check
        client = Peer(peer.address, self._scheme, peer.trusted)
        client.way = (self._name, self._scheme, b"", (layer.server_name or b"")[:MAX_NAME])
        exchange = self._unreadable(_Met(client), client)
        exchange.started = layer.began
        if isinstance(error, PlainHttp):
            exchange.status = PLAIN_HTTP.status
            exchange.note(PLAIN_HTTP)
        else:
            late = isinstance(error, HandshakeTimeout)
            exchange.note(CLIENT_TLS_TIMEOUT if late else CLIENT_TLS_FAILED)

    def _downstream(self, peer: Peer) -> Downstream:
        downstream = Downstream(self.service, peer)
        self.connections.add(downstream)
        return downstream

    def _header_ended(self, reader: HeaderReader, refused: bool) -> None:
        self.lost(reader)
        if refused:
            address = getattr(reader.transport.getPeer(), "host", "unknown")
            peer = self.peer(address)
            self._unreadable(_Met(peer), peer).note(BAD_PROXY_HEADER)

    def lost(self, downstream: Any) -> None:
        """A connection is gone."""
        self.connections.discard(downstream)
        self._limit.closed()

    def peer(self, address: str) -> Peer:
        """The peer with this address (IP text); shared between its connections."""
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self._peers.clear()
            text = unmapped(address)
            trusted = is_trusted(text, self._trusted)
            made = self._made(Peer(text.encode("ascii"), self._scheme, trusted))
            peer = self._peers[address] = made
        return peer

    def _made(self, peer: Peer) -> Peer:
        peer.way = (self._name, self._scheme, b"", b"")
        return peer

    def _like(self, peer: Peer, way: Way) -> Peer:
        """The peer with this address that has come this way; shared as well."""
        key = (peer.address, peer.trusted, way)
        found = self._ways.get(key)
        if found is None:
            if len(self._ways) >= MAX_PEERS:
                self._ways.clear()
            found = self._ways[key] = Peer(peer.address, self._scheme, peer.trusted)
        return found

    # What a connection asks.

    def begin(self, downstream: Any, head: RequestHead) -> None:
        """A request has arrived."""
        exchange = Exchange(self, downstream, head, self.seconds())
        downstream.exchange = exchange
        try:
            exchange.begin()
        except Exception:
            # A fault of ours, or of a resource that is mounted: this client alone is to notice.
            _logger.failure("{exchange!r} failed", exchange=exchange)
            exchange.on_fault()

    def refuse(self, downstream: Any, reason: Reason) -> None:
        """Something has arrived that is no request."""
        exchange = downstream.exchange = self._unreadable(downstream, downstream.peer)
        exchange.fail(reason)

    def _unreadable(self, connection: Any, peer: Peer) -> Exchange:
        """An exchange for what is no request, to be answered or logged."""
        exchange = Exchange(self, connection, _UNREADABLE, self.seconds())
        exchange.client = peer.address
        exchange.request_id = self.request_id()
        exchange.plan = self.nowhere
        return exchange

    def client_address(self, peer: bytes, fields: Any) -> bytes:
        """The client behind a trusted proxy."""
        return client_address(peer, fields, self._trusted)

    # Ending.

    @property
    def carried(self) -> int:
        """Exchanges in progress, and tunnels."""
        exchanges = [getattr(each, "exchange", None) for each in self.connections]
        return len(exchanges) - exchanges.count(None) + len(self.tunnels)

    def drain(self, softly: bool = False) -> None:
        """Close what is idle, and everything else after its exchange.

        ``softly`` leaves what is idle until it has been served once more: a client that is about to
        ask, on a connection kept or just opened, is not to find it closed.
        """
        self.service.draining = True
        self.service.softly = softly
        if softly:
            return
        for downstream in list(self.connections):
            downstream.close_when_idle()

    def abort(self) -> None:
        """End every connection now."""
        for tunnel in list(self.tunnels):
            tunnel.close()
        for connection in list(self.connections):
            # A handshake in progress is the transport of a connection that is still to be made.
            handshake = isinstance(connection, TlsLayer)
            transport = connection if handshake else connection.transport
            if transport is not None:
                transport.abortConnection()

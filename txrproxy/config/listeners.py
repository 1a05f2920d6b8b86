"""What listens: for each listener of a configuration the site that serves its connections, with its
TLS, its deadlines, and the one route of a listener that sends everybody to https.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs

from txrproxy import actions
from txrproxy.config import schema
from txrproxy.config.certificates import rules_of, sources
from txrproxy.config.graph import Graph
from txrproxy.config.problems import ConfigErrors, Problem
from txrproxy.config.routes import field_rules
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Plan
from txrproxy.routing.redirect import Template
from txrproxy.routing.tree import Tree
from txrproxy.site import ProxySite
from txrproxy.tls.certificates import Source
from txrproxy.tls.failures import FailureLog
from txrproxy.tls.gate import Gate
from txrproxy.tls.layer import TlsLayer
from txrproxy.tls.listener import ListenerTls
from txrproxy.tls.pem import BadPem
from txrproxy.tls.selfsigned import self_signed
from txrproxy.tls.server import TlsServer
from txrproxy.tls.store import Disagreement
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.downstream import Downstream, Service
from txrproxy.transport.limit import ConnectionLimit
from txrproxy.transport.proxied import HeaderReader

HANDSHAKE = 10.0  # seconds for a TLS handshake, however it trickles in
LINGER = 5.0  # seconds that a closing connection still reads, so that its last response arrives


class ListenerBuilder:
    """Makes sites. ``old`` is the graph to be taken over from."""

    def __init__(
        self,
        config: schema.Config,
        reactor: Any,
        deadlines: Deadlines,
        wall: Callable[[], float],
        old: Graph | None,
    ) -> None:
        self.gate = Gate(reactor) if old is None else old.gate
        self._config = config
        self._reactor = reactor
        self._deadlines = deadlines
        self._wall = wall
        self._old = old

    def site(
        self,
        name: Any,
        listener: schema.Listener,
        tree: Tree[Plan],
        limit: ConnectionLimit,
        shared: Mapping[str, Any],
    ) -> tuple[ProxySite, ListenerTls | None]:
        """What serves a listener, and its TLS, if it has any. Raises :class:`ConfigErrors`."""
        tls = self._tls(name, listener)
        site = ProxySite(
            self._to_https(listener, tree) if listener.redirect_https else tree,
            name=name,
            limit=limit,
            proxy_headers=self._proxy_headers(listener),
            scheme=b"http" if tls is None else b"https",
            tls=None if tls is None else (tls, self._tls_server(name, tls)),
            **shared,
        )
        site.serve(self._service(site, listener))
        return site, tls

    def _tls_server(self, name: Any, tls: ListenerTls) -> TlsServer:
        return TlsServer(
            tls.contexts.connection,
            self._reactor,
            self._deadlines.queue(HANDSHAKE, TlsLayer.expired),
            self.gate,
            FailureLog(f"listener {name}", self._deadlines, self._reactor.seconds),
            tls.contexts.greet,
        )

    def _tls(self, name: Any, listener: schema.Listener) -> ListenerTls | None:
        """What a listener needs for TLS; None for one that speaks plain text."""
        tls = listener.tls
        if tls is None:
            return None
        resolve = self._config.resolve
        if (kept := self._inherited(name, listener)) is not None:
            return kept

        def own() -> Source:
            return self_signed(resolve(self._config.server.state_dir), self._wall())

        try:
            found = sources(tls, resolve)
            if tls.self_signed:
                found.append(attrs.evolve(own(), **rules_of(tls, resolve)))
            return ListenerTls(
                found,
                resolve,
                self._reactor,
                self._wall,
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

    def _inherited(self, name: Any, listener: schema.Listener) -> ListenerTls | None:
        """It follows its files by itself."""
        old = self._old
        if old is None or old.config.base != self._config.base:
            return None
        before = old.config.listeners.get(name)
        if before is None:
            return None
        same = (before.tls, before.protocols) == (listener.tls, listener.protocols)
        return old.tls.get(name) if same else None

    def _proxy_headers(self, listener: schema.Listener) -> Any:
        if listener.proxy_protocol == "off":
            return None
        return (
            listener.proxy_protocol,
            self._deadlines.queue(listener.head_timeout, HeaderReader.expired),
        )

    def _service(self, site: ProxySite, listener: schema.Listener) -> Service:
        queue = self._deadlines.queue
        return Service(
            begin=site.begin,
            refuse=site.refuse,
            lost=site.lost,
            later=partial(self._reactor.callLater, 0),
            seconds=self._reactor.seconds,
            wall=self._wall,
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

    @staticmethod
    def _to_https(listener: schema.Listener, tree: Tree[Plan]) -> Tree[Plan]:
        """The tree of a listener that sends everyone to https."""
        port = listener.redirect_https
        named = "" if port is True or port == 443 else f":{port}"
        template = Template.compile("https://{host}" + named + "{uri}")
        conditions = Conditions()
        serve = actions.to_https(template, conditions, tree)
        plan = Plan(name=b"", serve=serve, **field_rules())
        return Tree([(conditions, plan)])

"""The running proxy: listening sockets, the live objects behind them, and an orderly end."""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import sys
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txrproxy.config.build import Graph, build
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config
from txrproxy.config.values import Bind
from txrproxy.observe.accesslog import open_log
from txrproxy.transport.direct import direct_port

_logger = Logger()


class CannotListen(Exception):
    """An address of the configuration is not to be had; the text says why and what to do."""


class Edge(Service):
    """One configuration, served. Sockets are bound while the process still has its privileges."""

    def __init__(self, config: Config, reactor: Any) -> None:
        self.setName("txrproxy")
        self.config = config
        self.graph: Graph
        self.ports: list[Any] = []
        self._reactor = reactor
        self._sockets: list[tuple[Bind, socket.socket]] = []

    @property
    def addresses(self) -> list[Any]:
        """Where the proxy listens, as Twisted addresses, in the order of the file."""
        return [port.getHost() for port in self.ports]

    def privilegedStartService(self) -> None:
        for listener in self.config.listeners.values():
            for address in listener.bind:
                try:
                    self._sockets.append((address, self._bind(address)))
                except (OSError, CannotListen) as error:
                    for _, bound in self._sockets:
                        bound.close()
                    self._give_up(f"cannot listen on {address}: {_explain(error)}")

    def startService(self) -> None:
        super().startService()
        if not self._sockets:
            self.privilegedStartService()
        access = self.config.log.access
        path = access.path if access.path == "-" else str(self.config.resolve(access.path))
        try:
            log = open_log(path, access.format, access.redact, self._reactor)
            self.graph = build(self.config, self._reactor, log)
        except ConfigErrors as errors:
            self._give_up(str(errors))
        except OSError as error:
            self._give_up(f"cannot write the access log {path}: {error.strerror}")
        for (address, bound), (_, site) in zip(self._sockets, self.graph.sites, strict=True):
            family = bound.family
            # The port duplicates the descriptor, and closing it leaves the socket alone.
            port = self._reactor.adoptStreamPort(bound.fileno(), family, site)
            bound.close()
            self.graph.limit.add(direct_port(port))
            self.ports.append(port)
            _logger.info("listening on {address}", address=address)
        self._sockets = []
        for name in ("SIGUSR1", "SIGHUP"):
            signal.signal(getattr(signal, name), self._reopen)
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        done: Deferred[None] = Deferred()
        for port in self.ports:
            port.stopListening()
        self._unlink()
        if not hasattr(self, "graph"):
            done.callback(None)
            return done
        self.graph.drain()
        deadline = self._reactor.seconds() + self.config.server.drain_timeout
        self._wait(deadline, done)
        return done

    def _wait(self, deadline: float, done: Deferred[None]) -> None:
        if self.graph.busy and self._reactor.seconds() < deadline:
            self._reactor.callLater(0.05, self._wait, deadline, done)
            return
        if self.graph.busy:
            _logger.warn("{count} connections cut at the drain timeout", count=self.graph.busy)
            self.graph.abort()
        self.graph.close()
        self.graph.log.close().chainDeferred(done)

    def _reopen(self, *_: object) -> None:
        self._reactor.callFromThread(self.graph.log.reopen)

    def _bind(self, address: Bind) -> socket.socket:
        backlog = self.config.server.backlog
        if address.kind == "unix":
            path = str(self.config.resolve(address.name))
            _remove_stale(path)
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                bound.bind(path)
            except OSError:
                bound.close()
                raise
        else:
            found = socket.getaddrinfo(
                address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, name = found[0]
            bound = socket.socket(family, kind, protocol)
            try:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound.bind(name)
            except OSError:
                bound.close()
                raise
        bound.setblocking(False)
        bound.listen(backlog)
        return bound

    def _unlink(self) -> None:
        for listener in self.config.listeners.values():
            for address in listener.bind:
                if address.kind == "unix":
                    try:
                        os.unlink(self.config.resolve(address.name))
                    except OSError:
                        pass

    @staticmethod
    def _give_up(message: str) -> None:
        print(message, file=sys.stderr)
        raise SystemExit(1)


def _remove_stale(path: str) -> None:
    """Take away a socket that nobody listens on any more, and nothing else."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen("the path exists and is no socket; remove it or choose another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise CannotListen("another process listens there; stop it or choose another path")


def _explain(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        advice = {98: "; stop the other process or choose another port"}.get(error.errno or 0, "")
        return f"{(error.strerror or str(error)).lower()}{advice}"
    return str(error)

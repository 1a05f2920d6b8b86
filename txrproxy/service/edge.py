"""The running proxy: listening sockets, the live objects behind them, and an orderly end."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger, LogLevel
from twisted.python import context
from twisted.python.log import ILogContext

from txrproxy.config.build import Graph, build
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config
from txrproxy.config.values import Bind
from txrproxy.observe.accesslog import open_log
from txrproxy.observe.errorlog import ErrorLog
from txrproxy.service.sockets import CannotListen, listen
from txrproxy.transport.direct import direct_port

_logger = Logger()

_POLL = 0.05  # seconds between two looks at what still drains


class CannotStart(SystemExit, Exception):
    """The proxy can not run; the text says why. The process ends with status 1.

    As an ``Exception`` it reaches the process that waits for a daemon to start, and the pid file
    goes; as a ``SystemExit`` it ends the interpreter without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 1


class Edge(Service):
    """One configuration, served. Sockets are bound while the process still has its privileges."""

    def __init__(self, config: Config, reactor: Any, error_log: ErrorLog | None = None) -> None:
        self.setName("txrproxy")
        self.config = config
        self.graph: Graph
        self.ports: list[Any] = []
        self._reactor = reactor
        self._error_log = error_log
        self._sockets: list[tuple[Bind, socket.socket]] = []
        self._handlers: dict[int, Any] = {}  # what signals did before

    @property
    def addresses(self) -> list[Any]:
        """Where the proxy listens, as Twisted addresses, in the order of the file."""
        return [port.getHost() for port in self.ports]

    # Starting.

    def privilegedStartService(self) -> None:
        for listener in self.config.listeners.values():
            for written in listener.bind:
                address = written
                if written.kind == "unix":
                    address = evolve(written, name=str(self.config.resolve(written.name)))
                try:
                    bound = listen(address, self.config.server.backlog)
                except CannotListen as error:
                    self._give_up(str(error))
                self._sockets.append((address, bound))

    def startService(self) -> None:
        if not self._sockets:
            self.privilegedStartService()
        access = self.config.log.access
        path = access.path if access.path == "-" else str(self.config.resolve(access.path))
        try:
            log = open_log(path, access.format, access.redact, self._reactor)
        except OSError as error:
            self._give_up(f"cannot write the access log {path}: {error.strerror}")
        try:
            self.graph = build(self.config, self._reactor, log)
        except ConfigErrors as errors:
            self._give_up(str(errors))
        super().startService()
        for number in (signal.SIGUSR1, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._on_signal)
        # Whoever connects before the names of backends are known waits in the backlog.
        self.graph.start().addCallback(self._serve).addErrback(_logged)
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)

    def _serve(self, _: object) -> None:
        for (address, bound), (_, site) in zip(self._sockets, self.graph.sites, strict=True):
            # The port duplicates the descriptor.
            port = _quietly(self._reactor.adoptStreamPort, bound.fileno(), bound.family, site)
            bound.close()
            self.graph.limit.add(direct_port(port))
            self.ports.append(port)
            _logger.info("listening on {address}", address=_where(address, port))
        self._sockets = []

    def _give_up(self, message: str) -> Any:
        self._close_sockets()
        _logger.critical("{message}", message=message)
        if self._error_log is not None and not self._error_log.on_stderr:
            print(message, file=sys.__stderr__)
        raise CannotStart(message)

    def _close_sockets(self) -> None:
        for _, bound in self._sockets:
            bound.close()
        self._sockets = []

    # Running.

    def reopen(self) -> None:
        """Open the files of both logs again: they were moved away."""
        self.graph.log.reopen()
        if self._error_log is not None:
            try:
                self._error_log.reopen()
            except OSError as error:
                _logger.error(
                    "cannot open {path} again, keeping the old file: {error}",
                    path=self._error_log.path,
                    error=error.strerror,
                )

    def _on_signal(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self.reopen)
        before = self._handlers.get(number)
        if callable(before):  # twistd's, which rotates the file that --logfile names
            before(number, frame)

    # Ending.

    def stopService(self) -> Deferred[None]:
        super().stopService()
        for number, before in self._handlers.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._handlers.clear()
        self._close_sockets()  # if it was never ready
        done: Deferred[None] = Deferred()
        closing = [maybeDeferred(port.stopListening) for port in self.ports]
        self.ports = []
        for closed in closing:
            # A socket file may be gone, or in a folder that is no longer ours to change.
            closed.addErrback(lambda failure: _logger.warn("{why}", why=failure.value))
        if not hasattr(self, "graph"):
            done.callback(None)
            return done
        # A client that is told to go elsewhere must not be able to come back here.
        DeferredList(closing).addCallback(lambda _: self._drain(done))
        return done

    def _drain(self, done: Deferred[None]) -> None:
        self.graph.drain()
        self._wait(self._reactor.seconds() + self.config.server.drain_timeout, done)

    def _wait(self, deadline: float, done: Deferred[None]) -> None:
        if self.graph.busy and self._reactor.seconds() < deadline:
            self._reactor.callLater(_POLL, self._wait, deadline, done)
            return
        if self.graph.busy:
            _logger.warn("{count} connections cut at the drain timeout", count=self.graph.busy)
            self.graph.abort()
        self.graph.close()
        self.graph.log.close().chainDeferred(done)


def _logged(failure: Any) -> None:
    _logger.failure("The proxy can not serve", failure)


def _quietly(call: Any, *args: Any) -> Any:
    """Call with what Twisted's old log says at the level debug: we say it in our own words."""
    return context.call({ILogContext: {"log_level": LogLevel.debug}}, call, *args)


def _where(address: Bind, port: Any) -> str:
    """The address, with the port number that the system chose for 0."""
    return str(address if address.kind == "unix" else evolve(address, port=port.getHost().port))

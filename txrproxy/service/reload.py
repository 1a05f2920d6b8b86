"""A reload, from the file to what is served: read, make everything that could fail, then change.

``read`` (:mod:`.reading`) gives a configuration without errors; the error log and the admin server
open what they will need; the workers build it (:mod:`.change`). Whoever refuses until then has
refused for all, and nothing has changed.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.config.schema import Config
from txrproxy.observe.errorlog import ErrorLog
from txrproxy.service.adminserver import AdminServer, Prepared
from txrproxy.service.change import PATIENCE
from txrproxy.service.master import Master
from txrproxy.service.notify import Notifier
from txrproxy.service.reading import Reading, read
from txrproxy.service.sockets import CannotListen
from txrproxy.transport.channel import Body, Refused

_logger = Logger()


class Proxy(Protocol):
    """What is changed of an :class:`~txrproxy.service.edge.Edge`."""

    config: Config
    master: Master
    admin: AdminServer
    error_log: ErrorLog | None


class Reloads:
    """The reloads of a proxy, one at a time; ``last`` is how the last one went.

    ``file`` is where the configuration is, ``standard_error`` where goes what is logged there.
    """

    def __init__(
        self, proxy: Proxy, reactor: Any, notifier: Notifier, file: str | None, standard_error: str
    ) -> None:
        self.last: Body | None = None
        self._proxy = proxy
        self._reactor = reactor
        self._notifier = notifier
        self._file = file
        self._standard_error = standard_error
        self._reading: Deferred[Reading] | None = None

    def run(self) -> Deferred[Body]:
        """Read the file again, and serve what it says; fires with how it went.

        Fails with :class:`Refused`, and then nothing has changed.
        """
        began = self._reactor.seconds()
        self._notifier.reloading()
        done: Deferred[Any] = Deferred.fromCoroutine(self._reload())
        return done.addCallbacks(self._reloaded, self._refused, callbackArgs=(began,))

    def give_up(self) -> None:
        """The proxy ends: what is being read is of no use."""
        if self._reading is not None:
            self._reading.cancel()

    async def _reload(self) -> list[str]:
        if self._file is None:
            raise Refused("the configuration is not from a file")
        self._reading = read(self._file, self._reactor).addTimeout(PATIENCE, self._reactor)
        try:
            reading = await self._reading
        except (CancelledError, TimeoutError):
            raise Refused("the file was not read: it took too long, or the proxy ends") from None
        finally:
            self._reading = None
        try:
            return await self._serve(reading)
        finally:
            reading.close()

    async def _serve(self, reading: Reading) -> list[str]:
        """What there is to say of it."""
        proxy, config = self._proxy, reading.config
        before = proxy.config
        if config.server.state_dir != before.server.state_dir:
            raise Refused("server.state_dir: a change needs a restart")
        said = list(map(str, reading.warnings))
        with ExitStack() as undo:
            log = self._error_log(config)
            if log is not None:
                undo.callback(log.close)
            admin = self._admin(config)
            undo.callback(proxy.admin.discard, admin)
            await proxy.master.reload(config, reading.fd, reading.start)
            undo.pop_all()
        if log is not None:
            self._log_to(log)
        elif config.log.error != before.log.error:
            said.append("log.error: twistd chose the log at the start; a change needs a restart")
        proxy.config = config
        proxy.admin.commit(admin)
        for warning in said:
            _logger.warn("{warning}", warning=warning)
        return said

    def _admin(self, config: Config) -> Prepared | None:
        try:
            return self._proxy.admin.prepare(config)
        except CannotListen as error:
            raise Refused(str(error)) from error

    def _error_log(self, config: Config) -> ErrorLog | None:
        """The log to be written from now on, if it is another one, and ours to choose."""
        settings = config.log.error
        if settings == self._proxy.config.log.error or self._proxy.error_log is None:
            return None
        path = self._standard_error
        if settings.path != "-":
            path = str(config.resolve(settings.path))
        try:
            return ErrorLog(path, settings.level, settings.format)
        except OSError as error:
            raise Refused(f"cannot write the error log {path}: {error.strerror}") from error

    def _log_to(self, log: ErrorLog) -> None:
        current = self._proxy.error_log
        assert current is not None
        if log.path != current.path:
            _logger.info("the log goes on in {path}", path=log.path)
        current.become(log)
        self._proxy.master.broadcast("log level", {"level": log.level})

    # How it went.

    def _reloaded(self, warnings: list[str], began: float) -> Body:
        seconds = round(self._reactor.seconds() - began, 3)
        _logger.info("reloaded in {seconds} s", seconds=seconds)
        return {**self._told("", seconds), "warnings": warnings}

    def _refused(self, failure: Failure) -> Failure:
        if failure.check(Refused):
            why = str(failure.value)
            _logger.error("reload refused, nothing has changed: {why}", why=why)
        else:
            why = "an internal error; the log tells more"
            _logger.failure("reloading failed", failure)
            failure = Failure(Refused(why))
        self._told(why, None)
        return failure

    def _told(self, error: str, seconds: float | None) -> Body:
        self._notifier.ready(len(self._proxy.master.serving))
        self._proxy.admin.reloaded(not error)
        self.last = {
            "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "ok": not error,
            "error": error or None,
            "seconds": seconds,
        }
        return self.last

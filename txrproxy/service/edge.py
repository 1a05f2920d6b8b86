"""The proxy as a service of twistd: it binds, makes the workers, and listens to who steers it.

::

    Edge ── Listeners       the sockets, bound while the process still has its privileges
      ├──── Master          the workers, or the data plane in this process
      │      └─ Pulse       whether they hang
      ├──── Keepers         the folders of caches, which the workers fill
      ├──── Control         `txrproxy status`, `reload`, `upgrade`, `stop`
      ├──── AdminServer     metrics, and the same over HTTP
      └──── Notifier        systemd

SIGHUP reloads, SIGUSR1 opens logs again, SIGTERM and SIGINT drain and end, and either of them, sent
again, ends at once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import (
    Deferred,
    DeferredLock,
    fail,
    succeed,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy import __version__
from txrproxy.config.schema import Config
from txrproxy.observe.errorlog import ErrorLog
from txrproxy.service.adminserver import AdminServer
from txrproxy.service.caches import Keepers
from txrproxy.service.control import Control, Taken, was_left
from txrproxy.service.files import needed, raise_limit
from txrproxy.service.master import Master, worker_count
from txrproxy.service.notify import Notifier
from txrproxy.service.pools import pools
from txrproxy.service.pulse import Pulse
from txrproxy.service.reload import Reloads
from txrproxy.service.sockets import CannotListen, Group, Listeners, systemd
from txrproxy.service.upgrade import Successor, admin_key, predecessor, receive
from txrproxy.transport.channel import Body, Refused

_logger = Logger()

_INHERITED = (
    5.0  # seconds that the workers of a proxy that was killed may need to let go of sockets
)

DRAINING = "draining"


class CannotStart(SystemExit, Exception):
    """The proxy can not run; the text says why. The process ends with status 1.

    As an ``Exception`` it reaches the process that waits for a daemon to start, and the pid file
    goes; as a ``SystemExit`` it ends the interpreter without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 1


class Edge(Service):
    """One configuration, served. ``file`` is where it was read, and is read again.

    ``standard_error`` is where goes what is to be logged there: a daemon has none, but a file.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        error_log: ErrorLog | None = None,
        file: str | None = None,
        standard_error: str = "-",
    ) -> None:
        self.setName("txrproxy")
        self.config = config
        self.listeners = Listeners(systemd())
        self.master = Master(reactor, self.listeners)
        self.keepers = Keepers(self.master, reactor)
        self._pulse = Pulse(self.master, reactor)
        self._reactor = reactor
        self.error_log = error_log
        self.admin = AdminServer(self, reactor)
        self._file = file
        self._predecessor = predecessor(reactor)
        self._successor: Successor | None = None
        self._control: Control | None = None
        self._notifier = Notifier(reactor)
        self.reloads = Reloads(self, reactor, self._notifier, file, standard_error)
        self._lock = DeferredLock()
        self._began = time.monotonic()
        self._phase = "starting"  # or DRAINING; empty while it serves
        self._delay: Any = None  # until draining begins
        self._end_delay: Deferred[None]
        self._handlers: dict[int, Any] = {}  # what signals did before

    # Starting.

    def privilegedStartService(self) -> None:
        config = self.config
        copies = max(1, worker_count(config))
        if self._predecessor is not None:
            self._predecessor.register("wanted", self.master.board.want)
            self.listeners.borrow(receive(self._predecessor, config))
        key = admin_key(config) if config.admin is not None else ""
        passed = self.listeners.groups.pop(key, None)
        try:
            groups = self._bind(config, copies)
            sock = passed.sockets[0] if passed is not None else None
            self.admin.commit(self.admin.prepare(config, sock))
        except (CannotListen, Refused) as error:
            self._give_up(str(error))
        self.listeners.take(groups, config.server.backlog)
        sockets = sum(len(group.sockets) for group in groups.values())
        if warning := raise_limit(needed(config, sockets)):
            _logger.warn("{warning}", warning=warning)

    def _bind(self, config: Config, copies: int) -> dict[str, Group]:
        """Bind; the workers of a proxy that was killed notice, and are given time to."""
        deadline = time.monotonic() + _INHERITED
        left = was_left(self._folder)
        while True:
            try:
                return self.listeners.prepare(config, copies)
            except CannotListen:
                if not left or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    @property
    def _folder(self) -> str:
        return str(self.config.resolve(self.config.server.state_dir))

    def startService(self) -> None:
        if not self.listeners.groups:
            self.privilegedStartService()
        signals: dict[int, Callable[[], object]] = {
            signal.SIGUSR1: self.reopen,
            signal.SIGHUP: self._hang_up,
            signal.SIGTERM: self._reactor.stop,  # until the reactor runs, and has its own
        }
        for number, call in signals.items():
            self._on_signal(number, call)
        if self._predecessor is None:
            self._control = self._open_control()
        gc.freeze()  # what workers share of this process stays untouched by the collector
        try:
            self.master.start(self.config, worker_count(self.config))
        except Refused as error:
            self._give_up(str(error))
        super().startService()
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        """The loop turns: signals and questions are answered from now on."""
        if self._predecessor is not None:
            # Not before: until we are ready the other one goes on, and is steered.
            self._control = self._open_control(succeed=True)
            self._predecessor.send("ready", {"pid": os.getpid()})
            self.listeners.own()
        if self._control is not None:
            self._control.start()
        for group in self.listeners.groups.values():
            _logger.info("listening on {address}", address=group.where)
        self._phase = ""
        self.admin.start()
        self._pulse.start()
        self._notifier.ready(len(self.master.serving))
        self._notifier.watch()

    def _open_control(self, succeed: bool = False) -> Control | None:
        try:
            control = Control(self._folder, self._reactor, succeed)
        except Taken:
            self._give_up(
                f"another txrproxy runs with {self._folder}; stop it, or choose another "
                "server.state_dir"
            )
        except OSError as error:
            _logger.warn(
                "no control socket in {folder}: {why}; signals alone steer this process",
                folder=self._folder,
                why=error.strerror,
            )
            return None
        control.register("status", lambda _: self.status())
        control.register("reload", lambda _: self.reload())
        control.register("stop", self._told_to_stop)
        control.register("pools", lambda _: pools(self.master))
        control.register("backend", self._told_of_backend)
        control.register("upgrade", lambda _: self._lock.run(self._unless_draining, self._upgrade))
        return control

    def _give_up(self, message: str) -> Any:
        if self._predecessor is not None:
            self._predecessor.send("refused", {"why": message})
        self.listeners.close()
        self.admin.close(handed_over=self._predecessor is not None)
        if self._control is not None:
            self._control.close()
        _logger.critical("{message}", message=message)
        if self.error_log is not None and not self.error_log.on_stderr:
            print(message, file=sys.__stderr__)
        raise CannotStart(message)

    # Signals.

    def _on_signal(self, number: int, call: Callable[[], object]) -> None:
        before: Any = signal.getsignal(number)
        self._handlers.setdefault(number, before)
        rotates = number == signal.SIGUSR1 and callable(before)

        def told(number: int, frame: Any) -> None:
            self._reactor.callFromThread(call)
            if rotates:  # twistd's own, for the file that --logfile names
                before(number, frame)

        signal.signal(number, told)

    def reopen(self) -> None:
        """Open the files of both logs again: they were moved away."""
        self.master.reopen()
        if self.error_log is not None:
            try:
                self.error_log.reopen()
            except OSError as error:
                _logger.error(
                    "cannot open {path} again, keeping the old file: {error}",
                    path=self.error_log.path,
                    error=error.strerror,
                )

    def _hang_up(self) -> None:
        if not self._lock.waiting:  # else one is to come, which reads what is written by now
            self.reload().addErrback(lambda failure: failure.trap(Refused))

    # Changing.

    def reload(self) -> Deferred[Body]:
        """Read the file again, and serve what it says.

        Fails with :class:`Refused`, and then nothing has changed.
        """
        return self._lock.run(self._unless_draining, self.reloads.run)

    def _unless_draining(self, change: Callable[[], Deferred[Body]]) -> Deferred[Body]:
        if self._phase == DRAINING:
            return fail(Refused("the proxy is draining, and changes no more"))
        return change()

    def _upgrade(self) -> Deferred[Body]:
        """Start this program anew, as it lies on the disk by now, and let it go on."""
        groups = dict(self.listeners.groups)
        if self.admin.exists:
            groups[admin_key(self.config)] = self.admin.group
        self._successor = Successor(self._reactor, groups, self.master.board.wanted())

        def ready(body: Body) -> Body:
            _logger.info("process {pid} goes on from here", pid=body["pid"])
            self._notifier.main_pid(body["pid"])
            self._reactor.callLater(0, self._reactor.stop)
            return body

        def failed(failure: Failure) -> Failure:
            self._successor = None
            _logger.error("upgrade refused, all goes on: {why}", why=str(failure.value))
            return failure

        return self._successor.ready.addCallbacks(ready, failed)

    def set_backend(
        self, pool: str, backend: str, state: str | None = None, weight: int | None = None
    ) -> Deferred[Body]:
        """Set a backend ``up``, to ``drain`` or ``down``, or give it another weight.

        It holds until the backend leaves the pool. Fires with what is known of the backend when
        every worker acts by it. Fails with :class:`Refused`.
        """
        try:
            row = self.master.board.set(pool, backend, state, weight)
        except Refused:
            return fail()
        return self.master.settled().addCallback(lambda _: row)

    def _told_of_backend(self, body: Body) -> Deferred[Body]:
        return self.set_backend(
            str(body.get("pool")), str(body.get("backend")), body.get("state"), body.get("weight")
        )

    # Telling.

    def not_ready(self) -> str:
        """Why requests should go elsewhere; empty when they need not."""
        if self._phase:
            return self._phase
        if not self.master.serving:
            return "no worker serves"
        return "" if self.master.board.ready else "waiting for the first checks of backends"

    def status(self) -> Deferred[Body]:
        """How the proxy is, for ``txrproxy status``."""

        def told(workers: Body) -> Body:
            return {
                "version": __version__,
                "pid": os.getpid(),
                "state": self._phase or "serving",
                "uptime": round(time.monotonic() - self._began, 1),
                "config": self._file,
                "listeners": [group.where for group in self.listeners.groups.values()],
                "admin": self.admin.where or None,
                **workers,
                "restarts": self.master.restarts,
                "reloads": self.master.generation - 1,
                "last_reload": self.reloads.last,
            }

        return self.master.status().addCallback(told)

    # Ending.

    @property
    def succeeded(self) -> bool:
        """Whether another process goes on from here."""
        return self._successor is not None

    def _told_to_stop(self, _: Body) -> Body:
        if self._phase != DRAINING:
            self._reactor.callLater(0, self._reactor.stop)
        return {"pid": os.getpid()}

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._phase = DRAINING
        self._pulse.stop()
        self.reloads.give_up()
        if not self.succeeded:
            self._notifier.stopping()
        else:
            self.admin.close(handed_over=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._on_signal(number, self._at_once)
        if self._control is not None:
            self._control.retire()
        if self.succeeded:
            self.keepers.close()  # for the other one to take them
        stopped = self._serve_on().addCallback(lambda _: self.master.stop(self.succeeded))
        stopped.addBoth(lambda _: self.keepers.close())
        return stopped.addBoth(self._stopped)

    def _serve_on(self) -> Deferred[None]:
        """Until who watches ``/readyz`` has noticed; fires at once if another process serves."""
        seconds = self.config.server.drain_delay
        if self.succeeded or not seconds:
            return succeed(None)
        _logger.info("serving for {seconds} s yet, then draining", seconds=seconds)
        self.master.wind_down()
        over: Deferred[None] = Deferred()
        self._delay = self._reactor.callLater(seconds, over.callback, None)
        self._end_delay = over
        return over

    def _at_once(self) -> None:
        _logger.warn("ending at once")
        if self._delay is not None and self._delay.active():
            self._delay.cancel()
            self._end_delay.callback(None)
        self.master.abort()

    def _stopped(self, result: Any) -> Any:
        if self._control is not None:
            self._control.close()
            self._control = None
        self.admin.close()
        self._notifier.close()
        for number, before in self._handlers.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._handlers.clear()
        return result

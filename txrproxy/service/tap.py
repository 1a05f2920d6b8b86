"""``twistd txrproxy --config FILE``: the options, and the service that runs a configuration.

Which error log is in force, from the strongest: ``--logger``, ``--logfile`` or ``--syslog`` given
to twistd; else what the ``[log] error`` table says. A daemon has no standard error, and the file
``twistd.log`` in its place, where twistd would have its own.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config
from txrproxy.config.toml import Further, load_with_warnings
from txrproxy.observe.errorlog import ErrorLog
from txrproxy.service.slices import uncollected
from txrproxy.service.upgrade import is_successor, refuse
from txrproxy.transport.reactor import install_unless_chosen

if TYPE_CHECKING:
    from txrproxy.demo import Origins
    from txrproxy.service.edge import Edge

DAEMON_LOG = "twistd.log"


class Options(usage.Options):
    """The command line of ``twistd txrproxy``."""

    optParameters = [["config", "c", None, "The configuration, a TOML file (required)."]]
    longdesc = "Runs the reverse proxy that a configuration file describes."

    def __init__(self) -> None:
        # twistd makes the options when the reactor that -r names is installed, or none is.
        install_unless_chosen()
        super().__init__()
        self.loaded: Config

    def postOptions(self) -> None:
        if self["config"] is None:
            raise usage.UsageError("--config FILE is required")
        further: Further | None = None
        if is_successor():
            # A start has to be possible whatever the tests say; a change of what runs has not.
            from txrproxy.explain.routetests import failures

            further = failures
        try:
            with uncollected():
                self.loaded, warnings = load_with_warnings(
                    self["config"], files=True, further=further
                )
        except ConfigErrors as errors:
            print(errors, file=sys.stderr)
            refuse(str(errors))
            raise SystemExit(1) from None
        notes = list(map(str, warnings))
        access = self.loaded.log.access
        if self.daemon and access.path == "-" and access.format != "off":
            notes.append("log.access.path: a daemon has no standard output; name a file")
        for note in notes:
            print(f"warning: {note}", file=sys.stderr)

    @property
    def daemon(self) -> bool:
        """Whether twistd will leave the terminal."""
        twistd: Any = self.parent or {}
        return not (twistd.get("nodaemon", True) or twistd.get("debug"))

    @property
    def user(self) -> tuple[int, int] | None:
        """The user and group (-1: as it is) that root is given up for; None if it is not."""
        twistd: Any = self.parent or {}
        uid, gid = twistd.get("uid"), twistd.get("gid")
        if os.geteuid() != 0 or uid is None:
            return None
        return uid, -1 if gid is None else gid

    @property
    def own_error_log(self) -> bool:
        """Whether the configuration says where errors are logged, not twistd."""
        twistd: Any = self.parent or {}
        return not any(twistd.get(option) for option in ("logger", "logfile", "syslog"))

    @property
    def error_path(self) -> str:
        """Where the error log is; ``-`` is standard error."""
        path = self.loaded.log.error.path
        return self.standard_error if path == "-" else str(self.loaded.resolve(path))

    @property
    def standard_error(self) -> str:
        """Where goes what is for standard error: ``-``, or a file if there is none."""
        if not self.daemon:
            return "-"
        twistd: Any = self.parent or {}
        # Absolute, for twistd goes there only later, and it is to be found again.
        return os.path.abspath(os.path.join(twistd.get("rundir", "."), DAEMON_LOG))


class _Application(MultiService):
    """Everything that runs in the process; brings the error log along."""

    def __init__(self, edge: Edge, origins: Origins | None, error_log: ErrorLog | None) -> None:
        super().__init__()
        self._edge: Any = edge
        self._origins = origins
        self._error_log = error_log
        if origins is not None:
            origins.setServiceParent(self)
        self._edge.setServiceParent(self)

    def stopService(self) -> Deferred[Any]:
        origins = self._origins
        done: Deferred[Any]
        if origins is None or not self._edge.succeeded:
            done = super().stopService()
            return done
        # What is in progress, here and there, ends by itself: the proxy drains before they leave.
        Service.stopService(self)
        done = DeferredList([origins.retire(), self._edge.stopService()])
        done.addCallback(lambda _: origins.stopService())
        return done

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)
        if self._error_log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._error_log)


def makeService(options: Options) -> IService:
    """The service of a loaded configuration."""
    from twisted.internet import reactor

    from txrproxy import demo
    from txrproxy.service.edge import Edge

    config = options.loaded
    error_log = _open_error_log(options) if options.own_error_log else None
    origins = demo.service_for(config)
    if origins is not None:
        _bind(origins)
        print(demo.banner(config), flush=True)
    file = os.path.abspath(options["config"])
    edge = Edge(config, reactor, error_log, file, options.standard_error)
    application: Any = _Application(edge, origins, error_log)
    return application  # type: ignore[no-any-return]


def _bind(origins: Origins) -> None:
    try:
        origins.bind(beside=is_successor())
    except OSError as problem:
        why = f"the origins of the demo can not listen on {problem.strerror}"
        print(why, file=sys.stderr)
        refuse(why)
        raise SystemExit(1) from None


def _open_error_log(options: Options) -> ErrorLog:
    path, error = options.error_path, options.loaded.log.error
    try:
        return ErrorLog(path, error.level, error.format, options.user)
    except OSError as problem:
        print(f"cannot write the error log {path}: {problem.strerror}", file=sys.stderr)
        raise SystemExit(1) from None

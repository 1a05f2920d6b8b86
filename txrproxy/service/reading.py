"""Reading the file of a proxy that runs, for a reload, in a process of its own.

To read, check and rehearse thousands of routes takes a second. The main process goes on with its
checks and answers meanwhile; the one that reads gives way to those that serve, leaves no garbage
behind, and may die of what it reads.
"""

from __future__ import annotations

import gc
import os
import pickle
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogPublisher

from txrproxy.config.problems import ConfigErrors, Problem
from txrproxy.config.schema import Config
from txrproxy.config.toml import load_with_warnings
from txrproxy.explain.routetests import failures
from txrproxy.service.memory import unpacked, write
from txrproxy.service.processes import cause, kill, leave_behind, when_ended
from txrproxy.service.slices import in_slices
from txrproxy.transport.channel import Refused

NICE = 10  # how far it gives way: a tenth of a core that others want

_logger = Logger()


@frozen
class Reading:
    """A configuration without errors, and a descriptor of the same for other processes
    (:mod:`txrproxy.service.memory`), to be closed."""

    config: Config
    warnings: Sequence[Problem]
    fd: int
    start: int

    def close(self) -> None:
        os.close(self.fd)


def read(file: str, reactor: Any) -> Deferred[Reading]:
    """Read a file, with all that ``txrproxy check`` looks at.

    Fails with :class:`Refused`. Cancelled, it ends the process that reads.
    """
    fd = os.memfd_create("configuration")
    pid = os.fork()
    if pid == 0:
        _be_the_reader(file, fd)
    result: Deferred[int] = Deferred(lambda _: kill(pid))
    when_ended(pid, reactor, lambda status: None if result.called else result.callback(status))
    done = result.addCallback(_found, fd, reactor)

    def failed(failure: Any) -> Any:
        os.close(fd)
        return failure

    return done.addErrback(failed)


def _be_the_reader(file: str, fd: int) -> None:
    """In the process that was just forked; does not return."""
    status = 70  # EX_SOFTWARE
    try:
        gc.disable()
        with suppress(OSError):  # where it is not allowed, others wait for us
            os.nice(NICE)
        leave_behind([fd])
        for observer in list(globalLogPublisher._observers):
            globalLogPublisher.removeObserver(observer)  # their files are not ours
        with os.fdopen(fd, "wb") as out:
            try:
                config, warnings = load_with_warnings(file, files=True, further=failures)
            except ConfigErrors as errors:
                pickle.dump({"refused": str(errors)}, out)
            except Exception:
                pickle.dump({"failed": traceback.format_exc()}, out)
            else:
                pickle.dump({"warnings": warnings}, out)
                write(config, out)
        status = 0
    finally:
        os._exit(status)


def _found(status: int, fd: int, reactor: Any) -> Deferred[Reading]:
    if status:
        raise Refused(f"the process that reads the file {cause(status)}")
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        said = pickle.load(file)
        start = file.tell()
    if "refused" in said:
        raise Refused(said["refused"])
    if "failed" in said:
        _logger.error("reading the file failed: {trace}", trace=said["failed"])
        raise Refused("an internal error; the log tells more")
    built = in_slices(unpacked(fd, start), reactor)
    return built.addCallback(lambda config: Reading(config, said["warnings"], fd, start))

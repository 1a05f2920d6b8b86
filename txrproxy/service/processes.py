"""Processes of our own: forked, seen to end, and told apart from what they were forked from.

A worker, seen from the main process, is a :class:`Handle`; its life is in
:mod:`txrproxy.service.worker`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txrproxy.service.sockets import Group, messages
from txrproxy.transport.channel import AnyChannel


@define(eq=False)
class Handle:
    """A worker, seen from the main process. ``pid`` is 0 for the one inside it."""

    number: int
    channel: AnyChannel
    pid: int
    born: float
    ready_since: float | None = None
    place: int = 0  # in the memory of limits
    leaving: bool = False  # its end is meant
    ended: Deferred[None] = field(factory=Deferred)

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})" if self.pid else "the main process"

    def give(self, groups: Mapping[str, Group]) -> None:
        """Tell it of all sockets; those that it has already are no news to it."""
        for body in messages(groups):
            fds = body.pop("fds")
            if self.pid:
                self.channel.send("sockets", body, fds)
            else:
                self.channel.send("sockets", {**body, "fds": list(map(os.dup, fds))})

    def kill(self) -> None:
        """End it now, unless it is the main process."""
        if self.pid:
            kill(self.pid)


def kill(pid: int) -> None:
    """End a child of ours now; it may have ended before."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def when_ended(pid: int, reactor: Any, ended: Callable[[int], object]) -> None:
    """Call ``ended(status)`` when a child has ended, with its status as of waitpid(2).

    Raises OSError without descriptors, and ends the child: nobody would hear of its end.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        kill(pid)
        os.waitpid(pid, 0)
        raise
    reactor.addReader(_End(pidfd, pid, reactor, ended))


class _End:
    """Readable when the process of a pidfd has ended."""

    def __init__(self, pidfd: int, pid: int, reactor: Any, ended: Callable[[int], object]) -> None:
        self._pidfd = pidfd
        self._pid = pid
        self._reactor = reactor
        self._ended = ended

    def fileno(self) -> int:
        return self._pidfd

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._pidfd)
        _, status = os.waitpid(self._pid, 0)
        self._ended(status)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends before the child."""

    def logPrefix(self) -> str:
        return "pidfd"


def cause(status: int) -> str:
    """How a process ended, by what waitpid(2) says of it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        dumped = ", core dumped" if os.WCOREDUMP(status) else ""
        return f"was killed by {name}{dumped}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"


def leave_behind(but: Iterable[int]) -> None:
    """In a process that was just forked: the signals of the one before, and its descriptors.

    Its channels above all, for their end must show; ``but`` are those that stay open.
    """
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    low = 0
    for fd in [*sorted({0, 1, 2, *but}), max(map(int, os.listdir("/proc/self/fd"))) + 1]:
        if low < fd:  # of an empty range at 0, Python closes everything
            os.closerange(low, fd)
        low = fd + 1

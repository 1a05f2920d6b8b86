"""A lean epoll reactor: the stock one, minus what it does for nothing on every event and turn.

- The stock ``EPollReactor`` wraps each event in ``log.callWithLogger``, which asks the descriptor
  for a log prefix and pushes a context. Here an event that is "readable" (a hang-up or an error
  with it is what reading finds), plainly "writable" or both calls ``doRead`` and ``doWrite``
  straight; a hang-up or an error alone goes the stock way whole. An exception out of a descriptor
  is logged and disconnects that descriptor, as in stock.
- The stock reactor looks for each descriptor among those that can not be polled before it forgets
  it. Here it does when it is not among those that are polled.
- The stock main loop looks at timers and threads before every poll. Here it does when one of them
  has something.
- The stock ``doPoll`` lets the kernel hand over as many events as there are connections, for which
  CPython allocates a buffer on every call. :data:`MAX_EVENTS` bounds it; what does not fit is first
  in line for the next call.

Selected by ``twistd -r txrproxy``, by :func:`install`, or by :func:`install_unless_chosen`. The
product runs on every stock reactor as well, and costs more there.

This module and ``direct`` hold all reliance on Twisted's private names; :func:`install` falls back
to the stock reactor on a Twisted that lacks one of them.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.internet import epollreactor, main, posixbase
from twisted.logger import Logger, globalLogPublisher
from twisted.python import log

MAX_EVENTS = 512  # events taken from one epoll_wait

_IN = epollreactor.EPOLLIN
_OUT = epollreactor.EPOLLOUT
_logger = Logger()
_unexpected = _logger.failureHandler("Unexpected error in main loop")
_call_with_logger: Any = log.callWithLogger
_remove_reader: Any = epollreactor.EPollReactor.removeReader
_remove_writer: Any = epollreactor.EPollReactor.removeWriter


class LeanReactor(epollreactor.EPollReactor):
    """``EPollReactor`` with a short way for plain events and idle turns.

    Its clock is monotonic: the stock one is the wall clock, and a step of that would fire or
    stretch every timeout.
    """

    seconds = staticmethod(time.monotonic)

    def doPoll(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds, for ever when it is None, and serve what is ready."""
        events = self._poller.poll(-1 if timeout is None else timeout, MAX_EVENTS)
        selectables = self._selectables
        disconnect: Any = self._disconnectSelectable
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:  # removed while an earlier event was served
                continue
            readable = event & _IN  # with a hang-up or an error too: reading finds it
            if not readable and event != _OUT:
                _call_with_logger(selectable, self._doReadOrWrite, selectable, fd, event)
                continue
            why: BaseException | None
            try:
                if selectable.fileno() == -1:  # closed behind the reactor's back
                    why = posixbase._NO_FILEDESC
                elif not readable:
                    why = selectable.doWrite()
                else:
                    why = selectable.doRead()
                    if event & _OUT and not why:
                        readable = 0
                        why = selectable.doWrite()
            except BaseException as error:
                _call_with_logger(selectable, log.err)
                why = error
            if why:
                try:
                    disconnect(selectable, why, bool(readable))
                except BaseException:
                    _call_with_logger(selectable, log.err)

    doIteration = doPoll

    def removeReader(self, reader: Any) -> None:
        fd = reader.fileno()
        if fd not in self._reads:
            _remove_reader(self, reader)
        elif fd in self._writes:
            self._poller.modify(fd, _OUT)
            self._reads.remove(fd)
        else:
            self._forget(fd, self._reads)

    def removeWriter(self, writer: Any) -> None:
        fd = writer.fileno()
        if fd not in self._writes:
            _remove_writer(self, writer)
        elif fd in self._reads:
            self._poller.modify(fd, _IN)
            self._writes.remove(fd)
        else:
            self._forget(fd, self._writes)

    def _forget(self, fd: int, polled: set[int]) -> None:
        del self._selectables[fd]
        self._poller.unregister(fd)
        polled.remove(fd)

    def mainLoop(self) -> None:
        while self._started:
            with _unexpected:
                self._turn()
        _logger.info("Main loop terminated.")

    def _turn(self) -> None:
        """Turn until the loop ends or something raises.

        Between two polls there is work only when a call came from a thread, was newly delayed or
        is due, or when ``stop`` was called.
        """
        while self._started:
            if not (self.threadCallQueue or self._newTimedCalls or self._justStopped):
                pending = self._pendingTimedCalls
                if not pending:
                    self.doPoll(None if self.running else 0)
                    continue
                wait = pending[0].time - self.seconds()
                if wait > 0 and self.running:
                    self.doPoll(min(wait, _LONGEST))
                    continue
            self.runUntilCurrent()
            self.doPoll(self.timeout() if self.running else 0)


_LONGEST = 2_000_000  # seconds; epoll_wait counts milliseconds in a C int

# What is relied upon: methods, then attributes of an instance.
_NAMES = (
    "runUntilCurrent timeout seconds _doReadOrWrite _disconnectSelectable"
    " _poller _selectables _reads _writes threadCallQueue running _started _justStopped"
    " _newTimedCalls _pendingTimedCalls"
)


def mismatches(reactor: object) -> list[str]:
    """What ``reactor`` lacks of the internals relied upon here; empty when all is well."""
    return [
        f"the epoll reactor has no {name}" for name in _NAMES.split() if not hasattr(reactor, name)
    ]


def install() -> None:
    """Make a lean reactor the reactor of this process.

    :raises twisted.internet.error.ReactorAlreadyInstalledError: there is one already.
    """
    make: Any = LeanReactor
    reactor = make()
    if mismatches(reactor):
        make = epollreactor.EPollReactor
        reactor = make()
    put: Any = main.installReactor
    put(reactor)


def install_unless_chosen() -> bool:
    """Install the lean reactor if the process has none; whether it did.

    For the options class of a twistd plugin: twistd has installed what ``-r`` names by the time it
    constructs one, and nothing otherwise, as long as no module on the way imported
    ``twisted.internet.reactor``.
    """
    if "twisted.internet.reactor" in sys.modules:
        return False
    install()
    return True


def after_fork() -> Any:
    """In a process that was forked from one with a reactor: forget that one, and install another.

    The old one is neither run nor freed nor unregistered from: what it polls is shared with the
    process it belongs to. Log observers are forgotten too, for their files are not this process's.
    Descriptors are the caller's business.
    """
    _BEFORE.append(sys.modules.pop("twisted.internet.reactor", None))
    publisher = globalLogPublisher
    for observer in list(publisher._observers):
        _BEFORE.append(observer)
        publisher.removeObserver(observer)
    install()
    return sys.modules["twisted.internet.reactor"]


_BEFORE: list[Any] = []  # kept alive: freeing them would close descriptors that have new owners

"""Looks at certificate files now and then, and serves what has changed; renews keys of tickets.

The files are looked at and read in a thread, as they may lie on a slow disk; tables and contexts
are made where connections are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.tls.contexts import ServerContexts
from txrproxy.tls.pem import BadPem
from txrproxy.tls.store import Changes

_logger = Logger()


class Reloader:
    """Keeps contexts current. ``interval`` is in seconds, ``clock`` an ``IReactorTime``.

    ``changed`` is called after new certificates are served. ``in_thread`` runs a function elsewhere
    and returns a Deferred of its result. ``renew`` is called there before each look, and makes new
    files where that is up to us; it may raise :class:`~txrproxy.tls.pem.BadPem`.
    """

    def __init__(
        self,
        contexts: ServerContexts,
        interval: float,
        clock: Any,
        *,
        changed: Callable[[], None] = lambda: None,
        in_thread: Callable[[Callable[[], Changes]], Deferred[Changes]] = deferToThread,
        renew: Callable[[], object] = lambda: None,
    ) -> None:
        self._renew = renew
        self._not_renewed = ""  # why, as it was logged last
        self._contexts = contexts
        self._interval = interval
        self._clock = clock
        self._changed = changed
        self._in_thread = in_thread
        self._call: Any = None
        self._running = False

    def start(self) -> None:
        """Look for the first time after the interval."""
        self._running = True
        self._call = self._clock.callLater(self._interval, self._look)

    def stop(self) -> None:
        """Look no more; a look in progress changes nothing."""
        self._running = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        self._contexts.turn(time.monotonic())
        done = self._in_thread(self._read)
        done.addCallback(self._take)
        done.addErrback(self._failed)
        done.addCallback(lambda _: self.start() if self._running else None)

    def _read(self) -> Changes:
        error = ""
        try:
            self._renew()
        except BadPem as failure:
            error = str(failure)
        changes = self._contexts.store.read()
        if error and error != self._not_renewed:
            changes.errors.append(error)
        self._not_renewed = error
        return changes

    def _take(self, changes: Changes) -> None:
        if not self._running or not self._contexts.store.take(changes):
            return
        try:
            self._contexts.update()
        except BadPem as error:
            _logger.error("{error}; what was read before is still served", error=str(error))
            return
        for key in changes.values:
            _logger.info("serving the new {file}", file=self._contexts.store.file(key))
        self._changed()

    def _failed(self, failure: Failure) -> None:
        _logger.failure("looking at certificate files failed", failure)

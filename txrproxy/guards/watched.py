"""A file that is followed: what was made of it last, until it changes into something usable.

It is looked at and read in a thread, as it may lie on a slow disk, and parsed there too. A new
content that can not be used is logged once, and the old one stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.config.values import Secret
from txrproxy.tls.pem import MAX_FILE, Resolve, read_secret, source_of

_logger = Logger()

T = TypeVar("T")

Signature = tuple[int, ...]


def signature_of(path: Path) -> Signature:
    """What tells one content of a file from another, or says why there is none."""
    try:
        status = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Watched(Generic[T]):
    """What ``parse`` makes of a file, or of a variable, which does not change.

    ``interval`` is in seconds, ``clock`` an ``IReactorTime``. ``in_thread`` runs a function
    elsewhere and returns a Deferred of its result. ``changed`` is called when there is a new value.
    A file of more than ``limit`` bytes is not read.
    The first look is taken at once, and raises what reading (:class:`~txrproxy.tls.pem.BadPem`) and
    ``parse`` raise.
    """

    def __init__(
        self,
        secret: Secret,
        resolve: Resolve,
        parse: Callable[[bytes], T],
        interval: float,
        clock: Any,
        *,
        changed: Callable[[], None] = lambda: None,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
        limit: int = MAX_FILE,
    ) -> None:
        self._secret = secret
        self._resolve = resolve
        self._parse = parse
        self._interval = interval
        self._clock = clock
        self._changed = changed
        self._in_thread = in_thread
        self._limit = limit
        self._call: Any = None
        self._running = False
        self._seen = self._used = self._signature()
        self.value: T = parse(read_secret(secret, resolve, limit))

    @property
    def source(self) -> str:
        """Where it is, for messages."""
        return source_of(self._secret, self._resolve)

    def is_current(self) -> bool:
        """Whether the file still is the one that the value was made of; looks at once."""
        return self._signature() == self._used

    def start(self) -> None:
        """Look again after the interval, and so on."""
        if self._secret.kind == "file":
            self._running = True
            self._call = self._clock.callLater(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._running = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _signature(self) -> Signature:
        if self._secret.kind != "file":
            return ()
        return signature_of(self._resolve(self._secret.name))

    def _look(self) -> None:
        self._call = None
        done = self._in_thread(self._read, self._seen)
        done.addCallbacks(self._take, self._failed)
        done.addCallback(lambda _: self.start() if self._running else None)

    def _read(self, seen: Signature) -> tuple[Signature, T | None, str]:
        """In the thread: what there is now; None and the reason why, if it can not be used."""
        signature = self._signature()
        if signature == seen:
            return seen, None, ""
        try:
            content = read_secret(self._secret, self._resolve, self._limit)
            return signature, self._parse(content), ""
        except Exception as error:
            return signature, None, str(error)

    def _take(self, read: tuple[Signature, T | None, str]) -> None:
        signature, value, why = read
        if not self._running or signature == self._seen:
            return
        self._seen = signature
        if value is None:
            _logger.error(
                "{file} can not be used: {why}; what was read before still counts",
                file=self.source,
                why=why,
            )
            return
        self.value = value
        self._used = signature
        _logger.info("{file} has changed and counts from now on", file=self.source)
        self._changed()

    def _failed(self, failure: Failure) -> None:
        _logger.failure("looking at {file} failed", failure, file=self.source)

"""One name of a backend, looked up again and again.

::

    start ──▶ look up ──found──▶ tell what it is now; again after `every` seconds
                 ▲   └──failed─▶ nothing changes; again after 1, 2, 4 ... `every` seconds
                 └───────────────────────────┘

One look-up is on its way at a time, and it ends. The time between two is cut at random by up to a
tenth, so that many names, and many processes, do not ask in step. How long a record may be kept
(its TTL) is not looked at: ``every`` says how often somebody wants to know.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.names.lookup import Found, LookUp, Target
from txrproxy.names.question import Unanswered

MAX_TARGETS = 256  # of one name
LONGEST = 30.0  # seconds for one look-up, whatever it consists of
FIRST_RETRY = 1.0  # seconds

_logger = Logger()


class Watch:
    """Looks ``name`` up every ``every`` seconds, and calls ``on_change`` when the answer is new.

    ``name`` is for the log alone. ``fraction()`` is 0 to 1, evenly. ``targets`` is the last good
    answer: at most :data:`MAX_TARGETS`, in an order that depends on nothing but themselves.
    """

    def __init__(
        self,
        name: str,
        look_up: LookUp,
        every: float,
        clock: Any,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.targets: tuple[Target, ...] = ()
        self.on_change: Callable[[], object] = lambda: None
        self.first: Deferred[None] = Deferred()  # fires when the first look-up has ended
        self._look_up = look_up
        self._every = every
        self._clock = clock
        self._fraction = fraction
        self._call: Any = None
        self._looking: Deferred[Any] | None = None
        self._failures = 0  # in a row
        self._missing: tuple[str, ...] = ()
        self._too_many = False

    def __repr__(self) -> str:
        return f"<Watch {self.name}: {len(self.targets)} targets>"

    def start(self) -> None:
        """Begin the first look-up."""
        self._begin()

    def stop(self) -> None:
        """Look nothing up any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _begin(self) -> None:
        self._call = None
        self._looking = looking = Deferred.fromCoroutine(self._look_up())
        looking.addTimeout(LONGEST, self._clock)
        looking.addCallbacks(self._found, self._failed)
        looking.addErrback(lambda failure: _logger.failure("{watch!r}", failure, watch=self))
        looking.addCallback(lambda _: self._ended())

    def _ended(self) -> None:
        if self._looking is None:  # stopped
            return
        self._looking = None
        wait = self._every
        if self._failures:
            wait = min(wait, FIRST_RETRY * 2.0 ** min(self._failures - 1, 30))
        self._call = self._clock.callLater(wait * (1 - self._fraction() / 10), self._begin)
        if not self.first.called:
            self.first.callback(None)

    def _found(self, found: Found) -> None:
        if self._failures:
            self._failures = 0
            _logger.info("{name} can be looked up again", name=self.name)
        if found.missing != self._missing:
            self._missing = found.missing
            for host in found.missing:
                _logger.warn("{name}: cannot look up {host}", name=self.name, host=host)
        targets = found.targets[:MAX_TARGETS]
        if (len(found.targets) > MAX_TARGETS) is not self._too_many:
            self._too_many = not self._too_many
            if self._too_many:
                _logger.warn(
                    "{name} has {count} addresses; the first {most} are used",
                    name=self.name,
                    count=len(found.targets),
                    most=MAX_TARGETS,
                )
        if targets != self.targets:
            self.targets = targets
            self.on_change()

    def _failed(self, failure: Failure) -> None:
        if self._looking is None and failure.check(CancelledError):  # stopped
            return
        self._failures += 1
        if failure.check(Unanswered, TimeoutError) is None:
            _logger.failure("looking up {name} failed", failure, name=self.name)
        elif self._failures == 1:
            _logger.warn(
                "cannot look up {name}: {why}; {kept}",
                name=self.name,
                why=str(failure.value),
                kept="the last answer is kept" if self.targets else "it has no backends",
            )

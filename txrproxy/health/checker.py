"""Active health: asks the backends of a pool again and again whether they are well.

Each backend has a rhythm of its own. The first checks of a pool go out at once, spread over a
moment (:data:`RATE`); the second of each comes at a random moment of the interval that follows, and
from then on it is one interval from check to check, give or take :data:`JITTER`. So they do not
march in step, and those of several proxies do not either.

What a check finds goes into a tally, and a verdict that changes is told through ``verdict``: to the
pool by default, or by whoever checks for several processes to all of them. Nothing else is touched.

``initial = "probe"``: a pool's backends come with ``healthy`` None, and are not used until that
changes. The checker starts from what a backend says of itself, so one that a reload brings along
may bring its verdict with it. :attr:`Checker.ready` tells when every backend has been asked once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import Pool
from txrproxy.config import schema
from txrproxy.health.probe import Check, Dial, Probe
from txrproxy.health.slots import Slots
from txrproxy.health.tally import Tally

RATE = 200  # first checks a second
JITTER = 0.1  # of the interval, either way

Verdict = Callable[[Pool, Backend, bool, str], None]

_logger = Logger()


@frozen
class Result:
    """What one check found: ``at`` by the reactor's clock, and how long it took, in seconds."""

    at: float
    passed: bool
    text: str
    seconds: float


@frozen
class Report:
    """What is known of one backend. ``last`` is None as long as its first check has not ended."""

    backend: Backend
    healthy: bool | None
    last: Result | None


class Checker:
    """The active checks of one pool.

    :param dial_of: how a backend is connected to.
    :param random: gives a number from 0 to 1, 1 excluded.
    :param slots: bounds the checks in flight, together with other checkers.
    :param verdict: ``verdict(pool, backend, healthy, text)`` is told each change; without it the
        pool is. Whatever it does, this pool's ``set_health`` has to be called at some time.
    """

    def __init__(
        self,
        reactor: Any,
        pool: Pool,
        settings: schema.Health,
        dial_of: Callable[[Backend], Dial],
        random: Callable[[], float] = random.random,
        *,
        slots: Slots | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        self.pool = pool
        # Fires once each backend has been asked, or has had its time for that; at the start where
        # nothing depends on it. Never after stop().
        self.ready: Deferred[None] = Deferred()
        self._reactor = reactor
        self._settings = settings
        self._check = Check(settings)
        self._dial_of = dial_of
        self._random = random
        self._slots = slots if slots is not None else Slots()
        self._verdict = verdict if verdict is not None else self._tell_pool
        self._watches: dict[Backend, _Watch] = {}
        self._running = False
        self._patience: Any = None  # the timer that ends the wait for ready

    def __repr__(self) -> str:
        return f"<Checker of {self.pool!r}>"

    def start(self) -> None:
        """Begin to check. It has to be started once only."""
        self._running = True
        spread = self._begin()
        if self._settings.initial == "probe":
            self._patience = self._reactor.callLater(spread + self._check.timeout, self._be_ready)
            self._look_if_ready()
        else:
            self._be_ready()

    def follow(self) -> None:
        """The pool has other members, or somebody took one down or up again: check those."""
        if self._running:
            self._begin()
            self._look_if_ready()

    def stop(self) -> None:
        """Check no more; checks that are running are forgotten and their connections closed.

        One that is being opened is closed when it is there, within the timeout of a check.
        """
        self._running = False
        self._stop_waiting()
        for watch in [*self._watches.values()]:
            self._drop(watch)

    def reports(self) -> list[Report]:
        """What is known of each backend of the pool, in its order; of one that is down, nothing."""
        return [
            Report(backend, backend.healthy, watch.last if watch else None)
            for backend in self.pool.backends
            for watch in [self._watches.get(backend)]
        ]

    # Who is checked, and when.

    def _begin(self) -> float:
        """Check all that should be, and no others; the seconds until all new ones have begun."""
        wanted = [b for b in self.pool.backends if b.state is not State.DOWN]
        for backend in self._watches.keys() - wanted:
            self._drop(self._watches[backend])
        new = [backend for backend in wanted if backend not in self._watches]
        spread = min(self._settings.interval, len(new) / RATE)
        for backend in new:
            watch = _Watch(backend, self._dial_of(backend), self._settings)
            self._watches[backend] = watch
            self._later(watch, self._random() * spread)
        return spread

    def _drop(self, watch: _Watch) -> None:
        del self._watches[watch.backend]
        if watch.timer is not None:
            watch.timer.cancel()
        if watch.probe is not None:
            watch.probe.cancel()
        self._slots.leave(watch)

    def _later(self, watch: _Watch, seconds: float) -> None:
        watch.timer = self._reactor.callLater(seconds, self._due, watch)

    def _due(self, watch: _Watch) -> None:
        watch.timer = None
        self._slots.enter(watch, partial(self._probe, watch))

    def _probe(self, watch: _Watch) -> None:
        backend = watch.backend
        watch.began = self._reactor.seconds()
        request = self._check.request(backend.authority)
        watch.probe = probe = Probe(self._check, request, partial(self._done, watch))
        probe.start(self._reactor, watch.dial)

    # What comes of it.

    def _done(self, watch: _Watch, passed: bool | None, text: str) -> None:
        now = self._reactor.seconds()
        watch.probe = None
        if passed is None:
            self._later(watch, self._settings.interval)
            self._slots.leave(watch)
            return
        before, watch.last = watch.last, Result(now, passed, text, now - watch.began)
        pause = self._random() if before is None else 1 + JITTER * (2 * self._random() - 1)
        self._later(watch, max(0.0, watch.began + pause * self._settings.interval - now))
        first = before is None and watch.tally.healthy is None
        if watch.tally.count(passed):
            self._log(watch.backend, "healthy" if passed else "unhealthy", text, quiet=first)
            self._say(watch.backend, passed, text)
        elif first:
            self._log(watch.backend, "not used until it passes", text)
        # Last, for the next in line may begin now, and end.
        self._slots.leave(watch)
        self._look_if_ready()

    def _log(self, backend: Backend, what: str, text: str, *, quiet: bool = False) -> None:
        """``quiet``: it is as it should be."""
        say = _logger.warn if what != "healthy" else _logger.debug if quiet else _logger.info
        say(
            "Pool {pool}: backend {backend} is {what}: {why}",
            pool=self.pool.name.decode(),
            backend=backend.name.decode("latin-1"),
            what=what,
            why=text,
        )

    def _say(self, backend: Backend, healthy: bool, text: str) -> None:
        try:
            self._verdict(self.pool, backend, healthy, text)
        except Exception:
            _logger.failure("what {backend!r} is was not taken", backend=backend)

    def _tell_pool(self, pool: Pool, backend: Backend, healthy: bool, text: str) -> None:
        pool.set_health(backend, healthy, self._reactor.seconds())

    # Whether the beginning is over.

    def _look_if_ready(self) -> None:
        if self._patience is not None and all(w.last is not None for w in self._watches.values()):
            self._be_ready()

    def _be_ready(self) -> None:
        self._stop_waiting()
        self.ready.callback(None)

    def _stop_waiting(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()


class _Watch:
    """One backend and what goes on with it."""

    __slots__ = ("backend", "began", "dial", "last", "probe", "tally", "timer")

    def __init__(self, backend: Backend, dial: Dial, settings: schema.Health) -> None:
        self.backend = backend
        self.dial = dial
        self.tally = Tally(settings.rise, settings.fall, backend.healthy)
        self.timer: Any = None  # until the next check
        self.probe: Probe | None = None  # the check that runs
        self.began = 0.0
        self.last: Result | None = None

"""The members of a pool that has names among its backends.

Members are the backends with an address in the configuration, and one for each address behind each
name: in the order of the configuration, those of one name by address. So what does not change keeps
its place, and policies that hash do not move keys.

An address that stays keeps its :class:`Backend`, with its connections and all that is known of its
health. One that is gone is drained: it gets no new exchanges, and those that run finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import Pool
from txrproxy.names.lookup import Target
from txrproxy.names.watch import Watch

PATIENCE = 5.0  # seconds that a start waits for the first answers

_logger = Logger()


@define(eq=False)
class Named:
    """A configured backend that is a name, and the backends of its addresses.

    ``make`` gives the backend of a target. ``weight`` and ``priority`` are the configured ones:
    what SRV says multiplies the one and is added to the other.
    """

    watch: Watch
    make: Callable[[Target], Backend]
    weight: int = 1
    priority: int = 0
    backends: dict[Any, Backend] = field(factory=dict, init=False)
    _seen: dict[Any, Target] = field(factory=dict, init=False, repr=False)

    def follow(self) -> list[Backend]:
        """Make ``backends`` those of the targets of now; returns the new ones."""
        backends: dict[Any, Backend] = {}
        seen: dict[Any, Target] = {}
        new = []
        for target in self.watch.targets:
            key = (target.packed, target.port, target.host)
            backend = self.backends.get(key)
            if backend is None:
                backend = self.make(target)
                new.append(backend)
            if self._seen.get(key) != target:  # else it has what it was given last, here or by hand
                backend.weight = self.weight * target.weight
                backend.share = float(backend.weight)
                backend.priority = self.priority + target.priority
            backends[key] = backend
            seen[key] = target
        self.backends = backends
        self._seen = seen
        return new


class Members:
    """Keeps the members of ``pool`` up to date: ``entries`` are its backends as configured."""

    def __init__(self, pool: Pool, entries: Sequence[Backend | Named], clock: Any) -> None:
        self.pool = pool
        self._entries = tuple(entries)
        self._clock = clock
        self._waiting: Any = None
        self._started = False
        self._starters: list[Deferred[None]] = []
        for named in self._named:
            named.watch.on_change = lambda named=named: self._changed(named)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"<Members of {self.pool!r}: {[named.watch for named in self._named]}>"

    @property
    def _named(self) -> list[Named]:
        return [entry for entry in self._entries if isinstance(entry, Named)]

    def remember(self, before: Members) -> None:
        """Begin with the last answers for the same names: a reload has made this pool anew.

        So it has members at once, and keeps them while nobody answers.
        """
        known = {named.watch.name: named.watch.targets for named in before._named}
        for named in self._named:
            targets = known.get(named.watch.name)
            if targets:
                named.watch.targets = targets
                self._changed(named)

    def assume(self, answer: Callable[[str], Sequence[Target]]) -> None:
        """Have members without looking anything up: ``answer(name)`` are the targets of a name."""
        for named in self._named:
            named.watch.targets = tuple(answer(named.watch.name))
            self._follow(named)

    def start(self) -> Deferred[None]:
        """Begin to look names up, if that was not begun yet.

        Fires when each was looked up once, at the latest after :data:`PATIENCE` seconds.
        """
        ready: Deferred[None] = Deferred()
        self._starters.append(ready)
        if not self._started:
            self._started = True
            self._waiting = self._clock.callLater(PATIENCE, self._waited)
            watches = [named.watch for named in self._named]
            DeferredList([watch.first for watch in watches]).addCallback(self._answered)
            for watch in watches:
                watch.start()
        elif self._waiting is None:
            self._waited()
        return ready

    def _answered(self, _: Any) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waited()

    def _waited(self) -> None:
        self._waiting = None
        starters, self._starters = self._starters, []
        for ready in starters:
            ready.callback(None)

    def stop(self) -> None:
        """Look nothing up any more, and call nobody who waits. The members stay."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        for named in self._named:
            named.watch.stop()

    def _changed(self, named: Named) -> None:
        new, left = self._follow(named)
        _logger.info(
            "Pool {pool}: {name} has {count} backends{changes}",
            pool=self.pool.name.decode(),
            name=named.watch.name,
            count=len(named.backends),
            changes="".join(
                [f" +{backend.name.decode()}" for backend in new]
                + [f" -{backend.name.decode()}" for backend in left]
            ),
        )

    def _follow(self, named: Named) -> tuple[list[Backend], list[Backend]]:
        """Make the members those of now; who is new, and who has left."""
        first = not named.backends
        new = named.follow()
        members: list[Backend] = []
        for entry in self._entries:
            members += entry.backends.values() if isinstance(entry, Named) else [entry]
        now = self._clock.seconds()
        left = self.pool.replace(members, now)
        for backend in left:
            backend.state = State.DRAIN
            backend.connections.close()
        if first and self.pool.slow_start:
            # What the first answer has was there before this process: it has nothing to grow from.
            for backend in new:
                backend.since = float("-inf")
            self.pool.refresh(now)
        return new, left

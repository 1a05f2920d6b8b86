"""The pools of a configuration as live objects, and whoever asks their backends how they are.

They are a part of the graph that serves (:mod:`txrproxy.config.build`), and all there is in a
process that only asks for others: :func:`build_backends`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults

from txrproxy.balance.backend import Backend
from txrproxy.balance.pool import MEMBERS, STATE, Pool, Tell
from txrproxy.config import schema
from txrproxy.config.problems import ConfigErrors, Problem
from txrproxy.config.steps import Steps, finish
from txrproxy.health.checker import Checker
from txrproxy.health.slots import Slots
from txrproxy.names.members import Members
from txrproxy.transport.deadlines import Deadlines
from txrproxy.wiring import Unusable, Wiring, close, log_event


@define(eq=False, kw_only=True)
class Backends:
    """Pools by name, the look-ups of those that have ``names``, and ``checkers``, if any."""

    config: schema.Config
    pools: Mapping[Any, Pool]
    names: Mapping[Any, Members] = field(repr=False)
    checkers: Mapping[Pool, Checker] = field(repr=False)
    slots: Slots = field(repr=False)
    deadlines: Deadlines = field(repr=False)

    def start(self) -> None:
        """Begin what goes on by itself: names, health checks."""
        self.find_names()
        for pool, checker in self.checkers.items():
            self._check(pool, checker)

    def _check(self, pool: Pool, checker: Checker) -> None:
        """Begin to check a pool, as soon as it has its members."""
        members = self.names.get(pool.name.decode())
        if members is None:
            checker.start()
        else:
            members.start().addCallback(lambda _: checker.start())

    def ready(self) -> Deferred[Any]:
        """Fires when what is known of backends will do to serve."""
        checked = [_also(checker.ready) for checker in self.checkers.values()]
        return gatherResults([self.find_names(), *checked])

    def find_names(self) -> Deferred[Any]:
        """Begin to look up the names of backends.

        Fires when each was looked up once, or that takes too long; at once if there are none.
        """
        return gatherResults([members.start() for members in self.names.values()])

    def discard(self, old: Backends | None) -> None:
        """It will not serve, or no longer: end the look-ups that it does not share with ``old``."""
        kept = set(old.names.values()) if old is not None else set()
        for members in self.names.values():
            if members not in kept:
                members.stop()

    def follow(self, old: Backends) -> None:
        """Take the place of others, and leave alone what both have."""
        old.discard(self)
        self.find_names()
        mine = set(self.pools.values())
        close(pool for pool in old.pools.values() if pool not in mine)
        for pool, checker in self.checkers.items():
            if pool not in old.checkers:
                self._check(pool, checker)
        for pool, checker in old.checkers.items():
            if pool not in self.checkers:
                checker.stop()

    def close(self) -> object:
        """End all of it, and let go of the connections to backends."""
        self.discard(None)
        close(self.pools.values())
        for checker in self.checkers.values():
            checker.stop()
        self.deadlines.close()
        return None


def _also(fired: Deferred[None]) -> Deferred[None]:
    """Fires with another one, and does not take its result."""
    also: Deferred[None] = Deferred()

    def tell(result: None) -> None:
        also.callback(None)

    fired.addCallback(tell)
    return also


def build_backends(
    config: schema.Config, reactor: Any, old: Backends | None = None, tell: Tell = log_event
) -> Backends:
    """The backends of a configuration, checked, for a process that serves nobody itself.

    ``old`` is what they are to :meth:`~Backends.follow`; ``tell`` hears what happens to pools.
    Raises :class:`ConfigErrors`.
    """
    return Backends(**finish(PoolBuilder(config, reactor, old, True, tell).backends()))


class PoolBuilder:
    """Makes pools. Without ``checks`` nobody here asks them anything."""

    def __init__(
        self, config: schema.Config, reactor: Any, old: Backends | None, checks: bool, tell: Tell
    ) -> None:
        self.config = config
        self.reactor = reactor
        self.before = old
        self.checks = checks
        # Running deadlines are in the queues of the process, whichever graph asked for them.
        self.deadlines = Deadlines(reactor) if old is None else old.deadlines
        servers = [(server.host, server.port) for server in config.server.resolver]
        self.wiring = Wiring(
            reactor, self.deadlines, config.resolve, config.server.state_dir, servers, tell
        )
        self.checkers: dict[Pool, Checker] = {}
        self.slots = Slots() if old is None else old.slots

    def backends(self) -> Steps[dict[str, Any]]:
        """The arguments for :class:`Backends`, or for one that is more; a step for each pool."""
        pools = {}
        for name, pool in self.config.pools.items():
            pools[name] = self.pool(name, pool)
            yield
        return {
            "config": self.config,
            "pools": pools,
            "names": self.wiring.names,
            "checkers": self.checkers,
            "slots": self.slots,
            "deadlines": self.deadlines,
        }

    def pool(self, name: Any, pool: schema.Pool) -> Pool:
        old = self.before
        if (kept := self.inherited_pool(name, pool)) is not None:
            if old is not None and kept in old.checkers:
                self.checkers[kept] = old.checkers[kept]
            return kept
        try:
            made = self.wiring.pool(name, pool)
        except Unusable as error:
            raise ConfigErrors([Problem("", 0, error.key, str(error))]) from error
        if old is not None and name in old.pools:
            if name in old.names and name in self.wiring.names:
                self.wiring.names[name].remember(old.names[name])
            checked = pool.health is not None
            made.remember(old.pools[name], self.reactor.seconds(), checked=checked)
        if pool.health is not None and self.checks:
            self.check(made, pool.health)
        return made

    def inherited_pool(self, name: Any, pool: schema.Pool) -> Pool | None:
        """With its connections, and all that is known of its backends.

        One that names files of its own is made anew: only so are they read again.
        """
        old = self.before
        if old is None or old.config.base != self.config.base:
            return None
        own_files = pool.tls.cert or pool.tls.key or pool.tls.ca != "system"
        same = old.config.pools.get(name) == pool
        members = old.names.get(name)
        if members is not None and old.config.server.resolver != self.config.server.resolver:
            same = False
        if not same or own_files:
            return None
        if members is not None:
            self.wiring.names[name] = members
        return old.pools.get(name)

    def check(self, pool: Pool, settings: schema.Health) -> None:
        """Have the backends of a pool asked whether they are well."""
        checker = Checker(
            self.reactor,
            pool,
            settings,
            lambda backend: backend.connections.dial,
            slots=self.slots,
        )
        self.checkers[pool] = checker

        def follow(pool: Pool, event: str, backend: Backend | None) -> None:
            if event in (MEMBERS, STATE):
                checker.follow()

        pool.listeners.append(follow)

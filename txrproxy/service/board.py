"""What is known of backends: known to one process, told to all.

::

    checks, people ──▶ Board, in the main process ── "backends" ──▶ Follower, in each worker
                                   ▲                                   │      └──▶ its pools
                                   └─────────── "ejected" ─────────────┘◀── requests

The board has pools of its own, which serve nobody: what is true of them is true. Whatever happens
to one of their backends is told as a row, which has all there is to say of that backend, so that it
does no harm to hear it twice, or early. A worker that leaves a backend out because requests fail,
or takes it back, says so. The board does the same, unless as many are out as may be, and tells all
workers what has become of it, the one that said so included: they end with what the board has. Who
said so makes the trial when its time is over. The others leave it to that worker as long again as
an ejection lasts at first: one that is alive and asked for anything has made it by then.

A backend is known by the names of its pool and of itself. One whose name is looked up may be found
here earlier than there: a follower keeps what it was told for that time.

What people want of a backend, a state or a weight, holds until it leaves the pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import CALM, EJECTED, MEMBERS, PANIC, RESTORED, STATE, Pool, Tell
from txrproxy.config.backends import Backends, build_backends
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config
from txrproxy.transport.channel import Body, Refused
from txrproxy.wiring import log_event

TOLD = "backends"  # the topic of rows
EJECTIONS = "ejected"  # the topic of what a worker has left out, or taken back
MAX_WEIGHT = 65_535

MAX_TRIALS = 4096  # backends of which is known whose the trial is

# state; healthy, if it is checked; weight, if somebody gave it; ejected: until when, how often in a
# row, and whose the trial is.
Row = dict[str, Any]


@define
class _Wanted:
    """What people want of a backend; ``seen`` says that it was there."""

    state: State = State.UP
    weight: int | None = None
    seen: bool = False


class Board:
    """The side of the main process. ``broadcast(topic, body)`` tells all workers.

    As a data plane it changes in two steps, of which only the first can fail.
    """

    def __init__(self, reactor: Any, broadcast: Callable[[str, Body], object]) -> None:
        self.backends: Backends | None = None
        self.watch: Tell = lambda pool, event, backend: None  # sees what happens to pools
        self._reactor = reactor
        self._broadcast = broadcast
        self._next: Backends | None = None
        self._ready = False
        self._wanted: dict[str, dict[str, _Wanted]] = {}
        self._obeying = False
        self._trials: dict[tuple[str, str], int] = {}  # whose they are

    # Changing.

    def prepare(self, config: Config) -> Deferred[Any] | None:
        """Build the backends of a configuration, or raise :class:`Refused`.

        In a process that runs, their names are looked up before this is done.
        """
        self.discard()
        try:
            self._next = build_backends(config, self._reactor, self.backends, self._hear)
        except ConfigErrors as errors:
            raise Refused(str(errors)) from errors
        return self._next.find_names() if self._reactor.running else None

    def discard(self) -> None:
        """Forget what was prepared."""
        new, self._next = self._next, None
        if new is not None:
            new.discard(self.backends)

    def commit(self) -> None:
        """From now on those are checked, and told of."""
        new, old = self._next, self.backends
        assert new is not None
        self._next, self.backends = None, new
        self._wanted = {name: rows for name, rows in self._wanted.items() if name in new.pools}
        for pool in new.pools.values():
            self._do_as_wanted(pool)
        if old is None:
            new.start()
        else:
            new.follow(old)
        if not self._ready:
            new.ready().addCallback(self._be_ready)
        self._broadcast(TOLD, self.snapshot())

    @property
    def ready(self) -> bool:
        """Whether every backend that is checked has been asked once."""
        return self._ready

    def _be_ready(self, _: Any) -> None:
        if not self._ready:
            self._ready = True
            self._broadcast(TOLD, {"ready": True})

    def close(self) -> None:
        """Check no more."""
        self.discard()
        if self.backends is not None:
            self.backends.close()

    # Telling.

    def snapshot(self) -> Body:
        """All there is to tell, for a worker that comes."""
        assert self.backends is not None
        pools = {pool.name.decode(): self._rows(pool) for pool in self.backends.pools.values()}
        return {"pools": pools, "whole": True, "ready": self._ready}

    def _rows(self, pool: Pool) -> dict[str, Row]:
        return {_name(backend): self._row(pool, backend) for backend in pool.backends}

    def _row(self, pool: Pool, backend: Backend) -> Row:
        assert self.backends is not None
        row: Row = {"state": backend.state.value}
        if pool in self.backends.checkers:
            row["healthy"] = backend.healthy
        wanted = self._wanted.get(pool.name.decode(), {}).get(_name(backend))
        if wanted is not None and wanted.weight is not None:
            row["weight"] = wanted.weight
        if backend.ejected:
            whose = self._trials.get((pool.name.decode(), _name(backend)), 0)
            row["ejected"] = [backend.ejected_until, backend.ejections, whose]
        return row

    def _tell(self, pool: Pool, backend: Backend) -> None:
        rows = {_name(backend): self._row(pool, backend)}
        self._broadcast(TOLD, {"pools": {pool.name.decode(): rows}})

    def report(self) -> list[Body]:
        """How each pool is, for a person; ``ejected`` is for how many seconds yet.

        ``check`` is the last one, with the seconds that it took, and that have passed since.
        """
        return [] if self.backends is None else list(map(self._report, self._pools()))

    def _report(self, pool: Pool) -> Body:
        assert self.backends is not None
        now = self._reactor.seconds()
        checker = self.backends.checkers.get(pool)
        checks: dict[Backend, Body] = {}
        for found in checker.reports() if checker is not None else []:
            if (last := found.last) is not None:
                checks[found.backend] = {
                    "passed": last.passed,
                    "text": last.text,
                    "seconds": round(last.seconds, 3),
                    "ago": round(now - last.at, 1),
                }
        backends = [
            {
                "name": _name(backend),
                "state": backend.state.value,
                "weight": backend.weight,
                "priority": backend.priority,
                "healthy": backend.healthy,
                "ejected": (
                    round(max(0.0, backend.ejected_until - now), 1) if backend.ejected else None
                ),
                "check": checks.get(backend),
            }
            for backend in pool.backends
        ]
        return {"name": pool.name.decode(), "panic": pool.panicking, "backends": backends}

    def _pools(self) -> Iterator[Pool]:
        assert self.backends is not None
        yield from self.backends.pools.values()

    # What happens.

    def _hear(self, pool: Pool, event: str, backend: Backend | None) -> None:
        """Something has happened to a pool of ours; workers leave it to us to log that."""
        if self.backends is None or self.backends.pools.get(pool.name.decode()) is not pool:
            return
        self.watch(pool, event, backend)
        if event in (PANIC, CALM):
            log_event(pool, event, backend)
        elif backend is None:
            self._do_as_wanted(pool)
            pools = {pool.name.decode(): self._rows(pool)}
            self._broadcast(TOLD, {"pools": pools, "whole": True})
        elif not self._obeying:
            if event in (STATE, RESTORED):
                log_event(pool, event, backend)
            self._tell(pool, backend)

    def hear(self, body: Body) -> None:
        """A worker has left a backend out (``until``, ``ejections``, ``by``), or taken it back."""
        found = self._find(body["pool"], body["backend"])
        if found is None:
            return
        pool, backend = found
        place = (pool.name.decode(), _name(backend))
        until, now = body["until"], self._reactor.seconds()
        self._obeying = True
        try:
            if until is None or pool.may_eject(backend):
                self._trials.pop(place, None)
                if until is not None:
                    if len(self._trials) >= MAX_TRIALS:
                        self._trials.clear()
                    self._trials[place] = body["by"]
                pool.obey(backend, until, body["ejections"], now)
        finally:
            self._obeying = False
        self._tell(pool, backend)

    def _find(self, pool: object, backend: object) -> tuple[Pool, Backend] | None:
        if self.backends is None:
            return None
        for found in self._pools():
            if found.name.decode() == pool:
                for each in found.backends:
                    if _name(each) == backend:
                        return found, each
        return None

    # What people want.

    def set(
        self, pool: str, backend: str, state: str | None = None, weight: int | None = None
    ) -> Row:
        """Set a backend ``up``, to ``drain`` or ``down``, or give it a weight, 0 to 65535.

        Returns what is known of it by then. Raises :class:`Refused`.
        """
        found = self._find(pool, backend)
        if found is None:
            known = {each.name.decode(): each for each in self._pools()} if self.backends else {}
            if pool not in known:
                raise Refused(f"no pool named {pool}; there are: {', '.join(known) or 'none'}")
            there = ", ".join(map(_name, known[pool].backends)) or "none"
            raise Refused(f"pool {pool} has no backend {backend}; there are: {there}")
        if state is not None and state not in [each.value for each in State]:
            raise Refused(f"state: {state!r} is not up, drain or down")
        if weight is not None and (type(weight) is not int or not 0 <= weight <= MAX_WEIGHT):
            raise Refused(f"weight: {weight!r} is not a number from 0 to {MAX_WEIGHT}")
        wanted = self._wanted.setdefault(pool, {}).setdefault(backend, _Wanted())
        if state is not None:
            wanted.state = State(state)
        if weight is not None:
            wanted.weight = weight
        self._do_as_wanted(found[0])
        return self._row(*found)

    def wanted(self) -> Body:
        """What people want, for the process that goes on from here."""
        return {
            name: {
                backend: {"state": one.state.value, "weight": one.weight}
                for backend, one in rows.items()
            }
            for name, rows in self._wanted.items()
        }

    def want(self, body: Body) -> None:
        """The process before has said what people want."""
        for name, rows in body.items():
            self._wanted[name] = {
                backend: _Wanted(State(row["state"]), row["weight"])
                for backend, row in rows.items()
            }

    def _do_as_wanted(self, pool: Pool) -> None:
        wanted = self._wanted.get(pool.name.decode(), {})
        if not wanted or not pool.backends:  # they are still being looked up
            return
        now = self._reactor.seconds()
        members = {_name(backend): backend for backend in pool.backends}
        for name, one in list(wanted.items()):
            backend = members.get(name)
            if backend is not None:
                one.seen = True
                _set(pool, backend, one.state, one.weight, now)
                if one.state is State.UP and one.weight is None:
                    del wanted[name]
            elif one.seen:
                del wanted[name]


class Follower:
    """The side of a worker.

    ``send(topic, body)`` tells the main process; ``seconds()`` is the time, by a clock that all
    processes have in common; ``me`` tells us from the other workers. Whoever builds pools has
    :meth:`hear` told what happens to them.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        send: Callable[[str, Body], object],
        me: int | None = None,
    ) -> None:
        self._me = os.getpid() if me is None else me
        self._seconds = seconds
        self._send = send
        self._pools: Mapping[Any, Pool] = {}
        self._rows: dict[str, dict[str, Row]] = {}
        self._obeying = False
        self._ready = False
        self._waiting: list[Deferred[None]] = []

    def ready(self) -> Deferred[None]:
        """Fires when the main process knows enough of the backends to serve."""
        ready: Deferred[None] = Deferred()
        if self._ready:
            ready.callback(None)
        else:
            self._waiting.append(ready)
        return ready

    def use(self, pools: Mapping[Any, Pool]) -> None:
        """These serve from now on; of those that did before, all that was told is true already."""
        before, self._pools = self._pools, pools
        self._rows = {name: rows for name, rows in self._rows.items() if name in pools}
        for name, rows in self._rows.items():
            if before.get(name) is not pools[name]:
                self._obey(pools[name], rows)

    def told(self, body: Body) -> None:
        """The main process has something to say."""
        for name, rows in body.get("pools", {}).items():
            if body.get("whole"):
                if self._rows.get(name) == rows:
                    continue  # of a thousand pools, a reload has changed one
                self._rows[name] = dict(rows)
            else:
                self._rows.setdefault(name, {}).update(rows)
            pool = self._pools.get(name)
            if pool is not None:
                self._obey(pool, rows)
        if body.get("ready") and not self._ready:
            self._ready = True
            waiting, self._waiting = self._waiting, []
            for ready in waiting:
                ready.callback(None)

    def _obey(self, pool: Pool, rows: Mapping[str, Row]) -> None:
        now = self._seconds()
        self._obeying = True
        try:
            with pool.at_once(now):
                for backend in pool.backends:
                    row = rows.get(_name(backend))
                    if row is not None:
                        self._put(pool, backend, row, now)
        finally:
            self._obeying = False

    def _put(self, pool: Pool, backend: Backend, row: Row, now: float) -> None:
        _set(pool, backend, State(row["state"]), row.get("weight"), now)
        healthy = row.get("healthy")
        if healthy is not None:
            pool.set_health(backend, healthy, now)
        until, ejections, whose = row.get("ejected") or (None, 0, 0)
        pool.obey(backend, until, ejections, now, ours=whose == self._me)

    def hear(self, pool: Pool, event: str, backend: Backend | None) -> None:
        """Something has happened to a pool, in this process."""
        name = pool.name.decode()
        if self._pools.get(name) is not pool or self._obeying:
            return
        if event == MEMBERS:
            self._obey(pool, self._rows.get(name, {}))
        elif event in (EJECTED, RESTORED) and backend is not None:
            log_event(pool, event, backend)
            until = backend.ejected_until if event == EJECTED else None
            self._send(
                EJECTIONS,
                {
                    "pool": name,
                    "backend": _name(backend),
                    "until": until,
                    "ejections": backend.ejections,
                    "by": self._me,
                },
            )


def _name(backend: Backend) -> str:
    return backend.name.decode("latin-1")


def _set(pool: Pool, backend: Backend, state: State, weight: int | None, now: float) -> None:
    pool.set_state(backend, state, now)
    if weight is not None and weight != backend.weight:
        pool.set_weight(backend, weight, now)

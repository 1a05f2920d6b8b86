"""A backend pool: a named group of servers, and which of them are candidates at the moment.

What is known of a backend changes rarely (a probe, an ejection, somebody drains it), a choice is
made for each request. So the candidates are settled when something changes, in
:meth:`Pool.refresh`, and the balance policy chooses among them without looking at health at all::

    probes, failures, people ──▶ Backend's state ──▶ refresh ──▶ policy.update(candidates)
                                                     requests ──▶ policy.select(tried, key, now)

Candidates are the available backends of the first priority; where too few of those are available,
the next priority's join them. When no priority has enough, health is ignored rather than the few
crushed: the panic threshold.

Nothing here reads a clock: what has to happen later is asked for through ``wake(seconds)``, which
is to call :meth:`Pool.tick` then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.retry import RetryRules
from txrproxy.balance.select import RoundRobin

STEPS = 10  # in which slow start gives a backend its full share
NEVER = float("inf")
ROUNDING = 1e-9  # 0.29 of 100 is 29
EARLY = 0.001  # seconds by which a wake may come before its time, as clocks are read coarsely
LONGEST = 10  # times `eject` that an ejection lasts at most

# What a pool tells of itself: an event, and the backend it concerns if it is one's.
UP, DOWN = "healthy", "unhealthy"
EJECTED, RESTORED = "ejected", "restored"
PANIC, CALM = "panic", "calm"
STATE = "state"
MEMBERS = "members"
Tell = Callable[["Pool", str, Backend | None], None]


class Policy(Protocol):
    """How one of the candidates is chosen."""

    def update(self, candidates: Sequence[Backend]) -> None:
        """These may be chosen from now on; their ``share`` may have changed."""

    def select(
        self, tried: Collection[Backend] = (), key: bytes = b"", now: float = 0.0
    ) -> Backend | None:
        """One that was not tried and is not closed, or None; one with room before a full one."""


class Ejection:
    """Passive health: ``consecutive_errors`` in a row eject for ``eject`` seconds.

    Longer each time in a row; never more than the share ``max_ejected`` of all.
    """

    __slots__ = ("consecutive_errors", "eject", "max_ejected")

    def __init__(self, consecutive_errors: int, eject: float, max_ejected: float) -> None:
        self.consecutive_errors = consecutive_errors
        self.eject = eject
        self.max_ejected = max_ejected


class Pool:
    """``name`` for logs, its ``backends``, and ``select``, the balance policy bound to them.

    ``panic_threshold`` is a share of backends, ``slow_start`` in seconds. ``retry`` says what is
    retried, ``sticky`` (None without) which backend a cookie asks for, and ``key`` (None without)
    the key of a request for a policy that hashes one. ``observe(backend, seconds, now)``, None
    without, is told how long a backend took to answer. ``watched`` says whether the outcome of
    requests matters to anything here. ``complain(name, how)`` is told of each request that a
    backend fails. ``candidates`` are those that may be chosen at the moment; ``well`` says whether
    checks find any of them well.

    ``own`` and ``own_hosts`` are the addresses, lower case with and without port, by which a
    response may name a backend; a route rewrites them to the public address.
    """

    __slots__ = (
        "_aliases",
        "_held",
        "_learn_failure",
        "_make_policy",
        "_policy",
        "_wake",
        "_wake_at",
        "backends",
        "candidates",
        "complain",
        "due",
        "ejection",
        "key",
        "listeners",
        "name",
        "observe",
        "own",
        "own_hosts",
        "panic_threshold",
        "panicking",
        "retry",
        "select",
        "slow_start",
        "sticky",
        "watched",
        "well",
    )

    def __init__(
        self,
        name: bytes,
        backends: Sequence[Backend],
        policy: Callable[[Sequence[Backend]], Any] = RoundRobin,
        *,
        panic_threshold: float = 0.5,
        slow_start: float = 0.0,
        ejection: Ejection | None = None,
        retry: RetryRules | None = None,
        key: Any = None,
        sticky: Any = None,
        aliases: Collection[bytes] = (),
        now: float = 0.0,
        wake: Callable[[float], object] = lambda seconds: None,
        tell: Tell = lambda pool, event, backend: None,
        complain: Callable[[bytes, bytes], object] = lambda backend, how: None,
    ) -> None:
        self.name = name
        self.panic_threshold = panic_threshold
        self.slow_start = slow_start
        self.ejection = ejection
        self.retry = retry or RetryRules()
        self.key = key
        self.sticky = sticky
        self.panicking = False
        self.complain = complain
        self._aliases = frozenset(aliases)
        self._wake = wake
        self._wake_at = NEVER
        self._held = False  # much is about to change
        self.listeners = [tell]
        self.due: list[Backend] = []
        self._make_policy = policy
        self._join(backends)
        self.refresh(now)

    def __repr__(self) -> str:
        return f"<Pool {self.name.decode('latin-1')} of {len(self.backends)}>"

    # Who belongs to it.

    def replace(self, backends: Sequence[Backend], now: float) -> list[Backend]:
        """These are the members from now on; new ones grow in slow start. Returns who left."""
        before, after = set(self.backends), set(backends)
        for backend in after - before:
            backend.since = now
        self._join(backends)
        self._keep_share(now)
        self.refresh(now)
        self._tell(self, MEMBERS, None)
        return list(before - after)

    def remember(self, before: Pool, now: float, *, checked: bool = False) -> None:
        """Of the same backends, this pool knows what another one did: a reload has made it anew.

        ``checked``: there are active checks here, too, so what those have found bad is believed.
        """
        known = {backend.name: backend for backend in before.backends}
        for backend in self.backends:
            old = known.get(backend.name)
            if old is None:
                continue
            backend.state, backend.since = old.state, old.since
            backend.latency, backend.latency_at = old.latency, old.latency_at
            if backend.healthy is None or (checked and old.healthy is False):
                backend.healthy = old.healthy
            if self.ejection is not None:
                backend.ejected, backend.ejected_until = old.ejected, old.ejected_until
                backend.ejections, backend.trial_at = old.ejections, old.trial_at
        self._keep_share(now)
        self.refresh(now)

    def _join(self, backends: Iterable[Backend]) -> None:
        self.backends = tuple(backends)
        self._policy: Policy = self._make_policy(self.backends)
        self.observe = getattr(self._policy, "observe", None)
        self._learn_failure = getattr(self._policy, "failed", None)
        self.watched = bool(self.ejection or self.observe or self.retry.statuses)
        authorities = {backend.authority.lower() for backend in self.backends} | self._aliases
        authorities |= {backend.name.lower() for backend in self.backends}
        self.own = frozenset(authorities)
        self.own_hosts = frozenset(_host_of(authority) for authority in authorities)

    def _tell(self, pool: Pool, event: str, backend: Backend | None) -> None:
        for tell in self.listeners:
            tell(pool, event, backend)

    # Who may be chosen.

    def refresh(self, now: float) -> None:
        """Settle the candidates anew, after anything about a backend has changed."""
        if self._held:
            return
        candidates, panicking = self._settle()
        if panicking is not self.panicking:
            self.panicking = panicking
            self._tell(self, PANIC if panicking else CALM, None)
        self._grow(candidates, now)
        self.candidates = tuple(candidates)
        self.well = any(backend.healthy for backend in candidates)
        self._policy.update(candidates)
        ejected = [backend for backend in self.backends if backend.ejected]
        self.due = [b for b in ejected if now >= b.trial_at and b.usable and b.healthy]
        self.select = self._select_trial if self.due else self._policy.select
        until = [b.trial_at for b in ejected if now < b.trial_at]
        if until:
            self._wake_in(min(until) - now, now)

    @contextmanager
    def at_once(self, now: float) -> Iterator[None]:
        """Whatever changes, the candidates are settled when it is over, and once."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.refresh(now)

    @property
    def crowded(self) -> bool:
        """Whether a backend would be chosen if it took more requests."""
        return any(backend.usable and backend.closed for backend in self.backends)

    def _settle(self) -> tuple[list[Backend], bool]:
        usable = [backend for backend in self.backends if backend.usable]
        groups: dict[int, list[Backend]] = {}
        for backend in usable:
            groups.setdefault(backend.priority, []).append(backend)
        found: list[Backend] = []
        for _, group in sorted(groups.items()):
            available = [backend for backend in group if backend.available]
            found += available
            if available and len(available) >= self.panic_threshold * len(group):
                return found, False
        if self.panic_threshold > 0 and usable:
            return usable, True
        return found, False

    def _grow(self, candidates: Sequence[Backend], now: float) -> None:
        """Give each candidate the share that slow start leaves it."""
        if not self.slow_start:
            return
        growing = False
        for backend in candidates:
            grown = min((now - backend.since) / self.slow_start, 1.0)
            growing = growing or grown < 1.0
            backend.share = backend.weight * max(1, int(grown * STEPS + ROUNDING)) / STEPS
        if growing:
            self._wake_in(self.slow_start / STEPS, now)

    # What is learnt of them.

    def set_state(self, backend: Backend, state: State, now: float) -> None:
        """Somebody wants a backend up, drained or down."""
        if state is not backend.state:
            if state is State.UP:
                backend.since = now
            backend.state = state
            self._tell(self, STATE, backend)
            self.refresh(now)

    def set_weight(self, backend: Backend, weight: int, now: float) -> None:
        """Somebody gives a backend another share; 0 takes it out."""
        if not backend.weight:
            backend.since = now
        backend.weight = weight
        backend.share = float(weight)
        self._tell(self, STATE, backend)
        self.refresh(now)

    def set_health(self, backend: Backend, healthy: bool, now: float) -> None:
        """The probes of a backend say something new."""
        if healthy is backend.healthy:
            return
        # What was there from the beginning does not grow: everybody would, and nobody take more.
        if healthy and (backend.healthy is False or backend.since > -NEVER):
            self._begin_anew(backend, now)
        backend.healthy = healthy
        self._tell(self, UP if healthy else DOWN, backend)
        # Checks that had failed and pass again tell of another server than the ejected one. Once:
        # one that comes and goes serves its later ejections in full.
        if healthy and backend.ejected and (now >= backend.ejected_until or backend.ejections == 1):
            self._restore(backend, now)
        else:
            self.refresh(now)

    def failed(self, backend: Backend, now: float, how: bytes = b"") -> None:
        """A request to a backend failed, by the backend's fault; ``how`` is for the log."""
        self.complain(backend.name, how)
        if self._learn_failure is not None:
            self._learn_failure(backend, now)
        rules = self.ejection
        if rules is None:
            return
        backend.errors += 1
        if backend.ejected:
            if backend.on_trial:
                self.eject(backend, now)
        elif backend.errors >= rules.consecutive_errors:
            self.eject(backend, now)

    def succeeded(self, backend: Backend, now: float) -> None:
        """A backend answered a request."""
        backend.errors = 0
        if backend.ejected and (backend.on_trial or now >= backend.ejected_until):
            self._restore(backend, now)

    def eject(self, backend: Backend, now: float) -> None:
        """Leave a backend out, for longer than the last time if that is not long ago.

        Nothing happens when as many are out as may be.
        """
        rules = self.ejection
        assert rules is not None
        if not self.may_eject(backend):
            return  # or its last requests fail when it has left the pool
        if not backend.ejected and now - backend.since > rules.eject * backend.ejections:
            backend.ejections = 0
        backend.ejections = min(backend.ejections + 1, LONGEST)
        backend.ejected = True
        backend.on_trial = False
        backend.ejected_until = backend.trial_at = now + rules.eject * backend.ejections
        self._tell(self, EJECTED, backend)
        self.refresh(now)

    def obey(
        self,
        backend: Backend,
        until: float | None,
        ejections: int,
        now: float,
        *,
        ours: bool = True,
    ) -> None:
        """Another process has left a backend out until then, or, with None, taken it back.

        Whoever decides for several has minded ``max_ejected``. Unless the trial is ``ours``, the
        other has time for its own: as long as an ejection lasts at first.
        """
        if self.ejection is None:
            return
        if until is None:
            if backend.ejected:
                self._restore(backend, now)
            return
        if backend.ejected and (until <= now or until == backend.ejected_until):
            return  # nothing new; here, the trial that is due by now may have begun
        backend.ejections = ejections
        backend.ejected = True
        backend.on_trial = False
        backend.ejected_until = until
        backend.trial_at = until if ours else until + self.ejection.eject
        self._tell(self, EJECTED, backend)
        self.refresh(now)

    def may_eject(self, backend: Backend) -> bool:
        """Whether one more may be left out; or it is out already."""
        if self.ejection is None or backend not in self.backends:
            return False
        return backend.ejected or sum(b.ejected for b in self.backends) < self._most_ejected()

    def _most_ejected(self) -> int:
        assert self.ejection is not None
        return int(self.ejection.max_ejected * len(self.backends) + ROUNDING)

    def _restore(self, backend: Backend, now: float) -> None:
        backend.ejected = False
        backend.on_trial = False
        backend.errors = 0
        self._begin_anew(backend, now)
        self._tell(self, RESTORED, backend)
        self.refresh(now)

    def _begin_anew(self, backend: Backend, now: float) -> None:
        """It is back: how slow it was in its bad days says nothing any more."""
        backend.since = now
        backend.latency = 0.0

    def _keep_share(self, now: float) -> None:
        """The pool has shrunk: the share of ejected backends must hold all the same."""
        if self.ejection is None:
            return
        ejected = [backend for backend in self.backends if backend.ejected]
        ejected.sort(key=lambda backend: backend.ejected_until)
        for backend in ejected[: max(0, len(ejected) - self._most_ejected())]:
            self._restore(backend, now)

    # What happens with time.

    def tick(self, now: float) -> None:
        """Time has passed: ejections end in a trial, and backends in slow start have grown."""
        if now < self._wake_at - EARLY:
            return  # a later call was replaced by an earlier one, which has asked for it anew
        self._wake_at = NEVER
        self.refresh(now)

    def _wake_in(self, seconds: float, now: float) -> None:
        if now + seconds < self._wake_at:
            self._wake_at = now + seconds
            self._wake(seconds)

    # The way back of an ejected backend.

    def _select_trial(
        self, tried: Collection[Backend] = (), key: bytes = b"", now: float = 0.0
    ) -> Backend | None:
        """Send this request to an ejected backend whose time is over: it decides.

        A request that failed already is not risked.
        """
        backend = self.due[-1]
        if tried or backend.closed:
            return self._policy.select(tried, key, now)
        self.due.pop()
        if not self.due:
            self.select = self._policy.select
        assert self.ejection is not None
        backend.on_trial = True
        backend.ejected_until = backend.trial_at = now + self.ejection.eject
        # If nothing is heard of it, say because the client left, there is another trial then.
        self._wake_in(self.ejection.eject, now)
        return backend

    def select_safely(self, tried: Collection[Backend], key: bytes, now: float) -> Backend | None:
        """For a request that is lost if it fails: a trial is left to another one, for a while.

        As long again as an ejection lasts at first; where nobody asks for anything else, one of
        these has to be the trial.
        """
        assert self.ejection is not None
        if self.due and now < self.due[-1].trial_at + self.ejection.eject:
            return self._policy.select(tried, key, now)
        return self.select(tried, key, now)


def _host_of(authority: bytes) -> bytes:
    host, colon, port = authority.rpartition(b":")
    return host if colon and port.isdigit() else authority

"""A pool settles who may be chosen: health, ejection and the way back, panic, priorities, growth.

:class:`PoolMachine` does anything in any order and holds what must always be true against a plain
reading of the rules.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.policies import POLICIES
from txrproxy.balance.pool import (
    CALM,
    DOWN,
    EARLY,
    EJECTED,
    LONGEST,
    MEMBERS,
    PANIC,
    RESTORED,
    STATE,
    STEPS,
    UP,
    Ejection,
    Pool,
)
from txrproxy.balance.retry import RetryRules


class Time:
    """Calls a pool's ``tick`` when it asked to be woken, at the time it asked for."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.calls: list[float] = []
        self.tick: Callable[[float], None]

    def wake(self, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append(self.now + seconds)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and min(self.calls) <= end:
            self.now = min(self.calls)
            self.calls.remove(self.now)
            self.tick(self.now)
        self.now = end


def named(*names: bytes, **keywords: object) -> list[Backend]:
    return [Backend(name, name, **keywords) for name in names]  # type: ignore[arg-type]


class PoolCase(SynchronousTestCase):
    def make(self, *backends: Backend, **keywords: object) -> Pool:
        self.time = Time()
        self.told: list[tuple[str, bytes]] = []

        def tell(pool: Pool, event: str, backend: Backend | None) -> None:
            self.told.append((event, backend.name if backend else b""))

        self.pool = Pool(
            b"app",
            backends,
            now=self.time.now,
            wake=self.time.wake,
            tell=tell,
            **keywords,  # type: ignore[arg-type]
        )
        self.time.tick = self.pool.tick
        return self.pool

    def chosen(self, tried: Collection[Backend] = ()) -> set[Backend | None]:
        return {self.pool.select(tried, b"%d" % n, self.time.now) for n in range(50)}

    def fails(self, backend: Backend, times: int = 1) -> None:
        for _ in range(times):
            self.pool.failed(backend, self.time.now)


class PoolTests(PoolCase):
    def test_pool(self) -> None:
        backends = named(b"a", b"b")
        pool = Pool(b"app", backends)
        self.assertEqual(pool.backends, tuple(backends))
        self.assertEqual(pool.candidates, tuple(backends))
        first, second, third = (pool.select() for _ in range(3))
        self.assertEqual({first, second}, set(backends))
        self.assertIs(third, first)
        self.assertEqual(repr(pool), "<Pool app of 2>")
        pool.tick(1.0)

    def test_own_addresses(self) -> None:
        names = (b"App.Internal", b"10.0.0.1:8080", b"[fd00::1]:81", b"[fd00::2]", b"odd:name")
        pool = Pool(b"app", named(*names), aliases=[b"alias:8000"])
        self.assertEqual(
            pool.own,
            {
                b"app.internal",
                b"10.0.0.1:8080",
                b"[fd00::1]:81",
                b"[fd00::2]",
                b"odd:name",
                b"alias:8000",
            },
        )
        self.assertEqual(
            pool.own_hosts,
            {b"app.internal", b"10.0.0.1", b"[fd00::1]", b"[fd00::2]", b"odd:name", b"alias"},
        )

    def test_watched(self) -> None:
        backends = named(b"a")
        self.assertFalse(Pool(b"app", backends).watched)
        self.assertTrue(Pool(b"app", backends, ejection=Ejection(5, 30.0, 0.5)).watched)
        self.assertTrue(Pool(b"app", backends, POLICIES["ewma"]).watched)
        self.assertTrue(Pool(b"app", backends, retry=RetryRules(on=["503"])).watched)

    def test_crowded(self) -> None:
        a, b = named(b"a", b"b", max_requests=1)
        pool = self.make(a, b)
        self.assertFalse(pool.crowded)
        a.in_use = 1
        self.assertTrue(pool.crowded)
        pool.set_state(a, State.DOWN, 0.0)
        self.assertFalse(pool.crowded)

    def test_failures_reach_the_policy(self) -> None:
        a, b = named(b"a", b"b")
        self.make(a, b, policy=POLICIES["ewma"])
        self.assertIsNotNone(self.pool.observe)
        self.fails(a)
        self.assertGreater(a.latency, 0)
        self.assertEqual(a.errors, 0)  # without ejection nobody counts


class StateTests(PoolCase):
    def test_health(self) -> None:
        a, b = named(b"a", b"b")
        self.make(a, b)
        self.pool.set_health(a, False, 1.0)
        self.assertEqual(self.chosen(), {b})
        self.pool.set_health(a, False, 2.0)
        self.pool.set_health(a, True, 3.0)
        self.assertEqual(self.chosen(), {a, b})
        self.assertEqual(self.told, [(DOWN, b"a"), (UP, b"a")])
        self.assertEqual(a.since, 3.0)

    def test_the_first_probe(self) -> None:
        """What was there from the beginning need not grow; who joined later does."""
        a, b = named(b"a", b"b", healthy=None)
        self.make(a)
        self.assertEqual(self.chosen(), {None})
        self.pool.set_health(a, True, 5.0)
        self.assertEqual(self.chosen(), {a})
        self.assertEqual(a.since, float("-inf"))
        self.pool.replace([a, b], 10.0)
        self.pool.set_health(b, True, 20.0)
        self.assertEqual(b.since, 20.0)

    def test_drain(self) -> None:
        a, b = named(b"a", b"b")
        self.make(a, b)
        for state in (State.DRAIN, State.DOWN):
            self.pool.set_state(a, state, 1.0)
            self.pool.set_state(a, state, 1.0)
            self.assertEqual(self.chosen(), {b})
        self.pool.set_state(a, State.UP, 2.0)
        self.assertEqual((self.chosen(), a.since), ({a, b}, 2.0))
        self.assertEqual(self.told, [(STATE, b"a")] * 3)

    def test_nobody_is_panic_enough_to_use_who_is_drained(self) -> None:
        a, b = named(b"a", b"b")
        self.make(a, b)
        for backend in (a, b):
            self.pool.set_state(backend, State.DRAIN, 1.0)
        self.assertEqual((self.chosen(), self.pool.panicking), ({None}, False))

    def test_weight(self) -> None:
        a, b = named(b"a", b"b")
        self.make(a, b)
        self.pool.set_weight(a, 3, 1.0)
        names = [self.pool.select() for _ in range(8)]
        self.assertEqual((names.count(a), a.share, a.since), (6, 3.0, float("-inf")))
        self.pool.set_weight(a, 0, 2.0)
        self.assertEqual(self.chosen(), {b})
        self.pool.set_weight(a, 1, 3.0)
        self.assertEqual((self.chosen(), a.since), ({a, b}, 3.0))

    def test_members(self) -> None:
        a, b, c = named(b"a", b"b", b"c")
        self.make(a, b)
        self.assertEqual(self.pool.replace([b, c], 7.0), [a])
        self.assertEqual(self.chosen(), {b, c})
        self.assertEqual((b.since, c.since), (float("-inf"), 7.0))
        self.assertEqual(self.told, [(MEMBERS, b"")])
        self.assertIn(b"c", self.pool.own)
        self.assertNotIn(b"a", self.pool.own)


class PriorityTests(PoolCase):
    def setUp(self) -> None:
        self.upper = named(b"a", b"b", b"c", b"d", priority=0)
        self.lower = named(b"e", b"f", priority=1)

    def down(self, *backends: Backend) -> None:
        for backend in backends:
            self.pool.set_health(backend, False, self.time.now)

    def test_lower_ones_join_when_too_few_are_left(self) -> None:
        self.make(*self.lower, *self.upper)
        self.assertEqual(self.chosen(), set(self.upper))
        self.down(*self.upper[:2])
        self.assertEqual(self.chosen(), set(self.upper[2:]))
        self.down(self.upper[2])
        self.assertEqual(self.chosen(), {self.upper[3], *self.lower})
        self.down(self.upper[3])
        self.assertEqual(self.chosen(), set(self.lower))
        self.assertEqual([event for event, _ in self.told], [DOWN] * 4)

    def test_panic(self) -> None:
        """Too few in every priority: all that may be used at all, well or not."""
        self.make(*self.upper, *self.lower)
        self.down(*self.upper[:3], *self.lower)
        self.pool.set_state(self.upper[0], State.DOWN, 0.0)
        self.assertTrue(self.pool.panicking)
        self.assertEqual(self.chosen(), {*self.upper[1:], *self.lower})
        self.pool.set_health(self.lower[0], True, 1.0)
        self.assertFalse(self.pool.panicking)
        self.assertEqual(self.chosen(), {self.upper[3], self.lower[0]})
        events = [event for event, _ in self.told if event in (PANIC, CALM)]
        self.assertEqual(events, [PANIC, CALM])

    def test_never_panic(self) -> None:
        self.make(*self.upper, panic_threshold=0.0)
        self.down(*self.upper[:3])
        self.assertEqual(self.chosen(), {self.upper[3]})
        self.down(self.upper[3])
        self.assertEqual((self.chosen(), self.pool.panicking), ({None}, False))

    def test_much_at_once(self) -> None:
        """Nobody chooses among many times what is about to change again."""
        settled: list[int] = []

        class Counted:
            def update(self, candidates: Collection[Backend]) -> None:
                settled.append(len(candidates))

            def select(self, *_: object) -> Backend | None:
                return None

        backends = named(b"a", b"b", b"c")
        pool = Pool(b"app", backends, lambda backends: Counted())
        with pool.at_once(0.0):
            for backend in backends[:2]:
                pool.set_state(backend, State.DOWN, 0.0)
        self.assertEqual(settled, [3, 1])


class EjectionTests(PoolCase):
    def setUp(self) -> None:
        self.a, self.b = named(b"a", b"b")
        self.make(self.a, self.b, ejection=Ejection(3, 10.0, 0.5))

    def eject(self) -> None:
        self.fails(self.a, 3)
        self.assertTrue(self.a.ejected)

    def test_in_a_row(self) -> None:
        self.fails(self.a, 2)
        self.pool.succeeded(self.a, self.time.now)
        self.fails(self.a, 2)
        self.assertEqual(self.chosen(), {self.a, self.b})
        self.fails(self.a)
        self.assertEqual(self.chosen(), {self.b})
        self.fails(self.a)  # one that was still under way
        self.assertEqual((self.told, self.a.ejections), ([(EJECTED, b"a")], 1))

    def test_never_too_many(self) -> None:
        self.eject()
        self.fails(self.b, 10)
        self.pool.eject(self.b, self.time.now)
        self.assertFalse(self.b.ejected)

    def test_a_share_that_is_not_exact(self) -> None:
        members = named(*(b"%d" % number for number in range(100)))
        self.make(*members, ejection=Ejection(1, 10.0, 0.29))
        for backend in members:
            self.fails(backend)
        self.assertEqual(sum(backend.ejected for backend in members), 29)

    def test_one_that_left(self) -> None:
        self.pool.replace([self.b, *named(b"c")], self.time.now)
        self.fails(self.a, 3)
        self.assertFalse(self.a.ejected)

    def test_another_process_has_found_it(self) -> None:
        """What that says is done, and may be said again."""
        now = self.time.now
        for until, ejections in ((now + 40, 4), (now + 40, 4), (now + 50, 5)):
            self.pool.obey(self.a, until, ejections, now)
            self.assertEqual(self.chosen(), {self.b})
            self.assertEqual((self.a.ejected_until, self.a.ejections), (until, ejections))
        self.assertEqual(self.told, [(EJECTED, b"a")] * 2)
        for _ in range(2):
            self.pool.obey(self.a, None, 0, now)
            self.assertEqual(self.chosen(), {self.a, self.b})
        self.assertEqual(self.told[2:], [(RESTORED, b"a")])

    def test_another_process_tells_late(self) -> None:
        """A trial that has begun is not ended by what was known before it."""
        self.eject()
        until = self.a.ejected_until
        self.time.advance(10)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)
        self.pool.obey(self.a, until, 1, self.time.now)
        self.assertEqual((self.a.on_trial, self.chosen()), (True, {self.b}))
        self.pool.succeeded(self.a, self.time.now)
        self.pool.obey(self.a, until, 1, self.time.now)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)
        self.assertTrue(self.a.on_trial)

    def test_whether_one_may_be_ejected(self) -> None:
        self.assertTrue(self.pool.may_eject(self.a))
        self.eject()
        self.assertEqual([self.pool.may_eject(b) for b in (self.a, self.b)], [True, False])
        self.assertFalse(self.pool.may_eject(*named(b"c")))

    def test_where_nobody_is_ejected(self) -> None:
        self.make(self.a, self.b)
        self.pool.obey(self.a, self.time.now + 10, 1, self.time.now)
        self.assertEqual(self.chosen(), {self.a, self.b})
        self.assertFalse(self.pool.may_eject(self.a))

    def test_trial(self) -> None:
        """One request decides; the others go elsewhere meanwhile."""
        self.eject()
        self.time.advance(9.9)
        self.assertEqual(self.chosen(), {self.b})
        self.time.advance(0.1)
        found = [self.pool.select((), b"", self.time.now) for _ in range(5)]
        self.assertEqual(found, [self.a] + [self.b] * 4)
        self.assertTrue(self.a.on_trial)
        self.pool.succeeded(self.a, self.time.now)
        self.assertEqual(self.chosen(), {self.a, self.b})
        self.assertEqual((self.a.on_trial, self.a.since), (False, self.time.now))
        self.assertEqual(self.told, [(EJECTED, b"a"), (RESTORED, b"a")])

    def test_the_trial_of_another_process(self) -> None:
        """That has it first, and time for it."""
        now = self.time.now
        self.pool.obey(self.a, now + 20, 2, now, ours=False)
        self.time.advance(29.9)
        self.assertEqual(self.chosen(), {self.b})
        self.time.advance(0.1)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)
        self.pool.succeeded(self.a, self.time.now)
        self.assertEqual(self.chosen(), {self.a, self.b})

    def test_what_would_be_lost_is_no_trial(self) -> None:
        """Unless nothing else is asked for, for as long again."""
        self.eject()
        self.time.advance(10)

        def choose() -> Backend | None:
            return self.pool.select_safely((), b"", self.time.now)

        self.assertEqual([choose() for _ in range(3)], [self.b] * 3)
        self.assertFalse(self.a.on_trial)
        self.time.advance(9.9)
        self.assertIs(choose(), self.b)
        self.time.advance(0.1)
        self.assertEqual([choose() for _ in range(3)], [self.a, self.b, self.b])
        self.assertTrue(self.a.on_trial)
        self.pool.succeeded(self.a, self.time.now)
        self.assertEqual({choose() for _ in range(2)}, {self.a, self.b})

    def test_two_trials(self) -> None:
        """Each has its own."""
        a, b, *others = named(b"a", b"b", b"c", b"d")
        self.make(a, b, *others, ejection=Ejection(1, 10.0, 0.5))
        self.fails(a)
        self.fails(b)
        self.time.advance(10)
        self.assertEqual({self.pool.select((), b"", self.time.now) for _ in range(2)}, {a, b})
        self.assertEqual(self.chosen(), set(others))

    def test_a_trial_fails(self) -> None:
        """Out again, for longer, up to a bound; well for as long as that, and all is forgotten."""
        for count in [*range(1, LONGEST + 1), LONGEST]:
            self.fails(self.a, 3 if count == 1 else 1)
            self.assertEqual((self.a.ejections, self.a.on_trial), (count, False))
            self.time.advance(10 * count - 0.1)
            self.assertEqual(self.chosen(), {self.b})
            self.time.advance(0.1)
            self.assertIs(self.pool.select((), b"", self.time.now), self.a)
        self.pool.succeeded(self.a, self.time.now)
        self.fails(self.a, 3)
        self.assertEqual(self.a.ejections, LONGEST)
        self.time.advance(10 * LONGEST)
        self.pool.select((), b"", self.time.now)
        self.pool.succeeded(self.a, self.time.now)
        self.time.advance(10 * LONGEST + 1)
        self.eject()
        self.assertEqual(self.a.ejections, 1)

    def test_nothing_is_heard_of_a_trial(self) -> None:
        self.eject()
        self.time.advance(10)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)
        self.time.advance(9.9)
        self.assertEqual(self.chosen(), {self.b})
        self.time.advance(0.1)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)

    def test_one_trial_at_a_time(self) -> None:
        """Whatever else is settled anew meanwhile."""
        self.eject()
        self.time.advance(10)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)
        self.pool.set_weight(self.b, 2, self.time.now)
        self.assertEqual(self.chosen(), {self.b})

    def test_a_retry_is_no_trial(self) -> None:
        self.eject()
        self.time.advance(10)
        self.assertIsNone(self.pool.select((self.b,), b"", self.time.now))
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)

    def test_nobody_is_tried_who_takes_nothing(self) -> None:
        self.eject()
        self.a.max_requests = self.a.in_use = 1
        self.time.advance(10)
        self.assertEqual(self.chosen(), {self.b})
        self.a.in_use = 0
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)

    def test_a_probe_brings_back(self) -> None:
        """From a first ejection at once: the server is another one."""
        self.eject()
        self.pool.set_health(self.a, False, self.time.now)
        self.assertEqual(self.chosen(), {self.b})
        self.pool.set_health(self.a, True, self.time.now)
        self.assertEqual(self.chosen(), {self.a, self.b})
        self.assertFalse(self.a.ejected)

    def test_a_probe_after_more_ejections(self) -> None:
        """Once its time is over; before that, and while it is down, there is no trial."""
        self.eject()
        self.time.advance(10)
        self.pool.set_health(self.a, False, self.time.now)
        self.pool.set_health(self.a, True, self.time.now)
        self.eject()
        self.assertEqual(self.a.ejections, 2)
        self.pool.set_health(self.a, False, self.time.now)
        self.pool.set_health(self.a, True, self.time.now)
        self.assertEqual(self.chosen(), {self.b})
        self.pool.set_health(self.a, False, self.time.now)
        self.time.advance(20)
        self.assertEqual(self.chosen(), {self.b})
        self.pool.set_health(self.a, True, self.time.now)
        self.assertEqual(self.chosen(), {self.a, self.b})
        self.assertFalse(self.a.ejected)

    def test_a_pool_made_anew_remembers(self) -> None:
        """Of backends that both have: what people want of them, ejections, latencies."""
        self.eject()
        before = self.pool
        self.a.latency, self.a.latency_at = 0.2, 1.0
        before.set_state(self.b, State.DRAIN, self.time.now)
        a, b, c = named(b"a", b"b", b"c")
        after = self.make(a, b, c, ejection=Ejection(3, 10.0, 0.5))
        after.remember(before, self.time.now)
        self.assertEqual((a.ejected, a.ejected_until, a.ejections), (True, 1010.0, 1))
        self.assertEqual((a.latency, a.latency_at), (0.2, 1.0))
        self.assertIs(b.state, State.DRAIN)
        self.assertEqual(self.chosen(), {c})

    def test_a_pool_without_ejection_remembers_none(self) -> None:
        self.eject()
        before = self.pool
        (a,) = named(b"a")
        self.make(a).remember(before, 1.0)
        self.assertFalse(a.ejected)

    def test_checks_are_remembered_where_there_are_checks(self) -> None:
        before = self.make(*named(b"a", b"b", b"c"))
        a, b, c = before.backends
        a.healthy, c.healthy = False, None
        for initial in (None, True):
            for checked in (True, False):
                after = self.make(*named(b"a", b"b", b"c", healthy=initial))
                after.remember(before, 1.0, checked=checked)
                found = [backend.healthy for backend in after.backends]
                bad = bool(initial) and not checked
                self.assertEqual(found, [bad, True, initial], (initial, checked))

    def test_who_is_back_is_not_held_to_be_slow(self) -> None:
        self.eject()
        self.a.latency = 5.0
        self.time.advance(10)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)
        self.pool.succeeded(self.a, self.time.now)
        self.assertEqual((self.a.ejected, self.a.latency), (False, 0.0))
        self.a.latency = 5.0
        self.pool.set_health(self.a, False, self.time.now)
        self.assertEqual(self.a.latency, 5.0)
        self.pool.set_health(self.a, True, self.time.now)
        self.assertEqual(self.a.latency, 0.0)

    def test_panic_brings_back(self) -> None:
        """All requests are trials then, once its time is over."""
        self.eject()
        self.pool.set_health(self.b, False, self.time.now)
        self.assertTrue(self.pool.panicking)
        self.assertEqual(self.chosen(), {self.a, self.b})
        self.pool.succeeded(self.a, self.time.now)
        self.assertTrue(self.a.ejected)
        self.time.advance(10)
        self.pool.succeeded(self.a, self.time.now)
        self.assertFalse(self.a.ejected)

    def test_a_pool_that_shrinks(self) -> None:
        """The share of ejected ones holds: who would have been back first is."""
        members = named(b"a", b"b", b"c", b"d")
        self.make(*members, ejection=Ejection(1, 10.0, 0.5))
        self.fails(members[0])
        self.time.advance(1)
        self.fails(members[1])
        self.pool.replace(members[:3], self.time.now)
        self.assertEqual([backend.ejected for backend in members], [False, True, False, False])
        self.pool.replace(members[1:2], self.time.now)
        self.assertFalse(members[1].ejected)

    def test_one_that_returns_is_woken(self) -> None:
        self.eject()
        others = named(b"c", b"d")
        self.pool.replace(others, self.time.now)
        self.time.calls.clear()
        self.pool.tick(self.time.now + 10)
        self.time.now += 1
        self.a.ejected_until = self.a.trial_at = self.time.now + 10
        self.pool.replace([self.a, *others], self.time.now)
        self.time.advance(10)
        self.assertIs(self.pool.select((), b"", self.time.now), self.a)

    def test_a_new_pool_knows_the_time(self) -> None:
        """Backends that a reload brings along may be ejected and growing."""
        self.eject()
        now = self.time.now
        self.make(self.a, self.b, ejection=Ejection(3, 10.0, 0.5))
        self.time.now = now
        self.assertEqual(self.chosen(), {self.b})
        self.time.advance(10)
        self.assertIn(self.a, self.chosen())


class GrowthTests(PoolCase):
    def test_slow_start(self) -> None:
        a, b = named(b"a", b"b", weight=2)
        self.make(a, b, slow_start=10.0)
        self.assertEqual((a.share, b.share, self.time.calls), (2.0, 2.0, []))
        self.pool.set_health(a, False, self.time.now)
        self.time.advance(5)
        self.pool.set_health(a, True, self.time.now)
        found = []
        for _ in range(12):
            found.append(round(a.share, 3))
            self.time.advance(1)
        self.assertEqual(found, [0.2, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.0])
        self.assertEqual((b.share, self.time.calls), (2.0, []))

    def test_the_policy_is_told(self) -> None:
        a, b = named(b"a", b"b", weight=10)
        self.make(a, b, slow_start=10.0)
        self.pool.set_health(a, False, self.time.now)
        self.pool.set_health(a, True, self.time.now)
        for seconds, share in ((0, 10), (5, 50), (5, 100)):
            self.time.advance(seconds)
            found = [self.pool.select() for _ in range(share + 100)]
            self.assertEqual(found.count(a), share)

    def test_a_restored_one_grows(self) -> None:
        a, b = named(b"a", b"b")
        self.make(a, b, slow_start=10.0, ejection=Ejection(1, 10.0, 0.5))
        self.fails(a)
        self.time.advance(10)
        self.assertIs(self.pool.select((), b"", self.time.now), a)
        self.pool.succeeded(a, self.time.now)
        self.assertEqual(a.share, 0.1)
        self.time.advance(11)
        self.assertEqual(a.share, 1.0)


class WakeTests(PoolCase):
    def test_calls_do_not_breed(self) -> None:
        """Each early call once left one behind that asked for the next for ever."""
        a, b, c, d = named(b"a", b"b", b"c", b"d")
        self.make(a, b, c, d, slow_start=10.0, ejection=Ejection(1, 100.0, 0.5))
        self.fails(a)
        for _ in range(50):
            self.pool.set_health(c, False, self.time.now)
            self.pool.set_health(c, True, self.time.now)
            self.time.advance(3)
        self.assertLessEqual(len(self.time.calls), 60)
        self.time.advance(300)
        self.assertEqual(self.time.calls, [])
        self.fails(b)
        self.assertEqual(len(self.time.calls), 1)

    def test_a_little_early(self) -> None:
        """A clock that is read coarsely does not lose a wake."""
        a, b = named(b"a", b"b")
        self.make(a, b, ejection=Ejection(1, 10.0, 0.5))
        self.fails(a)
        self.pool.tick(self.time.now + 10 - EARLY / 2)
        self.assertEqual(len(self.time.calls), 2)
        self.pool.tick(self.time.now + 10)
        self.assertIs(self.pool.select((), b"", self.time.now + 10), a)


NAMES = (b"a", b"b", b"c", b"d", b"e", b"f")
WHO = st.integers(0, len(NAMES) - 1)
EJECT, GROW = 10.0, 5.0


class PoolMachine(RuleBasedStateMachine):
    """Probes, people, failures, time and membership in any order, under every policy."""

    @initialize(
        policy=st.sampled_from(sorted(POLICIES)),
        slow_start=st.sampled_from([0.0, GROW]),
        max_ejected=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        panic=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        lower=st.integers(0, 3),
        probed=st.booleans(),
    )
    def begin(
        self,
        policy: str,
        slow_start: float,
        max_ejected: float,
        panic: float,
        lower: int,
        probed: bool,
    ) -> None:
        self.everybody = [
            Backend(
                name,
                name,
                1 + index % 3,
                priority=int(index < lower),
                healthy=None if probed else True,
            )
            for index, name in enumerate(NAMES)
        ]
        self.answers = dict.fromkeys(self.everybody, True)
        self.probed = set() if probed else set(self.everybody)
        self.trials: dict[Backend, float] = {}
        self.time = Time()
        rng = random.Random(1)
        self.pool = Pool(
            b"app",
            self.everybody[:4],
            lambda members: POLICIES[policy](members, rng),
            slow_start=slow_start,
            panic_threshold=panic,
            ejection=Ejection(2, EJECT, max_ejected),
            now=self.time.now,
            wake=self.time.wake,
        )
        self.time.tick = self.pool.tick

    @rule(
        count=st.integers(1, 8), key=st.binary(max_size=2), lost=st.booleans(), retry=st.booleans()
    )
    def requests(self, count: int, key: bytes, lost: bool, retry: bool) -> None:
        for _ in range(count):
            tried: tuple[Backend, ...] = ()
            backend = self.request(tried, key, lost)
            while retry and backend is not None and len(tried) < 3 and not self.answers[backend]:
                tried = (*tried, backend)
                backend = self.request(tried, key, lost)

    def request(self, tried: tuple[Backend, ...], key: bytes, lost: bool) -> Backend | None:
        pool, now = self.pool, self.time.now
        candidates = pool.candidates
        due = [
            backend
            for backend in pool.backends
            if backend.ejected and backend.ejected_until <= now and backend.usable
        ]
        backend = pool.select(tried, key, now)
        if backend is None:
            assert not set(candidates) - set(tried)
            return None
        assert backend not in tried
        assert backend in pool.backends and backend in self.probed
        assert backend.state is State.UP and backend.weight > 0
        if backend not in candidates:
            assert backend in due and backend.healthy and backend.on_trial and not tried
            assert now >= self.trials.get(backend, 0.0) + EJECT - EARLY
            self.trials[backend] = now
        if not lost:
            (pool.succeeded if self.answers[backend] else pool.failed)(backend, now)
        return backend

    @rule(who=WHO, answers=st.booleans())
    def behave(self, who: int, answers: bool) -> None:
        self.answers[self.everybody[who]] = answers

    @rule(who=WHO, healthy=st.booleans())
    def probe(self, who: int, healthy: bool) -> None:
        backend = self.everybody[who]
        if backend in self.pool.backends:
            self.pool.set_health(backend, healthy, self.time.now)
            self.probed.add(backend)

    @rule(who=WHO, state=st.sampled_from(State))
    def order(self, who: int, state: State) -> None:
        self.pool.set_state(self.everybody[who], state, self.time.now)

    @rule(who=WHO, weight=st.integers(0, 3))
    def weigh(self, who: int, weight: int) -> None:
        self.pool.set_weight(self.everybody[who], weight, self.time.now)

    @rule(members=st.sets(WHO))
    def replace(self, members: set[int]) -> None:
        before = set(self.pool.backends)
        now = [self.everybody[index] for index in sorted(members)]
        assert set(self.pool.replace(now, self.time.now)) == before - set(now)

    @rule(who=WHO)
    def late_failures(self, who: int) -> None:
        """Of a member or of one that has left."""
        for _ in range(3):
            self.pool.failed(self.everybody[who], self.time.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, EJECT, 3 * EJECT]))
    def wait(self, seconds: float) -> None:
        self.time.advance(seconds)

    @invariant()
    def candidates_are_right(self) -> None:
        pool = self.pool
        usable = [
            backend
            for backend in pool.backends
            if backend.weight and backend.state is State.UP and backend in self.probed
        ]
        well = [backend for backend in usable if backend.healthy and not backend.ejected]
        candidates = set(pool.candidates)
        assert candidates <= set(usable)
        assert candidates or not well
        enough = {
            priority: 0
            < sum(backend.priority == priority for backend in well)
            >= pool.panic_threshold * sum(backend.priority == priority for backend in usable)
            for priority in (0, 1)
        }
        if pool.panicking:
            assert not any(enough.values()) and candidates == set(usable)
        else:
            assert candidates <= set(well)
            assert not enough[0] or all(backend.priority == 0 for backend in candidates)
            assert pool.panic_threshold == 0 or not usable or any(enough.values())

    @invariant()
    def never_too_many_ejected(self) -> None:
        pool = self.pool
        assert pool.ejection is not None
        ejected = sum(backend.ejected for backend in pool.backends)
        assert ejected <= pool.ejection.max_ejected * len(pool.backends) + 1e-9

    @invariant()
    def shares_grow(self) -> None:
        pool = self.pool
        for backend in pool.candidates:
            assert 0 < backend.share <= backend.weight
            grown = min(2.0, (self.time.now - backend.since) / (pool.slow_start or 1e-9))
            steps = STEPS if grown > 1.2 else max(1, min(int(grown * STEPS), STEPS) - 1)
            assert backend.share >= backend.weight * steps / STEPS - 1e-9

    @invariant()
    def somebody_will_call(self) -> None:
        """Before the next ejection ends."""
        for backend in self.pool.backends:
            if backend.ejected and backend.ejected_until > self.time.now:
                assert min(self.time.calls) <= backend.ejected_until + EARLY

    def teardown(self) -> None:
        """When all is well again, everybody is back within the longest ejection."""
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        for backend in pool.backends:
            pool.set_state(backend, State.UP, self.time.now)
            pool.set_weight(backend, 2, self.time.now)
            self.answers[backend] = True
            if backend not in self.probed:
                self.probed.add(backend)
                pool.set_health(backend, True, self.time.now)
        self.time.advance(EJECT * LONGEST)
        for backend in pool.backends:
            pool.set_health(backend, True, self.time.now)
        for _ in NAMES:
            self.request((), b"", lost=False)
        self.time.advance(2 * GROW)
        assert not any(backend.ejected for backend in pool.backends)
        assert not pool.panicking
        assert all(backend.share == 2 for backend in pool.candidates)
        upper = min((backend.priority for backend in pool.backends), default=0)
        assert set(pool.candidates) == {b for b in pool.backends if b.priority == upper}
        assert len(self.time.calls) <= 20


class AnythingTests(SynchronousTestCase):
    def test_anything(self) -> None:
        run_state_machine_as_test(
            PoolMachine,
            settings=settings(
                max_examples=150,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

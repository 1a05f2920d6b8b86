"""Who is checked when, and what comes of it, on a clock and with backends that are none."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import Pool
from txrproxy.config import schema
from txrproxy.config.forms.numbers import timeout
from txrproxy.errors import CONNECT_REFUSED, NO_SOCKET
from txrproxy.health import checker
from txrproxy.health.checker import JITTER, Checker, Report, Result
from txrproxy.health.slots import Slots


class Farm:
    """All backends: each is well, refuses, or hangs."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ill: set[Backend] = set()
        self.hanging: set[Backend] = set()
        self.full = False  # no socket can be made
        self.asked: list[tuple[float, Backend]] = []
        self.transports: list[StringTransport] = []

    def dial_of(self, backend: Backend) -> Any:
        def dial(make: Any, timeout: float, connected: Any, failed: Any) -> None:
            self.asked.append((self.clock.seconds(), backend))
            if self.full:
                failed(NO_SOCKET)
                return
            if backend in self.ill:
                failed(CONNECT_REFUSED)
                return
            protocol, transport = make(), StringTransport()
            self.transports.append(transport)
            protocol.makeConnection(transport)
            connected(protocol)
            if backend not in self.hanging:
                protocol.dataReceived(b"HTTP/1.1 204 No Content\r\n\r\n")

        return dial

    def times(self, backend: Backend) -> list[float]:
        return [when for when, asked in self.asked if asked is backend]

    @property
    def open(self) -> int:
        return sum(not transport.disconnecting for transport in self.transports)


class CheckerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.farm = Farm(self.clock)
        self.told: list[tuple[str, Backend | None]] = []
        self.said: list[tuple[LogLevel, str]] = []
        for level in ("debug", "info", "warn"):
            say = self.patch_level(LogLevel.lookupByName(level))
            self.patch(checker._logger, level, say)

    def patch_level(self, level: LogLevel) -> Any:
        return lambda form, **values: self.said.append((level, form.format(**values)))

    def backends(self, count: int, healthy: bool | None = None) -> list[Backend]:
        return [Backend(b"b%d" % n, b"b%d" % n, healthy=healthy) for n in range(count)]

    def checker(
        self,
        count: int = 1,
        healthy: bool | None = None,
        slots: Slots | None = None,
        verdict: Any = None,
        **settings: Any,
    ) -> Checker:
        self.pool = Pool(
            b"app",
            self.backends(count, healthy),
            tell=lambda pool, event, backend: self.told.append((event, backend)),
        )
        self.told.clear()
        initial = "probe" if healthy is None else "healthy"
        health = schema.Health(path=schema.RequestTarget("/up"), **{"initial": initial, **settings})
        self.made = Checker(
            self.clock,
            self.pool,
            health,
            self.farm.dial_of,
            random.Random(7).random,
            slots=slots,
            verdict=verdict,
        )
        self.made.start()
        return self.made

    def run_for(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def until_asked(self, count: int) -> None:
        """Until so many checks have gone out since the start."""
        while len(self.farm.asked) < count:
            self.clock.advance(0.01)

    @property
    def backend(self) -> Backend:
        return self.pool.backends[0]

    def logged(self) -> list[str]:
        return [text for level, text in self.said if level is not LogLevel.debug]


class VerdictTests(CheckerCase):
    def test_not_used_until_it_passed(self) -> None:
        self.checker(2)
        self.assertIsNone(self.pool.select())
        self.run_for(0.1)
        self.assertIsNotNone(self.pool.select())
        self.assertEqual([backend.healthy for backend in self.pool.backends], [True, True])
        self.assertEqual(self.logged(), [])

    def test_used_from_the_start(self) -> None:
        self.checker(1, True)
        self.assertIs(self.pool.select(), self.backend)
        self.run_for(20)
        self.assertEqual((self.told, self.said), ([], []))

    def test_fall_and_rise(self) -> None:
        self.checker(1, True, fall=3, rise=2)
        self.farm.ill.add(self.backend)
        self.until_asked(2)
        self.assertTrue(self.backend.healthy)
        self.until_asked(3)
        self.assertFalse(self.backend.healthy)
        self.until_asked(6)
        self.farm.ill.clear()
        self.until_asked(7)
        self.assertFalse(self.backend.healthy)
        self.until_asked(12)
        self.assertTrue(self.backend.healthy)
        told = [event for event, backend in self.told if backend is self.backend]
        self.assertEqual(told, ["unhealthy", "healthy"])
        self.assertEqual(
            self.said,
            [
                (LogLevel.warn, "Pool app: backend b0 is unhealthy: connect refused"),
                (LogLevel.info, "Pool app: backend b0 is healthy: status 204"),
            ],
        )

    def test_a_check_that_could_not_be_made_does_not_count(self) -> None:
        made = self.checker(healthy=True, fall=1)
        self.farm.full = True
        self.until_asked(5)
        self.assertTrue(self.backend.healthy)
        self.assertEqual((self.logged(), made.reports()[0].last), ([], None))
        self.farm.full = False
        self.farm.ill.add(self.backend)
        self.until_asked(6)
        self.assertFalse(self.backend.healthy)

    def test_one_that_never_passed(self) -> None:
        """It stays unused, in panic too, and that is said once; one pass is then enough."""
        self.checker(1, rise=5, fall=1)
        self.farm.ill.add(self.backend)
        self.run_for(30)
        self.assertIsNone(self.backend.healthy)
        self.assertIsNone(self.pool.select())
        self.assertGreater(len(self.farm.asked), 4)
        self.farm.ill.clear()
        self.run_for(6)
        self.assertTrue(self.backend.healthy)
        self.assertEqual(
            self.said,
            [
                (
                    LogLevel.warn,
                    "Pool app: backend b0 is not used until it passes: connect refused",
                ),
                (LogLevel.info, "Pool app: backend b0 is healthy: status 204"),
            ],
        )

    def test_told_to_somebody_else(self) -> None:
        verdicts: list[Any] = []
        self.checker(1, True, fall=1, verdict=lambda *verdict: verdicts.append(verdict))
        self.farm.ill.add(self.backend)
        self.run_for(20)
        self.assertEqual(verdicts, [(self.pool, self.backend, False, "connect refused")])
        self.assertTrue(self.backend.healthy)

    def test_a_verdict_that_nobody_takes(self) -> None:
        def broken(*verdict: Any) -> None:
            raise ValueError("no")

        failures: list[Any] = []
        self.patch(checker._logger, "failure", lambda text, **values: failures.append(text))
        self.checker(1, True, fall=1, verdict=broken)
        self.farm.ill.add(self.backend)
        self.run_for(20)
        self.assertEqual(len(failures), 1)
        self.assertGreaterEqual(len(self.farm.asked), 4)

    def test_what_is_known_at_the_start_counts(self) -> None:
        self.checker(1, False, rise=2)
        self.run_for(0.1)
        self.assertIs(self.backend.healthy, False)
        self.run_for(6)
        self.assertIs(self.backend.healthy, True)

    def test_reports(self) -> None:
        self.checker(2, timeout=timeout("2s"))
        first, second = self.pool.backends
        self.farm.hanging.add(second)
        self.assertEqual(
            self.made.reports(), [Report(first, None, None), Report(second, None, None)]
        )
        self.run_for(0.1)
        self.run_for(2.1)
        one, two = self.made.reports()
        assert one.last and two.last
        self.assertTrue(one.healthy)
        self.assertEqual(
            (one.last.passed, one.last.text, one.last.seconds), (True, "status 204", 0)
        )
        self.assertEqual((two.healthy, two.last.text), (None, "timed out after 2 s"))
        self.assertAlmostEqual(two.last.seconds, 2)
        self.assertLess(abs(two.last.at - 2), 0.2)
        self.assertIsInstance(two.last, Result)


class RhythmTests(CheckerCase):
    def test_one_interval_apart(self) -> None:
        self.checker(20, interval=timeout("5s"))
        self.run_for(60, 0.02)
        pauses = []
        for backend in self.pool.backends:
            first, second, *rest = self.farm.times(backend)
            self.assertLess(first, 0.15)
            self.assertLess(second - first, 5.1)
            times = [second, *rest]
            pauses += [b - a for a, b in pairwise(times)]
        self.assertGreater(min(pauses), 5 * (1 - JITTER) - 0.03)
        self.assertLess(max(pauses), 5 * (1 + JITTER) + 0.03)
        self.assertLess(abs(sum(pauses) / len(pauses) - 5), 0.1)
        self.assertGreater(len({round(pause, 2) for pause in pauses}), 20)

    def test_not_in_step(self) -> None:
        """After the first round no half second of an interval has much more than its share."""
        self.checker(200, interval=timeout("5s"))
        self.run_for(25, 0.05)
        for start in range(10, 40):
            during = [t for t, _ in self.farm.asked if start / 2 <= t < (start + 1) / 2]
            self.assertLess(len(during), 2.5 * 200 / 10)

    def test_the_first_round_of_a_large_pool_is_spread(self) -> None:
        self.checker(1000, interval=timeout("5s"))
        self.run_for(5.01)
        self.assertEqual({backend for _, backend in self.farm.asked}, {*self.pool.backends})
        self.assertLess(max(self.farm.times(b)[0] for b in self.pool.backends), 5.01)
        early = [when for when, _ in self.farm.asked if when < 0.5]
        self.assertLess(len(early), 200)

    def test_a_timeout_longer_than_the_interval(self) -> None:
        """One check of a backend at a time, the next as soon as that is over."""
        self.checker(1, interval=timeout("1s"), timeout=timeout("3s"))
        self.farm.hanging.add(self.backend)
        self.run_for(10)
        times = self.farm.times(self.backend)
        self.assertEqual(len(times), 4)
        for one, next_one in pairwise(times):
            self.assertLess(abs(next_one - one - 3), 0.05)

    def test_no_more_at_a_time_than_there_are_slots(self) -> None:
        self.checker(50, slots=Slots(8), timeout=timeout("2s"))
        self.farm.hanging |= {*self.pool.backends}
        most = 0
        for _ in range(400):
            self.clock.advance(0.1)
            most = max(most, self.farm.open)
        self.assertEqual(most, 8)
        self.assertEqual({backend for _, backend in self.farm.asked}, {*self.pool.backends})
        self.made.stop()
        self.assertEqual(self.farm.open, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MemberTests(CheckerCase):
    def test_new_and_gone(self) -> None:
        self.checker(2, True)
        gone, stays = self.pool.backends
        self.farm.hanging.add(gone)
        self.run_for(0.1)
        self.assertEqual(self.farm.open, 1)
        fresh = Backend(b"new", b"new", healthy=None)
        self.pool.replace([stays, fresh], self.clock.seconds())
        self.made.follow()
        self.assertEqual(self.farm.open, 0)
        asked = len(self.farm.times(gone))
        self.run_for(20)
        self.assertEqual(len(self.farm.times(gone)), asked)
        self.assertTrue(fresh.healthy)
        self.assertGreater(len(self.farm.times(stays)), 3)
        self.assertEqual([report.backend for report in self.made.reports()], [stays, fresh])

    def test_down(self) -> None:
        self.checker(1, True)
        self.run_for(0.1)
        self.farm.asked.clear()
        self.pool.set_state(self.backend, State.DOWN, 1)
        self.made.follow()
        self.run_for(20)
        self.assertEqual(self.farm.asked, [])
        self.assertIsNone(self.made.reports()[0].last)
        self.pool.set_state(self.backend, State.UP, 1)
        self.made.follow()
        self.run_for(0.1)
        self.assertEqual(len(self.farm.asked), 1)

    def test_draining_ones_are_checked(self) -> None:
        self.checker(1, True)
        self.pool.set_state(self.backend, State.DRAIN, 1)
        self.made.follow()
        self.run_for(20)
        self.assertGreater(len(self.farm.asked), 3)

    def test_who_waits_for_a_slot_and_leaves(self) -> None:
        slots = Slots(1)
        self.checker(2, True, slots=slots)
        self.farm.hanging |= {*self.pool.backends}
        self.run_for(0.1)
        [(_, asked)] = self.farm.asked
        self.pool.replace([asked], 1)
        self.made.follow()
        self.assertEqual(repr(slots), "<Slots 1 of 1 held, 0 waiting>")

    def test_follow_before_the_start_and_after_the_end(self) -> None:
        self.checker(1)
        self.made.stop()
        self.made.follow()
        self.run_for(10)
        self.assertEqual(self.farm.asked, [])

    def test_stopped_by_a_verdict(self) -> None:
        self.checker(2, verdict=lambda *verdict: self.made.stop())
        self.run_for(1)
        self.assertEqual(len(self.farm.asked), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReadyTests(CheckerCase):
    def test_when_all_were_asked(self) -> None:
        self.checker(3)
        self.farm.ill.add(self.backend)
        self.assertNoResult(self.made.ready)
        self.run_for(0.1)
        self.assertIsNone(self.successResultOf(self.made.ready))

    def test_no_longer_than_a_check_may_take(self) -> None:
        self.checker(3, timeout=timeout("2s"), slots=Slots(1))
        self.farm.hanging |= {*self.pool.backends}
        self.run_for(1.9)
        self.assertNoResult(self.made.ready)
        self.run_for(0.2)
        self.successResultOf(self.made.ready)
        self.run_for(10)

    def test_at_once(self) -> None:
        self.successResultOf(self.checker(3, True).ready)
        self.successResultOf(self.checker(0).ready)

    def test_one_that_is_taken_down_is_not_waited_for(self) -> None:
        self.checker(2)
        self.farm.hanging.add(self.backend)
        self.run_for(0.1)
        self.assertNoResult(self.made.ready)
        self.pool.set_state(self.backend, State.DOWN, 1)
        self.made.follow()
        self.successResultOf(self.made.ready)

    def test_never_after_the_end(self) -> None:
        self.checker(1)
        self.made.stop()
        self.run_for(5)
        self.assertNoResult(self.made.ready)


class CheckedPool(RuleBasedStateMachine):
    """Whatever happens, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.farm = Farm(self.clock)
        self.all = [Backend(b"b%d" % n, b"b%d" % n, healthy=None) for n in range(6)]
        self.pool = Pool(b"app", self.all[:4])
        self.slots = Slots(2)
        self.ready = 0
        self.passed: set[Backend] = set()
        health = schema.Health(
            path=schema.RequestTarget("/"), interval=timeout("5s"), timeout=timeout("2s")
        )
        self.made = Checker(
            self.clock,
            self.pool,
            health,
            self.farm.dial_of,
            random.Random(1).random,
            slots=self.slots,
        )
        self.made.ready.addCallback(self._count)
        self.made.start()

    def _count(self, _: Any) -> None:
        self.ready += 1

    @rule(seconds=st.floats(0, 8))
    def wait(self, seconds: float) -> None:
        self.clock.pump([seconds / 40] * 40)

    @rule(which=st.sets(st.integers(0, 5)))
    def ill(self, which: set[int]) -> None:
        self.farm.ill = {self.all[n] for n in which}

    @rule(which=st.sets(st.integers(0, 5)))
    def hang(self, which: set[int]) -> None:
        self.farm.hanging = {self.all[n] for n in which}

    @rule(which=st.sets(st.integers(0, 5)))
    def members(self, which: set[int]) -> None:
        self.pool.replace([self.all[n] for n in sorted(which)], self.clock.seconds())
        self.made.follow()

    @rule(number=st.integers(0, 5), state=st.sampled_from(State))
    def state(self, number: int, state: State) -> None:
        self.pool.set_state(self.all[number], state, self.clock.seconds())
        self.made.follow()

    @rule()
    def long_enough(self) -> None:
        """Within twelve intervals every verdict is what the backend deserves."""
        self.clock.pump([0.05] * 1200)
        for backend in self.pool.backends:
            if backend.state is not State.DOWN:
                well = backend not in self.farm.ill | self.farm.hanging
                assert bool(backend.healthy) is well, backend

    @invariant()
    def bounded(self) -> None:
        assert self.farm.open <= 2
        assert self.ready <= 1
        checked = [b for b in self.pool.backends if b.state is not State.DOWN]
        assert {*self.made._watches} == {*checked}
        # One timer or check for each, the timeouts of checks, and the wait at the beginning.
        assert len(self.clock.getDelayedCalls()) <= len(checked) + 3

    def teardown(self) -> None:
        self.made.stop()
        assert self.clock.getDelayedCalls() == []
        assert self.farm.open == 0
        assert repr(self.slots) == "<Slots 0 of 2 held, 0 waiting>"


class CheckedPoolTests(SynchronousTestCase):
    def test_any_course(self) -> None:
        run_state_machine_as_test(
            CheckedPool,
            settings=settings(max_examples=60, stateful_step_count=25, deadline=None),
        )

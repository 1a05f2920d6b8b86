"""The line for a backend's connections, apart from sockets (``tests/scenarios`` has those)."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend
from txrproxy.errors import CONNECT_REFUSED, CONNECT_TIMEOUT, QUEUE_FULL, Reason
from txrproxy.transport.connections import Connections
from txrproxy.transport.deadlines import Deadlines


class Waiter:
    """An exchange that asks for a connection, and says what it got."""

    def __init__(self, case: LineTests) -> None:
        self.plan = case.plan
        self.got: Any = None
        self.faults = 0
        self.turned_away = 0

    def on_connected(self, upstream: Any) -> None:
        self.got = upstream

    def on_connect_failed(self, reason: Reason) -> None:
        self.got = reason

    def on_turned_away(self) -> None:
        self.turned_away += 1

    def on_fault(self) -> None:
        self.faults += 1


class Plan:
    connect = 2.0
    queue: Any = None


class LineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.plan = Plan()
        self.plan.queue = self.deadlines.queue(5.0, lambda waiter: None)
        self.attempts: list[Any] = []
        self.backend = Backend(b"b", b"b", max_connections=1)
        self.connections = Connections(
            self.backend,
            self.dial,
            self.clock.seconds,
            self.deadlines.queue(50.0, lambda upstream: None),
        )
        self.fails_at_once: Reason | None = None

    def dial(self, make: Any, timeout: float, connected: Any, failed: Any) -> None:
        if self.fails_at_once is not None:
            failed(self.fails_at_once)
        else:
            self.attempts.append((make, connected, failed))

    def ask(self) -> Waiter:
        waiter = Waiter(self)
        waiter.got = self.connections.acquire(waiter) or waiter.got
        return waiter

    def test_a_long_line_that_fails_at_once_is_served_without_deep_calls(self) -> None:
        first = self.ask()
        line = [self.ask() for _ in range(self.backend.max_pending)]
        self.assertIs(self.ask().got, QUEUE_FULL)
        self.fails_at_once = CONNECT_TIMEOUT
        self.attempts[0][2](CONNECT_REFUSED)
        self.assertIs(first.got, CONNECT_REFUSED)
        self.assertEqual({waiter.got for waiter in line}, {CONNECT_TIMEOUT})
        self.assertEqual(self.backend.in_use, 0)

    def test_the_line_is_served_in_order(self) -> None:
        self.ask()
        second, third = self.ask(), self.ask()
        self.attempts[0][2](CONNECT_REFUSED)
        self.assertEqual((second.got, third.got), (None, None))
        self.attempts[1][2](CONNECT_TIMEOUT)
        self.assertIs(second.got, CONNECT_TIMEOUT)
        self.assertEqual(self.backend.in_use, 1)

    def test_who_fails_with_a_connection_harms_nobody_else(self) -> None:
        self.ask()
        second = self.ask()

        def broken(upstream: Any) -> None:
            raise RuntimeError("a fault of ours")

        second.on_connected = broken  # type: ignore[method-assign]
        make, connected, _ = self.attempts[0]
        upstream = make()
        connected(upstream)
        upstream.served = 1
        self.connections.release(upstream)
        self.assertEqual(second.faults, 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_line_that_is_dissolved(self) -> None:
        first, second, third, fourth = (self.ask() for _ in range(4))

        def broken() -> None:
            self.connections.leave(fourth)
            raise RuntimeError("a fault of ours")

        second.on_turned_away = broken  # type: ignore[method-assign]
        self.connections.turn_away()
        self.assertEqual((second.faults, third.turned_away, fourth.turned_away), (1, 1, 0))
        self.assertEqual((first.turned_away, self.backend.waiting, len(self.plan.queue)), (0, 0, 0))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_who_leaves_while_its_connection_is_opened_leaves_it_to_the_next(self) -> None:
        first, second = self.ask(), self.ask()
        self.connections.leave(first)
        make, connected, _ = self.attempts[0]
        upstream = make()
        connected(upstream)
        self.assertIsNone(first.got)
        self.assertIs(second.got, upstream)
        self.assertEqual(self.backend.in_use, 1)


class Wire:
    """The transport of a connection."""

    closed = False

    def loseConnection(self) -> None:
        self.closed = True


class LendingMachine(RuleBasedStateMachine):
    """Exchanges come, wait, give up, end well and badly, while connections open, fail and close.

    ``lent`` are the connections that exchanges hold; whatever happens, a place is taken by each of
    them and by each attempt to connect, and by nothing else.
    """

    BOUND = 3

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        deadlines = Deadlines(self.clock)
        self.plan = Plan()
        self.plan.queue = deadlines.queue(5.0, lambda waiter: None)
        self.attempts: list[Any] = []
        self.backend = Backend(b"b", b"b", max_connections=self.BOUND, max_pending=4)
        self.idle_queue = deadlines.queue(50.0, lambda upstream: None)
        self.connections = Connections(
            self.backend, self.dial, self.clock.seconds, self.idle_queue, keep=2, requests=3
        )
        self.waiters: list[Waiter] = []  # who has no answer
        self.lent: list[Any] = []

    def dial(self, make: Any, timeout: float, connected: Any, failed: Any) -> None:
        self.attempts.append((make, connected, failed))

    def settle(self) -> None:
        """Exchanges look at what they got."""
        for waiter in [*self.waiters]:
            if waiter.got is not None or waiter.turned_away:
                self.waiters.remove(waiter)
                if not waiter.turned_away and not isinstance(waiter.got, Reason):
                    waiter.got.served += 1
                    self.lent.append(waiter.got)

    @rule(fresh=st.booleans())
    def ask(self, fresh: bool) -> None:
        waiter = Waiter(self)  # type: ignore[arg-type]
        self.waiters.append(waiter)
        waiter.got = self.connections.acquire(waiter, fresh) or waiter.got
        self.settle()

    @precondition(lambda self: self.attempts)
    @rule(number=st.integers(0, 7), works=st.booleans())
    def dialled(self, number: int, works: bool) -> None:
        make, connected, failed = self.attempts.pop(number % len(self.attempts))
        if works:
            upstream = make()
            upstream.transport = Wire()
            connected(upstream)
        else:
            failed(CONNECT_REFUSED)
        self.settle()

    @precondition(lambda self: self.lent)
    @rule(number=st.integers(0, 7), well=st.booleans())
    def ends(self, number: int, well: bool) -> None:
        upstream = self.lent.pop(number % len(self.lent))
        if well:
            self.connections.release(upstream)
        else:
            self.connections.discard(upstream)
            self.connections.discard(upstream)  # told twice: by the exchange and by the transport
        self.settle()

    @precondition(lambda self: self.connections.idle)
    @rule(number=st.integers(0, 7))
    def backend_closes(self, number: int) -> None:
        idle = self.connections.idle
        self.connections.discard(idle[number % len(idle)])

    @precondition(lambda self: self.waiters)
    @rule(number=st.integers(0, 7))
    def gives_up(self, number: int) -> None:
        self.connections.leave(self.waiters.pop(number % len(self.waiters)))
        self.settle()

    @rule()
    def dissolved(self) -> None:
        self.connections.turn_away()
        self.settle()

    @rule()
    def closed(self) -> None:
        self.connections.close()

    @invariant()
    def every_place_is_somebody_s(self) -> None:
        assert self.backend.in_use == len(self.attempts) + len(self.lent) <= self.BOUND
        assert self.backend.waiting == len(self.plan.queue) <= self.backend.max_pending

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        assert not self.backend.waiting or self.backend.in_use == self.BOUND

    @invariant()
    def what_is_idle_is_nobody_s(self) -> None:
        idle = self.connections.idle
        assert len(idle) <= 2
        assert not any(one.lent or one.gone or one.transport.closed for one in idle)
        assert len(self.idle_queue) == len(idle)
        assert not set(map(id, idle)) & set(map(id, self.lent))

    def teardown(self) -> None:
        while self.attempts or self.lent:
            if self.attempts:
                self.dialled(0, True)
            else:
                self.ends(0, True)
        assert self.backend.in_use == self.backend.waiting == 0
        assert not self.waiters


class LendingTests(SynchronousTestCase):
    def test_every_connection_that_is_lent_comes_back(self) -> None:
        run_state_machine_as_test(
            LendingMachine, settings=settings(max_examples=100, deadline=None)
        )

"""Deadlines: never early, at most one sweep late, and no sweep while nothing waits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.transport.deadlines import Deadlines


class Item:
    def __init__(self, name: str = "") -> None:
        self.name = name


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.expired: list[tuple[float, Item]] = []

    def expire(self, item: Item) -> None:
        self.expired.append((self.clock.seconds(), item))

    def run_for(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def test_expires_within_one_sweep(self) -> None:
        queue = self.deadlines.queue(10.0, self.expire)
        item = Item()
        queue.start(item, 0.0)
        self.run_for(12)
        [(when, what)] = self.expired
        self.assertIs(what, item)
        self.assertGreaterEqual(when, 10.0)
        self.assertLessEqual(when, 11.0 + 0.02)
        self.assertNotIn(item, queue)

    def test_a_short_timeout_is_swept_finely(self) -> None:
        self.deadlines.queue(60.0, self.expire)
        queue = self.deadlines.queue(0.25, self.expire)
        queue.start(Item(), 0.0)
        self.run_for(0.5)
        self.assertGreaterEqual(self.expired[0][0], 0.25 - 1e-9)
        self.assertLessEqual(self.expired[0][0], 0.25 + 0.0625 + 0.02)

    def test_the_finest_sweep_is_bounded(self) -> None:
        self.deadlines.queue(0.001, self.expire).start(Item(), 0.0)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [0.05])

    def test_a_shorter_class_made_later_hastens_the_sweep(self) -> None:
        self.deadlines.queue(60.0, self.expire).start(Item(), 0.0)
        self.deadlines.queue(0.4, self.expire)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [0.1])

    def test_stop(self) -> None:
        queue = self.deadlines.queue(1.0, self.expire)
        item = Item()
        queue.stop(item)
        queue.start(item, 0.0)
        queue.stop(item)
        queue.stop(item)
        self.run_for(3)
        self.assertEqual(self.expired, [])

    def test_start_again_moves_the_deadline(self) -> None:
        queue = self.deadlines.queue(2.0, self.expire)
        first, second = Item("first"), Item("second")
        queue.start(first, 0.0)
        queue.start(second, 0.0)
        self.run_for(1.5)
        queue.start(first, self.clock.seconds())
        self.assertEqual(len(queue), 2)
        self.run_for(1.4)
        self.assertEqual([item for _, item in self.expired], [second])
        self.run_for(1.2)
        self.assertEqual([item for _, item in self.expired], [second, first])

    def test_no_sweep_while_nothing_waits(self) -> None:
        queue = self.deadlines.queue(1.0, self.expire)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        item = Item()
        queue.start(item, 0.0)
        queue.stop(item)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.run_for(0.5)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        queue.start(item, self.clock.seconds())
        self.run_for(2)
        self.assertEqual(len(self.expired), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_sweep_for_all_queues(self) -> None:
        for seconds in (1.0, 2.0, 3.0):
            self.deadlines.queue(seconds, self.expire).start(Item(), 0.0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_same_class_shares_a_queue(self) -> None:
        queue = self.deadlines.queue(1.0, self.expire)
        self.assertIs(self.deadlines.queue(1.0, self.expire), queue)
        self.assertIsNot(self.deadlines.queue(2.0, self.expire), queue)
        self.assertIsNot(self.deadlines.queue(1.0, print), queue)

    def test_a_callback_that_raises_is_logged_and_the_sweep_goes_on(self) -> None:
        def explode(item: Item) -> None:
            raise ZeroDivisionError

        bad = self.deadlines.queue(1.0, explode)
        good = self.deadlines.queue(1.0, self.expire)
        bad.start(Item(), 0.0)
        bad.start(Item(), 0.0)
        good.start(Item(), 0.0)
        self.run_for(2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.expired), 1)
        good.start(Item(), self.clock.seconds())
        self.run_for(2)
        self.assertEqual(len(self.expired), 2)

    def test_a_callback_may_change_any_queue(self) -> None:
        first, second, third = Item("first"), Item("second"), Item("third")

        def on_expire(item: Item) -> None:
            self.expire(item)
            if item is first:
                queue.stop(second)
                queue.start(third, self.clock.seconds())
                queue.start(first, self.clock.seconds())
                other.start(second, self.clock.seconds())

        queue = self.deadlines.queue(1.0, on_expire)
        other = self.deadlines.queue(4.0, self.expire)
        for item in (first, second, third):
            queue.start(item, 0.0)
        self.clock.advance(1.0)
        self.assertEqual([item for _, item in self.expired], [first])
        self.assertEqual((second in queue, third in queue, second in other), (False, True, True))

    def test_a_callback_may_add_a_queue(self) -> None:
        def on_expire(item: Item) -> None:
            self.deadlines.queue(0.4, self.expire).start(item, self.clock.seconds())

        self.deadlines.queue(1.0, on_expire).start(Item(), 0.0)
        self.clock.advance(1.0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.run_for(0.6)
        self.assertEqual(len(self.expired), 1)

    def test_close(self) -> None:
        queue = self.deadlines.queue(1.0, self.expire)
        self.deadlines.close()
        queue.start(Item(), 0.0)
        self.deadlines.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        queue.start(Item(), 0.0)
        self.run_for(2)
        self.assertEqual(len(self.expired), 2)

    def test_close_from_a_callback(self) -> None:
        queue = self.deadlines.queue(1.0, lambda _: self.deadlines.close())
        queue.start(Item(), 0.0)
        queue.start(Item(), 0.5)
        self.clock.advance(1.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_timeout_is_positive(self) -> None:
        for seconds in (0.0, -1.0):
            with self.assertRaises(ValueError):
                self.deadlines.queue(seconds, self.expire)

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from([0.3, 1.0, 5.0]), st.floats(0, 3), st.booleans()), max_size=20
        )
    )
    def test_never_early_never_lost(self, plan: list[tuple[float, float, bool]]) -> None:
        clock = Clock()
        deadlines = Deadlines(clock)
        due: dict[Item, float] = {}
        fired: list[Item] = []

        def on_expire(item: Item) -> None:
            self.assertGreaterEqual(clock.seconds(), due[item])
            # One sweep late at the most, and this clock moves in steps.
            self.assertLessEqual(clock.seconds(), due[item] + 1.0 + 2 * 0.05 + 1e-9)
            fired.append(item)

        for seconds, pause, stopped in plan:
            for _ in range(int(pause / 0.05)):
                clock.advance(0.05)
            item = Item()
            queue = deadlines.queue(seconds, on_expire)
            queue.start(item, clock.seconds())
            if stopped:
                queue.stop(item)
            else:
                due[item] = clock.seconds() + seconds
        for _ in range(200):
            clock.advance(0.05)
        self.assertEqual(set(fired), set(due))
        self.assertEqual(len(fired), len(due))
        self.assertEqual(clock.getDelayedCalls(), [])

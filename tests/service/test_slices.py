"""Long work between other things; a clock that stands still shows each step."""

from __future__ import annotations

import gc
from itertools import count

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.steps import Steps
from txrproxy.service import slices
from txrproxy.service.slices import PAUSE, SLICE, in_slices, uncollected


class InSlicesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.unfreeze)
        self.clock = Clock()
        self.taken: list[int] = []

    def steps(self, number: int, seconds: float = 0.0) -> Steps[str]:
        try:
            for each in range(number):
                self.taken.append(each)
                self.clock.rightNow += seconds
                yield
        finally:
            self.taken.append(-1)
        return "done"

    def test_a_slice_ends_with_its_time(self) -> None:
        done = in_slices(self.steps(10, SLICE / 2), self.clock)
        self.assertEqual(self.taken, [])
        for expected in (2, 4, 6, 8, 10):
            self.clock.advance(PAUSE)
            self.assertEqual(len(self.taken), expected)
            self.assertNoResult(done)
        self.clock.advance(PAUSE)
        self.assertEqual(self.successResultOf(done), "done")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_short_steps_share_a_slice(self) -> None:
        done = in_slices(self.steps(10, SLICE / 100), self.clock)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(done), "done")

    def test_a_long_step_is_a_slice(self) -> None:
        in_slices(self.steps(3, 10 * SLICE), self.clock)
        self.clock.advance(0)
        self.assertEqual(self.taken, [0])

    def test_failure(self) -> None:
        def failing() -> Steps[None]:
            yield
            raise ValueError

        done = in_slices(failing(), self.clock)
        self.clock.advance(0)
        self.failureResultOf(done, ValueError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        done = in_slices(self.steps(10, SLICE), self.clock)
        self.clock.advance(0)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.taken, [0, -1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_was_made_is_left_by_the_collector(self) -> None:
        self.patch(slices, "SLICE", 0.0)
        kept: list[list[object]] = []

        def make() -> Steps[None]:
            for _ in count():
                kept.append([])
                yield

        done = in_slices(make(), self.clock)
        self.clock.advance(0)
        self.assertTrue(gc.is_tracked(kept[0]))
        self.assertFalse(any(each is kept[0] for each in gc.get_objects()))
        done.addErrback(lambda _: None)
        done.cancel()


class UncollectedTests(SynchronousTestCase):
    def test_restores(self) -> None:
        with uncollected():
            self.assertFalse(gc.isenabled())
            with uncollected():
                pass
            self.assertFalse(gc.isenabled())
        self.assertTrue(gc.isenabled())

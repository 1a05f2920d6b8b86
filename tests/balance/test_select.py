"""Round robin: shares by weight, smoothly, past what was tried and what is full."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend
from txrproxy.balance.select import MAX_CYCLE, Cycle, RoundRobin, interleave


class InterleaveTests(SynchronousTestCase):
    def test_table(self) -> None:
        for weights, cycle in (
            ([], []),
            ([0], []),
            ([0, 0], []),
            ([1], [0]),
            ([7], [0]),
            ([1, 1, 1], [0, 1, 2]),
            ([5, 5], [0, 1]),
            ([3, 0, 3], [0, 2]),
            ([2, 1], [0, 1, 0]),
            ([5, 1, 1], [0, 0, 1, 0, 2, 0, 0]),
            ([0, 4, 2], [1, 2, 1]),
        ):
            self.assertEqual(interleave(weights), cycle, weights)

    @given(st.lists(st.integers(0, 30), min_size=1, max_size=6))
    def test_shares(self, weights: list[int]) -> None:
        cycle = interleave(weights)
        count = Counter(cycle)
        for index, weight in enumerate(weights):
            self.assertEqual(count[index] * sum(weights), weight * len(cycle))

    def test_a_long_cycle_is_rounded(self) -> None:
        cycle = interleave([1_000_003, 1, 0])
        self.assertLessEqual(len(cycle), MAX_CYCLE + 1)
        self.assertEqual(Counter(cycle)[1], 1)
        self.assertNotIn(2, cycle)


class CycleTests(SynchronousTestCase):
    def test_turns(self) -> None:
        cycle = Cycle("ab", [2, 1])
        self.assertEqual(len(cycle), 3)
        self.assertEqual("".join(cycle.next() for _ in range(6)), "abaaba")


class RoundRobinTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.backends = [Backend(name, name, max_connections=1) for name in (b"a", b"b", b"c")]
        self.select = RoundRobin(self.backends).select

    def names(self, count: int, tried: tuple[Backend, ...] = ()) -> bytes:
        found = [self.select(tried) for _ in range(count)]
        return b"".join(b"-" if backend is None else backend.name for backend in found)

    def test_turns(self) -> None:
        self.assertEqual(self.names(6), b"abcabc")

    def test_tried(self) -> None:
        a, b, c = self.backends
        self.assertEqual(self.names(4, (a,)), b"bcbc")
        self.assertEqual(self.names(2, (a, b)), b"cc")
        self.assertEqual(self.names(1, (a, b, c)), b"-")

    def test_full(self) -> None:
        a, b, c = self.backends
        a.in_use = 1
        self.assertEqual(self.names(4), b"bcbc")
        b.in_use = c.in_use = 1
        self.assertEqual(len(self.names(3).strip(b"-")), 3)  # one that is full is better than none
        self.assertEqual(self.names(2, (a, b)), b"cc")
        c.in_use = 0
        self.assertEqual(self.names(2, (c,)).strip(b"ab"), b"")

    def test_weights(self) -> None:
        backends = [Backend(b"a", b"a", 2), Backend(b"b", b"b", 1), Backend(b"c", b"c", 0)]
        self.select = RoundRobin(backends).select
        self.assertEqual(self.names(6), b"abaaba")
        self.assertEqual(self.names(2, (backends[0],)), b"bb")
        self.assertEqual(self.names(1, (backends[0], backends[1])), b"-")

    def test_nobody(self) -> None:
        for backends in ([], [Backend(b"a", b"a", 0)]):
            self.select = RoundRobin(backends).select
            self.assertEqual(self.names(2), b"--")

"""Round robin: shares by weight, smoothly, past what was tried and what is full. And chance."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.balance.simulate import backends, near
from txrproxy.balance.backend import Backend
from txrproxy.balance.select import (
    MAX_CYCLE,
    Cycle,
    Deadlines,
    RandomChoice,
    RoundRobin,
    interleave,
    spare,
)


class First(random.Random):
    """Begins at the beginning."""

    def random(self) -> float:
        return 0.0


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

    def test_start(self) -> None:
        for start, turns in ((0.0, "aba"), (0.3, "aba"), (0.4, "baa"), (0.99, "aab")):
            cycle = Cycle("ab", [2, 1], start)
            self.assertEqual("".join(cycle.next() for _ in range(3)), turns)


class DeadlinesTests(SynchronousTestCase):
    def test_turns(self) -> None:
        turns = Deadlines("abc", [5, 1, 1], [0.5, 0.5, 0.5])
        self.assertEqual("".join(turns.next() for _ in range(14)), "aaabcaaaaabcaa")

    def test_phases(self) -> None:
        turns = Deadlines("abc", [1, 1, 1], [0.7, 0.2, 0.5])
        self.assertEqual("".join(turns.next() for _ in range(6)), "bcabca")

    @given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), st.integers(0, 99))
    def test_shares(self, weights: list[int], seed: int) -> None:
        """At any time nobody is a turn ahead or behind by more than those beside it allow."""
        rng = random.Random(seed)
        turns = Deadlines(range(len(weights)), weights, [rng.random() for _ in weights])
        count = Counter(turns.next() for _ in range(sum(weights)))
        for index, weight in enumerate(weights):
            self.assertTrue(near(count[index], weight, 2))


class SpareTests(SynchronousTestCase):
    def test_order(self) -> None:
        members = a, b, c = backends(1, 1, 1, max_connections=1, max_pending=1)
        self.assertEqual([spare(members, start) for start in range(3)], [a, b, c])
        b.in_use = 1
        self.assertIs(spare(members, 1), c)
        self.assertIs(spare(members, 1, (c,)), a)
        self.assertIs(spare(members, 1, (c, a)), b)
        b.waiting = 1
        self.assertIsNone(spare(members, 1, (c, a)))
        a.in_use = c.in_use = 1
        self.assertIs(spare(members, 0), a)
        self.assertIs(spare(members, 1), c)
        self.assertIsNone(spare([], 0))


class RoundRobinTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.backends = [Backend(name, name, max_connections=1) for name in (b"a", b"b", b"c")]
        self.select = RoundRobin(self.backends, First()).select

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
        self.select = RoundRobin(backends, First()).select
        self.assertEqual(self.names(6), b"abaaba")
        self.assertEqual(self.names(2, (backends[0],)), b"bb")
        self.assertEqual(self.names(1, (backends[0], backends[1])), b"-")

    def test_nobody(self) -> None:
        for members in ([], [Backend(b"a", b"a", 0)]):
            self.select = RoundRobin(members, First()).select
            self.assertEqual(self.names(2), b"--")

    def test_begins_anywhere(self) -> None:
        """Settling the candidates for each request does not send every request to the first."""
        policy = RoundRobin(self.backends, random.Random(1))
        found: Counter[bytes] = Counter()
        for _ in range(3000):
            policy.update(self.backends)
            backend = policy.select()
            assert backend is not None
            found[backend.name] += 1
        for count in found.values():
            self.assertTrue(near(count, 1000, 100))

    def test_many_different_weights(self) -> None:
        """A thousand of them are settled without laying out their half million turns."""
        members = backends(*range(1, 1001))
        policy = RoundRobin(members, random.Random(1))
        self.assertIsInstance(policy._next.__self__, Deadlines)
        found = Counter(policy.select() for _ in range(sum(range(1001))))
        for backend in members:
            self.assertTrue(near(found[backend], backend.weight, 2))

    def test_many_equal_weights(self) -> None:
        members = backends(*[7] * 1000)
        policy = RoundRobin(members, random.Random(1))
        self.assertEqual({policy.select() for _ in range(1000)}, set(members))


class RandomChoiceTests(SynchronousTestCase):
    def test_the_largest_number(self) -> None:
        """Rounding up does not lead past the last candidate."""

        class Last(random.Random):
            def random(self) -> float:
                return 1 - 2**-53

        for weights in ((1, 1, 1), (3, 7), (1,)):
            members = backends(*weights)
            members[-1].share = 1 + 2**-52
            self.assertIs(RandomChoice(members, Last()).select(), members[-1])

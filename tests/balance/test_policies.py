"""What holds for every balance policy."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.balance.simulate import backends, near, shares
from txrproxy.balance.backend import Backend
from txrproxy.balance.policies import POLICIES

# Connections in use and requests in line, of 2 and 1 that may be and 4 in all.
STATES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30)


class PolicyTests(SynchronousTestCase):
    def test_nobody(self) -> None:
        for name, policy in POLICIES.items():
            self.assertIsNone(policy([], random.Random(1)).select(), name)
            self.assertIsNone(policy([]).select((), b"key", 1.0), name)

    def test_one(self) -> None:
        (only,) = backends(3)
        for name, policy in POLICIES.items():
            chosen = policy([only], random.Random(1))
            self.assertEqual([chosen.select() for _ in range(3)], [only] * 3, name)
            self.assertIsNone(chosen.select((only,)), name)

    def test_candidates_alone_are_chosen(self) -> None:
        members = backends(1, 2, 3, 4)
        for name, policy in POLICIES.items():
            chosen = policy(members, random.Random(1))
            chosen.update(members[1:3])
            found = {chosen.select((), b"%d" % n) for n in range(200)}
            self.assertEqual(found, set(members[1:3]), name)
            chosen.update([])
            self.assertIsNone(chosen.select(), name)
            chosen.update(members)
            found = {chosen.select((), b"%d" % n) for n in range(500)}
            self.assertEqual(found, set(members), name)

    @given(st.sampled_from(sorted(POLICIES)), STATES, st.integers(0, 5), st.integers(0, 99))
    def test_room(self, name: str, states: list[tuple[int, int]], tried: int, seed: int) -> None:
        """Never what was tried or is closed; what is full only if nothing else has room."""
        rng = random.Random(seed)
        members = backends(
            *(1 + n % 3 for n in range(len(states))),
            max_connections=2,
            max_pending=2,
            max_requests=3,
        )
        for backend, (in_use, waiting) in zip(members, states, strict=True):
            backend.in_use, backend.waiting = in_use, waiting
        passed = tuple(rng.sample(members, min(tried, len(members))))
        chosen = POLICIES[name](members, rng).select(passed, b"%d" % seed, 1.0)
        left = [backend for backend in members if backend not in passed]
        free = [backend for backend in left if backend.free]
        open_ = [backend for backend in left if not backend.closed]
        self.assertIn(chosen, free or open_ or [None])

    def test_shares_of_few(self) -> None:
        members = backends(1, 2, 5)
        for name, policy in POLICIES.items():
            if name != "hash":  # its keys stay where they are: see test_consistent
                found = shares(policy(members, random.Random(1)), 8000)
                for backend in members:
                    expected = 1000 * backend.weight
                    self.assertTrue(near(found[backend.name], expected, 150), name)

    def test_shares_of_many(self) -> None:
        members = backends(*([1, 2, 3, 4] * 25))
        for name, policy in POLICIES.items():
            if name != "hash":
                found = shares(policy(members, random.Random(2)), 50_000)
                by_weight: Counter[int] = Counter()
                for backend in members:
                    by_weight[backend.weight] += found[backend.name]
                    expected = 200 * backend.weight
                    limit = 0.3 * expected + 30  # chance
                    self.assertTrue(near(found[backend.name], expected, limit), name)
                for weight in (1, 2, 3, 4):
                    self.assertTrue(near(by_weight[weight] / 5000, weight, 0.12), name)

    def test_a_share_that_grows(self) -> None:
        """In slow start the share counts, not the weight."""
        members = backends(10, 10, 10, 10)
        members[0].share = 1.0
        for name, policy in POLICIES.items():
            found = shares(policy(members, random.Random(3)), 10_000, lambda n: b"%d" % n)
            self.assertLess(found[members[0].name], 600, name)
            self.assertGreater(found[members[0].name], 100, name)

    def test_waiting_counts_as_load(self) -> None:
        for name in ("least_connections", "power_of_two", "ewma"):
            first, second = backends(1, 1)
            first.waiting, second.in_use = 3, 2
            first.latency = second.latency = 0.1
            policy = POLICIES[name]([first, second], random.Random(4))
            if name != "ewma":  # 3 for 2 is within its margin
                self.assertEqual({policy.select() for _ in range(20)}, {second}, name)
            first.waiting = 5
            self.assertEqual({policy.select() for _ in range(20)}, {second}, name)


class BusyTests(SynchronousTestCase):
    def test_one_look_at_all_at_most(self) -> None:
        """A thousand backends without room cost a pass over them, not one for each turn."""

        class Counting(Backend):
            __slots__ = ()
            looks = 0

            @property
            def free(self) -> bool:
                Counting.looks += 1
                return False

        members = [Counting(b"%d" % n, b"x", 1 + n % 40) for n in range(1000)]
        for name, policy in POLICIES.items():
            chosen = policy(members, random.Random(5))
            Counting.looks = 0
            self.assertIsNotNone(chosen.select(), name)
            self.assertLessEqual(Counting.looks, 1030, name)

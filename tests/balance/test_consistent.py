"""Consistent hashing: spread, what moves when somebody goes, and bounded loads."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.balance.simulate import backends, near, traffic
from txrproxy.balance.backend import Backend
from txrproxy.balance.consistent import FACTOR, FEW, POINTS, RECOUNT, Hash, ring

KEYS = [b"192.0.2.%d:%d" % divmod(number, 256) for number in range(20_000)]


def homes(policy: Hash, keys: Sequence[bytes] = KEYS) -> list[Backend | None]:
    return [policy.select((), key) for key in keys]


def moved(before: Sequence[object], after: Sequence[object]) -> float:
    return sum(a is not b for a, b in zip(before, after, strict=True)) / len(before)


class RingTests(SynchronousTestCase):
    def test_points(self) -> None:
        found = ring([b"a", b"b", b"c"], [1, 2, 0])
        self.assertEqual(list(found), sorted(found))
        owners = Counter(point & 0xFFFFF for point in found)
        self.assertEqual(owners, {0: round(POINTS * 2 / 3), 1: round(POINTS * 4 / 3)})

    def test_everybody_has_a_point(self) -> None:
        self.assertEqual(Counter(point & 0xFFFFF for point in ring([b"a", b"b"], [1000, 1]))[1], 1)

    def test_the_same_everywhere(self) -> None:
        """Other processes, other machines, other days."""
        self.assertEqual(ring([b"a"], [1])[:2].tolist(), [70072067105488896, 115147385429032960])

    def test_nobody(self) -> None:
        self.assertEqual(len(ring([], [])), 0)
        self.assertEqual(len(ring([b"a"], [0])), 0)


class SpreadTests(SynchronousTestCase):
    def test_equal_weights(self) -> None:
        """Within a quarter of the average for each of ten: 160 points deviate by 8 %."""
        members = backends(*[1] * 10)
        found = Counter(homes(Hash(members)))
        for backend in members:
            self.assertTrue(near(found[backend] / 2000, 1, 0.25), found[backend])

    def test_weights(self) -> None:
        members = backends(1, 2, 3, 4)
        found = Counter(homes(Hash(members)))
        for backend in members:
            self.assertTrue(near(found[backend] / 2000 / backend.weight, 1, 0.25), found[backend])

    def test_order_does_not_matter(self) -> None:
        members = backends(*[1] * 10)
        self.assertEqual(homes(Hash(members)), homes(Hash(members[::-1])))


class MoveTests(SynchronousTestCase):
    def test_one_of_ten_is_no_candidate(self) -> None:
        """Its keys move, to all others, and no other key does; all come back."""
        members = backends(*[1] * 10)
        policy = Hash(members)
        before = homes(policy)
        policy.update([backend for backend in members if backend is not members[3]])
        after = homes(policy)
        left = [(a, b) for a, b in zip(before, after, strict=True) if a is not b]
        self.assertEqual({a for a, _ in left}, {members[3]})
        self.assertEqual(len(left), Counter(before)[members[3]])
        self.assertEqual({b for _, b in left}, set(members) - {members[3]})
        policy.update(members)
        self.assertEqual(homes(policy), before)

    def test_one_of_ten_leaves(self) -> None:
        members = backends(*[1] * 10)
        before = homes(Hash(members))
        after = homes(Hash(members[:3] + members[4:]))
        self.assertEqual(moved(before, after), Counter(before)[members[3]] / len(KEYS))

    def test_one_joins(self) -> None:
        members = backends(*[1] * 11)
        before, after = homes(Hash(members[:10])), homes(Hash(members))
        self.assertEqual(moved(before, after), Counter(after)[members[10]] / len(KEYS))

    def test_one_of_different_weights_leaves(self) -> None:
        """What the average weight changes by moves besides."""
        members = backends(5, 1, 1, 1, 1, 1, 1, 1, 1, 1)
        before = homes(Hash(members))
        self.assertLess(moved(before, homes(Hash(members[:-1]))), 1 / 14 + 0.06)

    def test_a_weight_changes(self) -> None:
        members = backends(*[2] * 10)
        policy = Hash(members)
        before = homes(policy)
        members[0].weight, members[0].share = 3, 3.0
        policy.update(members)
        after = homes(policy)
        self.assertGreater(Counter(after)[members[0]], Counter(before)[members[0]])
        self.assertLess(moved(before, after), 0.1)
        members[0].weight = 0
        policy.update(members[1:])
        self.assertNotIn(members[0], homes(policy))

    def test_slow_start_grows_by_the_same_keys(self) -> None:
        members = backends(*[10] * 10)
        policy = Hash(members)
        full = homes(policy)
        had: set[bytes] = set()
        for share in (1.0, 3.0, 6.0, 10.0):
            members[0].share = share
            policy.update(members)
            found = homes(policy)
            has = {key for key, home in zip(KEYS, found, strict=True) if home is members[0]}
            self.assertLessEqual(had, has)
            self.assertTrue(near(len(has), Counter(full)[members[0]] * share / 10, 60))
            had = has
        self.assertEqual(homes(policy), full)

    def test_tried(self) -> None:
        """A retry goes where the key would go if its home were not there."""
        members = backends(*[1] * 5)
        policy = Hash(members)
        key = b"192.0.2.1"
        home = policy.select((), key)
        assert home is not None
        second = policy.select((home,), key)
        policy.update([backend for backend in members if backend is not home])
        self.assertIs(policy.select((), key), second)

    def test_few_of_many(self) -> None:
        """A lower priority of ten among a thousand: a key keeps its backend among those, too."""
        members = backends(*[1] * 1000)
        policy = Hash(members)
        policy.update(members[:10])
        before = homes(policy, KEYS[:1000])
        self.assertEqual(set(before), set(members[:10]))
        policy.update(members[:9])
        after = homes(policy, KEYS[:1000])
        self.assertLess(moved(before, after), 0.25)

    def test_beyond_reach(self) -> None:
        """Whom no point within reach belongs to, the key still finds."""
        members = backends(*[1] * 50, max_connections=1)
        policy = Hash(members)
        for backend in members[1:]:
            backend.in_use = 1
        self.assertEqual(set(homes(policy, KEYS[:200])), {members[0]})


class BoundTests(SynchronousTestCase):
    def test_one_key(self) -> None:
        """Everybody asks for the same: its home takes what the bound allows, the next the rest."""
        members = backends(*[1] * 10)
        rng = random.Random(1)

        policy = Hash(members, rng)
        seconds = dict.fromkeys(members, 0.1)
        highest = 0.0

        def look() -> None:
            nonlocal highest
            loads = [backend.in_use for backend in members]
            # The total is counted every few choices.
            bound = max(FEW, FACTOR * (sum(loads) + RECOUNT + 10) / len(loads))
            highest = max(highest, max(loads) / bound)

        found = traffic(
            policy, rng, seconds, rate=1000, count=5000, key=lambda number: b"hot", look=look
        )
        self.assertLessEqual(highest, 1.2)
        self.assertGreater(len(found), 7)

    def test_weights(self) -> None:
        members = backends(1, 1, 2, max_connections=0)
        policy = Hash(members)
        key = next(key for key in KEYS if policy.select((), key) is members[2])
        for backend, load in zip(members, (10, 10, 24), strict=True):
            backend.in_use = load
        policy.update(members)  # 45 with the new one, so 28 for the half that it has
        self.assertIs(policy.select((), key), members[2])
        members[2].in_use = 40
        policy.update(members)
        self.assertIsNot(policy.select((), key), members[2])

    def test_a_few_are_never_too_many(self) -> None:
        members = backends(*[1] * 10)
        policy = Hash(members)
        home = policy.select((), b"hot")
        assert home is not None
        for _ in range(FEW):
            self.assertIs(policy.select((), b"hot"), home)
            home.in_use += 1
        self.assertIsNot(policy.select((), b"hot"), home)

    def test_nobody_below_the_bound(self) -> None:
        """Who has room takes it all the same, and the key's home first."""
        members = backends(1, 1)
        policy = Hash(members)
        key = b"hot"
        home = policy.select((), key)
        policy.update(members)
        policy.select((), key)
        for backend in members:
            backend.in_use = 100
        self.assertIs(policy.select((), key), home)

"""Policies by load and latency: the less loaded, the faster, and not the one that fails fast."""

from __future__ import annotations

import random
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.balance.simulate import backends, near, traffic
from txrproxy.balance.load import (
    ASSUMED,
    DECAY,
    EXACT,
    PENALTY,
    Ewma,
    LeastConnections,
    PowerOfTwo,
)


class LeastConnectionsTests(SynchronousTestCase):
    def test_the_least_loaded(self) -> None:
        """By share: 3 of weight 4 are less than 1 of weight 1."""
        members = backends(1, 4, 1)
        for backend, load in zip(members, (1, 3, 2), strict=True):
            backend.in_use = load
        policy = LeastConnections(members, random.Random(1))
        self.assertEqual({policy.select() for _ in range(20)}, {members[1]})
        self.assertEqual({policy.select((members[1],)) for _ in range(20)}, {members[0]})

    def test_alike(self) -> None:
        """Those with the same load are taken equally often, wherever they stand."""
        members = backends(1, 1, 1, 1)
        members[1].in_use = 1
        policy = LeastConnections(members, random.Random(1))
        found = Counter(policy.select() for _ in range(6000))
        for backend in (members[0], members[2], members[3]):
            self.assertTrue(near(found[backend], 2000, 200))

    def test_few_are_level(self) -> None:
        """Where all are looked at, no load is more than one above another."""
        members = backends(*[1] * EXACT)
        policy = LeastConnections(members, random.Random(1))
        for _ in range(100):
            chosen = policy.select()
            assert chosen is not None
            chosen.in_use += 1
            loads = [backend.in_use for backend in members]
            self.assertLessEqual(max(loads) - min(loads), 1)

    def test_many_are_almost_level(self) -> None:
        """Of a thousand with ten each on average, no one has more than twelve."""
        members = backends(*[1] * 1000)
        policy = LeastConnections(members, random.Random(1))
        for _ in range(10_000):
            chosen = policy.select()
            assert chosen is not None
            chosen.in_use += 1
        self.assertLessEqual(max(backend.in_use for backend in members), 12)

    def test_a_slow_one(self) -> None:
        for count in (2, 5, 100):
            members = backends(*[1] * count)
            seconds = dict.fromkeys(members, 0.01)
            seconds[members[0]] = 0.1
            rng = random.Random(2)
            policy = LeastConnections(members, rng)
            found = traffic(policy, rng, seconds, rate=500 * count, count=20_000)
            self.assertLess(found[members[0]] / 20_000, 0.25 / count)


class PowerOfTwoTests(SynchronousTestCase):
    def test_the_longest_queue_stays_short(self) -> None:
        """Ten each on average: chance would give some over twenty, the better of two thirteen."""
        members = backends(*[1] * 1000)
        policy = PowerOfTwo(members, random.Random(1))
        for _ in range(10_000):
            chosen = policy.select()
            assert chosen is not None
            chosen.in_use += 1
        self.assertLessEqual(max(backend.in_use for backend in members), 13)

    def test_two(self) -> None:
        """Of two, both are always looked at."""
        members = backends(1, 9)
        members[0].in_use = 1
        policy = PowerOfTwo(members, random.Random(1))
        self.assertEqual({policy.select() for _ in range(100)}, {members[1]})
        members[1].in_use = 10
        self.assertEqual({policy.select() for _ in range(100)}, {members[0]})

    def test_one_of_two_cannot_be_had(self) -> None:
        members = backends(1, 1, max_connections=5)
        members[0].in_use = 5
        policy = PowerOfTwo(members, random.Random(1))
        self.assertEqual({policy.select() for _ in range(100)}, {members[1]})
        self.assertEqual({policy.select((members[1],)) for _ in range(100)}, {members[0]})

    def test_weights_under_load(self) -> None:
        members = backends(1, 2, 5)
        rng = random.Random(3)
        seconds = dict.fromkeys(members, 0.1)
        found = traffic(PowerOfTwo(members, rng), rng, seconds, rate=1000, count=20_000)
        for backend in members:
            self.assertTrue(near(found[backend] / 20_000, backend.weight / 8, 0.02))

    def test_a_slow_one(self) -> None:
        for count in (2, 5, 100):
            members = backends(*[1] * count)
            seconds = dict.fromkeys(members, 0.01)
            seconds[members[0]] = 0.1
            rng = random.Random(4)
            found = traffic(PowerOfTwo(members, rng), rng, seconds, rate=500 * count, count=20_000)
            self.assertLess(found[members[0]] / 20_000, 0.35 / count)


class EwmaTests(SynchronousTestCase):
    def test_latency(self) -> None:
        """Up at once, down slowly."""
        (backend,) = backends(1)
        policy = Ewma([backend])
        policy.observe(backend, 0.1, 100.0)
        self.assertEqual((backend.latency, backend.latency_at), (0.1, 100.0))
        policy.observe(backend, 0.5, 100.0)
        self.assertEqual(backend.latency, 0.5)
        policy.observe(backend, 0.1, 100.0)
        self.assertEqual(backend.latency, 0.5)
        policy.observe(backend, 0.1, 100.0 + DECAY)
        self.assertTrue(near(backend.latency, 0.1 + 0.4 / 2.718, 0.001))
        policy.observe(backend, 0.01, 100.0)  # the clock of somebody who read it earlier
        self.assertTrue(near(backend.latency, 0.1 + 0.4 / 2.718, 0.001))
        policy.observe(backend, 0.0, 1e9)
        self.assertEqual(backend.latency, 0.0)

    def test_a_failure_is_slow(self) -> None:
        """Much slower than any answer that was seen."""
        a, b = backends(1, 1)
        policy = Ewma([a, b])
        policy.failed(a, 1.0)
        self.assertEqual(a.latency, PENALTY * ASSUMED)
        policy.observe(b, 20.0, 2.0)
        policy.failed(a, 2.0)
        self.assertEqual(a.latency, 200.0)

    def test_the_faster(self) -> None:
        a, b = members = backends(1, 1)
        policy = Ewma(members, random.Random(1))
        policy.observe(a, 0.1, 0.0)
        policy.observe(b, 0.01, 0.0)
        self.assertEqual({policy.select((), b"", 0.0) for _ in range(20)}, {b})
        b.in_use = 20
        self.assertEqual({policy.select((), b"", 0.0) for _ in range(20)}, {a})

    def test_an_unknown_one_is_tried_by_one_request(self) -> None:
        a, b = members = backends(1, 1)
        policy = Ewma(members, random.Random(1))
        policy.observe(a, 0.01, 0.0)
        self.assertIs(policy.select((), b"", 0.0), b)
        b.in_use = 1
        self.assertEqual({policy.select((), b"", 0.0) for _ in range(20)}, {a})

    def test_a_slow_one_is_asked_again(self) -> None:
        a, b = members = backends(1, 1)
        policy = Ewma(members, random.Random(1))
        policy.observe(a, 1.0, 0.0)
        for now in range(60):
            policy.observe(b, 0.01, float(now))
        self.assertEqual({policy.select((), b"", 60.0) for _ in range(20)}, {a})

    def test_weights_under_load(self) -> None:
        members = backends(1, 2, 5)
        rng = random.Random(5)
        seconds = dict.fromkeys(members, 0.1)
        found = traffic(Ewma(members, rng), rng, seconds, rate=1000, count=20_000)
        for backend in members:
            self.assertTrue(near(found[backend] / 20_000, backend.weight / 8, 0.05), found)

    def test_a_slow_one(self) -> None:
        for count in (2, 5, 100):
            members = backends(*[1] * count)
            seconds = dict.fromkeys(members, 0.01)
            seconds[members[0]] = 0.1
            rng = random.Random(6)
            found = traffic(Ewma(members, rng), rng, seconds, rate=200 * count, count=20_000)
            self.assertLess(found[members[0]] / 20_000, 0.15 / count)

    def test_one_that_fails_fast(self) -> None:
        for count in (2, 5, 20):
            members = backends(*[1] * count)
            seconds = dict.fromkeys(members, 0.05)
            seconds[members[0]] = 0.001
            rng = random.Random(7)
            found = traffic(
                Ewma(members, rng), rng, seconds, rate=100, count=20_000, fails=members[:1]
            )
            self.assertLess(found[members[0]] / 20_000, 0.15 / count, count)

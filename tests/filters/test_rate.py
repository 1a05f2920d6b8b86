from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.bounded import Bounded
from txrproxy.filters.rate import RateLimit, refusal


def limit(count: int, seconds: float = 1, burst: int = 0) -> RateLimit:
    return RateLimit(count, seconds, burst, Bounded(100))


class RateTests(SynchronousTestCase):
    def test_evenly(self) -> None:
        one = limit(2)
        self.assertEqual(one.take(b"a", 10.0), 0)
        self.assertAlmostEqual(one.take(b"a", 10.1), 0.4)
        self.assertEqual(one.take(b"b", 10.1), 0)
        self.assertEqual(one.take(b"a", 10.5), 0)
        self.assertAlmostEqual(one.take(b"a", 10.5), 0.5)
        self.assertEqual(one.take(b"a", 1000.0), 0)

    def test_burst(self) -> None:
        one = limit(10, burst=5)
        passed = [one.take(b"a", 0.0) for _ in range(8)]
        self.assertEqual(passed[:6], [0] * 6)
        self.assertAlmostEqual(passed[6], 0.1)
        self.assertAlmostEqual(passed[7], 0.1)  # who is refused does not wait longer for it
        self.assertEqual(one.take(b"a", 0.1), 0)
        self.assertTrue(one.take(b"a", 0.1))

    def test_it_says_how_long(self) -> None:
        one = limit(3, 60, 2)
        now = 5.0
        while not (wait := one.take(b"a", now)):
            pass
        self.assertTrue(one.take(b"a", now + wait - 0.01))
        self.assertEqual(one.take(b"a", now + wait), 0)

    def test_state(self) -> None:
        one = limit(1, 60, 2)
        self.assertEqual(one.state(b"a", 0.0)[1], b'"default";r=3;t=0')
        one.take(b"a", 0.0)
        self.assertEqual(one.state(b"a", 0.0)[1], b'"default";r=2;t=60')
        one.take(b"a", 0.0)
        one.take(b"a", 0.0)
        self.assertEqual(one.state(b"a", 0.0)[1], b'"default";r=0;t=180')
        self.assertEqual(one.state(b"a", 60.0)[1], b'"default";r=1;t=120')
        self.assertEqual(one.state(b"a", 999.0)[1], b'"default";r=3;t=0')

    def test_policy(self) -> None:
        for args, told in (
            ((50, 1, 100), b'"default";q=150;w=3'),
            ((1, 3600, 0), b'"default";q=1;w=3600'),
            ((600, 60, 0), b'"default";q=10;w=1'),
        ):
            self.assertEqual(limit(*args).policy_line[1], told)

    def test_refusal(self) -> None:
        retry, state = refusal(0.2)
        self.assertEqual(retry[2], b"Retry-After: 1\r\n")
        self.assertEqual(state[2], b'RateLimit: "default";r=0;t=1\r\n')
        self.assertEqual(refusal(1.01)[0][1], b"2")

    @given(
        st.integers(1, 1000),
        st.integers(0, 20),
        st.lists(st.floats(0, 2), min_size=1, max_size=60),
    )
    def test_never_more_than_it_says(self, count: int, burst: int, pauses: list[float]) -> None:
        """In any window, at most the burst, one, and what the rate gives."""
        one = limit(count, 10, burst)
        now, passed = 100.0, []
        for pause in pauses:
            now += pause
            if not one.take(b"a", now):
                passed.append(now)
        for first in range(len(passed)):
            for last in range(first, len(passed)):
                window = passed[last] - passed[first]
                allowed = burst + 1 + window * count / 10
                self.assertLessEqual(last - first + 1, allowed + 1e-6)

"""What is tried again, and that retries stay within their share of requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.retry import FLOOR, WINDOW, Budget, RetryRules
from txrproxy.errors import (
    BAD_REQUEST_LINE,
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    FIRST_BYTE_TIMEOUT,
    NO_BACKEND,
    RESET,
)

ALL = ("connect", "reset", "timeout", "502", "503", "504")


class BudgetTests(SynchronousTestCase):
    def test_share(self) -> None:
        budget = Budget(0.2)
        for _ in range(100):
            budget.request(1000.5)
        self.assertEqual([budget.take(1000.9) for _ in range(21)], [True] * 20 + [False])
        self.assertEqual(repr(budget), "<Budget 20 of 100>")

    def test_floor(self) -> None:
        """A pool that is almost idle retries all the same."""
        budget = Budget(0.1)
        self.assertEqual([budget.take(5.0) for _ in range(FLOOR + 1)], [True] * FLOOR + [False])

    def test_none_at_all(self) -> None:
        self.assertFalse(Budget(0.0).take(5.0))

    def test_a_part_of_one_is_none(self) -> None:
        budget = Budget(0.5)
        for _ in range(2 * FLOOR + 1):
            budget.request(0.0)
        self.assertEqual([budget.take(0.0) for _ in range(FLOOR + 1)], [True] * FLOOR + [False])

    def test_window(self) -> None:
        budget = Budget(1.0)
        for second in range(WINDOW):
            budget.request(100.0 + second)
            budget.take(100.0 + second)
        self.assertEqual((budget.requests, budget.retries), (10, 10))
        budget.request(100.0 + WINDOW)
        self.assertEqual((budget.requests, budget.retries), (10, 9))
        budget.request(100.0 + 5 * WINDOW)
        self.assertEqual((budget.requests, budget.retries), (1, 0))

    def test_a_clock_read_earlier(self) -> None:
        """Counts for the second that it is."""
        budget = Budget(1.0)
        budget.request(101.0)
        budget.request(100.999)
        self.assertTrue(budget.take(100.999))
        budget.request(102.0)
        self.assertEqual((budget.requests, budget.retries), (3, 1))

    @given(
        st.floats(0.01, 1.0),
        st.lists(st.tuples(st.floats(0, 3), st.integers(0, 30), st.integers(0, 10)), max_size=40),
    )
    def test_always(self, share: float, steps: list[tuple[float, int, int]]) -> None:
        """Whenever one is allowed, those of the window are within the share or the floor; and it
        is refused only if they would not be."""
        budget = Budget(share)
        now = 50.0
        requests: list[int] = []
        retries: list[int] = []
        for wait, new, failed in steps:
            now += wait
            second = int(now)
            for _ in range(new):
                budget.request(now)
                requests.append(second)
            for _ in range(failed):
                allowed = budget.take(now)
                seen = sum(at > second - WINDOW for at in requests)
                spent = sum(at > second - WINDOW for at in retries) + 1
                self.assertEqual(allowed, spent <= max(FLOOR, share * seen))
                if allowed:
                    retries.append(second)


class RulesTests(SynchronousTestCase):
    def test_nothing_said(self) -> None:
        """Without a table, connect failures only."""
        rules = RetryRules()
        self.assertTrue(rules.allow(CONNECT_REFUSED, 1, False, 0.0))
        self.assertFalse(rules.allow(RESET, 1, True, 0.0))
        self.assertEqual(rules.statuses, frozenset())
        self.assertIsNone(rules.budget)

    def test_kinds(self) -> None:
        rules = RetryRules(2, ALL)
        for reason, safe, allowed in (
            (CONNECT_REFUSED, False, True),
            (CONNECT_TIMEOUT, False, True),
            (RESET, True, True),
            (RESET, False, False),
            (FIRST_BYTE_TIMEOUT, True, True),
            (FIRST_BYTE_TIMEOUT, False, False),
            (BAD_REQUEST_LINE, True, False),
            (NO_BACKEND, True, False),
        ):
            self.assertEqual(rules.allow(reason, 1, safe, 0.0), allowed, reason)
        self.assertEqual(rules.statuses, {502, 503, 504})
        self.assertTrue(rules.allow_status(1, True, 0.0))
        self.assertFalse(rules.allow_status(1, False, 0.0))

    def test_on(self) -> None:
        rules = RetryRules(2, ["timeout"])
        self.assertFalse(rules.allow(CONNECT_REFUSED, 1, True, 0.0))
        self.assertTrue(rules.allow(FIRST_BYTE_TIMEOUT, 1, True, 0.0))

    def test_attempts(self) -> None:
        for attempts in (0, 1, 2):
            rules = RetryRules(attempts, ALL)
            for tries in (1, 2, 3):
                allowed = tries <= attempts
                self.assertEqual(rules.allow(CONNECT_REFUSED, tries, True, 0.0), allowed)
                self.assertEqual(rules.allow_status(tries, True, 0.0), allowed)

    def test_non_idempotent(self) -> None:
        rules = RetryRules(2, ALL, non_idempotent=True)
        self.assertTrue(rules.allow(RESET, 1, False, 0.0))
        self.assertTrue(rules.allow_status(1, False, 0.0))

    def test_budget(self) -> None:
        """What reached no backend costs nothing; what may not be retried anyway neither."""
        rules = RetryRules(2, ALL, share=0.2)
        assert rules.budget is not None
        for _ in range(100):
            self.assertTrue(rules.allow(CONNECT_REFUSED, 1, True, 0.0))
            self.assertFalse(rules.allow(RESET, 1, False, 0.0))
        found = [rules.allow(RESET, 1, True, 0.0) for _ in range(FLOOR + 1)]
        self.assertEqual(found, [True] * FLOOR + [False])
        self.assertFalse(rules.allow_status(1, True, 0.0))
        self.assertEqual(rules.budget.retries, FLOOR)

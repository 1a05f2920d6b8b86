"""Rise and fall: what results make of a verdict."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.health.tally import Tally


class TallyTests(SynchronousTestCase):
    def verdicts(self, tally: Tally, results: str) -> list[bool | None]:
        """The verdict after each result: ``+`` passed, ``-`` failed."""
        found = []
        for result in results:
            before = tally.healthy
            changed = tally.count(result == "+")
            self.assertEqual(changed, tally.healthy is not before)
            found.append(tally.healthy)
        return found

    def test_fall(self) -> None:
        self.assertEqual(self.verdicts(Tally(2, 3, True), "---"), [True, True, False])

    def test_rise(self) -> None:
        self.assertEqual(self.verdicts(Tally(2, 3, False), "++"), [False, True])

    def test_a_result_that_agrees_starts_anew(self) -> None:
        self.assertEqual(self.verdicts(Tally(2, 3, True), "--+--"), [True] * 5)
        self.assertEqual(self.verdicts(Tally(2, 3, False), "+-+"), [False] * 3)

    def test_the_first_pass_is_enough(self) -> None:
        self.assertEqual(self.verdicts(Tally(5, 3, None), "+"), [True])

    def test_failures_make_no_first_verdict(self) -> None:
        self.assertEqual(self.verdicts(Tally(5, 1, None), "---+"), [None, None, None, True])

    def test_after_the_first_verdict_rise_counts(self) -> None:
        self.assertEqual(self.verdicts(Tally(2, 1, None), "+-++"), [True, False, False, True])

    @given(
        st.integers(1, 5),
        st.integers(1, 5),
        st.sampled_from([None, True, False]),
        st.text("+-", max_size=60),
    )
    def test_as_one_would_say_it(
        self, rise: int, fall: int, verdict: bool | None, results: str
    ) -> None:
        tally = Tally(rise, fall, verdict)
        past = ""
        for result in results:
            past += result
            if verdict is None:
                expected = True if result == "+" else None
            elif past.endswith("-" * fall if verdict else "+" * rise):
                expected = not verdict
            else:
                expected = verdict
            tally.count(result == "+")
            self.assertEqual(tally.healthy, expected, past)
            if expected is not verdict:
                past, verdict = "", expected

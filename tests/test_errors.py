"""The table of reasons: every row is consistent, and none can be entered twice."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy import errors
from txrproxy.errors import REASONS, Fault, Retry
from txrproxy.http.status import STATUS_LINES


class ReasonTests(SynchronousTestCase):
    def test_names(self) -> None:
        for name, reason in REASONS.items():
            self.assertEqual(reason.name, name)
            self.assertEqual(reason.log_name, name.encode("ascii"))
            self.assertIs(getattr(errors, name.upper()), reason)

    def test_a_status_comes_with_a_text_and_a_line(self) -> None:
        for reason in REASONS.values():
            self.assertEqual(bool(reason.status), bool(reason.text), reason)
            if reason.status:
                self.assertIn(reason.status, STATUS_LINES)
                self.assertTrue(reason.text.endswith("."), reason)

    def test_the_status_says_whose_fault_it_is(self) -> None:
        for reason in REASONS.values():
            if reason.fault is Fault.BACKEND and reason.status:
                self.assertIn(reason.status, (502, 504), reason)
            if reason.fault is Fault.CLIENT and reason.status < 500 and reason.status:
                self.assertTrue(reason.status >= 400, reason)

    def test_what_is_the_clients_fault_is_not_tried_again(self) -> None:
        for reason in REASONS.values():
            if reason.fault in (Fault.CLIENT, Fault.NONE):
                self.assertIs(reason.retry, Retry.NEVER, reason)

    def test_texts_tell_nothing_of_the_inside(self) -> None:
        for reason in REASONS.values():
            for word in ("upstream", "backend", "pool", "socket", "errno", "twisted"):
                self.assertNotIn(word, reason.text.lower())

    def test_two_rows_of_one_name(self) -> None:
        self.assertRaises(ValueError, errors._row, "ok", 0, Fault.NONE)

    def test_rows_are_compared_by_identity(self) -> None:
        self.assertNotEqual(errors.Reason("ok", 0, Fault.NONE), errors.OK)

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy import errors
from txrproxy.errors import REASONS, Fault, Retry
from txrproxy.http.status import STATUS_LINES


class ReasonTests(SynchronousTestCase):
    def test_names(self) -> None:
        """A reason is found by the name that logs and metrics use, spelt as in the source."""
        for name, reason in REASONS.items():
            self.assertEqual((reason.name, reason.log_name), (name, name.encode()))
            self.assertIs(getattr(errors, name.upper()), reason)

    def test_no_name_twice(self) -> None:
        error = self.assertRaises(ValueError, errors._row, "ok", 0, Fault.NONE)
        self.assertEqual(str(error), "two reasons named ok")

    def test_a_status_has_a_text(self) -> None:
        """And a text a status: it is for the person who reads the error page."""
        for reason in REASONS.values():
            self.assertEqual(bool(reason.status), bool(reason.text), reason)
            if reason.status:
                self.assertIn(reason.status, STATUS_LINES)
                self.assertRegex(reason.text, r"^[A-Z].*\.$")

    def test_status_and_fault(self) -> None:
        for reason in REASONS.values():
            if reason.fault is Fault.CLIENT and reason.status:
                self.assertIn(reason.status // 100, (4, 5))
            if reason.fault is Fault.BACKEND and reason.status:
                self.assertIn(reason.status, (502, 504))

    def test_the_client_is_not_retried(self) -> None:
        for reason in REASONS.values():
            if reason.retry is not Retry.NEVER:
                self.assertIn(reason.fault, (Fault.BACKEND, Fault.PROXY))

"""For each form: what is taken and becomes what, and what is refused and why."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.forms import FORMS
from txrproxy.config.forms.basics import Unfit

Taken = dict[Any, dict[Any, Any]]

# The reason is what the exception says beyond the form; "" where the form says it all.
Refused = dict[Any, dict[Any, str]]


class Cases(SynchronousTestCase):
    """The forms of one module; each subclass brings their cases."""

    taken: Taken = {}
    refused: Refused = {}

    def test_taken(self) -> None:
        for kind, cases in self.taken.items():
            for written, value in cases.items():
                parsed = FORMS[kind].parse(written)
                self.assertEqual((parsed, type(parsed)), (value, type(parsed)), (kind, written))

    def test_refused(self) -> None:
        for kind, cases in self.refused.items():
            for written, reason in cases.items():
                with self.assertRaises(Unfit, msg=(kind, written)) as caught:
                    FORMS[kind].parse(written)
                self.assertEqual(str(caught.exception), reason, (kind, written))

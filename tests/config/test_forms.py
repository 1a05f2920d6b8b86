"""What is true of every form; the cases of each are beside the module that parses it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.config.forms import test_addresses, test_basics, test_numbers, test_words
from txrproxy.config import values as v
from txrproxy.config.forms import FORMS
from txrproxy.config.forms.basics import Unfit

TAKEN = {
    **test_basics.TAKEN,
    **test_numbers.TAKEN,
    **test_addresses.TAKEN,
    **test_words.TAKEN,
}


class FormsTests(SynchronousTestCase):
    def test_every_form_has_cases(self) -> None:
        self.assertEqual(set(FORMS) - set(TAKEN), {tuple[str, str]})

    def test_other_types_are_refused(self) -> None:
        for kind, form in FORMS.items():
            for value in ([], {}, None, 1j, b"x"):
                self.assertRaises(Unfit, form.parse, value)
            if form.quoted:
                for value in (5, 1.5, True):
                    self.assertRaises(Unfit, form.parse, value)
            self.assertTrue(form.expected and form.kind, kind)

    def test_written_back(self) -> None:
        for kind, cases in TAKEN.items():
            form = FORMS[kind]
            if form.quoted and kind not in (v.Secret, v.OptionalSecret, v.KeySource):
                for value in cases.values():
                    self.assertEqual(form.parse(form.write(value)), value)

    @given(st.sampled_from(list(FORMS)), st.text())
    def test_any_text_is_taken_or_unfit(self, kind: Any, text: str) -> None:
        try:
            FORMS[kind].parse(text)
        except Unfit:
            pass

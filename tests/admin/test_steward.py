"""What a steward says of a thing that is not there."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.fake import FakeSteward
from txrproxy.admin.steward import Steward, Unknown


class Case(SynchronousTestCase):
    def test_unknown(self) -> None:
        error = Unknown("no pool 'x'", {"b": 1, "a": 2})
        self.assertEqual((str(error), error.known), ("no pool 'x'", ["a", "b"]))
        self.assertEqual(Unknown("x").known, [])

    def test_the_fake_is_one(self) -> None:
        steward: Steward = FakeSteward()
        missing = {name for name in vars(Steward) if name[0] != "_"} - set(dir(steward))
        self.assertEqual(missing, set())

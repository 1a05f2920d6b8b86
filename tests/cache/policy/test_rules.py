"""The rules of a route: by themselves they allow nothing that a response does not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.policy.rules import OWN_TARGET, Rules


class RulesTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        rules = Rules()
        self.assertEqual(
            (rules.default_ttl, rules.stale_while_revalidate, rules.stale_if_error, rules.negative),
            (0.0, 0.0, 0.0, {}),
        )
        self.assertEqual(rules.targeted[0], OWN_TARGET)

    def test_are_told_apart(self) -> None:
        self.assertNotEqual(Rules(), Rules())

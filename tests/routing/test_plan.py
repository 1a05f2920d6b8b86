"""A plan is values, with the safe choice where nothing is said."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.forward import RequestRules, ResponseRules
from txrproxy.routing.plan import Plan


class PlanTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        plan = Plan(
            name=b"app",
            serve=lambda exchange: None,
            trusted_rules=RequestRules(True),
            rules=RequestRules(False),
            response_rules=ResponseRules(),
        )
        self.assertFalse(plan.takes_connect)
        self.assertIs(plan.body_limit, None)
        self.assertIs(plan.rewrite, None)
        self.assertEqual(plan.mount, b"")

    def test_each_is_itself(self) -> None:
        rules, response_rules = RequestRules(False), ResponseRules()
        plans = [
            Plan(
                name=b"app",
                serve=print,
                trusted_rules=rules,
                rules=rules,
                response_rules=response_rules,
            )
            for _ in range(2)
        ]
        self.assertEqual(len(set(plans)), 2)

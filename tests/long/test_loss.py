"""The long run of ``tests/scenarios/loss.py``; ``TXRPROXY_LONG=1`` asks for it."""

import os

from tests.scenarios.loss import LossScenario


class LossTests(LossScenario):
    timeout = 1800
    if not os.environ.get("TXRPROXY_LONG"):
        skip = "a long run: set TXRPROXY_LONG=1"

    async def test_twenty_thousand_requests_through_faults(self):
        await self.lose_nothing(20_000, seed=2)

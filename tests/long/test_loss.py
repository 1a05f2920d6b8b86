"""The long run of ``tests/scenarios/loss.py``."""

from tests.scenarios.loss import LossScenario


class LossTests(LossScenario):
    timeout = 1800

    async def test_twenty_thousand_requests_through_faults(self):
        await self.lose_nothing(20_000, seed=2)

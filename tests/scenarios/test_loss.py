from tests.scenarios.loss import LossScenario


class LossTests(LossScenario):
    async def test_two_thousand_requests_through_faults(self):
        await self.lose_nothing(2_000, seed=1)

"""The long run of ``tests/scenarios/reloads.py``."""

from tests.scenarios.reloads import ReloadScenario


class ReloadTests(ReloadScenario):
    timeout = 1800

    def test_a_hundred_under_load(self):
        self.reload_under_load(100)

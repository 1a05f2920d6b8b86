"""The long runs of ``tests/scenarios/reloads.py``."""

from tests.scenarios.reloads import ReloadScenario, UpgradeScenario


class ReloadTests(ReloadScenario):
    timeout = 1800

    def test_a_hundred_under_load(self):
        self.reload_under_load(100)


class UpgradeTests(UpgradeScenario):
    timeout = 1800

    def test_ten_under_load(self):
        self.upgrade_under_load(10)

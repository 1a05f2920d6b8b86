"""A few rounds of ``crash.py``; ``tests/long`` has many."""

from tests.cache.crash import CrashScenario


class CrashTests(CrashScenario):
    def test_ten_rounds(self) -> None:
        self.survive(10, seed=1)

"""The long run of ``tests/cache/crash.py``."""

from tests.cache.crash import CrashScenario


class CrashTests(CrashScenario):
    timeout = 1800

    def test_two_hundred_rounds(self) -> None:
        self.survive(200, seed=2)

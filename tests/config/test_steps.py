from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.steps import Steps, finish


class FinishTests(SynchronousTestCase):
    def test_result(self) -> None:
        taken = []

        def steps() -> Steps[str]:
            for number in range(3):
                taken.append(number)
                yield
            return "done"

        self.assertEqual((finish(steps()), taken), ("done", [0, 1, 2]))

"""Some faults of ``tests/scenarios/test_faults.py``, longer: half a minute, or a bit more."""

from tests.faults import OUTLIER, PATIENT, RATE, RETRY, flap, hang, kill
from tests.scenarios.test_faults import IMPATIENT, FaultCase

POOL = PATIENT + OUTLIER.format(eject="500ms") + RETRY


class LongTests(FaultCase):
    count = 4 * RATE

    def test_killed(self):
        self.nothing_failed(self.suffer(kill, POOL, workers=2))

    def test_flapping(self):
        self.nothing_failed(self.suffer(flap, POOL, workers=2))

    def test_hung(self):
        """One trial each time an ejection ends, and they last longer each time."""
        pool = OUTLIER.format(eject="500ms") + RETRY + IMPATIENT
        stand = self.suffer(hang, pool, "left out")
        self.nothing_failed(stand)
        trials = stand.tries("out", stand.backends[1])
        self.assertLessEqual(trials, len(stand.load.of("out")) / 100)

"""The faults of ``tests/scenarios/test_faults.py``, longer."""

from tests.faults import RATE
from tests.scenarios import test_faults


class LongKillTests(test_faults.KillTests):
    count = 3 * RATE


class LongHangTests(test_faults.HangTests):
    count = 3 * RATE


class LongNobodyTests(test_faults.NobodyTests):
    count = 3 * RATE

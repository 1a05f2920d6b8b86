"""Workers that are killed: who notices, and when another takes their place."""

import os
import re
import signal

from tests.scenarios.kills import KillScenario
from tests.service.load import response
from tests.twistd import ask, connect, get

SERVES = r"worker (\d) \(pid (\d+)\) serves"


class KillTests(KillScenario):
    def test_some_in_a_row(self):
        self.kill_under_load(4, every=0.1)

    def test_one_that_keeps_dying_waits(self):
        """The log says for how long; the other one serves all that comes."""
        self.start()
        victim, _ = self.pids()
        while True:
            os.kill(victim, signal.SIGKILL)
            killed = rf"\(pid {victim}\) was killed by SIGKILL; a new one follows (at once|in .*)"
            if self.proxy.wait_for(killed)[1] == "in 0.2 s":
                break
            victim = int(self.proxy.wait_for(SERVES)[2])
        for _ in range(10):
            self.assertIn(b"200 OK", get(self.port))
        with connect(self.port) as kept:
            ask(kept)
            response(kept)
            self.proxy.wait_for(SERVES)
            self.assertEqual(len(self.pids()), 2)
            ask(kept)
            response(kept)
        deaths = [line for line in self.proxy.lines if "was killed by SIGKILL" in line]
        at_once = [line for line in deaths if re.search("follows at once", line)]
        self.assertGreaterEqual(len(at_once), 5)
        self.assertEqual(len(deaths), len(at_once) + 1)

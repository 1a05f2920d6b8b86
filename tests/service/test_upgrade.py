"""One version goes on where another was."""

from __future__ import annotations

import os
import signal

from tests.scenarios.reloads import MORE, UpgradeScenario
from tests.twistd import end, get, wait_until
from txrproxy.transport.channel import Refused


class UpgradeTests(UpgradeScenario):
    def test_under_load(self) -> None:
        """No request fails and no tunnel closes while versions come and go."""
        self.write(drain="2s")
        self.start()
        load = self.load()
        for _ in range(2):
            load.kept(self.port)
            load.new(self.port)
            load.tls(self.tls_port)
        first = self.proxy.process.pid
        new = self.upgraded()
        self.assertNotEqual(new, first)
        # The first drains, and ends in order; the port stays.
        self.assertEqual(self.proxy.process.wait(30), 0)
        newest = self.upgraded()
        self.assertEqual(self.ask("status")["pid"], newest)
        load.more(50)
        load.end()
        self.assertEqual(load.failures, [])
        self.assertTrue((self.folder / "state/control.sock").exists())
        end(newest)
        self.assertRaises(ConnectionRefusedError, get, self.port)

    def test_a_new_version_that_does_not_start(self) -> None:
        """It is dropped, and the old one goes on."""
        self.start()
        self.write(pool="apx")
        error = self.assertRaises(Refused, self.ask, "upgrade")
        self.assertIn("ended before it was ready", str(error))
        self.assertIn(b"hello", get(self.port))
        self.assertEqual(self.ask("status")["pid"], self.proxy.process.pid)
        self.write(MORE)
        self.reload()

    def test_tunnels_live_on_until_the_drain_timeout(self) -> None:
        self.start()
        load = self.load()
        load.tunnel(self.port)
        wait_until(lambda: self.connections() == 1)
        self.upgraded()
        wait_until(lambda: self.connections() == 0)  # it is the old process that has it
        self.assertIs(self.proxy.process.poll(), None)
        load.end()
        self.assertEqual(load.failures, [])
        os.kill(self.proxy.process.pid, signal.SIGTERM)
        self.proxy.process.wait(30)

    def connections(self) -> int:
        return sum(row["connections"] for row in self.ask("status")["workers"])

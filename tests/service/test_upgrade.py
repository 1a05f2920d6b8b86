"""One version goes on where another was."""

from __future__ import annotations

import os
import signal
import socket

from tests.scenarios.reloads import MORE, UpgradeScenario
from tests.twistd import end, get, wait_until
from txrproxy.transport.channel import Refused

UNIX = '[listeners.unix]\nbind = ["unix:edge.sock"]\n'
TAKEN = '[listeners.taken]\nbind = ["127.0.0.1:{}"]\n'
ROUTE = '[[routes]]\nname = "home"\nmatch = { host = "a.example" }\nrespond = { status = 200 }\n'
TEST = '[[tests]]\nrequest = { url = "http://a.example/" }\nexpect = { status = 204 }\n'


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
        self.assertEqual(
            str(error),
            "the new process can not serve: "
            f'{self.config}:18: routes[0].pool: unknown pool "apx"; did you mean "app"?',
        )
        self.assertIn(b"hello", get(self.port))
        self.assertEqual(self.ask("status")["pid"], self.proxy.process.pid)
        self.write(MORE)
        self.reload()

    def test_a_test_of_the_file_fails(self) -> None:
        """As with a reload, nothing changes; the start of a machine is not held up by it."""
        self.write(ROUTE + TEST)
        self.start()
        error = self.assertRaises(Refused, self.ask, "upgrade")
        self.assertIn("tests[0].expect.status: GET http://a.example/: status 200", str(error))
        self.assertEqual(self.ask("status")["pid"], self.proxy.process.pid)

    def test_refused_after_the_sockets_were_handed_over(self) -> None:
        """The files of Unix sockets are still those of the process that goes on."""
        self.write(UNIX)
        self.start()
        path = self.folder / "edge.sock"
        for more in (UNIX, ""):  # the new file has the listener, or not
            self.write(more + TAKEN.format(self.origin.port))
            error = self.assertRaises(Refused, self.ask, "upgrade")
            self.assertIn("the new process can not serve: cannot listen on", str(error))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        self.write()
        self.upgraded()
        wait_until(lambda: not path.exists())

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

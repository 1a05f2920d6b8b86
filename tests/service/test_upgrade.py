"""One version goes on where another was."""

from __future__ import annotations

import os
import signal
import socket

from tests import twistd
from tests.scenarios.reloads import MORE, UpgradeScenario
from tests.service.processes import ProcessCase
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


DEMO = """\
version = 1
[server]
workers = 0
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.demo]
backends = ["http://127.0.0.1:{}", "http://127.0.0.1:{}"]
[[routes]]
name = "pages"
pool = "demo"
"""


class DemoTests(ProcessCase):
    """``make run``, at other ports: its origins are in the process that is upgraded."""

    def setUp(self) -> None:
        super().setUp()
        with socket.socket() as one, socket.socket() as two:
            for each in (one, two):
                each.bind(("127.0.0.1", 0))
            self.ports = one.getsockname()[1], two.getsockname()[1]
        self.config.write_text(DEMO.format(*self.ports))
        ports = f"from txrproxy import demo; demo.PORTS = {self.ports}; "
        self.patch(twistd, "RUN", ports + twistd.RUN)

    def test_upgrade(self) -> None:
        self.proxy = twistd.Twistd(self.config)
        self.addCleanup(self.proxy.kill)
        port = self.proxy.port()
        with socket.create_connection(("127.0.0.1", port), 30) as slow:
            slow.sendall(b"GET /slow?seconds=1 HTTP/1.0\r\nHost: a\r\n\r\n")
            new = self.ask("upgrade")["pid"]
            self.addCleanup(end, new)
            for _ in range(10):
                self.assertIn(b"200 OK", get(port, "/headers"))
            with slow.makefile("rb") as answer:
                self.assertIn(b", after 1 s\n", answer.read())
        self.assertEqual(self.proxy.process.wait(30), 0)
        for _ in range(10):
            self.assertIn(b"200 OK", get(port, "/headers"))

    def test_somebody_else_has_a_port(self) -> None:
        with socket.create_server(("127.0.0.1", self.ports[1])):
            done = twistd.run(
                *("-n", "--pidfile=", "txrproxy", "--config", str(self.config)), cwd=self.folder
            )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr,
            "the origins of the demo can not listen on "
            f"127.0.0.1:{self.ports[1]}: Address already in use\n",
        )

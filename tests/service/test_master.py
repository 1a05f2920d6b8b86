"""Workers as processes: what is lost when one dies, and how another takes its place."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.service.processes import ProcessCase
from tests.twistd import PATIENCE, ask, connect, get, read_all, runs, wait_until
from txrproxy.config.toml import loads
from txrproxy.service import master
from txrproxy.service.master import TURN
from txrproxy.tls.tickets import LIFE


class KeysTests(SynchronousTestCase):
    def test_main_process_forgets_keys_too(self) -> None:
        clock = Clock()
        times: list[float] = []
        self.patch(master, "turn", times.append)
        made: Any = master.Master(clock, FakeListeners())
        made._turn_keys()
        clock.pump([TURN] * 3)
        self.assertEqual(len(times), 4)
        self.assertGreater(LIFE / 100, TURN)
        made.config = loads(MINIMAL)
        made.stop(succeeded=False)
        clock.pump([1.0] * 3)
        self.assertEqual(clock.getDelayedCalls(), [])


class FakeListeners:
    def close(self) -> None:
        """There are none."""


class DeathTests(ProcessCase):
    def test_killed_under_load(self) -> None:
        """Only what it carried fails, and a new one takes its place."""
        self.start()
        before = self.pids()
        with connect(self.port) as kept:
            ask(kept)
            kept.recv(4096)
            for _ in range(5):
                self.replaced(self.pids()[0], signal.SIGKILL)
            load = self.load()
            for _ in range(4):
                load.new(self.port)
                load.tls(self.tls_port)
            wait_until(lambda: load.count > 50)
            victim = self.pids()[1]
            os.kill(victim, signal.SIGKILL)
            self.proxy.wait_for(rf"worker \d \(pid {victim}\) was killed by SIGKILL")
            so_far = load.count
            wait_until(lambda: load.count > so_far + 200)
            load.end()
        # A lane carries one request at a time, and half of them are elsewhere.
        self.assertLessEqual(len(load.failures), 8)
        status = self.ask("status")
        self.assertEqual((len(status["workers"]), status["restarts"]), (2, 6))
        self.assertFalse(set(before) & set(self.pids()))

    def replaced(self, pid: int, number: signal.Signals) -> None:
        os.kill(pid, number)
        self.proxy.wait_for(rf"worker \d \(pid {pid}\) was killed by {number.name}; a new one")
        self.proxy.wait_for(r"worker \d \(pid \d+\) serves")

    def test_connections_that_wait_survive(self) -> None:
        """They are in a socket that the main process holds open."""
        self.workers = 1
        self.write()
        self.start()
        (pid,) = self.pids()
        os.kill(pid, signal.SIGSTOP)
        with connect(self.port) as link:
            ask(link, close=True)
            os.kill(pid, signal.SIGKILL)
            self.assertIn(b"200 OK", read_all(link))

    def test_told_to_leave(self) -> None:
        """SIGTERM to a worker: it finishes what it has, and another serves at once."""
        self.start()
        pid = self.pids()[0]
        load = self.load()
        for _ in range(4):
            load.new(self.port)
        os.kill(pid, signal.SIGTERM)
        self.proxy.wait_for(rf"pid {pid}\) leaves")
        self.proxy.wait_for("serves")
        so_far = load.count
        wait_until(lambda: load.count > so_far + 100)
        load.end()
        self.assertEqual(load.failures, [])
        self.assertNotIn(pid, self.pids())

    def test_main_process_killed(self) -> None:
        """The workers notice, and go; the address can be had again at once."""
        self.start()
        pids = self.pids()
        self.proxy.process.kill()
        for pid in pids:
            wait_until(lambda pid=pid: not runs(pid))  # type: ignore[misc]
        self.start()
        self.assertIn(b"hello", get(self.port))


class EndTests(ProcessCase):
    def test_twice_at_once(self) -> None:
        """The second signal does not wait for what runs."""
        for number in (signal.SIGINT, signal.SIGTERM):
            for self.workers in (2, 0):
                self.write()
                self.start()
                with connect(self.port) as link:
                    link.sendall(
                        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n"
                    )
                    link.recv(4096)
                    self.proxy.signal(number)
                    self.proxy.wait_for("shutting down")
                    wait_until(lambda: not (self.folder / "state/control.sock").exists())
                    self.proxy.signal(number)
                    self.proxy.wait_for("ending at once")
                    self.proxy.wait_for("Server Shut Down")
                    self.assertEqual(self.proxy.end(), -number)
                self.assertEqual([x for x in self.proxy.lines if "Traceback" in x], [])

    def test_all_processes_at_once(self) -> None:
        """As a terminal does it, or a service manager: what runs is finished, as ever."""
        for number in (signal.SIGINT, signal.SIGTERM):
            with socket.create_server(("127.0.0.1", 0)) as origin:
                origin.settimeout(PATIENCE)
                self.write(origin=origin.getsockname()[1], drain="300s")
                self.start(group=True)
                with connect(self.port) as link, connect(self.port) as idle:
                    ask(link)
                    served, _ = origin.accept()
                    served.recv(4096)
                    served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
                    pids = self.pids()
                    os.killpg(self.proxy.process.pid, number)
                    self.assertEqual(read_all(idle), b"")
                    self.assertIs(self.proxy.process.poll(), None)
                    served.sendall(b"last")
                    self.assertTrue(read_all(link).endswith(b"firstlast"))
                    served.close()
                self.assertEqual(self.proxy.process.wait(PATIENCE), -number)
                self.proxy.wait_for("Server Shut Down")
            self.assertEqual([pid for pid in pids if runs(pid)], [])
            self.assertEqual([x for x in self.proxy.lines if "Traceback" in x], [])

    def test_told_by_the_command(self) -> None:
        self.start()
        self.assertEqual(self.ask("stop"), {"pid": self.proxy.process.pid})
        self.assertEqual(self.proxy.process.wait(30), 0)

    def test_two_with_one_folder(self) -> None:
        self.start()
        other = self.folder / "other.toml"
        other.write_text(self.config.read_text())
        from tests.twistd import run

        done = run("-n", "--pidfile=", "txrproxy", "-c", "other.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another txrproxy runs with", done.stderr)

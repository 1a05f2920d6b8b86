"""What systemd does to a service, done by a test: sockets passed, states told; and scarcity."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys

from tests.service.processes import ProcessCase
from tests.twistd import PATIENCE, TREE, ask, connect, environment, get, read_all, wait_until
from txrproxy.config.values import Bind
from txrproxy.service.sockets import CannotListen, Listeners, systemd

BEGIN = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class NotifyTests(ProcessCase):
    def test_states(self) -> None:
        path = str(self.folder / "notify")
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(told.close)
        told.settimeout(PATIENCE)
        told.bind(path)
        self.start(env=environment(NOTIFY_SOCKET=path, WATCHDOG_USEC="60000000"))
        self.assertEqual(told.recv(1000), b"READY=1\nSTATUS=serving with 2 processes")
        self.assertEqual(told.recv(1000), b"WATCHDOG=1")
        self.reload()
        self.assertTrue(told.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC="))
        self.assertEqual(told.recv(1000), b"READY=1")
        self.proxy.signal(signal.SIGTERM)
        self.assertEqual(told.recv(1000), b"STOPPING=1")
        self.proxy.end()


class PassedTests(ProcessCase):
    def test_socket_of_systemd(self) -> None:
        """It outlives the service: what connects in between waits for the next."""
        self.write('[listeners.web]\nbind = ["fd:web"]\n')
        passed = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(passed.close)
        port = passed.getsockname()[1]
        for _ in range(2):
            with connect(port) as early:
                ask(early, close=True)
                self.begin(passed)
                self.assertIn(b"200 OK", read_all(early))
            for _ in range(10):
                self.assertIn(b"200 OK", get(port))
            self.ask("stop")
            self.assertEqual(self.process.wait(PATIENCE), 0)

    def begin(self, passed: socket.socket) -> None:
        fd = str(passed.fileno())
        run = "from twisted.scripts.twistd import run; run()"
        words = [sys.executable, "-c", BEGIN, fd, "-c", run]
        words += ["-n", "--pidfile=", "txrproxy", "-c", str(self.config)]
        self.process = subprocess.Popen(
            words,
            cwd=self.folder,
            env=environment(PYTHONPATH=str(TREE)),
            pass_fds=[passed.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)

    def test_nothing_passed(self) -> None:
        self.assertEqual(systemd(), {})
        listeners = Listeners()
        error = self.assertRaises(CannotListen, listeners._of_systemd, Bind("fd", name="web"))
        self.assertIn("systemd passed no socket of that name; those there are: none", str(error))


class ScarcityTests(ProcessCase):
    workers = 1

    def test_descriptors_run_out(self) -> None:
        """Accepting pauses without a busy loop; who waits is served when there is room again."""
        self.start()
        (pid,) = self.pids()
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        links = [connect(self.port) for _ in range(30)]
        self.proxy.wait_for("accepting pauses: too many open files")
        before = _ticks(pid)
        # The log of the proxy is silent meanwhile, and so is its processor.
        last = links.pop()
        last.settimeout(1.5)
        ask(last)
        self.assertRaises(TimeoutError, last.recv, 1)
        self.assertLess(_ticks(pid) - before, 50)
        for link in links:
            link.close()
        last.settimeout(PATIENCE)
        # The descriptors that went to clients are free, and so is one for the backend.
        self.assertIn(b"HTTP/1.1 ", last.recv(4096))
        last.close()
        wait_until(lambda: b"200 OK" in get(self.port))

    def test_told_at_the_start(self) -> None:
        self.config.write_text(
            self.config.read_text().replace("max_connections = 500", "max_connections = 900000000")
        )
        self.start()
        self.assertTrue(
            [line for line in self.proxy.lines if "warn" in line and "LimitNOFILE=18000" in line]
        )


def _ticks(pid: int) -> int:
    """Hundredths of seconds of processor time."""
    with open(f"/proc/{pid}/stat", encoding="latin-1") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])

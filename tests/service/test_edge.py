"""The service as a process: what it says, how it begins, and how it ends.

A listener on port 0 gets a port from the system, and the log tells which.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.twistd import (
    PATIENCE,
    Twistd,
    ask,
    connect,
    end,
    get,
    port_in,
    read_all,
    run,
    wait_until,
)
from txrproxy.config.toml import load_with_warnings
from txrproxy.observe.errorlog import ErrorLog
from txrproxy.service.edge import CannotStart, Edge

CONFIG = """\
version = 1
[server]
drain_timeout = "20s"
max_connections = 1000
[log]
access = {{ path = "access.log", format = "json" }}
{log}
[listeners.http]
bind = [{bind}]
[pools.app]
backends = ["http://127.0.0.1:{origin}"]
[[routes]]
name = "hello"
match = {{ path = "/hello" }}
respond = {{ status = 200, body = "hello" }}
[[routes]]
name = "app"
pool = "app"
"""


class EdgeCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Not mktemp(): the path of a Unix socket has at most 107 bytes.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()

    def config(self, bind: str = "127.0.0.1:0", log: str = "", origin: int = 9) -> Path:
        path = self.folder / "edge.toml"
        path.write_text(CONFIG.format(bind=f'"{bind}"', log=log, origin=origin))
        return path

    def start(self, config: Path, *options: str) -> Twistd:
        proxy = Twistd(config, *options)
        self.addCleanup(proxy.kill)
        return proxy

    def listener(self) -> socket.socket:
        bound = socket.create_server(("127.0.0.1", 0))
        bound.settimeout(PATIENCE)
        self.addCleanup(bound.close)
        return bound

    def access_log(self) -> list[str]:
        text = (self.folder / "access.log").read_text()
        return [json.loads(line)["target"] for line in text.splitlines()]


class LifeTests(EdgeCase):
    def test_start_and_stop(self) -> None:
        proxy = self.start(self.config())
        self.assertIn(b"\r\n\r\nhello", get(proxy.port(), "/hello"))
        proxy.signal(signal.SIGTERM)
        proxy.wait_for("Server Shut Down")
        self.assertEqual(proxy.end(), -signal.SIGTERM)
        self.assertEqual(self.access_log(), ["/hello"])
        self.assertEqual([line for line in proxy.lines if "ProxySite" in line], [])

    def test_again_at_once(self) -> None:
        """On the same port, which has just had connections."""
        proxy = self.start(self.config())
        port = proxy.port()
        get(port, "/hello")
        idle = connect(port)
        self.addCleanup(idle.close)
        ask(idle, "/hello")
        idle.recv(4096)
        proxy.end()
        again = self.start(self.config(f"127.0.0.1:{port}"))
        self.assertEqual(again.port(), port)
        self.assertIn(b"hello", get(port, "/hello"))
        again.end()

    def test_drain(self) -> None:
        """SIGTERM closes what is idle at once, and lets a running exchange finish."""
        origin = self.listener()
        config = self.config(origin=origin.getsockname()[1])
        # One, so that who sees the idle connection closed knows that the other was counted.
        config.write_text(config.read_text().replace("[server]\n", "[server]\nworkers = 1\n"))
        proxy = self.start(config)
        port = proxy.port()
        idle, running = connect(port), connect(port)
        self.addCleanup(idle.close)
        self.addCleanup(running.close)
        ask(idle, "/hello")
        idle.recv(4096)
        ask(running, "/slow")
        served, _ = origin.accept()
        self.addCleanup(served.close)
        served.recv(4096)
        served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")

        proxy.signal(signal.SIGTERM)

        self.assertEqual(read_all(idle), b"")
        self.assertRaises(ConnectionRefusedError, connect, port)
        self.assertIs(proxy.process.poll(), None)
        served.sendall(b"last")
        response = read_all(running)
        proxy.wait_for("1 exchanges were in progress, 0 were cut")
        self.assertTrue(response.endswith(b"\r\n\r\nfirstlast"), response)
        self.assertEqual(proxy.end(), -signal.SIGTERM)
        self.assertEqual(self.access_log(), ["/hello", "/slow"])

    def test_drain_timeout(self) -> None:
        """What does not finish is cut."""
        origin = self.listener()
        config = self.config(origin=origin.getsockname()[1])
        config.write_text(config.read_text().replace('"20s"', '"100ms"'))
        proxy = self.start(config)
        with connect(proxy.port()) as running:
            ask(running, "/never")
            served, _ = origin.accept()
            self.addCleanup(served.close)
            proxy.signal(signal.SIGTERM)
            proxy.wait_for("1 connections? cut at the drain timeout")
            proxy.wait_for(r"drained in 0\.\d s: 1 exchanges were in progress, 1 were cut")
            self.assertEqual(proxy.end(), -signal.SIGTERM)


class LogTests(EdgeCase):
    def test_reopen(self) -> None:
        """SIGUSR1: both logs have been moved away."""
        proxy = self.start(
            self.config("127.0.0.1:0", 'error = { path = "error.log", level = "debug" }')
        )
        error, access = self.folder / "error.log", self.folder / "access.log"
        port = port_in(error)
        get(port, "/hello")
        for path in (error, access):
            path.rename(path.with_suffix(".1"))
        proxy.signal(signal.SIGUSR1)
        wait_until(lambda: error.exists() and access.exists())
        get(port, "/hello?2")
        proxy.end()
        self.assertEqual(self.access_log(), ["/hello?2"])
        self.assertIn("Server Shut Down", error.read_text())
        self.assertIn("listening on", error.with_suffix(".1").read_text())

    def test_json(self) -> None:
        proxy = self.start(self.config(log='error = { path = "-", format = "json" }'))
        line = proxy.wait_for("listening on").string
        event = json.loads(line)
        self.assertEqual((event["level"], event["namespace"]), ("info", "txrproxy.service.edge"))
        proxy.end()

    def test_level(self) -> None:
        proxy = self.start(self.config(log='error = { path = "error.log", level = "warn" }'))
        wait_until((self.folder / "access.log").exists)
        proxy.end()
        self.assertEqual((self.folder / "error.log").read_text(), "")

    def test_twistd_logfile(self) -> None:
        """twistd's own option wins, and its file is rotated by SIGUSR1 as ever."""
        proxy = self.start(self.config(), "--logfile", "twistd.log")
        log = self.folder / "twistd.log"
        port_in(log)
        proxy.signal(signal.SIGUSR1)
        wait_until((self.folder / "twistd.log.1").exists)
        proxy.end()
        self.assertIn("listening on", (self.folder / "twistd.log.1").read_text())


class RefusalTests(EdgeCase):
    def test_address_in_use(self) -> None:
        port = self.listener().getsockname()[1]
        self.config(f"127.0.0.1:{port}")
        done = run("-n", "--pidfile=", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn(
            f"critical txrproxy.service.edge: cannot listen on 127.0.0.1:{port}: address already "
            "in use; stop the other process or choose another port",
            done.stderr,
        )
        self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_told_at_the_terminal_too(self) -> None:
        port = self.listener().getsockname()[1]
        self.config(f"127.0.0.1:{port}", 'error = { path = "error.log" }')
        done = run("-n", "--pidfile=", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith("cannot listen on"), done.stderr)
        self.assertIn("cannot listen on", (self.folder / "error.log").read_text())

    def test_address_in_use_by_a_daemon(self) -> None:
        """The command waits for the daemon, fails with it, and leaves no pid file."""
        port = self.listener().getsockname()[1]
        self.config(f"127.0.0.1:{port}")
        done = run("--pidfile", "pid", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"cannot listen on 127.0.0.1:{port}: address", done.stderr)
        wait_until(lambda: not (self.folder / "pid").exists())  # twistd does that after it has told
        self.assertIn("choose another port", (self.folder / "twistd.log").read_text())

    def test_access_log(self) -> None:
        (self.folder / "access.log").mkdir()
        self.config()
        done = run("-n", "--pidfile=", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("log.access.path: ", done.stderr)
        self.assertIn("can not be written: it is a folder", done.stderr)
        self.assertNotIn("Traceback", done.stderr + done.stdout)


class ReopenTests(EdgeCase):
    """What reopening does inside the process."""

    def edge(self) -> tuple[Edge, ErrorLog]:
        config, _ = load_with_warnings(str(self.config()))
        log = ErrorLog(str(self.folder / "logs" / "error.log"))
        edge = Edge(config, MemoryReactorClock(), log)
        edge.master = SimpleNamespace(reopen=lambda: self.reopened.append(1))
        return edge, log

    def setUp(self) -> None:
        super().setUp()
        (self.folder / "logs").mkdir()
        self.reopened: list[object] = []

    def test_fails(self) -> None:
        """The error log says that it could not be opened again, where it was."""
        edge, log = self.edge()
        (self.folder / "logs").rename(self.folder / "moved")
        with capturedLogs() as events:
            edge.reopen()
        self.assertEqual(self.reopened, [1])
        (event,) = events
        self.assertEqual(
            formatEvent(event),
            f"cannot open {log.path} again, keeping the old file: No such file or directory",
        )

    def test_without_error_log(self) -> None:
        """twistd logs by itself: there is nothing of ours to open."""
        edge, _ = self.edge()
        edge._error_log = None
        edge.reopen()
        self.assertEqual(self.reopened, [1])


class CannotStartTests(SynchronousTestCase):
    def test_both(self) -> None:
        """twistd takes it for an error that a waiting parent is told of, Python for an exit."""
        error = CannotStart("no")
        self.assertIsInstance(error, Exception)
        self.assertIsInstance(error, SystemExit)
        self.assertEqual((error.code, str(error)), (1, "no"))


class DaemonTests(EdgeCase):
    def test_daemon(self) -> None:
        self.config(log='error = { path = "error.log" }')
        done = run("--pidfile", "pid", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        pid = int((self.folder / "pid").read_text())
        self.addCleanup(end, pid)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        port = port_in(self.folder / "error.log")
        self.assertIn(b"hello", get(port, "/hello"))
        end(pid)
        self.assertEqual(self.access_log(), ["/hello"])
        self.assertFalse((self.folder / "pid").exists())


class PrivilegeTests(EdgeCase):
    NOBODY = 65534

    def test_shed(self) -> None:
        """Sockets are bound by root; the access log belongs to the user that serves.

        That user may not be able to read the installation: all that is needed is loaded by then.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        self.folder.chmod(0o777)
        proxy = self.start(self.config(), "--uid", str(self.NOBODY), "--gid", str(self.NOBODY))
        port = proxy.port()
        self.assertIn(b"hello", get(port, "/hello"))
        status = Path(f"/proc/{proxy.process.pid}/status").read_text()
        self.assertRegex(status, rf"\nUid:(\t{self.NOBODY}){{4}}\n")
        proxy.end()
        self.assertEqual((self.folder / "access.log").stat().st_uid, self.NOBODY)
        self.assertEqual(self.access_log(), ["/hello"])


class UnixTests(EdgeCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "edge.sock"

    def hello(self) -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(PATIENCE)
            link.connect(str(self.path))
            ask(link, "/hello", close=True)
            return read_all(link)

    def serve(self) -> Twistd:
        proxy = self.start(self.config("unix:edge.sock"))
        proxy.wait_for("listening on unix:")
        return proxy

    def test_serves_and_goes(self) -> None:
        proxy = self.serve()
        self.assertIn(b"hello", self.hello())
        self.assertEqual(proxy.end(), -signal.SIGTERM)
        self.assertFalse(self.path.exists())

    def test_stale(self) -> None:
        proxy = self.serve()
        proxy.kill()
        self.assertTrue(stat.S_ISSOCK(self.path.stat().st_mode))
        self.serve()
        self.assertIn(b"hello", self.hello())

    def test_foreign_file(self) -> None:
        self.path.write_text("precious")
        self.config("unix:edge.sock")
        done = run("-n", "--pidfile=", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the path exists and is no socket", done.stderr)
        self.assertEqual(self.path.read_text(), "precious")

    def test_file_is_gone(self) -> None:
        """Somebody cleaned up before: that does not keep the process from its end."""
        proxy = self.serve()
        self.path.unlink()
        self.assertEqual(proxy.end(), -signal.SIGTERM)

"""What systemd does to a service, done by a test: units, sockets, states told; and scarcity."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.service import confined as confined_by
from tests.service.processes import ProcessCase
from tests.twistd import (
    PATIENCE,
    TREE,
    ask,
    command,
    connect,
    end,
    environment,
    get,
    port_in,
    read_all,
    wait_until,
)
from txrproxy.config.values import Bind
from txrproxy.service.master import GRACE
from txrproxy.service.sockets import CannotListen, Listeners, systemd

BEGIN = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


UNITS = TREE / "etc/systemd"
PLACE = "/opt/txrproxy/bin"  # where the unit expects the commands
PROGRAMS = {
    "twistd": "from twisted.scripts.twistd import run; run()",
    "txrproxy": "from txrproxy.cli import main; sys.exit(main())",
}


def service() -> dict[str, str]:
    """The section of that name."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / "txrproxy.service")
    return dict(parser["Service"])


def install(folder: Path) -> None:
    """The commands, as scripts."""
    for name, program in PROGRAMS.items():
        script = folder / name
        script.write_text(f"#!{sys.executable}\nimport sys\n{program}\n")
        script.chmod(0o755)


class UnitTests(SynchronousTestCase):
    def test_systemd_finds_nothing_wrong(self) -> None:
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd-analyze is not installed")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        install(folder)
        for unit in UNITS.iterdir():
            (folder / unit.name).write_text(unit.read_text().replace(PLACE, str(folder)))
        for unit in UNITS.iterdir():
            done = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", str(folder / unit.name)],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            # Other units of this machine are not to be judged.
            said = [line for line in done.stderr.splitlines() if "txrproxy" in line]
            self.assertEqual(said, [])


class CommandTests(ProcessCase):
    def test_as_the_unit_has_them(self) -> None:
        """Checked, started, reloaded and stopped by the words of the unit."""
        bin = self.folder / "bin"
        bin.mkdir()
        install(bin)
        unit = service()

        def words(key: str) -> list[str]:
            line = unit[key].replace(PLACE, str(bin))
            return line.replace("/etc/txrproxy/edge.toml", str(self.config)).split()

        env = environment()
        quiet = {"env": env, "cwd": self.folder, "stdout": subprocess.DEVNULL}
        self.assertEqual(subprocess.run(words("ExecStartPre"), check=False, **quiet).returncode, 0)
        log = self.folder / "stderr"
        with log.open("wb") as stderr:
            process = subprocess.Popen(words("ExecStart"), stderr=stderr, **quiet)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(lambda: "listening on" in log.read_text())
        wait_until((self.folder / "state/control.sock").exists)
        self.assertEqual(subprocess.run(words("ExecReload"), check=False, **quiet).returncode, 0)
        self.assertEqual(self.ask("status")["reloads"], 1)
        # KillMode=mixed: the main process is told, and ends by the signal, which counts as clean.
        process.terminate()
        self.assertEqual(process.wait(PATIENCE), -signal.SIGTERM)
        self.assertNotIn("Traceback", log.read_text())

    def test_within_the_system_calls_of_the_unit(self) -> None:
        """All that a proxy does in its life; a call that is not allowed kills whoever makes it."""
        unit = str(UNITS / "txrproxy.service")

        def confined(*words: str) -> list[str]:
            return [sys.executable, confined_by.__file__, unit, *words]

        probe = subprocess.run(
            confined(sys.executable, "-c", ""), capture_output=True, text=True, check=False
        )
        if probe.returncode == confined_by.UNSUPPORTED:
            raise SkipTest(f"no such filters here: {probe.stderr.strip()}")
        self.assertEqual(probe.returncode, 0)
        log = self.folder / "stderr"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                confined(*command("-n", "--pidfile=", "txrproxy", "--config", str(self.config))),
                env=environment(),
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until((self.folder / "state/control.sock").exists)
        self.port = port_in(log)
        wait_until(lambda: log.read_text().count("listening on") == 2)
        self.assertIn(b"200 OK", get(self.port))
        self.ask("reload")
        new = self.ask("upgrade")["pid"]
        self.addCleanup(end, new)
        self.assertEqual(process.wait(PATIENCE), 0)
        os.kill(self.pids()[0], signal.SIGTERM)
        wait_until(lambda: "leaves" in log.read_text() and len(self.pids()) == 2)
        self.assertIn(b"200 OK", get(self.port))
        end(new)
        self.assertNotIn("SIGSYS", log.read_text())

    def test_time_to_drain(self) -> None:
        """systemd waits longer than the proxy may need by default."""
        self.assertGreater(int(service()["TimeoutStopSec"]), 30 + GRACE)


class NotifyCase(ProcessCase):
    """``self.told`` is where systemd would be told of the process ``self.pid``."""

    watchdog = "60000000"

    def setUp(self) -> None:
        super().setUp()
        path = str(self.folder / "notify")
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.told.close)
        self.told.settimeout(PATIENCE)
        self.told.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.told.bind(path)
        self.start(env=environment(NOTIFY_SOCKET=path, WATCHDOG_USEC=self.watchdog))
        self.pid = self.proxy.process.pid

    def next(self) -> tuple[int, bytes]:
        """Who has told what."""
        data, ancillary, _, _ = self.told.recvmsg(1000, socket.CMSG_SPACE(12))
        ((_, _, credentials),) = ancillary
        return int.from_bytes(credentials[:4], sys.byteorder), data


class NotifyTests(NotifyCase):
    def expect(self, *messages: bytes) -> None:
        for message in messages:
            self.assertEqual(self.next(), (self.pid, message))

    def begun(self) -> None:
        self.expect(b"READY=1\nSTATUS=serving with 2 processes", b"WATCHDOG=1")

    def test_states(self) -> None:
        self.begun()
        self.reload()
        sender, message = self.next()
        self.assertTrue(message.startswith(b"RELOADING=1\nMONOTONIC_USEC="))
        self.assertEqual(sender, self.pid)
        self.expect(b"READY=1\nSTATUS=serving with 2 processes")
        self.proxy.signal(signal.SIGTERM)
        self.expect(b"STOPPING=1\nSTATUS=draining")
        self.proxy.end()

    def test_a_refused_reload(self) -> None:
        """It is over, too."""
        self.begun()
        self.write(pool="nobody")
        self.proxy.signal(signal.SIGHUP)
        self.assertTrue(self.next()[1].startswith(b"RELOADING=1\n"))
        self.expect(b"READY=1\nSTATUS=serving with 2 processes")

    def test_upgrade(self) -> None:
        """Only the main process is listened to, so it is the old one that names the new one."""
        self.begun()
        new = self.ask("upgrade")["pid"]
        self.addCleanup(end, new)
        self.assertEqual(self.proxy.process.wait(PATIENCE), 0)
        said = [self.next() for _ in range(3)]
        # Of an end nothing is said: the service goes on.
        self.assertEqual(
            [message for sender, message in said if sender == self.pid],
            [b"MAINPID=%d" % new],
        )
        self.pid = new
        self.assertEqual(
            [message for sender, message in said if sender == new],
            [b"READY=1\nSTATUS=serving with 2 processes", b"WATCHDOG=1"],
        )
        os.kill(new, signal.SIGTERM)
        self.expect(b"STOPPING=1\nSTATUS=draining")


class WatchdogTests(NotifyCase):
    """Twice in each period, by whichever process is the main one."""

    watchdog = "200000"

    def fed_by(self, pid: int) -> None:
        wait_until(lambda: self.next() == (pid, b"WATCHDOG=1"))

    def test_over_an_upgrade(self) -> None:
        for _ in range(5):
            self.fed_by(self.pid)
        new = self.ask("upgrade")["pid"]
        self.addCleanup(end, new)
        self.assertEqual(self.proxy.process.wait(PATIENCE), 0)
        for _ in range(5):
            self.fed_by(new)

    def test_not_by_a_process_that_hangs(self) -> None:
        self.fed_by(self.pid)
        os.kill(self.pid, signal.SIGSTOP)
        self.told.settimeout(1.0)
        with self.assertRaises(TimeoutError):
            while True:
                self.next()


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

    def test_over_reloads_and_upgrades(self) -> None:
        """The socket stays the one that was passed."""
        self.write('[listeners.web]\nbind = ["fd:web"]\n')
        passed = socket.create_server(("127.0.0.1", 0))
        port = passed.getsockname()[1]
        self.begin(passed)
        passed.close()
        self.assertIn(b"200 OK", get(port))
        self.ask("reload")
        new = self.ask("upgrade")["pid"]
        self.addCleanup(end, new)
        self.process.wait(PATIENCE)
        for _ in range(10):
            self.assertIn(b"200 OK", get(port))
        self.write()
        self.ask("reload")
        self.assertRaises(ConnectionRefusedError, connect, port)

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

    def test_in_the_main_process(self) -> None:
        """It turns no faster, and makes a worker again when there is room for one."""
        self.start()
        main = self.proxy.process.pid
        (worker,) = self.pids()
        _, most = resource.prlimit(main, resource.RLIMIT_NOFILE)
        used = max(_descriptors(main)) + 1
        resource.prlimit(main, resource.RLIMIT_NOFILE, (used, most))
        links = []
        for _ in range(8):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.addCleanup(link.close)
            link.settimeout(PATIENCE)
            link.connect(str(self.folder / "state/control.sock"))
            links.append(link)
        wait_until(lambda: len(_descriptors(main)) == used)
        before = _ticks(main)
        os.kill(worker, signal.SIGKILL)
        self.proxy.wait_for("cannot make a worker: Too many open files")
        self.proxy.wait_for("cannot make a worker: Too many open files")
        # More than a second lies between the two.
        self.assertLess(_ticks(main) - before, 50)
        resource.prlimit(main, resource.RLIMIT_NOFILE, (most, most))
        self.proxy.wait_for(r"worker 1 \(pid \d+\) serves")
        self.assertIn(b"200 OK", get(self.port))
        self.assertEqual(len(self.pids()), 1)
        (child,) = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        self.assertEqual(self.pids(), [int(child)])

    def test_told_at_the_start(self) -> None:
        self.config.write_text(
            self.config.read_text().replace("max_connections = 500", "max_connections = 900000000")
        )
        self.start()
        self.assertTrue(
            [line for line in self.proxy.lines if "warn" in line and "LimitNOFILE=18000" in line]
        )


def _descriptors(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]


def _ticks(pid: int) -> int:
    """Hundredths of seconds of processor time."""
    with open(f"/proc/{pid}/stat", encoding="latin-1") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])

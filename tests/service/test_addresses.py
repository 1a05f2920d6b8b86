"""What several workers have in common with the system: addresses, a user, the files of logs."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.service.processes import ProcessCase
from tests.twistd import PATIENCE, Twistd, ask, end, get, port_in, read_all, wait_until

UNIX = '[listeners.unix]\nbind = ["unix:edge.sock"]\n'
IPV6 = '[listeners.v6]\nbind = ["[::1]:0"]\n'
CACHED = 'pool = "app"\ncache = { store = "main" }\n[caches.main]\npath = "cache"\n'
NOBODY = 65534


class AddressCase(ProcessCase):
    """``self.connect()`` gives a connection to the listener of ``self.more``."""

    more = ""

    def setUp(self) -> None:
        super().setUp()
        self.write(self.more)

    def connect(self) -> socket.socket:
        raise NotImplementedError

    def get(self) -> bytes:
        with self.connect() as link:
            ask(link, close=True)
            return read_all(link)

    def kept(self) -> socket.socket:
        link = self.connect()
        self.addCleanup(link.close)
        ask(link)
        self.assertIn(b"200 OK", link.recv(4096))
        return link

    def by_all(self) -> None:
        """Every worker takes connections."""

        def all_have_some() -> bool:
            self.kept()
            return all(row["connections"] for row in self.ask("status")["workers"])

        wait_until(all_have_some)

    def whatever_happens(self) -> None:
        """Served by all, after the death of a worker, a reload and an upgrade."""
        self.by_all()
        os.kill(self.pids()[0], signal.SIGKILL)
        self.proxy.wait_for(r"worker \d \(pid \d+\) serves")
        self.by_all()
        self.write(self.more, workers=3)
        self.ask("reload")
        self.by_all()
        new = self.ask("upgrade")["pid"]
        self.addCleanup(end, new)
        self.by_all()
        for _ in range(10):
            self.assertIn(b"200 OK", self.get())


class UnixTests(AddressCase):
    more = UNIX

    def connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(PATIENCE)
        link.connect(str(self.folder / "edge.sock"))
        return link

    def test_whatever_happens(self) -> None:
        self.start()
        self.whatever_happens()

    def test_open_to_all_who_may_enter_its_folder(self) -> None:
        """Whatever the umask: who serves and who asks are seldom the same user."""
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        self.start()
        self.assertEqual(stat.S_IMODE((self.folder / "edge.sock").stat().st_mode), 0o666)

    def test_the_file_stays_as_long_as_it_is_needed(self) -> None:
        path = self.folder / "edge.sock"
        self.start()
        first = self.proxy.process.pid
        new = self.ask("upgrade")["pid"]
        self.addCleanup(end, new)
        self.assertEqual(self.proxy.process.wait(PATIENCE), 0)
        self.assertNotEqual(first, new)
        self.assertIn(b"200 OK", self.get())
        self.write()
        self.ask("reload")
        self.assertFalse(path.exists())
        self.write(UNIX)
        self.ask("reload")
        self.assertTrue(stat.S_ISSOCK(path.stat().st_mode))
        self.assertIn(b"200 OK", self.get())
        end(new)
        self.assertFalse(path.exists())


class IPv6Tests(AddressCase):
    more = IPV6

    def setUp(self) -> None:
        if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
            raise SkipTest("no IPv6 here")
        super().setUp()

    def connect(self) -> socket.socket:
        return socket.create_connection(("::1", self.v6), PATIENCE)

    def test_whatever_happens(self) -> None:
        self.start()
        self.v6 = int(self.proxy.wait_for(r"listening on \[::1\]:(\d+)")[1])
        self.whatever_happens()
        log = (self.folder / "access.log").read_text()
        self.assertIn('"client":"::1"', log.replace(" ", ""))


class PrivilegeTests(ProcessCase):
    """Started by root, served by somebody else."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        super().setUp()
        self.folder.chmod(0o777)
        text = self.config.read_text().replace("[log]\n", '[log]\nerror = { path = "error.log" }\n')
        self.config.write_text(text.replace('pool = "app"\n', CACHED))
        self.start_as(NOBODY)

    def start_as(self, user: int) -> None:
        """The log is a file, which tells of ports."""
        self.proxy = Twistd(self.config, "--uid", str(user), "--gid", str(user))
        self.addCleanup(self.proxy.kill)
        self.said = self.folder / "error.log"
        self.port = port_in(self.said)
        wait_until((self.folder / "state/control.sock").exists)

    def owner(self, name: str) -> int:
        return (self.folder / name).stat().st_uid

    def test_all_that_is_written_can_be_written(self) -> None:
        for pid in (self.proxy.process.pid, *self.pids()):
            status = Path(f"/proc/{pid}/status").read_text()
            self.assertRegex(status, rf"\nUid:(\t{NOBODY}){{4}}\nGid:(\t{NOBODY}){{4}}\n")
        self.assertIn(b"200 OK", get(self.port))
        stored = self.folder / "cache"
        wait_until(lambda: self.ask("status")["workers"] and any(stored.rglob("*")))
        for name in ("access.log", "state", "state/control.sock", "state/txrproxy.pid", "cache"):
            self.assertEqual(self.owner(name), NOBODY, name)
        self.assertEqual(stat.S_IMODE((self.folder / "state").stat().st_mode), 0o700)

    def test_logs_are_opened_again(self) -> None:
        """Moved away or not; the new ones belong to the new user."""
        self.proxy.signal(signal.SIGUSR1)
        self.ask("reload")
        wait_until(lambda: "reloaded in" in self.said.read_text())
        self.assertNotIn("cannot open", self.said.read_text())
        for name in ("error.log", "access.log"):
            (self.folder / name).rename(self.folder / f"{name}.1")
        self.proxy.signal(signal.SIGUSR1)
        wait_until(lambda: self.said.exists() and (self.folder / "access.log").exists())
        self.assertEqual((self.owner("error.log"), self.owner("access.log")), (NOBODY, NOBODY))

    def test_workers_come_and_go(self) -> None:
        os.kill(self.pids()[0], signal.SIGKILL)
        wait_until(lambda: self.ask("status")["restarts"] == 1 and len(self.pids()) == 2)
        self.assertIn(b"200 OK", get(self.port))
        self.assertEqual(self.proxy.end(), -signal.SIGTERM)
        self.assertFalse((self.folder / "state/control.sock").exists())


class RotationTests(ProcessCase):
    def test_no_line_is_lost(self) -> None:
        """Nor written twice, however many processes have the file open when it is moved away."""
        self.start()
        load = self.load()
        for _ in range(4):
            load.new(self.port)
        log = self.folder / "access.log"
        moved = [log.with_name(f"access.log.{turn}") for turn in range(5)]
        for path in moved:
            load.more(20)
            log.rename(path)
            self.proxy.signal(signal.SIGUSR1)
            wait_until(lambda path=path: not self.opened(path))  # type: ignore[misc]
        load.more(20)
        load.end()
        self.assertEqual(load.failures, [])
        self.proxy.end()
        lines = [path.read_text().splitlines() for path in (*moved, log)]
        self.assertEqual(sum(map(len, lines)), load.count)
        self.assertTrue(all(lines))

    def opened(self, path: Path) -> list[int]:
        """The processes that write to it."""
        found = []
        for pid in (self.proxy.process.pid, *self.pids()):
            for each in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    if os.readlink(each) == str(path):
                        found.append(pid)
                except FileNotFoundError:
                    pass  # closed meanwhile
        return found

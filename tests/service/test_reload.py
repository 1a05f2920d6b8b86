"""What a reload changes beside the workers, and how it ends that can not end.

Reloads under load are in ``scenarios/test_reload``.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.service.test_edge import EdgeCase
from tests.twistd import Twistd, end, run, wait_until


class LogReloadTests(EdgeCase):
    """Another error log, by a reload."""

    def reload(self, proxy: Twistd, error: str) -> None:
        self.config(log=f"error = {{ {error} }}")
        proxy.signal(signal.SIGHUP)

    def wait(self, file: str, text: str) -> None:
        log = self.folder / file
        wait_until(lambda: log.exists() and text in log.read_text())

    def test_takes_effect(self) -> None:
        proxy = self.start(self.config(log='error = { path = "one.log" }'))
        self.wait("one.log", "listening on")
        self.reload(proxy, 'path = "two.log", level = "debug", format = "json"')
        self.wait("two.log", "reloaded in")
        self.assertIn("the log goes on in", (self.folder / "one.log").read_text())
        self.assertNotIn("reloaded in", (self.folder / "one.log").read_text())
        json.loads((self.folder / "two.log").read_text().splitlines()[0])
        # Whoever reopens means the new one.
        (self.folder / "two.log").rename(self.folder / "moved.log")
        proxy.signal(signal.SIGUSR1)
        wait_until((self.folder / "two.log").exists)
        self.reload(proxy, 'path = "-"')
        proxy.wait_for("reloaded in")
        proxy.end()

    def test_can_not_be_opened(self) -> None:
        proxy = self.start(self.config(log='error = { path = "one.log" }'))
        self.wait("one.log", "listening on")
        (self.folder / "folder").mkdir()
        self.reload(proxy, 'path = "folder"')
        self.wait("one.log", "reload refused, nothing has changed:")
        self.assertIn("log.error.path", (self.folder / "one.log").read_text())
        self.reload(proxy, 'path = "one.log"')
        self.wait("one.log", "reloaded in")
        proxy.end()

    def test_chosen_by_twistd(self) -> None:
        """Then it is said that the table does nothing before a restart."""
        proxy = self.start(self.config(), "--logfile", "twistd.log")
        self.wait("twistd.log", "listening on")
        self.reload(proxy, 'path = "two.log"')
        self.wait("twistd.log", "log.error: twistd chose the log at the start")
        self.assertFalse((self.folder / "two.log").exists())
        proxy.end()

    def test_a_daemon_has_no_standard_error(self) -> None:
        self.config(log='error = { path = "one.log" }')
        run("--pidfile", "pid", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        pid = int((self.folder / "pid").read_text())
        self.addCleanup(end, pid)
        self.wait("one.log", "listening on")
        self.config(log='error = { path = "-" }')
        os.kill(pid, signal.SIGHUP)
        self.wait("one.log", "twistd.log")
        self.wait("twistd.log", "reloaded in")


class ReadingTests(EdgeCase):
    def children(self, proxy: Twistd) -> list[str]:
        pid = proxy.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def test_the_proxy_ends_meanwhile(self) -> None:
        """A file that can not be read to its end keeps nobody from stopping."""
        config = self.config()
        proxy = self.start(config)
        proxy.port()
        before = self.children(proxy)
        config.unlink()
        os.mkfifo(config)
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: len(self.children(proxy)) == len(before) + 1)
        (reader,) = set(self.children(proxy)) - set(before)
        self.assertEqual(proxy.end(), -signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{reader}").exists())

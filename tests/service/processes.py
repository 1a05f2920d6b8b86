"""What the tests of a proxy of several processes have in common."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.service.load import Load, Origin
from tests.twistd import Twistd
from txrproxy import control

CONFIG = """\
version = 1
[server]
workers = {workers}
max_connections = 500
drain_timeout = "{drain}"
[log]
access = {{ path = "access.log", format = "json" }}
[listeners.http]
bind = ["127.0.0.1:0"]
[listeners.https]
bind = ["127.0.0.1:0"]
tls = {{ self_signed = true }}
{more}
[pools.app]
backends = ["http://127.0.0.1:{origin}"]
[[routes]]
name = "app"
pool = "{pool}"
"""


class ProcessCase(SynchronousTestCase):
    """``self.proxy`` runs ``self.config``, listening on ``self.port`` and ``self.tls_port``."""

    workers = 2

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        self.config = self.folder / "edge.toml"
        self.origin = Origin()
        self.addCleanup(self.origin.close)
        self.write()

    def write(self, more: str = "", workers: int | None = None, **changes: Any) -> None:
        """Write the configuration; the proxy notices when it is told."""
        values = {"drain": "20s", "pool": "app", "origin": self.origin.port, **changes}
        count = self.workers if workers is None else workers
        self.config.write_text(CONFIG.format(workers=count, more=more, **values))

    def start(self, *options: str, **keywords: Any) -> Twistd:
        self.proxy = Twistd(self.config, *options, **keywords)
        self.addCleanup(self.proxy.kill)
        self.port, self.tls_port = self.proxy.port(), self.proxy.port()
        return self.proxy

    def load(self) -> Load:
        """Clients, which end with the test."""
        load = Load()
        self.addCleanup(load.end)
        return load

    def reload(self) -> None:
        """Let the proxy read its file, and wait until it serves it."""
        self.proxy.signal(signal.SIGHUP)
        self.proxy.wait_for("reloaded in")

    def ask(self, topic: str, **body: Any) -> dict[str, Any]:
        """Ask over the control socket."""
        return control.call(str(self.folder / "state"), topic, 30, body)

    def pids(self) -> list[int]:
        """The processes that serve."""
        return [row["pid"] for row in self.ask("status")["workers"]]

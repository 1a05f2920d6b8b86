from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.test_control import command
from txrproxy.config.toml import loads


class SettingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.file.write_text(MINIMAL)

    def test_written(self) -> None:
        status, out, err = command("config", str(self.file))
        self.assertEqual((status, err), (0, ""))
        self.assertNotIn("drain_timeout", out)
        loads(out)

    def test_effective(self) -> None:
        _, out, _ = command("config", "--effective", str(self.file))
        self.assertIn('\n[server]\nworkers = "auto"\n', out)
        loads(out)
        _, out, _ = command("config", "--effective", "--json", str(self.file))
        self.assertEqual(json.loads(out)["server"]["drain_timeout"], "30s")

    def test_faulty(self) -> None:
        self.file.write_text("x = 1")
        status, out, err = command("config", str(self.file))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("unknown", err)

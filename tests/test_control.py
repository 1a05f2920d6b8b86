"""What the command does with a proxy that runs; and with one that does not."""

from __future__ import annotations

import json
import os
import subprocess
from io import StringIO
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.service.processes import ProcessCase
from txrproxy.cli import main
from txrproxy.control import NotRunning, state_dir, wait_for_end


def command(*words: str) -> tuple[int, str, str]:
    with mock.patch("sys.stdout", StringIO()) as out, mock.patch("sys.stderr", StringIO()) as err:
        status = main(words)
    return status, out.getvalue(), err.getvalue()


class RunningTests(ProcessCase):
    def test_commands(self) -> None:
        self.start()
        where = ("--config", str(self.config))
        status, out, _ = command("status", *where)
        self.assertEqual(status, 0)
        self.assertRegex(out, r"main process +\d+, up 0:00:")
        self.assertEqual(len(out.partition("worker ")[2].splitlines()), 3)
        status, out, _ = command("status", "--state-dir", str(self.folder / "state"), "--json")
        self.assertEqual(len(json.loads(out)["workers"]), 2)
        self.assertGreater(json.loads(out)["workers"][0]["rss"], 2**20)

        status, out, _ = command("reload", *where)
        self.assertEqual((status, out[:11]), (0, "reloaded in"))
        self.write('[pools.spare]\nbackends = ["http://127.0.0.1:9"]\n')
        status, out, err = command("reload", *where)
        self.assertEqual((status, out[:11]), (0, "reloaded in"))
        self.assertRegex(err, r"^warning: .*edge.toml:\d+: pools.spare: ")
        status, out, _ = command("reload", *where, "--json")
        self.assertEqual(len(json.loads(out)["warnings"]), 1)
        self.write(pool="apx")
        status, out, err = command("reload", *where)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("edge.toml", err)
        self.assertIn('did you mean "app"?', err)
        status, out, err = command("reload", *where, "--json")
        self.assertEqual((status, json.loads(out)["ok"]), (1, False))
        self.assertIn("refused: ", command("status", *where)[1])

        self.write()
        good = self.config.read_text()
        test = '[[tests]]\nrequest = { url = "http://a/no-such-path" }\nexpect = '
        self.config.write_text(f"{good}\n{test}{{ status = 418 }}\n")
        status, _, err = command("reload", *where)
        self.assertEqual(status, 1)
        self.assertIn("tests[0].expect.status: GET http://a/no-such-path: ", err)
        self.config.write_text(f"{good}\n{test}{{ cacheable = false }}\n")
        self.assertEqual(command("reload", *where)[0], 0)

        _, out, _ = command("pools", "ls", *where, "--json")
        (pool,) = json.loads(out)["pools"]
        (backend,) = pool["backends"]
        change = ("app", backend["name"], *where)
        self.assertEqual(command("pools", "drain", *change)[0], 0)
        self.assertIn("  drain  ", command("pools", "ls", *where)[1])
        _, out, _ = command("explain", "GET", "http://a/no-such", "-c", str(self.config))
        self.assertIn(f"{backend['name']}  drain, weight 1, no candidate", out)
        self.assertEqual(command("pools", "up", *change)[0], 0)
        status, _, err = command("pools", "up", "app", "gone", *where)
        self.assertEqual(status, 1)
        self.assertIn("gone", err)

        self.assertEqual(command("stop", *where), (0, "stopped\n", ""))
        self.assertEqual(self.proxy.process.wait(30), 0)
        self.assertEqual(command("stop", *where)[0], 3)


class NotRunningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "edge.toml"

    def test_nobody(self) -> None:
        status, out, err = command("status", "--state-dir", str(self.folder))
        self.assertEqual((status, out), (3, ""))
        self.assertIn("no proxy answers", err)

    def test_state_dir(self) -> None:
        """Of a file that has other faults, too."""
        for text, folder in (("", "state"), ("[server]\nstate_dir = '/x'\nzzz = 1", "/x")):
            self.file.write_text(text)
            self.assertEqual(state_dir(str(self.file)), str(self.folder / folder))

    def test_no_toml(self) -> None:
        self.file.write_text("[")
        self.assertRaises(NotRunning, state_dir, str(self.file))
        self.assertRaises(NotRunning, state_dir, str(self.folder / "gone"))

    def test_wait_for_end(self) -> None:
        self.assertFalse(wait_for_end(os.getpid(), 0))
        child = subprocess.Popen(["true"])
        self.assertTrue(wait_for_end(child.pid, 30))
        child.wait()
        self.assertTrue(wait_for_end(child.pid, 0))

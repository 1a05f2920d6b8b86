"""``txrproxy explain``, and that it leaves no trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txrproxy
from tests.explain.samples import EDGE
from tests.test_control import command
from txrproxy import control
from txrproxy.commands import explaining
from txrproxy.transport.channel import Refused

ROOT = str(Path(txrproxy.__file__).parents[1])


class ExplainingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "edge.toml"
        self.file.write_text(EDGE)

    def explain(self, *words: str) -> tuple[int, str, str]:
        return command("explain", *words, "-c", str(self.file))

    def test_a_process(self) -> None:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "txrproxy.cli", "explain", "GET"),
                *("http://a:8080/office/x", "-c", str(self.file), "--client", "10.1.0.1"),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "80", "PYTHONPATH": ROOT},
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("  2  office  takes it\n", done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)
        self.assertEqual(os.listdir(self.folder), ["edge.toml"])

    def test_json(self) -> None:
        status, out, _ = self.explain(
            "GET", "http://a:8080/api/x", "-H", "X-Beta: 1", "-H", "x-a:", "--json"
        )
        self.assertEqual((status, json.loads(out)["route"]), (0, "canary"))

    def test_listener(self) -> None:
        _, out, _ = self.explain("GET", "https://a/old/x", "--listener", "inside")
        self.assertIn("Location: https://example.com/new/x", out)

    def test_not_possible(self) -> None:
        status, out, err = self.explain("GET", "http://a/", "--listener", "other")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("no listener named other", err)
        status, out, _ = self.explain("GET", "/path", "--json")
        self.assertEqual((status, json.loads(out)["ok"]), (1, False))
        self.file.write_text("x = 1")
        self.assertEqual(self.explain("GET", "http://a/")[0], 1)

    def test_wrong_command_line(self) -> None:
        for words in (["-H", "no colon"], ["-H", ": x"], ["--client", "example.com"]):
            with self.assertRaises(SystemExit) as caught:
                self.explain("GET", "http://a/", *words)
            self.assertEqual(caught.exception.code, 2)

    def test_asks_who_runs(self) -> None:
        backend = {"id": "10.0.0.1:3000", "state": "drain", "weight": 1, "healthy": True}
        answer = {"pools": [{"name": "app", "backends": [backend | {"ejected": False}]}]}
        asked: list[str] = []

        def call(folder: str, topic: str, timeout: float) -> object:
            asked.append(topic)
            return answer

        self.patch(explaining.control, "call", call)
        words = ("GET", "http://example.com:8080/static/a")
        _, out, _ = self.explain(*words)
        self.assertEqual(asked, ["pools"])
        self.assertIn("10.0.0.1:3000  drain, weight 1, no candidate", out)
        _, out, _ = self.explain(*words, "--offline")
        self.assertEqual(asked, ["pools"])
        self.assertIn("10.0.0.1:3000  up, weight 1", out)

        def refuse(folder: str, topic: str, timeout: float) -> object:
            raise Refused("no such topic")

        self.patch(control, "call", refuse)
        status, out, err = self.explain(*words)
        self.assertEqual(status, 0)
        self.assertIn("no such topic", err)
        self.assertIn("backends are as configured", out)

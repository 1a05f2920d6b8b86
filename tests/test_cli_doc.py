"""The worked examples of docs/cli.md are what the command prints."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

import txrproxy
from tests.test_control import command

DOC = Path(txrproxy.__file__).parents[1] / "docs" / "cli.md"


class DocTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        if not DOC.is_file():
            self.skipTest("an installed package has no docs")
        self.text = DOC.read_text()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        (found,) = re.findall(r"```toml\n(.*?)```", self.text, re.S)
        self.config = found
        Path("edge.toml").write_text(found)

    def console(self, start: str) -> str:
        """What follows a command in the text."""
        found = re.search(rf"```console\n\$ {re.escape(start)}[^\n]*\n(.*?)```", self.text, re.S)
        assert found is not None
        return found[1]

    def test_check(self) -> None:
        self.assertEqual(command("check", "edge.toml")[0], 0)
        Path("edge.toml").write_text(self.config.replace("status = 403", "status = 200"))
        self.assertEqual(command("check", "edge.toml")[2], self.console("txrproxy check"))

    def test_explain(self) -> None:
        with mock.patch.dict(os.environ, {"COLUMNS": "92"}):
            words = "GET https://example.com/admin/users --client 10.1.2.3 -c edge.toml"
            _, out, _ = command("explain", *words.split())
        # Whose turn it is differs.
        self.assertEqual(unmarked(out), unmarked(self.console("txrproxy explain")))

    def test_every_command_is_there(self) -> None:
        from txrproxy.cli import make_parser

        (commands,) = [action for action in make_parser()._actions if action.choices]
        for name in commands.choices:  # type: ignore[union-attr]
            self.assertIn(f"| `{name}", self.text)


def unmarked(text: str) -> str:
    return text.replace("  ->  10.", "      10.")

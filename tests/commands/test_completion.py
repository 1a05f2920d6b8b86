"""Scripts for shells: what they offer is what the command takes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.test_control import command
from txrproxy.cli import make_parser
from txrproxy.commands.completion import Level, bash, fish, levels, zsh


def script(shell: str) -> str:
    status, out, err = command("completion", shell)
    assert (status, err) == (0, "")
    return out


class CompletionTests(SynchronousTestCase):
    def complete(self, *words: str) -> list[str]:
        if shutil.which("bash") is None:
            raise SkipTest("no bash")
        file = Path(self.mktemp())
        file.write_text(script("bash"))
        asked = " ".join(f"'{word}'" for word in words)
        done = subprocess.run(
            ["bash", "-c", f'. "{file}"; COMP_WORDS=(txrproxy {asked}); COMP_CWORD={len(words)}; '
             '_txrproxy; printf "%s\\n" "${COMPREPLY[@]}"'],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    def test_bash(self) -> None:
        self.assertEqual(self.complete("ch"), ["check"])
        self.assertEqual(self.complete("check", "--j"), ["--json"])
        self.assertEqual(
            self.complete("pools", ""), ["ls", "up", "drain", "down", "weight", "--help"]
        )
        self.assertEqual(self.complete("pools", "drain", "app", "--st"), ["--state-dir"])
        self.assertEqual(self.complete("cache", "purge", "--dr"), ["--dry-run"])
        self.assertEqual(self.complete("completion", "f"), ["fish"])
        self.assertEqual(self.complete("check", "no-such-word"), [])

    def test_every_command(self) -> None:
        """Their names are in each script; a shell that is here finds no fault with it."""
        parser = make_parser()
        (commands,) = [a for a in parser._actions if a.dest == "command" or a.choices]
        for shell, arguments in (("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])):
            text = script(shell)
            for name in commands.choices:  # type: ignore[union-attr]
                self.assertIn(name, text)
            if shutil.which(shell) is not None:
                file = Path(self.mktemp())
                file.write_text(text)
                subprocess.run([shell, *arguments, str(file)], check=True)

    def test_levels(self) -> None:
        parser = make_parser()
        (commands,) = [a for a in parser._actions if a.choices]
        found = {level.path: level for level in levels(commands)}
        self.assertIn("explain", found[()].words)
        self.assertIn("--header", found["explain",].words)
        self.assertNotIn((), [level.path for level in found.values() if level.path])

    def test_quotes(self) -> None:
        level = [Level((), (("a", "it's a \\ test"),), ())]
        self.assertIn("-d 'it\\'s a \\\\ test'", fish(level))
        self.assertIn("words='a'", bash(level))
        self.assertIn("compadd -- a", zsh(level))

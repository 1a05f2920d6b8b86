"""The lock has what setup.cfg asks for, each file by its hash; the audit of it says what it saw."""

from __future__ import annotations

import json
import re
import runpy
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SynchronousTestCase

TREE = Path(__file__).parents[1]
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        if not (TREE / "requirements.lock").is_file():
            self.skipTest("an installed package has no lock")


class LockTests(Case):
    def locked(self) -> dict[str, Requirement]:
        found = {}
        for line in (TREE / "requirements.lock").read_text().splitlines():
            if not line.startswith(" "):
                requirement = Requirement(line.removesuffix(" \\"))
                found[canonicalize_name(requirement.name)] = requirement
        return found

    def test_whole(self) -> None:
        """``make lock`` brings what is missing."""
        setup = ConfigParser()
        setup.read(TREE / "setup.cfg")
        asked = setup["options"]["install_requires"]
        asked += "".join(setup["options.extras_require"].values())
        locked = self.locked()
        for line in filter(None, asked.splitlines()):
            wanted = Requirement(line)
            name = canonicalize_name(wanted.name)
            self.assertIn(name, locked)
            (pin,) = locked[name].specifier
            self.assertEqual(pin.operator, "==")
            self.assertIn(pin.version, wanted.specifier, line)

    def test_hashes(self) -> None:
        lines = (TREE / "requirements.lock").read_text().splitlines()
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            if line.startswith(" "):
                self.assertRegex(line, HASH)
            else:
                self.assertRegex(after, HASH)
        self.assertNotIn("http", "".join(lines))


class AuditTests(Case):
    def judge(self, *dependencies: dict[str, Any]) -> Any:
        module = runpy.run_path(str(TREE / ".ci" / "audit.py"))
        return module["judge"](json.dumps({"dependencies": dependencies, "fixes": []}))

    def test_known(self) -> None:
        flaw = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": "x"}
        wrong, known, skipped = self.judge(
            {"name": "a", "version": "1.0", "vulns": [flaw]},
            {"name": "b", "version": "1.0", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        )
        self.assertEqual(wrong, ["a 1.0: PYSEC-1, fixed in 2.0"])
        self.assertEqual((known, skipped), (2, 1))

    def test_no_data(self) -> None:
        self.assertEqual(self.judge({"name": "c", "skip_reason": "not found"}), ([], 0, 1))
        module = runpy.run_path(str(TREE / ".ci" / "audit.py"))
        for output in ("", "Traceback", "{}", "[]", "null"):
            self.assertEqual(module["judge"](output), ([], 0, 0))

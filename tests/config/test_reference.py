"""The manual is what the schema says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import CONTRACT
from txrproxy.config import reference
from txrproxy.config.available import NOT_YET
from txrproxy.config.reference import FILES, ROOT, manual, not_yet, sample, sections
from txrproxy.config.toml import load_with_warnings, loads


class Files(SynchronousTestCase):
    def test_fresh(self) -> None:
        for name, text in FILES.items():
            path = ROOT / name
            if not path.parent.is_dir():
                raise self.skipTest("not run from a source tree")
            self.assertEqual(
                path.read_text(encoding="utf-8"),
                text(),
                f"{name} is stale: run python -m txrproxy.config.reference",
            )

    def test_main_writes_them(self) -> None:
        root = Path(self.mktemp())
        root.mkdir()
        self.patch(reference, "ROOT", root)
        reference.main()
        for name, text in FILES.items():
            self.assertEqual((root / name).read_text(encoding="utf-8"), text())


class Sample(SynchronousTestCase):
    def test_loads_without_a_warning(self) -> None:
        _, warnings = load_with_warnings(ROOT / "etc/txrproxy.toml")
        self.assertEqual(warnings, ())

    def test_loads_with_all_that_is_commented_out(self) -> None:
        """Every key is there, with a value that it takes."""
        text = "\n".join(
            line[1:] if line.startswith("#") and line[1:2] not in {" ", ""} else line
            for line in sample().split("\n")
        )
        # What excludes something else: the longer spelling of backends, all targets but one.
        for key in ('backends = ["', 'resource = "', "split = {", 'pool = "app"  # the'):
            text = text.replace(f"\n{key}", f"\n#{key}")
        text = text.replace("[routes.respond]", '[[routes]]\nname = "r"\n[routes.respond]')
        text = text.replace(
            "[routes.cache]", '[[routes]]\nname = "c"\npool = "app"\n[routes.cache]'
        )
        loads(text, available=False)


class Manual(SynchronousTestCase):
    def test_has_every_key_of_the_contract(self) -> None:
        known = {key.pattern for section in sections() for key in section.keys}
        known |= {section.pattern for section in sections()}

        def walk(value: Any, pattern: str) -> None:
            self.assertIn(pattern, known)
            if isinstance(value, dict) and f"{pattern}.*" in known:
                for item in value.values():
                    walk(item, f"{pattern}.*")
            elif isinstance(value, list) and f"{pattern}.*" in known:
                for item in value:
                    if isinstance(item, dict):
                        walk(item, f"{pattern}.*")
            elif isinstance(value, dict) and any(k.startswith(f"{pattern}.") for k in known):
                for name, item in value.items():
                    walk(item, f"{pattern}.{name}" if pattern else name)

        for name, value in tomllib.loads(CONTRACT).items():
            walk(value, name)

    def test_every_refusal_marks_something(self) -> None:
        patterns = {key.pattern for section in sections() for key in section.keys}
        patterns |= {section.pattern for section in sections()}
        for row in NOT_YET:
            self.assertTrue(
                any(row.key in {pattern, f"{pattern}.*"} for pattern in patterns), row.key
            )
        self.assertEqual(not_yet("admin"), "not available yet")
        self.assertEqual(not_yet("server.backlog"), "")

    def test_tables_are_even(self) -> None:
        for line in manual().split("\n"):
            if line.startswith("| `"):
                self.assertEqual(line.replace("\\|", "").count("|"), 5, line)

"""The examples of docs/security.md are configurations."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy.config.toml import loads

DOC = Path(__file__).parents[1] / "docs" / "security.md"
SECURITY = DOC.parents[1] / "SECURITY.md"


class ExampleTests(SynchronousTestCase):
    def test_examples(self) -> None:
        if not DOC.is_file():
            self.skipTest("an installed package has no docs")
        examples = re.findall(r"^```toml\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
        self.assertGreater(len(examples), 5)
        for example in examples:
            loads(MINIMAL + example)

    def test_threats(self) -> None:
        """What SECURITY.md says is shown by a test is shown by one that is there."""
        if not SECURITY.is_file():
            self.skipTest("an installed package has no docs")
        named = re.findall(r"`((?:tests|\.ci)[\w./]*)`", SECURITY.read_text())
        self.assertGreater(len(named), 20)
        self.assertEqual([name for name in named if not (SECURITY.parent / name).exists()], [])

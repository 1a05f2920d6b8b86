"""Each module has its test file, at the same path under ``tests``, or says here what covers it."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txrproxy

SOURCE = Path(txrproxy.__file__).parent
TESTS = Path(__file__).parent

# What is only seen at work, between a client and an origin: the scenarios play it whole.
COVERED_BY = {
    "actions.py": "scenarios/test_forwarding.py",
    "config/build.py": "scenarios/test_forwarding.py",
    "exchange.py": "scenarios/test_forwarding.py",
    "routing/plan.py": "scenarios/test_forwarding.py",
    "site.py": "scenarios/test_forwarding.py",
    "transport/connections.py": "scenarios/test_forwarding.py",
    "transport/dial.py": "scenarios/test_forwarding.py",
    "transport/downstream.py": "scenarios/test_forwarding.py",
    "transport/limit.py": "scenarios/test_forwarding.py",
    "transport/tunnel.py": "scenarios/test_forwarding.py",
    "transport/upstream.py": "scenarios/test_forwarding.py",
}


class MirrorTests(SynchronousTestCase):
    def test_every_module(self) -> None:
        missing = []
        for path in sorted(SOURCE.rglob("*.py")):
            name = path.relative_to(SOURCE)
            if path.name == "__init__.py" or str(name) in COVERED_BY:
                continue
            wanted = TESTS / name.with_name(f"test_{name.name}")
            if not wanted.is_file():
                missing.append(str(wanted.relative_to(TESTS)))
        self.assertEqual(missing, [])

    def test_exceptions_are_needed(self) -> None:
        """A row goes when its module does, or has got a test file of its own."""
        for module, cover in COVERED_BY.items():
            name = Path(module)
            self.assertTrue((SOURCE / name).is_file(), f"{module} is gone")
            self.assertTrue((TESTS / cover).is_file(), f"tests/{cover} is gone")
            own = TESTS / name.with_name(f"test_{name.name}")
            self.assertFalse(own.is_file(), f"{module} has a test file of its own")

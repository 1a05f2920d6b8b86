"""Each module has its test file, at the same path under ``tests``, or says here what covers it."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txrproxy

SOURCE = Path(txrproxy.__file__).parent
TESTS = Path(__file__).parent

# What is only seen at work, between a client and an origin: scenarios play it whole. The file named
# is the one to look at first. A module that gets a test file of its own loses its row.
COVERED_BY = {
    "actions.py": "scenarios/test_forwarding.py",
    "cache/parts.py": "scenarios/test_caching_parts.py",
    "caching/fetching.py": "scenarios/test_caching.py",
    "caching/outcome.py": "scenarios/test_caching.py",
    "caching/playback.py": "scenarios/test_caching.py",
    "caching/route.py": "scenarios/test_caching.py",
    "caching/waiting.py": "scenarios/test_caching_sharing.py",
    "commands/asking.py": "test_control.py",
    "commands/checking.py": "test_cli.py",
    "commands/running.py": "test_control.py",
    "config/build.py": "scenarios/test_forwarding.py",
    "config/graph.py": "service/test_plane.py",
    "config/listeners.py": "scenarios/test_tls.py",
    "config/policies.py": "scenarios/test_guards.py",
    "demo_page.py": "test_demo.py",
    "config/routes.py": "scenarios/test_routing.py",
    "exchange.py": "scenarios/test_forwarding.py",
    "foreign/channel.py": "test_foreign.py",
    "foreign/heads.py": "test_foreign.py",
    "foreign/request.py": "test_foreign.py",
    "forwarding.py": "scenarios/test_retries.py",
    "guards/bearers.py": "scenarios/test_guards_auth.py",
    "guards/forward.py": "scenarios/test_guards_auth.py",
    "guards/limits.py": "scenarios/test_guards.py",
    "guards/passwords.py": "scenarios/test_guards_auth.py",
    "guards/subrequest.py": "scenarios/test_guards_auth.py",
    "routing/plan.py": "test_hotpath.py",
    "site.py": "test_hotpath.py",
    "stock.py": "test_resource.py",
    "transport/connections.py": "scenarios/test_backpressure.py",
    "transport/downstream.py": "scenarios/test_bodies.py",
    "transport/tunnel.py": "scenarios/test_bodies.py",
    "transport/upstream.py": "scenarios/test_bodies.py",
    "waf/verdict.py": "waf/test_memo.py",
    "wiring.py": "test_foreign.py",
}


class MirrorTests(SynchronousTestCase):
    maxDiff = None

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

    def test_what_covers_is_there(self) -> None:
        gone = {cover for cover in COVERED_BY.values() if not (TESTS / cover).is_file()}
        self.assertEqual(gone, set())

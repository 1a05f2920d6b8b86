"""The OWASP core rule set, where this machine has it: what it finds, and what it leaves alone.

``apt-get install modsecurity-crs`` brings it to Debian and Ubuntu.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.waf.traffic import ATTACKS, HONEST, Sample
from txrproxy.waf.engine import Engine
from txrproxy.waf.rules import CRS, NoRules, RuleSet, compose, find_crs

# Shares of each kind of attack that are found at paranoia 1. The core rule set says itself that it
# leaves SSRF to addresses alone, for example; a newer one may find more.
FOUND = {
    "sql injection": 0.95,
    "cross-site scripting": 0.95,
    "command injection": 0.95,
    "traversal": 0.9,
    "remote inclusion and SSRF": 0.6,
    "code injection": 0.9,
    "scanner": 0.75,
    "protocol": 0.6,
    "upload": 0.5,
}


class CrsTests(SynchronousTestCase):
    engine: Any = None

    def setUp(self) -> None:
        if CrsTests.engine is None:
            try:
                crs = find_crs("auto")
            except NoRules as error:
                self.skipTest(str(error))
            texts = [compose(RuleSet((CRS,), level, 5), crs, Path()).text for level in range(1, 5)]
            CrsTests.engine = Engine(texts)

    def verdict(self, sample: Sample, level: int = 1) -> dict[str, Any]:
        _, _, *parts = sample.parts
        verdict = self.engine.request([b"%d" % (level - 1), *parts])
        self.engine.end()
        found: dict[str, Any] = json.loads(verdict) if verdict else {"blocked": False}
        return found

    def test_honest_traffic_passes(self) -> None:
        wrong = {
            sample.name: [match["id"] for match in found["matches"]]
            for sample in HONEST
            if (found := self.verdict(sample))["blocked"]
        }
        self.assertEqual(wrong, {})

    def test_attacks_are_found(self) -> None:
        all_, found = Counter[str](), Counter[str]()
        for sample in ATTACKS:
            all_[sample.kind] += 1
            found[sample.kind] += self.verdict(sample)["blocked"]
        self.assertEqual(all_.keys(), FOUND.keys())
        for kind, count in all_.items():
            self.assertGreaterEqual(found[kind] / count, FOUND[kind], kind)

    def test_attributes_of_xml(self) -> None:
        for body, blocked in (
            (b'<a b="1\' union select password from users-- "/>', True),
            (b'<a><c/><b d="&lt;script&gt;alert(1)&lt;/script&gt;">x</b></a>', True),
            (b'<a b="; cat /etc/passwd"/>', True),
            (
                b'<a href="http://sp.example/index.php?acs" b="select a seat; O\'Brien"/>',
                False,
            ),
            (b'<a xmlns="http://b.example/c#" d="2026-11-21T00:00:00Z" e="50% &lt; 3"/>', False),
        ):
            fields = [b"Host", b"a.example", b"User-Agent", b"a", b"Accept", b"*/*"]
            fields += [b"Content-Type", b"application/xml", b"Content-Length", b"%d" % len(body)]
            about = [b"0", b"10.0.0.1", b"POST", b"/", b"1.1", b"id", b"1"]
            verdict = self.engine.request([*about, body, *fields])
            self.engine.end()
            self.assertIs(bool(verdict and json.loads(verdict)["blocked"]), blocked, body)

    def test_paranoia_finds_more(self) -> None:
        counts = [
            sum(self.verdict(sample, level)["blocked"] for sample in ATTACKS)
            for level in range(1, 5)
        ]
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(counts[-1], counts[0])

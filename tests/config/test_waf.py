"""Firewalls in a configuration: what is refused, what is shown, and what a reload keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.waf import own
from tests.waf.test_pool import Reactor
from txrproxy.commands.checking import summary
from txrproxy.config import waf
from txrproxy.config.build import build
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load
from txrproxy.config.waf import waf_of

USE = 'use = ["p"]\n'


class Written(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        own.write(self.folder)
        self.crs = self.folder / "crs"
        (self.crs / "rules").mkdir(parents=True)
        (self.crs / "crs-setup.conf").write_text("")
        rule = "SecAction \"id:900001,phase:1,pass,nolog,ver:'OWASP_CRS/9.8.7'\"\n"
        (self.crs / "rules" / "REQUEST-901.conf").write_text(rule)

    def load(self, text: str, files: bool = True) -> Any:
        file = self.folder / "edge.toml"
        file.write_text(MINIMAL + USE + text)
        return load(file, files=files)

    def refused(self, text: str) -> str:
        return str(self.assertRaises(ConfigErrors, self.load, text)).replace(f"{self.folder}/", "")


class CheckTests(Written):
    def test_good(self) -> None:
        config = self.load(
            '[waf]\ncrs = "crs"\n[policies.p.waf]\nrules = ["crs", "own.conf"]\nexclude = [101]\n'
        )
        (row,) = waf.summary(config)
        self.assertEqual(row[:2], ("p", "block"))
        self.assertRegex(
            row[2],
            "^OWASP CRS 9.8.7, own.conf, [0-9]+ rules, paranoia 1, threshold 5, without 101$",
        )
        self.assertIn("OWASP CRS 9.8.7", summary(config))

    def test_no_engine(self) -> None:
        self.patch(waf, "find_spec", lambda name: None)
        self.assertIn(
            "policies.p.waf: the engine is not installed: pip install 'txrproxy[waf]'",
            self.refused("[policies.p.waf]\n"),
        )

    def test_no_core_rule_set(self) -> None:
        self.assertIn(
            "edge.toml:11: waf.crs: no OWASP core rule set at gone",
            self.refused('[policies.p.waf]\n[waf]\ncrs = "gone"\n').replace(":12:", ":11:"),
        )

    def test_no_file(self) -> None:
        self.assertIn(
            "policies.p.waf.rules[1]: there is no file gone.conf",
            self.refused('[waf]\ncrs = "crs"\n[policies.p.waf]\nrules = ["crs", "gone.conf"]\n'),
        )

    def test_bad_rules(self) -> None:
        """Every set that does not load is named, with the place in its file."""
        (self.folder / "a.conf").write_text("\nSecNonsense\n")
        (self.folder / "b.conf").write_text('SecRule ARGS "@geoLookup" "id:1"\n')
        said = self.refused(
            '[policies.p.waf]\nrules = ["a.conf"]\n[policies.q.waf]\nrules = ["b.conf"]\n'
            '[policies.r.waf]\nrules = ["own.conf"]\n'
        ).splitlines()
        self.assertEqual(len(said), 2)
        self.assertIn("policies.p.waf.rules: a.conf:2: ", said[0])
        self.assertIn("policies.q.waf.rules: b.conf:1: ", said[1])

    def test_engine_fails(self) -> None:
        def fail(texts: list[str]) -> None:
            raise waf.Unloadable(-1, "it died")

        self.patch(waf, "prove", fail)
        rules = '[policies.p.waf]\nrules = ["own.conf"]\n'
        self.assertIn("waf: it died", self.refused(rules))
        (row,) = waf.summary(self.load(rules, files=False))
        self.assertEqual(row, ("p", "block", "it died"))

    def test_off_needs_nothing(self) -> None:
        config = self.load('[policies.p.waf]\nmode = "off"\nrules = ["gone.conf"]\n')
        self.assertEqual([*waf.summary(config)], [])
        self.assertNotIn("firewall", summary(config))

    def test_cached_responses(self) -> None:
        cache = '[caches.c]\n[[routes]]\nname = "b"\npool = "app"\ncache = { store = "c" }\n'
        own = 'use = ["p"]\n[policies.p.waf]\nrules = ["own.conf"]\n'
        text = cache + own
        self.load("[policies.p]\n" + cache, files=False)
        config = MINIMAL + text
        file = self.folder / "other.toml"
        file.write_text(config)
        load(file)
        file.write_text(config + 'responses = "headers"\n')
        error = self.assertRaises(ConfigErrors, load, file)
        self.assertIn("routes[1].cache: a firewall of the route inspects responses", str(error))

    def test_last_policy_decides(self) -> None:
        config = self.load(
            '[policies.p.waf]\nmode = "off"\n[policies.q.waf]\nrules = ["own.conf"]\n'
            '[policies.r]\n[[routes]]\nname = "b"\npool = "app"\nuse = ["p", "q", "r"]\n'
            '[[routes]]\nname = "c"\npool = "app"\nuse = ["q", "p"]\n'
        )
        found = [waf_of(config, route) for route in config.routes]
        self.assertEqual([bool(each) for each in found], [False, True, False])


class ReloadTests(Written):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = Reactor()

    def build(self, text: str, old: Any = None) -> Any:
        graph = build(self.load(text, files=False), self.reactor, old=old)
        if old is None:
            graph.start()
            self.addCleanup(graph.deadlines.close)
        else:
            graph.take_over(old)
        return graph

    @property
    def running(self) -> int:
        return sum(not process.killed for process in self.reactor.processes)

    def test_the_same_stays(self) -> None:
        text = '[policies.p.waf]\nrules = ["own.conf"]\n'
        first = self.build(text)
        second = self.build(text + "[policies.q]\n", first)
        self.assertIs(second.firewalls.engines, first.firewalls.engines)
        self.reactor.advance(31)
        self.assertEqual(self.running, 1)
        second.close()
        self.assertEqual(self.running, 0)

    def test_changed_files_are_read_again(self) -> None:
        text = '[policies.p.waf]\nrules = ["own.conf"]\n'
        first = self.build(text)
        (self.folder / "own.conf").write_text("# nothing\n")
        second = self.build(text, first)
        self.assertIsNot(second.firewalls.engines, first.firewalls.engines)
        self.assertEqual(self.running, 2)  # old exchanges have their engine
        self.reactor.advance(30)
        self.assertEqual(self.running, 1)
        third = self.build("[policies.p]\n", second)
        self.assertEqual(self.running, 1)
        third.close()
        self.assertEqual(self.running, 0)

    def test_none_before(self) -> None:
        first = self.build("[policies.p]\n")
        self.assertIsNone(first.firewalls.engines)
        second = self.build('[policies.p.waf]\nrules = ["own.conf"]\n', first)
        self.assertEqual(self.running, 1)
        ready = second.ready()
        self.assertNoResult(ready)
        self.reactor.processes[0].say(b"ready", b"[1]")
        self.successResultOf(ready)
        second.close()

    def test_memo(self) -> None:
        """For rules that always say the same of the same."""

        def memos(text: str) -> list[bool]:
            graph = self.build(text)
            graph.close()
            return [sheet.memo is not None for sheet in graph.firewalls._sheets.values()]

        crs = '[waf]\ncrs = "crs"\n'
        self.assertEqual(memos(crs + "[policies.p.waf]\n"), [True])
        self.assertEqual(memos(crs + 'memo = "0B"\n[policies.p.waf]\n'), [False])
        self.assertEqual(memos(crs + '[policies.p.waf]\nrules = ["crs", "own.conf"]\n'), [False])

    def test_rules_gone_since(self) -> None:
        for text, place in (
            ('[policies.p.waf]\nrules = ["gone.conf"]\n', "policies"),
            ('[waf]\ncrs = "gone"\n[policies.p.waf]\n', "waf.crs"),
        ):
            error = self.assertRaises(ConfigErrors, self.build, text)
            self.assertEqual(error.problems[0].key, place)

    def test_audit_file(self) -> None:
        rules = '[policies.p.waf]\nrules = ["own.conf"]\n'
        text = rules + '[waf]\naudit = { path = "audit.log" }\n'
        first = self.build(text)
        second = self.build(text, first)
        self.assertIs(second.firewalls._audit, first.firewalls._audit)
        third = self.build(rules + '[waf]\naudit = { path = "other.log" }\n', second)
        (self.folder / "other.log").unlink()
        third.firewalls.reopen()
        self.assertTrue((self.folder / "other.log").exists())
        self.reactor.advance(30)
        third.close()
        bad = rules + '[waf]\naudit = { path = "none/audit.log" }\n'
        error = self.assertRaises(ConfigErrors, self.build, bad)
        self.assertEqual(error.problems[0].key, "waf.audit.path")

"""A rule set becomes a text, and the core rule set is found where it is."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.waf.engine import Engine
from txrproxy.waf.rules import CRS, NoRules, RuleSet, compose, find_crs


class Folder(SynchronousTestCase):
    """A core rule set of a few lines."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.write("rules/REQUEST-901-FIRST.conf", "SecAction \"id:1,ver:'OWASP_CRS/9.8.7'\"")
        self.write("rules/REQUEST-910-IP-REPUTATION.conf", "never loaded")
        self.write("rules/REQUEST-942-SQLI.conf", "SecAction \"id:2,ver:'OWASP_CRS/9.8.7'\"")
        self.write("rules/a.data", "x")
        self.write("crs-setup.conf.example", "# a comment, OWASP_CRS/1.0")

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


class FindTests(Folder):
    def test_folder(self) -> None:
        crs = find_crs(self.path)
        self.assertEqual(crs.version, "9.8.7")
        self.assertEqual(crs.setup.name, "crs-setup.conf.example")
        self.assertEqual(
            [file.name for file in crs.files],
            ["REQUEST-901-FIRST.conf", "REQUEST-942-SQLI.conf"],
        )
        self.assertEqual([file.name for file in crs.data], ["a.data"])

    def test_own_setup_and_what_surrounds_the_rules(self) -> None:
        self.write("crs-setup.conf", "")
        self.write("REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf", "")
        self.write("RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf", "")
        crs = find_crs(self.path)
        self.assertEqual(crs.setup.name, "crs-setup.conf")
        self.assertIn("-900-", crs.files[0].name)
        self.assertIn("-999-", crs.files[-1].name)

    def test_the_systems(self) -> None:
        """Rules and setup are apart there."""
        setup = self.path / "etc"
        setup.mkdir()
        (self.path / "crs-setup.conf.example").rename(setup / "crs-setup.conf")
        system = [("/nowhere", "/nowhere"), (str(self.path), str(setup))]
        for folder in ("auto", self.path):
            self.assertEqual(find_crs(folder, system).setup, setup / "crs-setup.conf")

    def test_missing(self) -> None:
        (self.path / "crs-setup.conf.example").unlink()
        error = self.assertRaises(NoRules, find_crs, self.path)
        self.assertEqual(error.about, CRS)
        self.assertIn(str(self.path), str(error))
        self.assertRaises(NoRules, find_crs, "auto", [])

    def test_no_version(self) -> None:
        for file in (self.path / "rules").glob("*.conf"):
            file.write_text("")
        self.assertEqual(find_crs(self.path).version, "unknown")


class ComposeTests(Folder):
    def test_order(self) -> None:
        own = self.write("own.conf", "")
        rules = RuleSet((CRS, "own.conf"), 3, 7, (942100, "942200-942299", "attack-rce"))
        text = compose(rules, find_crs(self.path), self.path)
        order = [
            "SecRuleEngine On",
            "crs-setup.conf.example",
            "tx.paranoia_level=3",
            "tx.blocking_paranoia_level=3",
            "tx.inbound_anomaly_score_threshold=7",
            "REQUEST-901",
            "REQUEST-942",
            f'Include "{own}"',
            "SecRuleRemoveById 942100\n",
            "SecRuleRemoveById 942200-942299\n",
            "SecRuleRemoveByTag attack-rce\n",
        ]
        places = [text.text.index(part) for part in order]
        self.assertEqual(places, sorted(places))
        self.assertNotIn("-910-", text.text)

    def test_attributes_of_xml(self) -> None:
        """Version 4 looks at them by itself."""
        rules = RuleSet((CRS,), 1, 5)
        for version, added in (("9.8.7", False), ("4.0.0", False), ("3.1.0", True)):
            for name in ("901-FIRST", "942-SQLI"):
                rule = f"SecAction \"id:{name[:3]},phase:1,pass,ver:'OWASP_CRS/{version}'\""
                self.write(f"rules/REQUEST-{name}.conf", rule)
            text = compose(rules, find_crs(self.path), self.path).text
            self.assertIs('SecRuleUpdateTargetByTag "attack-sqli" "XML://@*"' in text, added)
            Engine([text])  # loads, though most rules are not there

    def test_own_rules_alone(self) -> None:
        self.write("own.conf", "")
        text = compose(RuleSet(("own.conf",), 1, 5), None, self.path)
        self.assertNotIn("paranoia", text.text)
        self.assertEqual([file.name for file in text.files], ["own.conf"])

    def test_missing_file(self) -> None:
        error = self.assertRaises(NoRules, compose, RuleSet(("gone.conf",), 1, 5), None, self.path)
        self.assertEqual(error.about, "gone.conf")

    def test_fingerprint(self) -> None:
        """Another one when a file was written, those with data too."""
        rules = RuleSet((CRS,), 1, 5)

        def seen() -> bytes:
            return compose(rules, find_crs(self.path), self.path).fingerprint

        first = seen()
        self.assertEqual(first, seen())
        os.utime(self.path / "rules/a.data", ns=(1, 1))
        second = seen()
        self.assertNotEqual(first, second)
        text = compose(rules, find_crs(self.path), self.path)
        (self.path / "rules/a.data").unlink()
        self.assertNotEqual(text.fingerprint, second)

    def test_constant(self) -> None:
        self.assertTrue(RuleSet((CRS,), 1, 5).constant)
        self.assertFalse(RuleSet((CRS, "own.conf"), 1, 5).constant)

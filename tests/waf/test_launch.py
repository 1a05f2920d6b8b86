"""Rules are tried in a process that is thrown away."""

from __future__ import annotations

import json
import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.waf import launch
from txrproxy.waf.launch import Unloadable, prove


class ProveTests(SynchronousTestCase):
    def test_counts(self) -> None:
        rule = 'SecAction "id:{},phase:1,pass,nolog"\n'
        self.assertEqual(prove([rule.format(1), rule.format(1) + rule.format(2)]), [1, 2])

    def test_bad_rules(self) -> None:
        error = self.assertRaises(Unloadable, prove, ["", "SecNonsense on"])
        self.assertEqual(error.index, 1)
        self.assertIn("Line: 1", str(error))

    def fails(self, program: str) -> str:
        self.patch(launch, "COMMAND", (sys.executable, "-c", program))
        error = self.assertRaises(Unloadable, prove, [""])
        self.assertEqual(error.index, -1)
        return str(error)

    def test_dies(self) -> None:
        self.assertEqual(
            self.fails("import os; os.kill(os.getpid(), 9)"), "the engine died over the rules: -9"
        )
        self.assertIn("RuntimeError: oh", self.fails("raise RuntimeError('oh')"))

    def test_makes_no_sense(self) -> None:
        self.assertIn("can not be started", self.fails("print('hello, world')"))

    def test_takes_for_ever(self) -> None:
        self.patch(launch, "PATIENCE", 0.05)
        self.assertIn("do not load within", self.fails("import signal; signal.pause()"))

    def test_is_not_there(self) -> None:
        self.patch(launch, "COMMAND", ("/nonexistent/python",))
        self.assertRaises(Unloadable, prove, [""])

    def test_variables(self) -> None:
        """What may be a secret is not where a request may get the better of a parser."""
        secret = {"TXRPROXY_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}
        for name, value in {**secret, "LC_TIME": "C", "PYTHONHASHSEED": "1"}.items():
            self.addCleanup(os.environ.pop, name, None)
            os.environ[name] = value
        said = self.fails("import os, json; raise Exception(json.dumps(dict(os.environ)))")
        seen = json.loads(said[said.index("{") :])
        self.assertEqual(seen["PATH"], os.environ["PATH"])
        self.assertEqual(seen["LC_TIME"], "C")
        self.assertEqual(seen["PYTHONHASHSEED"], "1")
        self.assertEqual(secret.keys() & seen.keys(), set())

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.problems import ConfigErrors, Problem, did_you_mean, quote, spell


class Words(SynchronousTestCase):
    def test_problem(self) -> None:
        for problem, text in [
            (Problem("a.toml", 3, "x.y", "bad"), "a.toml:3: x.y: bad"),
            (Problem("a.toml", 0, "x.y", "bad"), "a.toml: x.y: bad"),
            (Problem("a.toml", 3, "", "bad"), "a.toml:3: bad"),
        ]:
            self.assertEqual(str(problem), text)

    def test_errors_give_all_problems(self) -> None:
        errors = ConfigErrors([Problem("a", 1, "k", "x"), Problem("a", 2, "l", "y")])
        self.assertEqual(str(errors), "a:1: k: x\na:2: l: y")
        self.assertEqual([problem.line for problem in errors.problems], [1, 2])

    def test_key_path(self) -> None:
        self.assertEqual(spell(("pools", "app", "backends", 1, "url")), "pools.app.backends[1].url")
        self.assertEqual(spell(("pools", "my app", 'a"b')), 'pools."my app"."a\\"b"')
        self.assertEqual(spell(()), "")

    def test_quote(self) -> None:
        self.assertEqual(quote('a"\\\n\t\r\x1b\x7f'), '"a\\"\\\\\\n\\t\\r\\u001b\\u007f"')
        self.assertEqual(quote("é"), '"é"')
        self.assertEqual(quote("x" * 81), '"' + "x" * 77 + '..."')

    def test_did_you_mean(self) -> None:
        self.assertEqual(
            did_you_mean("Tiemouts", ["timeouts", "tls"]), '; did you mean "timeouts"?'
        )
        self.assertEqual(did_you_mean("zzz", ["timeouts"]), "")

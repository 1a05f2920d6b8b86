"""The engine finds what its rules say, and survives what clients send."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.waf import own
from txrproxy.waf import wire
from txrproxy.waf.engine import MAX_MATCHES, BadRules, Engine, guess, serve
from txrproxy.waf.rules import RuleSet, compose

FORM = [b"Content-Type", b"application/x-www-form-urlencoded"]
JSON = [b"Content-Type", b"application/json"]
XML = [b"Content-Type", b"application/xml"]
MULTIPART = [b"Content-Type", b"multipart/form-data; boundary=xx"]


def part(name: str, value: str) -> bytes:
    return f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


class EngineTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        own.write(folder)
        self.text = compose(RuleSet(("own.conf",), 1, 5), None, folder).text
        excluded = RuleSet(("own.conf",), 1, 5, ("attack-test", 102))
        self.engine = Engine([self.text, compose(excluded, None, folder).text])

    def ask(
        self,
        target: bytes = b"/",
        *fields: bytes,
        body: bytes = b"",
        whole: bool = True,
        rules: bytes = b"0",
    ) -> dict[str, Any]:
        mark = b"1" if whole else b"0"
        parts = [rules, b"10.0.0.1", b"POST", target, b"1.1", b"id", mark, body, b"Host", b"a"]
        verdict = self.engine.request([*parts, *fields])
        self.engine.end()
        found: dict[str, Any] = json.loads(verdict) if verdict else {}
        return found

    def ids(self, *args: Any, **kwargs: Any) -> list[int]:
        return [match["id"] for match in self.ask(*args, **kwargs).get("matches", ())]

    def test_clear(self) -> None:
        self.assertEqual(self.ask(b"/?a=b"), {})

    def test_blocked(self) -> None:
        found = self.ask(b"/?a=so+evil")
        self.assertTrue(found["blocked"])
        self.assertEqual(found["score"], 5)
        first = found["matches"][0]
        self.assertEqual(
            {key: first[key] for key in ("id", "message", "severity", "tags", "file", "line")},
            {
                "id": 101,
                "message": "Something evil",
                "severity": 2,
                "tags": ["attack-test"],
                "file": "own.conf",
                "line": 2,
            },
        )
        self.assertEqual((first["variable"], first["value"]), ("ARGS:a", "so evil"))

    def test_below_the_threshold(self) -> None:
        found = self.ask(b"/?a=odd")
        self.assertFalse(found["blocked"])
        self.assertEqual(found["score"], 3)

    def test_scores_add_up(self) -> None:
        self.assertEqual(self.ask(b"/?a=odd&b=odd")["score"], 6)

    def test_rule_sets_are_apart(self) -> None:
        self.assertEqual(self.ids(b"/?a=odd+evil", rules=b"1"), [])

    def test_fields(self) -> None:
        self.assertEqual(self.ids(b"/", b"User-Agent", b"evil/1.0")[0], 101)

    def test_bodies(self) -> None:
        self.assertEqual(self.ids(b"/", *FORM, body=b"a=1&b=evil")[0], 101)
        self.assertEqual(self.ids(b"/", *JSON, body=b'{"a": {"b": ["evil"]}}')[0], 101)
        body = part("a", "evil") + b"--xx--\r\n"
        self.assertEqual(self.ids(b"/", *MULTIPART, body=body)[0], 101)
        self.assertEqual(self.ids(b"/", *XML, body=b"<a>fine</a>"), [])

    def test_bodies_of_which_nothing_is_said(self) -> None:
        """A backend that asks for no Content-Type reads them all the same."""
        for body, whole in (
            (b"a=1&b=%65vil", True),
            (b' {"a": {"b": ["\\u0065vil"]}}', True),
            (b'[{"a": "evil"}]', True),
            (b'[{"a": "evil"}, {"b": "', False),
            (b"a=evil&b=\xc3", False),
            (b"[fine] a=1&b=evil", True),
        ):
            self.assertIn(101, self.ids(b"/", body=body, whole=whole), body)
            # What is said counts, and a field of the client's own does not.
            fields = (b"X-Txrproxy-Body", b"form")
            plain = (b"Content-Type", b"text/plain")
            self.assertEqual(self.ids(b"/", *fields, *plain, body=body, whole=whole), [], body)
        for body in (b"\x00a=evil", b"a=evil\xff", b"[fine]", b"fine", b""):
            self.assertEqual(self.ask(b"/", body=body), {}, body)
        self.assertTrue(self.ask(b"/", body=b"[" * 5000 + b"]" * 5000)["blocked"])

    def test_guesses(self) -> None:
        for body, whole, expected in (
            (b"a=b", True, "form"),
            (b"\xc3\xa9=\xc3", True, ""),
            (b"\xc3\xa9=\xc3", False, "form"),
            (b"\xff" + b"a" * 9, False, ""),
            (b"a\x00", True, ""),
            (b"\n [1]", True, "json"),
            (b"{1", True, "form"),
            (b"{1", False, "json"),
            (b"[" * 100_000, True, "json"),
        ):
            self.assertEqual(guess(body, whole), expected, body[:20])

    def test_broken_bodies_are_blocked(self) -> None:
        for kind, body in (
            (JSON, b'{"a":'),
            (JSON, b"[" * 1000),
            (XML, b"<a>"),
            (MULTIPART, part("a", "b")),
        ):
            found = self.ask(b"/", *kind, body=body)
            self.assertTrue(found["blocked"], body[:20])

    def test_bodies_that_are_cut_off_are_not_broken(self) -> None:
        for kind, body in ((JSON, b'{"a":'), (XML, b"<a>"), (MULTIPART, part("a", "b"))):
            found = self.ask(b"/", *kind, body=body, whole=False)
            self.assertFalse(found["blocked"], body)
        found = self.ask(b"/", *JSON, body=b'{"a": "evil", "b', whole=False)
        self.assertTrue(found["blocked"])

    def test_more_arguments_than_are_inspected(self) -> None:
        """Something may hide behind them."""
        many = b"&".join(b"a%d=1" % number for number in range(1500))
        for found in (
            self.ask(b"/?" + many + b"&z=evil"),
            self.ask(b"/", *FORM, body=many + b"&z=evil"),
            self.ask(b"/", *FORM, body=many, whole=False),
        ):
            self.assertTrue(found["blocked"])

    def test_bytes_that_are_no_utf8(self) -> None:
        for target in (b"/?a=%ffevil", b"/?a=\xffevil"):
            match = self.ask(target)["matches"][0]
            self.assertEqual(match["value"], "\\xffevil")
        self.assertEqual(self.ids(b"/", b"X-A", b"\xff\xfe"), [])

    def test_matches_are_bounded(self) -> None:
        rule = 'SecRule ARGS "@streq x" "id:{},phase:2,pass,log"\n'
        self.engine = Engine([self.text + "".join(map(rule.format, range(1, 100)))])
        self.assertEqual(len(self.ask(b"/?a=x")["matches"]), MAX_MATCHES)

    def test_responses(self) -> None:
        def ask(body: bytes, *fields: bytes) -> list[int]:
            begin = [b"0", b"10.0.0.1", b"GET", b"/?a=evil", b"1.1", b"id", b"200", body]
            verdict = self.engine.response([*begin, *fields])
            self.engine.end()
            return [m["id"] for m in json.loads(verdict)["matches"]] if verdict else []

        text = (b"content-type", b"text/plain")
        self.assertEqual(ask(b"", *text), [])
        self.assertEqual(ask(b"", *text, b"x-leak", b"a secret"), [201])
        self.assertEqual(ask(b"here is a stack trace", *text), [202])
        self.assertEqual(ask(b"here is a stack trace", b"content-type", b"image/png"), [])

    def test_bad_rules(self) -> None:
        error = self.assertRaises(BadRules, Engine, [self.text, "SecRule ARGS\n"])
        index, message = error.args
        self.assertEqual(index, 1)
        self.assertIn("Line: 1", message)


class ServeTests(SynchronousTestCase):
    """A whole life, as the process has it."""

    def serve(self, *messages: list[bytes]) -> list[list[bytes]]:
        sink = BytesIO()
        serve(BytesIO(b"".join(map(wire.pack, messages))), sink)
        return list(wire.Messages().feed(sink.getvalue()))

    def test_serves(self) -> None:
        rule = b'SecRuleEngine On\nSecRule ARGS "@streq x" "id:1,phase:1,deny"\n'
        ask = [b"0", b"::1", b"GET", b"/?a=x", b"1.1", b"id", b"1", b""]
        ready, first, second = self.serve(
            [b"rules", rule],
            [b"request", b"1", *ask],
            [b"response", b"2", *ask[:3], b"/", *ask[4:6], b"200", b""],
        )
        self.assertEqual(ready, [b"ready", b"[1]"])
        self.assertEqual(first[0], b"1")
        self.assertTrue(json.loads(first[1])["blocked"])
        self.assertEqual(second, [b"2", b""])

    def test_bad_rules(self) -> None:
        ((kind, body),) = self.serve([b"rules", b"SecNonsense"])
        self.assertEqual(kind, b"failed")
        self.assertEqual(json.loads(body)[0], 0)

    def test_no_library(self) -> None:
        def fail(name: str) -> None:
            raise ImportError("no such thing")

        self.patch(__import__("txrproxy.waf.engine").waf.engine, "import_module", fail)
        self.assertEqual(self.serve([b"rules"]), [[b"failed", b'[-1, "no such thing"]']])

    def test_nothing_said(self) -> None:
        self.assertEqual(self.serve(), [])

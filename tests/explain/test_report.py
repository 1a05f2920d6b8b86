"""Explanations as text."""

from __future__ import annotations

import copy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.explain.samples import edge
from txrproxy.explain.explanation import explain
from txrproxy.explain.rehearsal import Ask
from txrproxy.explain.report import report

OFFICE = """\
request
  GET http://a:8080/office/x
  from 10.1.0.1, over http

listener
  http    no: is at 0.0.0.0:80, not on port 8080
  https   no: speaks https, not http
  inside  serves

route
  1  static  no: host is 'a', not example.com
  2  office  takes it

plan
  does                  pool app
  timeouts              connect 2s, first_byte 30s, idle 60s, queue 5s
  websocket             yes
  host                  preserve
  rewrite.strip_prefix  /office
  body_limit            1KiB

policies, in their order
  office  access      passes   allow 10.1.0.0/16
  office  body_limit  applies  1KiB
  office  hide        applies  server, x-powered-by, via

pool
  app, round_robin; backends are as configured
"""


class ReportTests(SynchronousTestCase):
    maxDiff = None

    def found(self, url: str, **given: Any) -> dict[str, Any]:
        return explain(edge(), Ask("GET", url, **given))

    def test_whole(self) -> None:
        text = report(self.found("http://a:8080/office/x", client="10.1.0.1"))
        self.assertTrue(text.startswith(OFFICE), text)
        self.assertIn("\n  ->  10.0.0.", text)
        self.assertIn("what the backend gets\n  GET /x HTTP/1.1\n  Host: a:8080\n", text)
        self.assertNotIn("what the client gets", text)

    def test_answer(self) -> None:
        text = report(self.found("http://a/x"))
        self.assertIn("it sends everyone to https", text)
        self.assertIn("what the client gets\n  HTTP/1.1 308 Permanent Redirect\n", text)
        self.assertIn("\n  (reason redirected)", text)
        text = report(self.found("http://a:8080/x"))
        self.assertIn("no route takes it", text)

    def test_many_routes(self) -> None:
        found = self.found("http://a:8080/office/x", client="10.1.0.1")
        refused, takes = found["routes"]
        found["routes"] = [refused] * 99 + [takes]
        text = report(found)
        self.assertIn("(80 routes before these refuse it too; --all shows them)", text)
        self.assertIn("\n  100  office", text)
        self.assertEqual(report(found, every=True).count("no: host is"), 99)

    def test_cache(self) -> None:
        found = self.found("https://example.com/static/a")
        self.assertIn("store main\n", report(found))
        self.assertIn("\n  nothing is stored for it", report(found))
        stored = {"verdict": "fresh", "age": 3, "ttl": 7, "status": 200, "length": 9}
        stored |= {"invalidated": False, "vary": ["accept"]}
        for change, expected in (
            ({"why_not": "method"}, "passed by: method"),
            ({"problem": "cache can not be read"}, "cannot tell what is stored"),
            ({"stored": stored}, "200, 9 bytes, 3 s old, fresh for 7 s more\n  varies by accept"),
            ({"stored": stored | {"ttl": -7, "verdict": "validate"}}, "stale for 7 s"),
        ):
            changed = copy.deepcopy(found)
            changed["cache"] |= change
            self.assertIn(expected, report(changed))

    def test_pool(self) -> None:
        found = self.found("http://a:8080/next")
        self.assertIn("names are not looked up; 192.0.2.1 stands for", report(found))
        found["pool"] |= {"panic": True, "states": "of the proxy that runs"}
        found["pool"]["backends"][0] |= {"candidate": False, "priority": 1}
        text = report(found)
        self.assertIn("too few are well", text)
        self.assertIn("found by http://next.internal:3000", text)
        self.assertIn("priority 1, no candidate", text)

    def test_clients(self) -> None:
        fields = (("X-Forwarded-For", "192.0.2.9"),)
        text = report(self.found("http://a:8080/x", client="10.9.0.1", fields=fields))
        self.assertIn("from 192.0.2.9, behind the trusted proxy 10.9.0.1", text)
        self.assertIn(
            "10.9.0.1, a trusted proxy", report(self.found("http://a:8080/", client="10.9.0.1"))
        )

    def test_nothing_commands_the_terminal(self) -> None:
        found = self.found("http://a:8080/x")
        found["to_client"]["bytes"] += "\x1b[2J"
        self.assertIn("\\x1b[2J", report(found))

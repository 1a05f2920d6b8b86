"""Explanations as data: each part of a request's way is there, and can be printed as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.explain.samples import edge
from tests.explain.test_running import answer, row
from txrproxy.balance.sticky import token
from txrproxy.explain.explanation import explain
from txrproxy.explain.rehearsal import Ask
from txrproxy.explain.running import states


class ExplanationTests(SynchronousTestCase):
    maxDiff = None

    def explain(self, url: str, method: str = "GET", **given: Any) -> dict[str, Any]:
        known = given.pop("known", None)
        found = explain(edge(), Ask(method, url, **given), known)
        self.assertEqual(json.loads(json.dumps(found)), found)
        return found

    def test_routes_before_it(self) -> None:
        found = self.explain("http://a:8080/api/x", fields=(("x-beta", "1"),))
        self.assertEqual(found["listener"], "inside")
        self.assertEqual(
            [(one["name"], one["why_not"] and one["why_not"]["text"]) for one in found["routes"]],
            [
                ("static", "host is 'a', not example.com"),
                ("office", "path is '/api/x', not /office/*"),
                ("guarded", "path is '/api/x', not /guarded/*"),
                ("canary", None),
            ],
        )
        self.assertEqual(found["route"], "canary")
        self.assertEqual(found["plan"]["does"], "split app 75%, next 25%")
        self.assertIsNone(found["cache"])
        self.assertIn("GET /api/x HTTP/1.1\r\n", found["to_backend"])
        self.assertIsNone(found["to_client"])

    def test_policies(self) -> None:
        found = self.explain("http://a:8080/guarded/x", client="10.1.0.1")
        self.assertEqual(
            [(one["policy"], one["kind"], one["says"]) for one in found["policies"]],
            [
                ("office", "access", "passes"),
                ("guarded", "connection_limit", "passes, unless too many came before"),
                ("guarded", "rate_limit", "passes, unless too many came before"),
                ("guarded", "cors", "passes"),
                ("guarded", "forward_auth", "asks; taken to let it pass"),
                ("guarded", "body_limit", "applies"),
                ("guarded", "request_headers", "applies"),
                ("guarded", "hide", "applies"),
                ("guarded", "security_headers", "applies"),
                ("office", "body_limit", "applies"),
                ("office", "hide", "applies"),
            ],
        )
        self.assertEqual(
            [one["settings"] for one in found["policies"][:5]],
            [
                "allow 10.1.0.0/16",
                "1 at a time by client_ip",
                "1/h by client_ip, burst 1",
                "origins https://app.example",
                "asks http://127.0.0.1:7000/check",
            ],
        )
        self.assertEqual(found["plan"]["body_limit"], "1KiB")

    def test_refused(self) -> None:
        found = self.explain("http://a:8080/guarded/x")
        first, second = found["policies"][:2]
        self.assertEqual((first["says"], first["reason"]), ("answers", "forbidden"))
        self.assertEqual(second["says"], "not reached")
        self.assertEqual(found["to_client"]["status"], 403)
        self.assertEqual((found["pool"], found["to_backend"]), (None, None))

    def test_cache(self) -> None:
        found = self.explain("https://example.com/static/a")
        cache = found["cache"]
        self.assertEqual((cache["store"], cache["asked"], cache["stored"]), ("main", True, None))
        self.assertEqual(cache["url"], "https://example.com/static/a")
        cache = self.explain("https://example.com/static/a", "DELETE")["cache"]
        self.assertEqual((cache["asked"], cache["why_not"]), (False, "method"))

    def test_pool(self) -> None:
        pool = self.explain("http://a:8080/mine")["pool"]
        self.assertEqual(pool["states"], "as configured")
        self.assertEqual(pool["why"], "it is the only candidate")
        self.assertEqual(
            self.explain("http://a:8080/next")["pool"]["names"][0][:17], "http://next.inter"
        )
        pool = self.explain("http://example.com:8080/static/a")["pool"]
        self.assertIn("one of 2 candidates", pool["why"])
        down = [row(f"10.0.0.{n}:3000", state="down") for n in (1, 2)]
        found = self.explain("http://example.com:8080/static/a", known=states(answer("app", *down)))
        self.assertEqual(found["pool"]["states"], "of the proxy that runs")
        self.assertEqual([one["state"] for one in found["pool"]["backends"]], ["down", "down"])
        self.assertEqual(found["pool"]["why"], "no backend may be chosen")
        self.assertEqual(found["to_client"]["reason"], "no_backend")

    def test_redirects(self) -> None:
        found = self.explain("http://a/static")
        self.assertTrue(found["redirects_to_https"])
        self.assertEqual((found["route"], found["routes"]), (None, []))
        self.assertEqual(found["to_client"]["location"], "https://a/static")
        found = self.explain("http://a:8080/old/b")
        self.assertEqual(found["plan"]["does"], "redirect 308 https://example.com/new/{path}")

    def test_embedded(self) -> None:
        found = self.explain("http://a:8080/embedded")
        self.assertEqual(found["plan"]["does"], "resource no.such:module")
        self.assertIsNone(found["to_client"])

    def test_not_a_request(self) -> None:
        found = self.explain("http://a:8080/../x")
        self.assertEqual((found["routes"], found["to_client"]["status"]), ([], 400))
        with self.assertRaisesRegex(ValueError, "no listener named"):
            self.explain("http://a/", listener="other")

    def test_other_shapes(self) -> None:
        """What the sample has not: each setting of a route and of a policy is told."""
        more = """
[pools.hashed]
backends = ["http://10.0.0.5", "http://10.0.0.6"]
balance = "hash"
hash_key = "path"
timeouts = { total = "9s" }
[policies.users]
basic_auth = { realm = "staff", users = "env:EXPLAIN_USERS" }
response_headers = { add = { x-a = "1" }, remove = ["x-b"] }
waf = { mode = "block" }
[[routes]]
name = "hashed"
match = { path = "/hashed" }
pool = "hashed"
use = ["users"]
rewrite = { replace = ["^/h", "/x"], prefix = "/p" }
[[routes]]
name = "fixed"
match = { path = "/fixed" }
respond = { status = 418 }
"""
        self.patch(os, "environ", {**os.environ, "EXPLAIN_USERS": ""})
        self.patch(os, "environb", {**os.environb, b"EXPLAIN_USERS": b"me:$2b$05$" + b"a" * 53})
        fields = (("Authorization", "Basic bWU6bWU="),)
        found = explain(edge(more), Ask("GET", "http://a:8080/hashed", fields))
        self.assertEqual(found["plan"]["rewrite.replace"], ["^/h", "/x"])
        self.assertEqual(found["plan"]["rewrite.prefix"], "/p")
        self.assertEqual(found["plan"]["timeouts"]["total"], "9s")
        self.assertEqual(
            [(one["kind"], one["says"]) for one in found["policies"]],
            [
                ("basic_auth", "asks; taken to let it pass"),
                ("waf", "not asked; taken to let it pass"),
                ("body_limit", "applies"),
                ("response_headers", "applies"),
                ("hide", "applies"),
            ],
        )
        self.assertEqual(found["policies"][0]["settings"], "realm staff")
        self.assertEqual(found["pool"]["balance"], "hash of path")
        self.assertIn("the same for each request with this key", found["pool"]["why"])
        self.assertTrue(found["to_backend"].startswith("GET /p/xashed HTTP/1.1\r\n"))
        self.assertNotIn("uthorization", found["to_backend"])
        found = explain(edge(more), Ask("GET", "http://a:8080/fixed"))
        self.assertEqual(found["plan"], {"does": "respond 418"})

    def test_sticky(self) -> None:
        folder = Path(self.mktemp())
        (folder / "state").mkdir(parents=True)
        (folder / "state" / "sticky.key").write_bytes(b"k" * 32)
        config = attrs.evolve(edge(), base=folder.absolute())
        cookie = f"txr={token(b'k' * 32, b'mine', b'https://10.0.0.4:443').decode()}"
        found = explain(config, Ask("GET", "http://a:8080/mine", (("Cookie", cookie),)))
        self.assertEqual(found["pool"]["why"], "its cookie asks for this backend")

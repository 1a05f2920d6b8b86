"""A look into a cache's folder: what is there is found by the key that serves, and stays."""

from __future__ import annotations

import os

import attrs

from tests.cache.storing import StoreTestCase, files, put
from tests.explain.samples import EDGE, edge
from txrproxy.cache.policy import for_request, storable
from txrproxy.config.routes import cache_keys, cache_rules
from txrproxy.config.toml import loads
from txrproxy.explain.rehearsal import Ask, Outcome, Rehearsal
from txrproxy.explain.stored import Lookup, look_up
from txrproxy.http.head import parse_response_head

NOW = 1_700_000_000.0
URL = "http://example.com/static/a"


class StoredTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.rehearsal = Rehearsal(edge())
        route = self.rehearsal.config.routes[0]
        assert route.cache is not None
        self.keys, self.rules = cache_keys(route, route.cache), cache_rules(route.cache)

    def play(self, method: str = "GET", client: str = "192.0.2.1", **fields: str) -> Outcome:
        named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
        return self.rehearsal.play(Ask(method, URL, named, client), "inside")

    def look(self, outcome: Outcome, later: float = 0.0, path: str = "") -> Lookup:
        return look_up(outcome, path or self.path, self.keys, self.rules, NOW + later)

    def store_it(self, lines: bytes = b"") -> None:
        outcome = self.play()
        head = outcome.head
        assert head is not None
        response = parse_response_head(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60" + lines)
        demand = for_request(head, self.rules)
        found = self.look(outcome)
        decision = storable(head, demand, response, self.rules, found.url, NOW)
        assert decision
        stored = put(self.store, decision.stored(found.key, found.url, 4, NOW), b"body")
        self.assertIsNotNone(stored)

    def test_nothing(self) -> None:
        found = self.look(self.play())
        self.assertEqual(found.key, b"static host,path,query\nhttp://example.com/static/a")
        self.assertEqual(found.url, b"http://example.com/static/a")
        self.assertEqual((found.why_not, found.stored, found.problem), ("", None, ""))
        missing = self.look(self.play(), path=f"{self.path}-missing")
        self.assertEqual((missing.stored, missing.problem), (None, ""))

    def test_fresh_then_stale(self) -> None:
        self.store_it(b"\r\nVary: X-A")
        before = files(self.store)
        found = self.look(self.play(), 10)
        self.assertEqual(
            found.stored,
            {
                "verdict": "fresh",
                "age": 10,
                "ttl": 50,
                "status": 200,
                "length": 4,
                "invalidated": False,
                "vary": ["x-a"],
            },
        )
        stale = self.look(self.play(), 70).stored
        assert stale is not None
        self.assertEqual((stale["verdict"], stale["ttl"]), ("validate", -10))
        self.assertIsNone(self.look(self.play(X_A="1")).stored)
        self.assertEqual(files(self.store), before)

    def test_damaged(self) -> None:
        """Whatever is wrong with a file, it is left for its owner."""
        self.store_it()
        (name,) = files(self.store)
        path = os.path.join(self.store.folder.objects, name)
        path = path if os.path.exists(path) else name
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"?")
        self.assertIsNone(self.look(self.play()).stored)
        self.assertEqual(files(self.store), [name])

    def test_not_asked(self) -> None:
        found = self.look(self.play("PUT"))
        self.assertEqual((found.why_not, found.key), ("method", b""))
        found = self.look(self.play(cache_control="no-store"))
        self.assertEqual(found.why_not, "request, no-store")

    def test_trusted_proxy(self) -> None:
        found = self.look(self.play(client="10.9.0.1", x_forwarded_proto="https"))
        self.assertEqual(found.url, b"https://example.com/static/a")
        self.assertTrue(found.key.startswith(b"x-forwarded-proto=https\n"))

    def test_not_readable(self) -> None:
        if os.geteuid() == 0:
            self.patch(os, "access", lambda path, mode: False)
        else:
            os.chmod(self.store.folder.objects, 0)
            self.addCleanup(os.chmod, self.store.folder.objects, 0o700)
        self.assertIn("can not be read", self.look(self.play()).problem)

    def test_the_key_that_serves(self) -> None:
        """As Cache-Status tells it."""
        config = loads(EDGE.replace('default_ttl = "60s"', "show_key = true"))
        rehearsal = Rehearsal(attrs.evolve(config, base=self.rehearsal.config.base))
        fields = (("Cache-Control", "only-if-cached"),)
        outcome = rehearsal.play(Ask("GET", URL, fields), "inside")
        self.assertEqual(outcome.status, 504)
        told = outcome.answer.partition(b"Cache-Status: ")[2].partition(b"\r\n")[0]
        for line in self.look(outcome).key.split(b"\n"):
            self.assertIn(line, told)

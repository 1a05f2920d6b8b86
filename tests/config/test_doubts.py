from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads, loads_with_warnings

FEW = MINIMAL.replace("127.0.0.1:3000", "a")


class DoubtsTests(SynchronousTestCase):
    def warnings(self, text: str) -> list[str]:
        return [str(warning) for warning in loads_with_warnings(text, "")[1]]

    def test_what_no_route_uses(self) -> None:
        for table, text in (
            ("pools", '[pools.b]\nbackends = ["http://b"]'),
            ("policies", "[policies.b]"),
            ("caches", '[caches.b]\npath = "c"'),
        ):
            what = {"pools": "pool", "policies": "policy", "caches": "cache"}[table]
            self.assertEqual(
                self.warnings(FEW + text), [f":9: {table}.b: no route uses this {what}"]
            )
        used = 'use = ["b"]\ncache = { store = "b" }\n[policies.b]\n[caches.b]\npath = "c"'
        self.assertEqual(self.warnings(FEW + used), [])

    def test_a_backend_twice(self) -> None:
        text = MINIMAL.replace('"http://127.0.0.1:3000"', '"http://a",\n{ url = "http://a:80" }')
        self.assertEqual(
            self.warnings(text),
            [
                ':6: pools.app.backends[1]: "http://a:80" is in this pool already; weight counts '
                "it more; first at :5"
            ],
        )

    def test_a_policy_twice(self) -> None:
        text = FEW + 'use = [\n"b",\n"c",\n"b",\n]\n[policies.b]\n[policies.c]'
        self.assertEqual(
            self.warnings(text),
            [':12: routes[0].use[2]: "b" is used already; twice is as once; first at :10'],
        )

    def test_checks_that_overlap(self) -> None:
        for timeout, count in (("5s", 0), ("6s", 1)):
            text = FEW.replace("[[routes]]", f'health = {{ timeout = "{timeout}" }}\n[[routes]]')
            said = self.warnings(text)
            self.assertEqual(len(said), count)
        self.assertTrue(said[0].startswith(":6: pools.app.health.timeout: longer than"), said)

    def test_tokens_for_anybody(self) -> None:
        text = FEW + 'use = ["p"]\n[policies.p]\njwt = { keys = "env:K" }'
        (warning,) = self.warnings(text)
        self.assertIn("policies.p.jwt.audience: empty: tokens that were made for", warning)

    def test_keys_without_tls(self) -> None:
        for url, expected in (
            ("http://login.example/jwks", True),
            ("http://192.0.2.1:8080/jwks", True),
            ("http://localhost:8080/jwks", False),
            ("http://127.0.0.2/jwks", False),
            ("http://[::1]:80/jwks", False),
            ("https://login.example/jwks", False),
        ):
            text = f'use = ["p"]\n[policies.p]\njwt = {{ keys = "{url}", audience = "a" }}'
            warned = self.warnings(FEW + text)
            self.assertEqual(len(warned), expected, url)
            self.assertTrue(not warned or "policies.p.jwt.keys: not https: who" in warned[0])

    def test_everybody_is_a_proxy(self) -> None:
        text = FEW + '[server]\ntrusted_proxies = ["10.0.0.0/8", "::/0", "0.0.0.0/0"]'
        self.assertEqual(
            [warning.partition(": ")[2] for warning in self.warnings(text)],
            [
                "server.trusted_proxies[1]: ::/0 is everybody: any client can pass for any other",
                "server.trusted_proxies[2]: 0.0.0.0/0 is everybody: any client can pass for any "
                "other",
            ],
        )

    def test_keys_of_a_cache(self) -> None:
        told = "[1]: the proxy sets or drops this: nothing is stored"
        one = ': without "path": one response is used for all paths'
        for key, match, expected in (
            ('"host", "path"', "", []),
            ('"host"', "", [one]),
            ("", 'path = "/a/*"', [one]),
            ('"query"', 'path = ["/a", "/b*"]', [one]),
            ('"query"', 'path = "/a"', []),
            ('"path", "header:Accept-Language"', "", []),
            ('"path", "header:X-Forwarded-For"', "", [told]),
            ('"path", "header:Client-Cert"', "", [told]),
            ('"path", "header:TE"', "", [told]),
        ):
            cache = f'cache = {{ store = "b", key = [{key}] }}\n[caches.b]\n'
            text = FEW + f"match = {{ {match} }}\n" + cache
            head = ":10: routes[0].cache.key"
            self.assertEqual(self.warnings(text), [head + each for each in expected], key)

    def test_beside_errors_and_no_echoes_of_them(self) -> None:
        for wrong, expected in (
            ("[listeners.b]\nbind = 7\n", [":11: policies.b: no route uses this policy"]),
            ("use = [7]\n", []),
        ):
            with self.assertRaises(ConfigErrors) as caught:
                loads(f"{FEW}{wrong}[policies.b]", "")
            self.assertEqual(len(caught.exception.problems), 1)
            self.assertEqual([*map(str, caught.exception.warnings)], expected)

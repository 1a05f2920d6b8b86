"""The configuration in force can be shown: with defaults, and without secrets."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import CONTRACT, MINIMAL
from txrproxy.config.effective import effective
from txrproxy.config.toml import loads

SECRETS = """
[admin]
token = "env:HUNTER2"
[policies.p]
request_headers = { set = { authorization = "Bearer hunter2", x-a = "1", X-Api-Key = "hunter2" } }
basic_auth = { realm = "staff", users = "file:hunter2" }
"""


def shown(text: str) -> Any:
    return effective(loads(text, available=False))


class Effective(SynchronousTestCase):
    def test_defaults(self) -> None:
        found = shown(MINIMAL)
        self.assertEqual(found["server"]["drain_timeout"], "30s")
        self.assertEqual(found["listeners"]["http"]["max_head"], "32KiB")
        self.assertEqual(found["pools"]["app"]["backends"][0]["url"], "http://127.0.0.1:3000")
        self.assertEqual(found["pools"]["app"]["panic_threshold"], 0.5)
        self.assertIsNone(found["admin"])
        self.assertNotIn("base", found)

    def test_every_key_is_json(self) -> None:
        found = shown(CONTRACT)
        self.assertEqual(json.loads(json.dumps(found)), found)
        self.assertEqual(found["admin"]["listen"], "127.0.0.1:9900")
        self.assertEqual(found["policies"]["public"]["rate_limit"]["rate"], "50/s")

    def test_secrets_are_masked(self) -> None:
        found = shown(MINIMAL + SECRETS)
        self.assertNotIn("hunter2", json.dumps(found).lower())
        self.assertEqual(found["admin"]["token"], "env:***")
        policy = found["policies"]["p"]
        self.assertEqual(policy["basic_auth"]["users"], "file:***")
        self.assertEqual(policy["request_headers"]["set"]["x-a"], "1")

    def test_users_of_urls_are_masked(self) -> None:
        from txrproxy.config import effective as module

        self.assertEqual(module._text("http://a:hunter2@b/c"), "http://***@b/c")

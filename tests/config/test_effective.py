"""What is printed can be read again, and means the same; secrets are not in it."""

from __future__ import annotations

import json

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import CONTRACT, MINIMAL
from txrproxy.config.effective import MASK, effective, toml
from txrproxy.config.schema import Config
from txrproxy.config.toml import loads

# Without secrets, which are masked.
PLAIN = "\n".join(
    line
    for line in CONTRACT.split("\n")
    if not line.startswith(("token =", "certificates =", "basic_auth ="))
).replace("self_signed = false", "self_signed = true")


def read(text: str) -> Config:
    return attrs.evolve(loads(text, available=False), base=Config.__attrs_attrs__[-1].default)


class EffectiveTests(SynchronousTestCase):
    maxDiff = None

    def test_round_trip(self) -> None:
        for text in (MINIMAL, PLAIN):
            config = read(text)
            for defaults in (True, False):
                written = toml(effective(config, defaults=defaults))
                self.assertEqual(read(written), config, written)

    def test_without_defaults(self) -> None:
        found = effective(loads(MINIMAL), defaults=False)
        self.assertEqual(
            found,
            {
                "version": 1,
                "listeners": {"http": {"bind": ["127.0.0.1:8080"]}},
                "pools": {"app": {"backends": [{"url": "http://127.0.0.1:3000"}]}},
                "routes": [{"name": "all", "pool": "app"}],
            },
        )

    def test_spelling(self) -> None:
        found = effective(loads(MINIMAL))
        self.assertEqual(found["server"]["drain_timeout"], "30s")
        self.assertEqual(found["listeners"]["http"]["max_head"], "32KiB")
        self.assertIsNone(found["admin"])
        json.dumps(found)

    def test_secrets(self) -> None:
        found = effective(loads(CONTRACT, available=False))
        text = json.dumps(found) + toml(found)
        for secret in ("TXRPROXY_TOKEN", "users.htpasswd", "example.key"):
            self.assertNotIn(secret, text)
        self.assertEqual(found["admin"]["token"], f"env:{MASK}")

    def test_fields_that_are_likely_secrets(self) -> None:
        policy = (
            '[policies.p.request_headers]\nset = { X-Api-Key = "s3cret", authorization = "s3cret"'
            ', x-env = "prod" }\n[[tests]]\nrequest = { url = "http://a/", '
            'headers = { Cookie = "s3cret" } }\nexpect = {}\n'
        )
        found = effective(loads(MINIMAL + policy))
        self.assertNotIn("s3cret", json.dumps(found))
        self.assertEqual(found["policies"]["p"]["request_headers"]["set"]["x-env"], "prod")

    def test_match_conditions_are_no_secrets_by_default(self) -> None:
        """But a field that lets somebody in by its value is one."""
        match = 'match = { header = { x-beta = "1", x-token = "s3cret" } }'
        found = effective(loads(MINIMAL.replace('pool = "app"', f'pool = "app"\n{match}')))
        header = found["routes"][0]["match"]["header"]
        self.assertEqual((header["x-beta"], header["x-token"]), (["1"], MASK))

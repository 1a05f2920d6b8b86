"""Each feature that is not available yet is refused where it is used, and nowhere else."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL, problems
from txrproxy.config.available import NOT_YET

BACKENDS = 'backends = ["http://a"]\n'
POOL = f"[pools.b]\n{BACKENDS}"
ROUTE = '[[routes]]\nname = "b"\npool = "app"\n'

# For each row of the table: a use of it, and the place that is named.
USES = {
    "admin": ("[admin]", "admin"),
}

PASSES = """
[server]
workers = {workers}
[listeners.b]
bind = ["127.0.0.1:1"]
redirect_https = 8443
protocols = ["http/1.1"]
[pools.b]
backends = [{{ url = "http://a", weight = 5, priority = 0 }}]
balance = "round_robin"
slow_start = "0s"
hash_key = "uri"
tls = {{ verify = true, ca = "system", server_name = "auto", cert = "", key = "" }}
[policies.p]
allow = []
deny = []
security_headers = "off"
body_limit = "1GiB"
hide = []
request_headers = {{ set = {{ x = "1" }} }}
[[routes]]
name = "b"
pool = "b"
use = ["p"]
match = {{ client = "10.0.0.0/8" }}
"""


class NotYet(SynchronousTestCase):
    def test_every_row_has_a_use(self) -> None:
        self.assertEqual({row.key for row in NOT_YET}, set(USES))

    def test_refused(self) -> None:
        for row in NOT_YET:
            text, place = USES[row.key]
            what = f"{row.what} is " if row.what else ""
            self.assertIn(
                f" {place}: {what}not available yet in this version",
                [line[line.index(" ") :] for line in problems(MINIMAL + text)],
            )
            self.assertEqual(problems(MINIMAL + text, available=False), [])

    def test_defaults_and_available_features_pass(self) -> None:
        for workers in ('"auto"', 0, 1, 2):
            self.assertEqual(problems(MINIMAL + PASSES.format(workers=workers)), [])

"""Each feature that is not available yet is refused where it is used, and nowhere else."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL, problems
from txrproxy.config import available
from txrproxy.config.available import Later

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
    def test_refused(self) -> None:
        self.patch(available, "NOT_YET", (Later("admin"), Later("server.workers", "2", bool)))
        found = problems(MINIMAL + "[admin]\n[server]\nworkers = 2")
        self.assertEqual(
            [line[line.index(" ") :] for line in found],
            [
                " admin: not available yet in this version",
                " server.workers: 2 is not available yet in this version",
            ],
        )
        self.assertEqual(problems(MINIMAL + "[admin]", available=False), [])

    def test_defaults_and_available_features_pass(self) -> None:
        for workers in ('"auto"', 0, 1, 2):
            self.assertEqual(problems(MINIMAL + PASSES.format(workers=workers)), [])

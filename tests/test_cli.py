from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import txrproxy
from tests.config.samples import MINIMAL
from tests.tls.authority import authority
from txrproxy import __version__
from txrproxy.cli import main

WHOLE = """\
version = 1
[server]
trusted_proxies = ["10.0.0.0/8"]
[listeners.web]
bind = ["0.0.0.0:80", "[::]:80"]
redirect_https = true
[listeners.internal]
bind = ["unix:web.sock"]
redirect_https = 8443
proxy_protocol = "any"
[pools.app]
backends = [
  "http://10.0.0.1:3000",
  { url = "http://10.0.0.2", weight = 3, max_connections = 9 },
]
[pools.next]
backends = ["unix:/run/next.sock"]
[policies.public]
[[routes]]
name = "api"
pool = "app"
use = ["public"]
[routes.match]
host = ["a.example", "*.a.example"]
path = "/api/*"
path_regex = "/api/[a-z]+"
method = ["GET", "HEAD"]
client = "10.0.0.0/8"
header = { x-beta = ["1", "2"] }
query = { v = "1" }
[[routes]]
name = "canary"
match = { path = "/c/*" }
split = { app = 2, next = 1 }
[[routes]]
name = "moved"
match = { path = "/old/*" }
redirect = { to = "/new/{path}" }
[[routes]]
name = "down"
match = { path = "/down" }
respond = { status = 503 }
[[routes]]
name = "docs"
match = { path = "/docs/*" }
resource = "pkg.mod:site"
[[routes]]
name = "rest"
pool = "app"
"""

SUMMARY = """\
listeners
  web       0.0.0.0:80, [::]:80  redirects to https
  internal  unix:web.sock        redirects to https on port 8443, PROXY protocol any

pools
  app   round_robin  http://10.0.0.1:3000
                     http://10.0.0.2:80    weight 3, at most 9 connections
  next  round_robin  unix:/run/next.sock

routes, the first that matches wins
  1  api     host a.example | *.a.example and path /api/* and path ~ /api/[a-z]+ and method GET | \
HEAD and client 10.0.0.0/8 and header x-beta 1 | 2 and query v 1  ->  pool app  use public
"""


class CommandLine(SynchronousTestCase):
    def setUp(self) -> None:
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def check(self, text: str) -> int:
        self.file = Path(self.mktemp())
        self.file.write_text(text)
        return main(["check", str(self.file)])

    def test_good(self) -> None:
        self.assertEqual(self.check(MINIMAL), 0)
        self.assertEqual(
            self.out.getvalue(),
            "listeners\n  http  127.0.0.1:8080\n\n"
            "pools\n  app  round_robin  http://127.0.0.1:3000\n\n"
            "routes, the first that matches wins\n  1  all  everything  ->  pool app\n",
        )
        self.assertEqual(self.err.getvalue(), "")

    def test_summary(self) -> None:
        self.assertEqual(self.check(WHOLE), 0)
        lines = [" ".join(line.split()) for line in self.out.getvalue().split("\n")]
        for line in SUMMARY.split("\n"):
            self.assertIn(" ".join(line.split()), lines)
        for line in (
            "2 canary path /c/* -> split app 66.7%, next 33.3%",
            "3 moved path /old/* -> redirect 308 /new/{path}",
            "4 down path /down -> respond 503",
            "5 docs path /docs/* -> resource pkg.mod:site",
            "6 rest everything -> pool app",
        ):
            self.assertIn(line, lines)
        self.assertEqual(self.err.getvalue(), "")

    def test_columns_are_aligned(self) -> None:
        self.check(WHOLE)
        arrows = {line.index("  ->  ") for line in self.out.getvalue().split("\n") if "->" in line}
        self.assertEqual(len(arrows), 1)

    def test_warnings(self) -> None:
        self.assertEqual(self.check(MINIMAL + "[policies.p]\n"), 0)
        self.assertEqual(
            self.err.getvalue(), f"warning: {self.file}:9: policies.p: no route uses this policy\n"
        )

    def test_warnings_beside_problems(self) -> None:
        self.assertEqual(self.check(MINIMAL + "[policies.p]\n[server]\nx = 1"), 1)
        self.assertIn("policies.p: no route uses this policy\n\n1 problem.\n", self.err.getvalue())
        self.out.truncate(0)
        self.assertEqual(main(["check", "--json", str(self.file)]), 1)
        (warning,) = json.loads(self.out.getvalue().lstrip("\0"))["warnings"]
        self.assertEqual(warning["key"], "policies.p")

    def test_file_as_with_other_commands(self) -> None:
        self.check(MINIMAL)
        for option in ("-c", "--config"):
            self.assertEqual(main(["check", option, str(self.file)]), 0)
        for wrong in ([], ["a.toml", "-c", "b.toml"]):
            self.assertEqual(self.assertRaises(SystemExit, main, ["check", *wrong]).code, 2)

    def test_caches_and_names(self) -> None:
        text = 'use = ["p"]\ncache = { store = "c" }\n[policies.p]\n[caches.c]\npath = "c"\n'
        self.assertEqual(self.check(MINIMAL + text), 0)
        self.assertIn("->  pool app  use p; cache c\n", self.out.getvalue())
        issued = authority().issue("www.a.example", "b.example", now=time.time())
        issued.write(folder := self.file.absolute().parent, "c")
        pair = f'{{ cert = "{folder}/c.pem", key = "file:{folder}/c.key" }}'
        tls = f"tls = {{ certificates = [{pair}] }}\n[pools.app]"
        self.assertEqual(self.check(MINIMAL.replace("[pools.app]", tls)), 0, self.err.getvalue())
        self.assertIn("TLS intermediate for www.a.example, b.example\n", self.out.getvalue())

    def test_one_problem(self) -> None:
        self.assertEqual(self.check(MINIMAL + "x = 1"), 1)
        self.assertEqual(self.out.getvalue(), "")
        self.assertEqual(self.err.getvalue().split("\n")[1:], ["", "1 problem.", ""])

    def test_problems(self) -> None:
        self.assertEqual(self.check("x = 1"), 1)
        self.assertTrue(self.err.getvalue().endswith("\n\n4 problems.\n"), self.err.getvalue())

    def test_tls(self) -> None:
        listener = MINIMAL.replace(
            "[pools.app]",
            '[listeners.http.tls]\nself_signed = true\nclient_auth = "optional"\n'
            'client_ca = "ca.pem"\n[pools.app]',
        ).replace(
            'name = "all"',
            'name = "all"\n'
            'match = { client_cert = { subject = "CN=a", san = ["DNS:a", "IP:::1"] } }',
        )
        ca = Path(self.mktemp()).parent / "ca.pem"
        ca.parent.mkdir(parents=True, exist_ok=True)
        ca.write_bytes(authority().pem)
        self.file = ca.parent / "edge.toml"
        self.file.write_text(listener)
        self.assertEqual(main(["check", str(self.file)]), 0, self.err.getvalue())
        notes = "TLS intermediate, self-signed, client certificates optional"
        self.assertIn(notes, self.out.getvalue())
        self.assertIn(
            "client_cert subject CN=a and client_cert san DNS:a | IP:::1", self.out.getvalue()
        )

    def test_version(self) -> None:
        self.assertEqual(main(["version"]), 0)
        with self.assertRaises(SystemExit) as caught:
            main(["--version"])
        self.assertEqual(caught.exception.code, 0)
        self.assertEqual(self.out.getvalue(), f"txrproxy {__version__}\n" * 2)

    def test_help(self) -> None:
        for arguments in (["--help"], ["check", "--help"]):
            with self.assertRaises(SystemExit) as caught:
                main(arguments)
            self.assertEqual(caught.exception.code, 0)
        self.assertIn("twistd -n txrproxy --config", self.out.getvalue())

    def test_no_command(self) -> None:
        with self.assertRaises(SystemExit) as caught:
            main([])
        self.assertEqual(caught.exception.code, 2)

    def test_version_for_programs(self) -> None:
        self.assertEqual(main(["version", "--json"]), 0)
        self.assertEqual(json.loads(self.out.getvalue()), {"version": __version__})

    def test_check_for_programs(self) -> None:
        self.file = Path(self.mktemp())
        self.file.write_text(MINIMAL + "[policies.p]\n")
        self.assertEqual(main(["check", str(self.file), "--json"]), 0)
        found = json.loads(self.out.getvalue())
        self.assertEqual((found["ok"], found["problems"], found["tests"]), (True, [], 0))
        self.assertEqual(
            (found["warnings"][0]["key"], found["warnings"][0]["line"]), ("policies.p", 9)
        )
        self.out.truncate(0)
        self.out.seek(0)
        self.file.write_text(MINIMAL + "x = 1")
        self.assertEqual(main(["check", str(self.file), "--json"]), 1)
        found = json.loads(self.out.getvalue())
        self.assertEqual((found["ok"], [one["line"] for one in found["problems"]]), (False, [9]))
        self.assertEqual(self.err.getvalue(), "")

    def test_tests_of_the_file(self) -> None:
        test = '[[tests]]\nrequest = { url = "http://a/" }\nexpect = '
        self.assertEqual(self.check(f'{MINIMAL}{test}{{ route = "all" }}\n'), 0)
        self.assertTrue(self.out.getvalue().endswith("\n\ntests\n  1 passed\n"))
        self.assertEqual(self.check(f"{MINIMAL}{test}{{ status = 404 }}\n"), 1)
        self.assertEqual(
            self.err.getvalue(),
            f"{self.file}:11: tests[0].expect.status: GET http://a/: it is sent to pool "
            '"app", expected 404\n\n1 problem.\n',
        )

    def test_nobody_reads_on(self) -> None:
        """As with `| head`: no traceback."""
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as closed:
            found = subprocess.run(
                [sys.executable, "-m", "txrproxy.cli", "version"],
                stdout=closed,
                stderr=subprocess.PIPE,
                check=False,
                env={**os.environ, "PYTHONPATH": str(Path(txrproxy.__file__).parents[1])},
            )
        self.assertEqual((found.returncode, found.stderr), (1, b""))

    def test_starts_quickly(self) -> None:
        """What a command does not need is not imported; the version needs nothing."""
        code = (
            "import sys; from txrproxy.cli import main; main(['version']);"
            "print([n for n in sys.modules if n.split('.')[0] in ('twisted', 'attr', 'cattrs')])"
        )
        found = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(Path(txrproxy.__file__).parents[1])},
        )
        self.assertEqual(found.stdout.splitlines()[1], "[]")

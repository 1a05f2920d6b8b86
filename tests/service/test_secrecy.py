"""What is secret is never written where others read: not by the commands, nor by the admin server,
nor in logs, whether all is well or the secrets are no good."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys

from tests.service.processes import ProcessCase
from tests.tls.pki import leaf
from tests.twistd import PATIENCE, environment, run

SENTINEL = "s3ntinel"  # czNudGluZWw in base64
HASH = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
TOKEN = f"{SENTINEL}-token-of-thirty-two-characters"
SECRETS = """
[admin]
listen = "127.0.0.1:0"
token = "env:TXRPROXY_TEST_TOKEN"
[listeners.own]
bind = ["127.0.0.1:0"]
tls = { certificates = [{ cert = "own.pem", key = "file:own.key" }] }
[pools.secret]
backends = ["https://127.0.0.1:1"]
sticky = { cookie = "c", secret = "file:sticky" }
tls = { cert = "own.pem", key = "env:TXRPROXY_TEST_KEY" }
[policies.secret]
basic_auth = { users = "file:users" }
request_headers = { set = { authorization = "Bearer s3ntinel-field" } }
[policies.by_variable]
basic_auth = { users = "env:TXRPROXY_TEST_USERS" }
[[routes]]
name = "by_field"
match = { path = "/secret*", header = { x-token = "s3ntinel-of-a-match" } }
pool = "secret"
[[routes]]
name = "secret"
match = { path = "/secret*" }
pool = "secret"
use = ["secret", "by_variable"]
"""


class SecrecyTests(ProcessCase):
    workers = 1

    def setUp(self) -> None:
        super().setUp()
        identity = leaf("localhost", "127.0.0.1")
        self.key = identity.key_pem.decode()
        self.write(SECRETS)
        logs = 'format = "json", redact = ["token"] }\nerror = { level = "debug" }'
        text = self.config.read_text().replace('format = "json" }', logs)
        self.config.write_text(text)
        self.put("own.pem", identity.chain.decode())
        self.put("own.key", self.key)
        self.put("sticky", f"{SENTINEL}-sticky-of-thirty-two-characters")
        self.put("users", f"alice:{HASH}\n")
        self.environment = environment(
            TXRPROXY_TEST_TOKEN=TOKEN, TXRPROXY_TEST_KEY=self.key, TXRPROXY_TEST_USERS=f"bob:{HASH}"
        )

    def put(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    def assert_silent(self, where: str, text: str) -> None:
        self.assertTrue(text, where)
        lines = [line for line in self.key.splitlines() if "PRIVATE" not in line]
        for secret in (SENTINEL, HASH, "czNudGluZWw", *lines):
            self.assertNotIn(secret, text, where)

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "txrproxy.cli", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env=self.environment,
        )
        text = done.stdout + done.stderr
        self.assert_silent(" ".join(words), text)
        return text

    def get(self, port: int, path: str, fields: dict[str, str]) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            link.request("GET", path, headers=fields)
            response = link.getresponse()
            return response.status, response.read().decode()
        finally:
            link.close()

    def test_commands(self) -> None:
        for json in ((), ("--json",)):
            self.assertIn("own.pem", self.command("check", "edge.toml", *json))
            self.assertIn("***", self.command("config", "--effective", "edge.toml", *json))
            url = "http://localhost/secret"
            self.command("explain", "GET", url, "-c", "edge.toml", "--all", *json)

    def test_running(self) -> None:
        proxy = self.start(env=self.environment)
        admin = int(proxy.wait_for(r"admin server on 127\.0\.0\.1:(\d+)")[1])
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        for path in ("api/v1/config", "api/v1/status", "api/v1/pools", "metrics"):
            status, text = self.get(admin, f"/{path}", bearer)
            self.assertEqual(status, 200)
            self.assert_silent(path, text)
        status, text = self.get(admin, "/api/v1/config", {"Authorization": f"Bearer {SENTINEL}"})
        self.assertEqual(status, 401)
        self.assert_silent("401", text)
        credentials = {
            "Authorization": "Basic YWxpY2U6czNudGluZWw=",  # alice:s3ntinel
            "Cookie": f"session={SENTINEL}",
        }
        status, text = self.get(self.port, f"/secret?token={SENTINEL}", credentials)
        self.assertEqual(status, 401)
        self.assert_silent("the page", text)
        proxy.end()
        self.assert_silent("the access log", (self.folder / "access.log").read_text())
        self.assert_silent("the error log", "\n".join(proxy.lines))

    def test_no_good(self) -> None:
        """What can not be used is described, and not repeated."""
        for name in ("own.key", "users", "own.pem"):
            before = (self.folder / name).read_text()
            self.put(name, f"{SENTINEL}:{SENTINEL}\n" * 2)
            self.assertIn(name, self.command("check", "edge.toml"))
            arguments = ("-n", "--pidfile=", "txrproxy", "--config", "edge.toml")
            done = run(*arguments, cwd=self.folder, env=self.environment)
            self.assertEqual(done.returncode, 1)
            self.assert_silent(name, done.stdout + done.stderr)
            self.put(name, before)

    def test_state(self) -> None:
        """Nobody but the owner reads what the proxy keeps, whatever the umask."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.start(env=self.environment)
        os.umask(before)
        state = self.folder / "state"
        found = {path.name: path.stat().st_mode & 0o777 for path in state.rglob("*")}
        self.assertEqual(state.stat().st_mode & 0o077, 0)
        self.assertGreaterEqual(len(found), 4, found)
        self.assertEqual({name: mode for name, mode in found.items() if mode != 0o600}, {})

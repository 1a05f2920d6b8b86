"""The admin server of a proxy of several processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.service.load import REQUEST, UPGRADE
from tests.service.processes import ProcessCase
from tests.twistd import PATIENCE, Twistd, ask, connect, environment, get, read_all, run, wait_until
from txrproxy.config.toml import loads
from txrproxy.service.adminserver import AdminServer
from txrproxy.service.sockets import CannotListen
from txrproxy.transport.channel import Refused

try:
    import schemathesis
except ImportError:  # an extra
    schemathesis = None  # type: ignore[assignment]

ADMIN = '[admin]\nlisten = "127.0.0.1:0"\n'
JSON = {"Content-Type": "application/json"}


class AdminCase(ProcessCase):
    """With an admin server on ``self.admin``."""

    more = ADMIN

    def setUp(self) -> None:
        super().setUp()
        self.write(more=self.more)

    def start(self, *options: str, **keywords: Any) -> Twistd:
        super().start(*options, **keywords)
        self.admin = int(self.proxy.wait_for(r"admin server on 127\.0\.0\.1:(\d+)")[1])
        return self.proxy

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        try:
            data = None if body is None else json.dumps(body)
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            link.request(method, path, data, {**fields, **(JSON if body is not None else {})})
            response = link.getresponse()
            return response.status, response.read()
        finally:
            link.close()

    def get(self, path: str, **headers: str) -> Any:
        status, body = self.request("GET", path, **headers)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def metrics(self) -> dict[Any, float]:
        status, body = self.request("GET", "/metrics")
        self.assertEqual(status, 200, body)
        return {
            (sample.name.removeprefix("txrproxy_"), *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }


class Metrics(AdminCase):
    def requests(self) -> float:
        return self.metrics().get(("requests_total", "2xx", "GET", "app"), 0)

    def carry(self, number: int) -> None:
        for _ in range(number):
            self.assertTrue(get(self.port).startswith(b"HTTP/1.1 200"))

    def test_of_two_workers(self) -> None:
        self.start()
        self.carry(20)
        found = self.metrics()
        self.assertEqual(found["requests_total", "2xx", "GET", "app"], 20)
        self.assertEqual(found["request_reasons_total", "app", "ok"], 20)
        self.assertEqual(found["request_duration_seconds_count", "app"], 20)
        self.assertEqual(found["backend_response_seconds_count", "app"], 20)
        self.assertEqual(found["connections_accepted_total",], 20)
        self.assertGreater(found["cpu_seconds_total",], 0)
        self.assertEqual(found["workers",], 2)
        self.assertEqual(found["ready",], 1)
        backend = f"127.0.0.1:{self.origin.port}"
        self.assertEqual(found["backend_requests_total", backend, "2xx", "app"], 20)
        self.assertEqual(found["backend_available", backend, "app"], 1)
        for worker in ("1", "2"):
            self.assertGreater(found["worker_resident_bytes", worker], 2**20)

    def test_a_worker_is_killed(self) -> None:
        """What it had told stays: counts never go back."""
        self.start()
        self.carry(10)
        self.assertEqual(self.requests(), 10)
        victims = self.pids()
        os.kill(victims[0], signal.SIGKILL)
        self.proxy.wait_for(r"worker \d \(pid \d+\) was killed by SIGKILL")
        self.proxy.wait_for(r"worker \d \(pid \d+\) serves")
        self.assertEqual(self.requests(), 10)
        self.carry(10)
        found = self.metrics()
        self.assertEqual(found["requests_total", "2xx", "GET", "app"], 20)
        self.assertEqual(found["worker_restarts_total",], 1)

    def test_a_worker_leaves(self) -> None:
        """What it counted until its end is told at its end."""
        self.start()
        self.carry(10)
        self.write(more=self.more, workers=1)
        self.reload()
        self.carry(5)
        wait_until(lambda: self.requests() == 15)
        self.assertEqual(self.metrics()["workers",], 1)

    def test_without_an_access_log(self) -> None:
        text = self.config.read_text().replace('format = "json"', 'format = "off"')
        self.config.write_text(text)
        self.start()
        self.carry(3)
        self.assertEqual(self.requests(), 3)

    def test_reloads(self) -> None:
        self.start()
        self.reload()
        self.write(more=self.more, pool="nobody")
        status, body = self.request("POST", "/api/v1/reload")
        self.assertEqual(status, 409)
        self.assertIn("nobody", json.loads(body)["error"])
        found = self.metrics()
        self.assertEqual(found["reloads_total", "ok"], 1)
        self.assertEqual(found["reloads_total", "refused"], 1)
        self.assertEqual(found["last_reload_successful",], 0)
        self.assertGreater(found["last_reload_timestamp_seconds",], 1.7e9)

    def test_switched_off(self) -> None:
        self.write(more=f"{ADMIN}metrics = false\n")
        self.start()
        self.carry(1)
        self.assertEqual(self.request("GET", "/metrics")[0], 404)


class InOneProcess(AdminCase):
    workers = 0

    def test_answers(self) -> None:
        self.start()
        get(self.port)
        self.assertEqual(self.metrics()["requests_total", "2xx", "GET", "app"], 1)
        self.assertEqual(self.get("/api/v1/status")["workers"][0]["pid"], self.proxy.process.pid)
        self.assertEqual(len(self.get("/api/v1/pools")["pools"][0]["backends"]), 1)


class Control(AdminCase):
    def test_backends(self) -> None:
        self.start()
        (pool,) = self.get("/api/v1/pools")["pools"]
        (backend,) = pool["backends"]
        self.assertEqual((backend["state"], backend["available"]), ("up", True))
        path = f"/api/v1/pools/app/backends/{backend['id']}"
        status, body = self.request("PUT", path, {"state": "down"})
        self.assertEqual((status, json.loads(body)["state"]), (200, "down"))
        for _ in range(6):  # by every worker
            self.assertTrue(get(self.port).startswith(b"HTTP/1.1 503"))
        status, body = self.request("PUT", path, {"state": "up", "weight": 5})
        self.assertEqual(json.loads(body)["weight"], 5)
        for _ in range(6):
            self.assertTrue(get(self.port).startswith(b"HTTP/1.1 200"))
        status, body = self.request("PUT", "/api/v1/pools/x/backends/y", {"weight": 1})
        self.assertEqual((status, json.loads(body)["allowed"]), (404, ["app"]))

    def test_config_and_routes(self) -> None:
        self.start()
        self.assertEqual(self.get("/api/v1/config")["server"]["workers"], 2)
        self.assertEqual(self.get("/api/v1/routes")["routes"][0]["name"], "app")

    def test_log_level(self) -> None:
        self.start()
        self.assertEqual(self.get("/api/v1/log/level"), {"level": "info"})
        self.assertEqual(self.request("PUT", "/api/v1/log/level", {"level": "error"})[0], 200)
        self.assertEqual(self.request("PUT", "/api/v1/log/level", {"level": "info"})[0], 200)

    def test_reload_moves_it(self) -> None:
        self.start()
        path = self.folder / "admin.sock"
        self.write(more='[admin]\nlisten = "unix:admin.sock"\n')
        self.reload()
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(PATIENCE)
            link.connect(str(path))
            ask(link, "/healthz", close=True)
            self.assertIn(b'"ok"', read_all(link))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertRaises(ConnectionRefusedError, connect, self.admin)
        self.write()
        self.reload()
        self.assertFalse(path.exists())

    def test_reload_to_an_address_that_is_taken(self) -> None:
        self.start()
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            self.write(more=f'[admin]\nlisten = "127.0.0.1:{port}"\n')
            status, body = self.request("POST", "/api/v1/reload")
        self.assertEqual(status, 409)
        self.assertIn(f"cannot listen on 127.0.0.1:{port}", json.loads(body)["error"])
        self.assertTrue(self.get("/readyz")["ready"])

    def test_upgrade(self) -> None:
        """The socket goes from hand to hand."""
        self.start()
        before = self.get("/api/v1/status")["pid"]
        answer = self.ask("upgrade")
        self.addCleanup(self.end_of, answer["pid"])
        after = self.get("/api/v1/status")["pid"]
        self.assertNotEqual(before, after)
        self.assertEqual(after, answer["pid"])

    def end_of(self, pid: int) -> None:
        from tests.twistd import end

        end(pid)


class Draining(AdminCase):
    def test_not_ready_while_it_drains(self) -> None:
        self.start()
        with connect(self.port) as link:
            link.sendall(REQUEST % UPGRADE)
            while b"\r\n\r\n" not in link.recv(65536, socket.MSG_PEEK):
                pass
            self.assertTrue(self.get("/readyz")["ready"])
            self.proxy.signal(signal.SIGTERM)
            wait_until(lambda: self.request("GET", "/readyz")[0] == 503)
            status, body = self.request("GET", "/readyz")
            self.assertEqual(json.loads(body), {"ready": False, "why": "draining"})
            self.assertEqual(self.request("GET", "/healthz")[0], 200)
            self.assertEqual(self.request("GET", "/metrics")[0], 200)
        self.assertEqual(self.proxy.end(), -signal.SIGTERM)
        self.assertRaises(ConnectionRefusedError, connect, self.admin)


class Strangers(AdminCase):
    more = f'{ADMIN}token = "file:token"\nhosts = ["admin.example"]\n'

    def setUp(self) -> None:
        super().setUp()
        (self.folder / "token").write_text("s3cret\n")

    def test_all_of_them(self) -> None:
        self.start()
        right = {"Authorization": "Bearer s3cret"}
        for path in ("/metrics", "/api/v1/status"):
            for headers, status in (
                ({}, 401),
                ({"Authorization": "Bearer wrong"}, 401),
                (right, 200),
                ({**right, "Host": "admin.example"}, 200),
                ({**right, "Host": "evil.example"}, 403),
                ({**right, "Origin": "http://evil.example"}, 403),
                ({"Host": "evil.example"}, 403),
            ):
                self.assertEqual(self.request("GET", path, **headers)[0], status, headers)
        self.assertTrue(self.get("/readyz")["ready"])

    def test_another_token(self) -> None:
        """A reload reads it again."""
        self.start()
        (self.folder / "token").write_text("0ther\n")
        self.reload()
        old, new = {"Authorization": "Bearer s3cret"}, {"Authorization": "Bearer 0ther"}
        self.assertEqual(self.request("GET", "/metrics", **old)[0], 401)
        self.assertEqual(self.request("GET", "/metrics", **new)[0], 200)

    def test_an_empty_token(self) -> None:
        (self.folder / "token").write_text("\n")
        found = run(
            *("-n", "--pidfile=", "txrproxy", "--config", str(self.config)), cwd=self.folder
        )
        self.assertEqual(found.returncode, 1)
        self.assertIn(f"admin.token: {self.folder}/token: is empty", found.stderr)

    def test_public_without_a_token(self) -> None:
        self.write(more='[admin]\nlisten = "0.0.0.0:0"\n')
        found = run(
            *("-n", "--pidfile=", "txrproxy", "--config", str(self.config)), cwd=self.folder
        )
        self.assertEqual(found.returncode, 1)
        self.assertIn("expected token", found.stderr)


class Documented(AdminCase):
    """What the OpenAPI document allows is taken, and the rest refused as it says."""

    if schemathesis is None:
        skip = "schemathesis is not installed"

    def test_all_operations(self) -> None:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis.errors import Unsatisfiable

        self.write(more=f'{ADMIN}[caches.main]\npath = "cache"\n')
        self.start(env=environment())
        url = f"http://127.0.0.1:{self.admin}/api/v1/openapi.json"
        document = schemathesis.openapi.from_url(url)
        modes = schemathesis.GenerationMode
        rules = settings(
            max_examples=5,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        asked = set()
        for found in document.get_all_operations():
            operation = found.ok()
            for mode in (modes.POSITIVE, modes.NEGATIVE):

                @rules
                @given(case=operation.as_strategy(generation_mode=mode))
                def hold(case: Any) -> None:
                    try:
                        case.call_and_validate(timeout=PATIENCE)
                    except BaseExceptionGroup as failures:
                        self.fail(f"{case.operation.label}: {str(failures)[:4000]}")
                    asked.add(case.operation.label)

                try:
                    hold()
                except Unsatisfiable:
                    pass  # nothing that could be wrong
        self.assertIn("PUT /api/v1/log/level", asked)
        self.assertGreater(len(asked), 15)


class DocumentedRefusals(AdminCase):
    """Who may not ask is told so as documented, whatever operation it is, and nothing is done."""

    more = f'{ADMIN}token = "file:token"\n'

    if schemathesis is None:
        skip = "schemathesis is not installed"

    def test_all_operations(self) -> None:
        from hypothesis import HealthCheck, Phase, given, settings
        from schemathesis.specs.openapi.checks import (
            content_type_conformance,
            response_schema_conformance,
            status_code_conformance,
        )

        shapes = [
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]
        (self.folder / "token").write_text("s3cret\n")
        self.start(env=environment())
        right = {"Authorization": "Bearer s3cret"}
        url = f"http://127.0.0.1:{self.admin}/api/v1/openapi.json"
        document = schemathesis.openapi.from_url(url, headers=right)
        rules = settings(
            max_examples=1,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        cases: list[Any] = []
        for found in document.get_all_operations():

            @rules
            @given(case=found.ok().as_strategy())
            def collect(case: Any) -> None:
                cases.append(case)

            collect()
        self.assertGreater(len(cases), 15)
        for case in cases:
            label = case.operation.label
            for headers, status in (
                ({}, 401),
                ({"Authorization": "Bearer wrong"}, 401),
                ({"Authorization": "Basic czNjcmV0"}, 401),
                ({**right, "Origin": "http://evil.example"}, 403),
                ({**right, "Sec-Fetch-Site": "cross-site"}, 403),
                ({**right, "Host": "evil.example"}, 403),
            ):
                if status == 401 and case.operation.definition.raw["security"] == []:
                    continue
                response = case.call(headers=headers, timeout=PATIENCE)
                self.assertEqual(response.status_code, status, (label, headers))
                case.validate_response(response, checks=shapes)
        self.assertEqual(self.ask("status")["reloads"], 0)


class FakeProxy:
    """What a server needs to know before it answers."""

    running = False
    config: Any = None
    master: Any = None
    error_log = None


class Preparing(SynchronousTestCase):
    """Two steps, of which only the first may fail."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        proxy: Any = FakeProxy()
        self.server = AdminServer(proxy, None)

    def config(self, admin: str) -> Any:
        return loads(MINIMAL + admin, str(self.folder / "edge.toml"))

    def test_none(self) -> None:
        passed = socket.socket()
        self.assertIsNone(self.server.prepare(self.config(""), passed))
        self.assertEqual(passed.fileno(), -1)
        self.server.commit(None)
        self.assertFalse(self.server.exists)
        self.assertEqual(self.server.where, "")
        self.server.reloaded(True)
        self.server.close()

    def test_discarded(self) -> None:
        prepared = self.server.prepare(self.config(ADMIN))
        assert prepared is not None
        self.server.discard(prepared)
        self.assertEqual(prepared.sock.fileno(), -1)
        self.server.discard(None)

    def test_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            text = f'[admin]\nlisten = "127.0.0.1:{other.getsockname()[1]}"\n'
            self.assertRaises(CannotListen, self.server.prepare, self.config(text))

    def test_a_token_that_is_not_there(self) -> None:
        for secret in ("file:nothing", "env:TXRPROXY_TEST_NOTHING"):
            text = f'{ADMIN}token = "{secret}"\n'
            error = self.assertRaises(Refused, self.server.prepare, self.config(text))
            self.assertIn("admin.token", str(error))

    def test_where_it_listens_names_itself(self) -> None:
        prepared = self.server.prepare(self.config(ADMIN))
        assert prepared is not None
        self.addCleanup(self.server.discard, prepared)
        self.assertEqual(set(prepared.guard.hosts), {"127.0.0.1"})

"""The admin server, told as requests and responses."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.fake import BACKEND, FakeSteward
from txrproxy.admin import site
from txrproxy.admin.guard import Guard
from txrproxy.admin.operations import OPERATIONS
from txrproxy.admin.site import MAX_BODY, AdminSite
from txrproxy.transport.channel import Refused

API = "/api/v1"


class Answer:
    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.fields = {}
        for line in lines:
            name, _, value = line.partition(": ")
            self.fields[name.lower()] = value

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Case(SynchronousTestCase):
    guard = Guard()

    def setUp(self) -> None:
        self.steward = FakeSteward()
        self.site = AdminSite(self.steward, self.guard, Clock())

    def connect(self) -> tuple[Any, StringTransport]:
        channel = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def ask(
        self, method: str, path: str, body: Any = None, host: str = "localhost", **fields: str
    ) -> Answer:
        channel, transport = self.connect()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        data = b"" if body is None else data
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        if body is not None:
            fields.setdefault("Content_Type", "application/json")
            lines.append(f"Content-Length: {len(data)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        channel.dataReceived("\r\n".join([*lines, "", ""]).encode() + data)
        return Answer(transport.value())


class Finding(Case):
    def test_healthz(self) -> None:
        answer = self.ask("GET", "/healthz")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok"}))
        self.assertEqual(answer.fields["content-type"], "application/json")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertEqual(answer.fields["server"], "txrproxy")

    def test_readyz(self) -> None:
        self.assertEqual(self.ask("GET", "/readyz").json, {"ready": True})
        self.steward.why = "draining"
        answer = self.ask("GET", "/readyz")
        self.assertEqual((answer.status, answer.json), (503, {"ready": False, "why": "draining"}))

    def test_metrics(self) -> None:
        answer = self.ask("GET", "/metrics", Accept="text/plain")
        self.assertEqual(answer.body, b"txrproxy_ready 1\n")
        self.assertEqual(answer.fields["content-type"], "text/plain; version=0.0.4")
        self.assertEqual(self.steward.asked, [("metrics", "text/plain")])

    def test_head(self) -> None:
        answer = self.ask("HEAD", "/healthz")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.fields["content-length"], "20")

    def test_nothing_there(self) -> None:
        for path in ("/", "/nothing", "/healthz/", "//healthz", "/healthz/x", "/%ff", "/api/v1"):
            answer = self.ask("GET", path)
            self.assertEqual(answer.status, 404, path)
            if path != "/%ff":
                self.assertIn("/healthz", answer.json["allowed"])

    def test_wrong_method(self) -> None:
        answer = self.ask("DELETE", f"{API}/log/level")
        self.assertEqual((answer.status, answer.json["allowed"]), (405, ["GET", "PUT"]))
        self.assertEqual(answer.fields["allow"], "GET, PUT")

    def test_names_in_paths(self) -> None:
        self.assertEqual(self.ask("GET", f"{API}/pools/app").json["name"], "app")
        self.assertEqual(self.ask("GET", f"{API}/pools/app/backends/10.0.0.1%3A80").json, BACKEND)
        answer = self.ask("GET", f"{API}/pools/x")
        self.assertEqual(answer.json, {"error": "no pool 'x'", "allowed": ["app"]})
        answer = self.ask("GET", f"{API}/pools/app/backends/a%2Fb")
        self.assertEqual(answer.json, {"error": "no backend 'a/b'", "allowed": ["10.0.0.1:80"]})
        self.assertEqual(self.ask("GET", f"{API}/cache/main").json["size"], 1)

    def test_the_rest(self) -> None:
        for path in ("openapi.json", "config", "routes", "pools", "cache"):
            self.assertEqual(self.ask("GET", f"{API}/{path}").status, 200, path)


class Bodies(Case):
    path = f"{API}/pools/app/backends/10.0.0.1:80"

    def test_set_backend(self) -> None:
        self.assertEqual(self.ask("PUT", self.path, {"state": "drain"}).json, BACKEND)
        self.ask("PUT", self.path, {"weight": 3.0})
        self.assertEqual(
            self.steward.asked,
            [("app", "10.0.0.1:80", "drain", None), ("app", "10.0.0.1:80", None, 3)],
        )

    def test_what_is_no_body(self) -> None:
        for body, said in (
            (b"", "the body is no JSON"),
            (b"{", "the body is no JSON"),
            (b"\xff", "the body is no JSON"),
            (b"NaN", "the body is no JSON"),
            (b"[" * 60000, "the body is no JSON"),
            (b"[]", "the body: expected an object"),
            (b"{}", "the body: expected at least one of state, weight"),
            (b'{"state": "x"}', "state: expected up, drain or down"),
            (b'{"weight": 99999}', "weight: expected a whole number from 0 to 65535"),
            (b'{"a": 1}', "the body: unknown key 'a'; allowed: state, weight"),
        ):
            answer = self.ask("PUT", self.path, body)
            self.assertEqual((answer.status, answer.json["error"]), (400, said))
        self.assertEqual(self.steward.asked, [])

    def test_none_is_wanted(self) -> None:
        answer = self.ask("POST", f"{API}/reload", {})
        self.assertEqual(
            (answer.status, answer.json["error"]), (400, "this operation takes no body")
        )

    def test_content_type(self) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = self.ask("PUT", self.path, {"weight": 1}, Content_Type=kind)
            self.assertEqual(answer.status, 415, kind)
        answer = self.ask(
            "PUT", self.path, {"weight": 1}, Content_Type="application/json; charset=x"
        )
        self.assertEqual(answer.status, 200)

    def test_too_large(self) -> None:
        answer = self.ask("PUT", self.path, b" " * (MAX_BODY + 1))
        self.assertEqual(answer.status, 413)
        self.assertIn("65536", answer.json["error"])

    def test_far_too_large(self) -> None:
        """Nobody waits for the end of it."""
        for field in (b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"):
            channel, transport = self.connect()
            channel.dataReceived(
                b"PUT %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (self.path.encode(), field)
            )
            for _ in range(20):
                if transport.disconnecting:
                    break
                channel.dataReceived(b"10000\r\n" + b" " * 65536 + b"\r\n")
            self.assertTrue(transport.disconnecting)
            self.assertEqual(Answer(transport.value()).status, 413)
            self.assertEqual(transport.value().count(b"HTTP/1.1"), 1)

    def test_purges(self) -> None:
        path = f"{API}/cache/main/purge"
        self.ask("POST", path, {"url": "http://a/"})
        self.ask("POST", path, {"all": True, "soft": True, "preview": True})
        self.assertEqual(
            self.steward.asked,
            [("main", "url", "http://a/", False, False), ("main", "all", "", True, True)],
        )
        for body in ({"soft": True}, {"url": "a", "tag": "b"}):
            answer = self.ask("POST", path, body)
            self.assertEqual(
                (answer.status, answer.json["error"]),
                (400, "the body: expected exactly one of url, prefix, tag, all"),
            )
        for kind, words in (("url", "not a URL: "), ("prefix", "no URL begins so: ")):
            answer = self.ask("POST", path, {kind: "/b"})
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.json["error"].startswith(f"{kind}: {words}"))
        answer = self.ask("GET", f"{API}/cache/main/entries?prefix=b")
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.ask("POST", path, {"tag": "half a character: \ud800"}).status, 400)
        self.assertEqual(len(self.steward.asked), 2)

    def test_the_document_says_what_a_url_is(self) -> None:
        path = f"{API}/cache/main/purge"
        (operation,) = [one for one in OPERATIONS if one.name == "purge"]
        assert operation.body is not None
        beginnings = ["", "h", "HT", "http", "httpS", "http:", "https:/", "http://", "HTTPS://a"]
        others = ["s", "hs", "https//", "http:x", " http://", "h\n", "http\n", "https:/\n"]
        urls = ["http://a", "https://a/b?c#d", "HTTP://[::1]:80/"]
        for text in (*beginnings, *others, *urls, "http://?", "http:///", "http://#", "/b"):
            for kind, fits in (("url", text in (*urls, "HTTPS://a")), ("prefix", None)):
                status = self.ask("POST", path, {kind: text}).status
                pattern = operation.body["properties"][kind]["pattern"]
                self.assertEqual(status == 200, bool(re.search(pattern, text)), (kind, text))
                if fits is not None:
                    self.assertEqual(status, 200 if fits else 400, text)

    def test_log_level(self) -> None:
        self.assertEqual(self.ask("PUT", f"{API}/log/level", {"level": "warn"}).status, 200)


class Queries(Case):
    path = f"{API}/cache/main/entries"

    def test_good(self) -> None:
        self.ask("GET", self.path)
        self.ask("GET", f"{self.path}?prefix=http%3A%2F%2Fa&limit=5")
        self.assertEqual(self.steward.asked, [("main", "", 1000), ("main", "http://a", 5)])

    def test_bad(self) -> None:
        for query in ("x=1", "limit=0", "limit=1&limit=2", "prefix=%ff", "&".join(["a=1"] * 99)):
            self.assertEqual(self.ask("GET", f"{self.path}?{query}").status, 400, query)
        self.assertEqual(self.ask("GET", "/healthz?x=1").status, 400)


class Strangers(Case):
    guard = Guard(b"s3cret")
    everything = ("/metrics", f"{API}/pools", f"{API}/openapi.json", "/nothing")

    def test_without_a_token(self) -> None:
        for path in self.everything:
            for fields in ({}, {"Authorization": "Bearer wrong"}):
                answer = self.ask("GET", path, **fields)
                self.assertEqual(answer.status, 401, path)
                self.assertEqual(answer.fields["www-authenticate"], 'Bearer realm="txrproxy"')
        self.assertEqual(self.ask("DELETE", f"{API}/pools").status, 401)
        self.assertEqual(self.steward.asked, [])

    def test_probes_need_none(self) -> None:
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.ask("GET", path).status, 200)

    def test_with_a_token(self) -> None:
        token = {"Authorization": "Bearer s3cret"}
        self.assertEqual(self.ask("GET", f"{API}/pools", **token).status, 200)

    def test_foreign_host(self) -> None:
        token = {"Authorization": "Bearer s3cret"}
        for path in (*self.everything, "/healthz"):
            answer = self.ask("GET", path, host="evil.example", **token)
            self.assertEqual(answer.status, 403, path)
            self.assertIn("localhost", answer.json["error"])

    def test_foreign_origin(self) -> None:
        token = {"Authorization": "Bearer s3cret"}
        for path in (*self.everything, "/healthz"):
            answer = self.ask("GET", path, Origin="http://evil.example", **token)
            self.assertEqual(answer.status, 403, path)
            answer = self.ask("GET", path, Sec_Fetch_Site="cross-site", **token)
            self.assertEqual(answer.status, 403, path)

    def test_guard_is_replaced(self) -> None:
        self.site.guard = Guard(b"other")
        answer = self.ask("GET", f"{API}/pools", Authorization="Bearer s3cret")
        self.assertEqual(answer.status, 401)


class Failing(Case):
    def test_refused(self) -> None:
        answer = self.ask("GET", f"{API}/log/level")
        self.assertEqual((answer.status, answer.json), (409, {"error": "the log is another's"}))

    def test_refused_later(self) -> None:
        self.steward.reloading = fail(Refused("edge.toml:1: no"))
        answer = self.ask("POST", f"{API}/reload")
        self.assertEqual((answer.status, answer.json), (409, {"error": "edge.toml:1: no"}))

    def test_unknown(self) -> None:
        answer = self.ask("GET", f"{API}/cache/x/entries")
        self.assertEqual((answer.status, answer.json["allowed"]), (404, ["main"]))

    def test_nothing_of_the_inside(self) -> None:
        answer = self.ask("GET", f"{API}/status")
        self.assertEqual(
            (answer.status, answer.json), (500, {"error": "an internal error; the log tells more"})
        )
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_client_leaves_before_the_answer(self) -> None:
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.steward.reloading = Deferred()
        channel, transport = self.connect()
        channel.dataReceived(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
        channel.connectionLost(Failure(ConnectionDone()))
        self.steward.reloading.callback({"ok": True})
        self.assertEqual(transport.value(), b"")


class Connections(Case):
    def test_bounded(self) -> None:
        self.patch(site, "MAX_CONNECTIONS", 2)
        (first, wire), (_, other) = self.connect(), self.connect()
        first.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: drips")
        self.connect()
        self.assertTrue(wire.disconnected)
        self.assertFalse(other.disconnected)
        first.connectionLost(Failure(ConnectionAborted()))
        self.connect()
        self.assertTrue(other.disconnected)

    def test_who_is_being_answered_does_not_give_way(self) -> None:
        self.patch(site, "MAX_CONNECTIONS", 1)
        first, wire = self.connect()
        first.working = True
        self.assertIsNone(self.site.buildProtocol(None))
        first.working = False
        first.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.assertFalse(first.working)
        self.assertIn(b"HTTP/1.1 200", wire.value())

    def test_closed(self) -> None:
        _, transport = self.connect()
        self.site.close_connections()
        self.assertTrue(transport.disconnecting)

    def test_keeps_no_log_of_its_own(self) -> None:
        self.site.doStart()
        self.ask("GET", "/healthz")
        self.site.doStop()

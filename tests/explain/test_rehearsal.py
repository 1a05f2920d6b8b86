"""What the real code does with a request, on a connection without a wire."""

from __future__ import annotations

import os
from unittest import mock

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.explain.samples import edge
from txrproxy.balance.backend import State
from txrproxy.config.toml import loads
from txrproxy.explain.rehearsal import NOBODY, Ask, Outcome, Rehearsal


def play(
    rehearsal: Rehearsal,
    url: str,
    method: str = "GET",
    listener: str = "inside",
    client: str = NOBODY,
    **fields: str,
) -> Outcome:
    named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return rehearsal.play(Ask(method, url, named, client), listener)


class AskTests(SynchronousTestCase):
    def test_data(self) -> None:
        ask = Ask("GET", "https://a.example?x=é", (("X-A", "1"),))
        self.assertEqual((ask.scheme, ask.port), ("https", 443))
        self.assertEqual(ask.data, b"GET /?x=%C3%A9 HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\n\r\n")
        ask = Ask("GET", "http://u:p@a:81/%41;b#part", (("host", "b"),))
        self.assertEqual(ask.port, 81)
        self.assertEqual(ask.data, b"GET /%41;b HTTP/1.1\r\nhost: b\r\n\r\n")

    def test_what_no_client_can_send(self) -> None:
        for arguments in (
            ("GET", "/path"),
            ("GET", "ftp://a/"),
            ("GET", "http:///a"),
            ("G T", "http://a/"),
            ("GET", "http://a/", (("a b", "1"),)),
            ("GET", "http://a/", (("a", "1\r\nb: 2"),)),
            ("GET", "http://a:port/"),
        ):
            self.assertRaises(ValueError, Ask, *arguments)


class RehearsalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rehearsal = Rehearsal(edge())

    def play(self, url: str, *rest: str, **named: str) -> Outcome:
        return play(self.rehearsal, url, *rest, **named)

    def test_to_a_backend(self) -> None:
        found = self.play("http://example.com/office/a?b", client="10.1.2.3")
        self.assertEqual((found.route, found.pool), ("office", "app"))
        self.assertIn(found.backend, ("10.0.0.1:3000", "10.0.0.2:3000"))
        self.assertEqual(
            found.forwarded,
            b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nVia: 1.1 txrproxy\r\n"
            b'X-Forwarded-Host: example.com\r\nForwarded: host="example.com";for=10.1.2.3;'
            b"proto=http\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: http\r\n"
            b"X-Request-Id: made-for-each-request\r\n\r\n",
        )
        self.assertEqual((found.answer, found.status, found.reason), (b"", 0, None))
        self.assertEqual([(f.kind, f.passed) for f in found.filters], [("access", True)])

    def test_refused(self) -> None:
        found = self.play("http://example.com/office/a")
        assert found.reason is not None
        self.assertEqual((found.status, found.reason.name), (403, "forbidden"))
        self.assertEqual((found.pool, found.forwarded), ("", b""))
        self.assertIn(b"HTTP/1.1 403 Forbidden\r\n", found.answer)
        (access,) = found.filters
        self.assertEqual((access.reached, access.passed, access.waits), (True, False, False))
        self.assertIs(access.reason, found.reason)

    def test_limits_do_not_fill_up(self) -> None:
        for _ in range(3):
            found = self.play("http://example.com/guarded/a", client="10.1.0.1", Remote_User="me")
            self.assertEqual(found.pool, "app")
            self.assertEqual(
                [(f.policy, f.kind, f.passed, f.waits) for f in found.filters],
                [
                    ("office", "access", True, False),
                    ("guarded", "connection_limit", True, False),
                    ("guarded", "rate_limit", True, False),
                    ("guarded", "cors", True, False),
                    ("guarded", "forward_auth", True, True),
                ],
            )
            self.assertIn(b"\r\nx-from: edge\r\n", found.forwarded)
            self.assertNotIn(b"remote-user", found.forwarded.lower())

    def test_filters_after_a_refusal_are_not_reached(self) -> None:
        found = self.play("http://example.com/guarded/a")
        self.assertEqual([f.reached for f in found.filters], [True] + [False] * 4)

    def test_body_limit(self) -> None:
        found = self.play(
            "http://example.com/office/a", "POST", client="10.1.0.1", content_length="2000"
        )
        self.assertEqual((found.status, found.route), (413, "office"))

    def test_redirects(self) -> None:
        found = self.play("http://example.com/old/a?b")
        self.assertEqual((found.status, found.location), (308, "https://example.com/new/a?b"))
        found = self.play("http://example.com/office/a", listener="http")
        self.assertEqual((found.status, found.route), (308, ""))
        self.assertEqual(found.location, "https://example.com/office/a")
        # From a trusted proxy that says the client used https, it goes on.
        found = self.play(
            "http://example.com/next",
            listener="http",
            client="10.9.0.1",
            x_forwarded_proto="https",
            x_forwarded_for="192.0.2.7",
        )
        self.assertEqual((found.route, found.client), ("next", "192.0.2.7"))
        self.assertTrue(found.secure and found.trusted)

    def test_names_are_not_looked_up(self) -> None:
        found = self.play("http://example.com/next")
        self.assertEqual((found.pool, found.backend), ("next", "192.0.2.1:3000"))
        self.assertIn(b"\r\nHost: next.internal:3000\r\n", found.forwarded)

    def test_no_route(self) -> None:
        found = self.play("http://example.com/nothing")
        assert found.reason is not None
        self.assertEqual((found.route, found.status, found.reason.name), ("", 404, "no_route"))
        self.assertIsNone(found.location)

    def test_no_request(self) -> None:
        found = self.play("http://example.com/../a", "GET")
        self.assertEqual((found.status, found.head), (400, None))

    def test_cached_route(self) -> None:
        found = self.play("http://example.com/static/a")
        self.assertEqual((found.route, found.pool), ("static", "app"))
        self.assertTrue(found.forwarded.startswith(b"GET /static/a HTTP/1.1\r\n"))
        found = self.play("http://example.com/static/a", cache_control="only-if-cached")
        self.assertEqual((found.status, found.pool), (504, ""))

    def test_resource(self) -> None:
        """Of one's own: it is not imported, and what it answers nobody can tell."""
        found = self.play("http://example.com/embedded")
        self.assertEqual((found.route, found.status, found.answer), ("embedded", 0, b""))

    def test_nothing_is_logged(self) -> None:
        with capturedLogs() as events:
            rehearsal = Rehearsal(edge())
            for url in ("http://a/next", "http://a/guarded/x", "http://a/mine", "http://a/q"):
                play(rehearsal, url, client="10.1.0.1")
        self.assertEqual(events, [])

    def test_known_states(self) -> None:
        def prepare(graph: object) -> None:
            pool = graph.pools["app"]  # type: ignore[attr-defined]
            pool.set_state(pool.backends[1], State.DRAIN, 0.0)

        rehearsal = Rehearsal(edge(), prepare)
        for _ in range(4):
            found = play(rehearsal, "http://example.com/static/a")
            self.assertEqual(found.backend, "10.0.0.1:3000")

    def test_password(self) -> None:
        """It is not checked, and the request goes on as if it were right."""
        folder = self.mktemp()
        os.makedirs(folder)
        with open(f"{folder}/users", "w", encoding="ascii") as file:
            file.write("me:$2b$05$" + "a" * 53 + "\n")
        text = (
            'version = 1\n[listeners.a]\nbind = ["127.0.0.1:1"]\n'
            '[pools.app]\nbackends = ["http://127.0.0.1:1"]\n'
            '[policies.p]\nbasic_auth = { realm = "r", users = "file:users" }\n'
            '[[routes]]\nname = "all"\npool = "app"\nuse = ["p"]\n'
        )
        rehearsal = Rehearsal(loads(text, base=folder))
        found = play(rehearsal, "http://a/", listener="a")
        self.assertEqual((found.status, found.filters[0].waits), (401, False))
        self.assertIn(b"WWW-Authenticate: Basic", found.answer)
        with mock.patch("threading.Thread.start") as start:
            found = play(rehearsal, "http://a/", listener="a", authorization="Basic bWU6bWU=")
        self.assertEqual((found.pool, found.filters[0].waits), ("app", True))
        self.assertNotIn(b"uthorization", found.forwarded)
        start.assert_not_called()

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(["/static/a", "/office/a", "/guarded/x", "/api/a", "/old/b", "/q"]),
        st.sampled_from(["GET", "POST", "OPTIONS", "HEAD"]),
        st.sampled_from(["example.com", "other.example"]),
        st.sampled_from(["10.1.0.1", "192.0.2.1"]),
        st.sampled_from([{}, {"x_beta": "1"}]),
    )
    def test_reasons_agree(
        self, path: str, method: str, host: str, client: str, fields: dict[str, str]
    ) -> None:
        """The route that explains is the one that serves."""
        found = play(self.rehearsal, f"http://{host}{path}", method, client=client, **fields)
        head = found.head
        assert head is not None
        tree = self.rehearsal.graph.listeners["inside"].tree
        asked = (head.host, head.path, head.method, head.fields.all, head.target.query, client)
        taken = [plan.name.decode() for plan, why in tree.reasons(*asked) if why is None]
        self.assertEqual(taken, [found.route] if found.route else [])


class MisdirectedTests(SynchronousTestCase):
    def test_config_is_not_changed(self) -> None:
        config = edge()
        before = attrs.asdict(config, recurse=False)
        Rehearsal(config)
        self.assertEqual(attrs.asdict(config, recurse=False), before)

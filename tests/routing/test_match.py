"""Conditions one by one: what each accepts, and which values can not be compiled."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.peer import ClientIdentity
from txrproxy.http.target import normalise_path
from txrproxy.routing.match import (
    ANY,
    Conditions,
    Networks,
    Pattern,
    Refusal,
    compile_regex,
    host_pattern,
    path_pattern,
)


def holds(
    conditions: Conditions,
    method: bytes = b"GET",
    fields: dict[bytes, list[bytes]] | None = None,
    query: bytes | None = None,
    client: str = "192.0.2.1",
    identity: ClientIdentity | None = None,
) -> bool:
    return conditions.holds(
        method, lambda name: (fields or {}).get(name, ()), query, client, identity
    )


class Holder:
    """A client with a certificate."""

    log_notes = ((b"client_cert", b"CN=alice"),)

    def values(self, kind: str) -> frozenset[str]:
        return {"subject": frozenset({"CN=alice"}), "san": frozenset({"DNS:a", "IP:::1"})}[kind]


class PatternTests(SynchronousTestCase):
    def test_hosts(self) -> None:
        for text, expected in (
            (b"Example.com", Pattern(b"example.com", False)),
            (b"example.com.", Pattern(b"example.com", False)),
            (b"*.Example.com", Pattern(b".example.com", True)),
            (b"*", ANY),
            (b"[::0:1]", Pattern(b"[::1]", False)),
        ):
            self.assertEqual(host_pattern(text), expected)

    def test_paths(self) -> None:
        for text, expected in (
            (b"/", Pattern(b"/", False)),
            (b"/a/../b", Pattern(b"/b", False)),
            (b"/caf\xc3\xa9", Pattern(b"/caf%C3%A9", False)),
            (b"/static/*", Pattern(b"/static/", True)),
            (b"/stat*", Pattern(b"/stat", True)),
            (b"/.*", Pattern(b"/.", True)),
            (b"/*", ANY),
            (b"*", ANY),
            (b"/a*b", Pattern(b"/a*b", False)),
        ):
            self.assertEqual(path_pattern(text), expected)

    def test_refused(self) -> None:
        for text in (b"", b"a b", b"a:80", b"*.", b"a.*", b"**.a", b"*.*.a"):
            self.assertRaises(ValueError, host_pattern, text)
        for text in (b"", b"a", b"/a?b", b"/a#b", b"/..", b"/%zz", b"/%2*"):
            self.assertRaises(ValueError, path_pattern, text)
        for pattern in (b"(", "(", r"(?=a)", b"\xff"):
            self.assertRaises(ValueError, compile_regex, pattern)


class NetworksTests(SynchronousTestCase):
    def test_contains(self) -> None:
        networks = Networks(
            map(
                ip_network, ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::ffff:172.16.0.0/108")
            )
        )
        for client, expected in (
            ("10.1.2.3", True),
            ("11.1.2.3", False),
            ("192.0.2.7", True),
            ("192.0.2.8", False),
            ("::ffff:10.0.0.1", True),
            ("172.16.3.4", True),
            ("172.32.3.4", False),
            ("2001:db8:1::1", True),
            ("2001:db9::1", False),
            ("::a00:1", False),
            ("", False),
            ("unix", False),
            ("1" * 1000, False),
        ):
            self.assertIs(client in networks, expected, client)

    def test_everything(self) -> None:
        self.assertIn("1.2.3.4", Networks([ip_network("0.0.0.0/0")]))
        self.assertNotIn("1.2.3.4", Networks([ip_network("::/0")]))
        self.assertIn("::1", Networks([ip_network("::/0")]))


class ConditionsTests(SynchronousTestCase):
    def test_client_certificates(self) -> None:
        for kind, values, expected in (
            ("subject", {"CN=alice"}, True),
            ("subject", {"CN=bob", "CN=alice"}, True),
            ("subject", {"CN=bob"}, False),
            ("san", {"IP:::1"}, True),
            ("san", {"a"}, False),
        ):
            conditions = Conditions(client_cert=[(kind, frozenset(values))])
            self.assertFalse(conditions.unconditional)
            self.assertEqual(holds(conditions, identity=Holder()), expected)
            self.assertFalse(holds(conditions))
        both = [("subject", frozenset({"CN=alice"})), ("san", frozenset({"DNS:b"}))]
        self.assertFalse(holds(Conditions(client_cert=both), identity=Holder()))

    def test_none(self) -> None:
        conditions = Conditions()
        self.assertEqual((conditions.hosts, conditions.paths), ((ANY,), (ANY,)))
        self.assertTrue(conditions.unconditional)
        self.assertTrue(conditions.takes_all)
        self.assertTrue(holds(conditions))

    def test_unconditional(self) -> None:
        self.assertTrue(Conditions([b"a"], [b"/a", b"/b*"]).takes_all)
        regex = Conditions(path_regex="a")
        self.assertTrue(regex.unconditional)
        self.assertFalse(regex.takes_all)
        for conditions in (
            Conditions(methods=frozenset([b"GET"])),
            Conditions(fields=[(b"a", frozenset([b"b"]))]),
            Conditions(query=[(b"a", frozenset([b"b"]))]),
            Conditions(clients=[ip_network("10.0.0.0/8")]),
        ):
            self.assertFalse(conditions.unconditional)
            self.assertFalse(conditions.takes_all)

    def test_patterns_given_twice_count_once(self) -> None:
        conditions = Conditions([b"a", b"A", b"b"], [b"/x", b"/%78"])
        self.assertEqual(conditions.hosts, (Pattern(b"a", False), Pattern(b"b", False)))
        self.assertEqual(conditions.paths, (Pattern(b"/x", False),))

    def test_method(self) -> None:
        conditions = Conditions(methods=frozenset([b"GET", b"HEAD"]))
        self.assertTrue(holds(conditions, b"HEAD"))
        self.assertFalse(holds(conditions, b"POST"))
        self.assertFalse(holds(conditions, b"get"))

    def test_fields(self) -> None:
        conditions = Conditions(fields=[(b"a", frozenset([b"1", b"2"])), (b"b", frozenset([b"3"]))])
        self.assertTrue(holds(conditions, fields={b"a": [b"0", b"2"], b"b": [b"3"]}))
        self.assertFalse(holds(conditions, fields={b"a": [b"2"]}))
        self.assertFalse(holds(conditions, fields={b"a": [b"1,2"], b"b": [b"3"]}))

    def test_query(self) -> None:
        conditions = Conditions(
            query=[(b"a b", frozenset([b"1+", b""])), (b"c", frozenset([b"d"]))]
        )
        for query, expected in (
            (b"a+b=1%2b&c=d", True),
            (b"x&c=%64&a%20b", True),
            (b"c=e&a+b=&c=d", True),
            (b"a+b=1+&c=d", False),
            (b"a+b=", False),
            (b"c=d", False),
            (b"", False),
            (None, False),
        ):
            self.assertIs(holds(conditions, query=query), expected, query)

    def test_client(self) -> None:
        conditions = Conditions(clients=[ip_network("10.0.0.0/8")])
        self.assertTrue(holds(conditions, client="10.0.0.1"))
        self.assertFalse(holds(conditions, client="192.0.2.1"))

    def test_all_must_hold(self) -> None:
        conditions = Conditions(
            methods=frozenset([b"GET"]),
            fields=[(b"a", frozenset([b"1"]))],
            query=[(b"q", frozenset([b"1"]))],
            clients=[ip_network("192.0.2.0/24")],
        )
        self.assertTrue(holds(conditions, fields={b"a": [b"1"]}, query=b"q=1"))
        self.assertFalse(holds(conditions, fields={b"a": [b"1"]}, query=b"q=2"))

    def test_wildcard(self) -> None:
        conditions = Conditions(paths=[b"/old/*", b"/old/deep/*", b"/old/exact", b"/fi*"])
        for raw, expected in (
            (b"/old/", b""),
            (b"/old/a/b", b"a/b"),
            (b"/old/deep/a", b"a"),
            (b"/old/exact", b""),
            (b"/file/x", b"le/x"),
            (b"/old/a%2fb%40", b"a%2fb%40"),
            (b"/%6fld/a%2fb%40", b"a/b@"),
            (b"/old//a", b"a"),
            (b"/old/../old/a", b"a"),
            (b"/x/../old/a", b"a"),
        ):
            self.assertEqual(conditions.wildcard(normalise_path(raw), raw), expected, raw)

    def test_prefix(self) -> None:
        conditions = Conditions((), [b"/a/*", b"/a/b/*", b"/a/b/c"])
        for path, expected in ((b"/a/x", b"/a/"), (b"/a/b/x", b"/a/b/"), (b"/a/b/c", b"/a/b/c")):
            self.assertEqual(conditions.prefix(path), expected)
        self.assertEqual(Conditions().prefix(b"/a"), b"/")

    def test_wildcard_of_everything(self) -> None:
        for conditions in (Conditions(), Conditions(paths=[b"/*"])):
            self.assertEqual(conditions.wildcard(b"/a/b", b"/a%2Fb"), b"a%2Fb")
            self.assertEqual(conditions.wildcard(b"/a", b"//a"), b"a")
            self.assertEqual(conditions.wildcard(b"/", b"/"), b"")
            self.assertEqual(conditions.wildcard(b"*", b"*"), b"")


def why_not(conditions: Conditions, **given: Any) -> Refusal | None:
    asked = {"host": b"a", "path": b"/", "method": b"GET", "fields": {}, "query": None}
    asked |= {"client": "192.0.2.1", "identity": None} | given
    fields: dict[bytes, list[bytes]] = asked["fields"]
    return conditions.why_not(
        asked["host"],
        asked["path"],
        asked["method"],
        lambda name: fields.get(name, ()),
        asked["query"],
        asked["client"],
        asked["identity"],
    )


class WhyNotTests(SynchronousTestCase):
    def test_nothing_refuses(self) -> None:
        self.assertIsNone(why_not(Conditions()))
        conditions = Conditions(
            [b"a"],
            [b"/*"],
            methods=frozenset({b"GET"}),
            fields=[(b"x", frozenset({b"1"}))],
            query=[(b"q", frozenset({b"1"}))],
            path_regex="^/",
            clients=[ip_network("192.0.2.0/24")],
            client_cert=[("subject", frozenset({"CN=alice"}))],
        )
        found = why_not(conditions, fields={b"x": [b"1"]}, query=b"q=1", identity=Holder())
        self.assertIsNone(found)

    def test_texts(self) -> None:
        clients = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
        for conditions, given, expected in (
            (Conditions([b"b.a", b"*.a"]), {}, "host is 'a', not b.a | *.a"),
            (Conditions([b"*"], [b"/b", b"/c/*"]), {}, "path is '/', not /b | /c/*"),
            (Conditions(path_regex="^/b"), {}, "path is '/', not a match of '^/b'"),
            (
                Conditions(methods=frozenset({b"PUT", b"POST"})),
                {},
                "method is 'GET', not POST | PUT",
            ),
            (
                Conditions(clients=clients),
                {},
                "client is 192.0.2.1, not 10.0.0.0/8 | 2001:db8::/32",
            ),
            (
                Conditions(client_cert=[("san", frozenset({"DNS:b"}))]),
                {},
                "client_cert san is absent, not DNS:b",
            ),
            (
                Conditions(client_cert=[("san", frozenset({"DNS:b"}))]),
                {"identity": Holder()},
                "client_cert san is DNS:a | IP:::1, not DNS:b",
            ),
            (
                Conditions(fields=[(b"x", frozenset({b"1"}))]),
                {},
                "header x is absent, not 1",
            ),
            (
                Conditions(fields=[(b"x", frozenset({b"1", b"2"}))]),
                {"fields": {b"x": [b"3", b"4"]}},
                "header x is '3', '4', not 1 | 2",
            ),
            (
                Conditions(query=[(b"q", frozenset({b"1"}))]),
                {"query": b"q=2"},
                "query q is '2', not 1",
            ),
        ):
            self.assertEqual(str(why_not(conditions, **given)), expected)

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.keys import LONGEST, Request, key
from txrproxy.http.head import parse_request_head


def request(*lines: bytes, client: bytes = b"192.0.2.1", target: bytes = b"/p?q=1") -> Request:
    head = b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: a", *lines])
    return SimpleNamespace(  # type: ignore[return-value]
        client=client, head=parse_request_head(head), plan=SimpleNamespace(name=b"route")
    )


class KeyTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        lines = (b"X-Key: k", b"Cookie: a=1; s=x; s=y")
        for kind, name, expected in (
            ("client_ip", "", b"192.0.2.1"),
            ("route", "", b"route"),
            ("path", "", b"/p"),
            ("uri", "", b"/p?q=1"),
            ("header", "X-KEY", b"=k"),
            ("cookie", "s", b"=x"),
        ):
            self.assertEqual(key([(kind, name)])(request(*lines)), expected)

    def test_the_address_stands_in(self) -> None:
        for kind in ("header", "cookie"):
            made = key([(kind, "s")])
            self.assertEqual(made(request()), b"192.0.2.1")
            self.assertEqual(made(request(b"s:", b"Cookie: s=")), b"192.0.2.1")
        claimed = request(b"s: 192.0.2.1", client=b"192.0.2.9")
        self.assertNotEqual(key([("header", "s")])(claimed), b"192.0.2.1")

    def test_ipv6_by_network(self) -> None:
        made = key([("client_ip", "")])
        same = [request(client=c) for c in (b"2001:db8::1", b"2001:db8::ffff:2")]
        self.assertEqual(made(same[0]), made(same[1]))
        self.assertNotEqual(made(same[0]), made(request(client=b"2001:db8:0:1::1")))
        whole = key([("client_ip", "")], 128)
        self.assertNotEqual(whole(same[0]), whole(same[1]))
        self.assertEqual(whole(same[0]), whole(same[0]))
        odd = request(client=b"fe80::1%eth0:")
        self.assertEqual(made(request(client=b"a:b")), b"a:b")
        self.assertEqual(made(odd), made(odd))
        mapped = request(client=b"::ffff:192.0.2.1")
        self.assertNotEqual(made(mapped), made(request(client=b"::ffff:192.0.2.2")))

    def test_together(self) -> None:
        made = key([("client_ip", ""), ("route", "")])
        self.assertEqual(made(request()), b"192.0.2.1\0route")

    def test_size_is_bounded(self) -> None:
        long = b"x" * 5000
        for parts in (
            [("header", "k")],
            [("path", "")],
            [("uri", "")],
            [("header", "k"), ("path", "")],
        ):
            one = key(parts)(request(b"k: " + long, target=b"/" + long))
            other = key(parts)(request(b"k: y" + long, target=b"/y" + long))
            self.assertLessEqual(len(one), LONGEST)
            self.assertNotEqual(one, other)

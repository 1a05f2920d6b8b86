"""Who asks: addresses, and what a trusted proxy says of a client."""

from __future__ import annotations

import ipaddress

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.fields import parse_fields
from txrproxy.http.peer import (
    Network,
    Peer,
    believed_request_id,
    believed_scheme,
    client_address,
    is_trusted,
)


class PeerTests(SynchronousTestCase):
    def test_what_is_rendered_once(self) -> None:
        peer = Peer(b"2001:db8::1", b"https", False, certificate_lines=b"X-Client-Cert-San: a\r\n")
        self.assertTrue(peer.secure)
        self.assertEqual(peer.forwarded, b'for="[2001:db8::1]";proto=https\r\n')
        self.assertEqual(peer.short_tail, b"2001:db8::1\r\nX-Client-Cert-San: a\r\n")
        self.assertEqual(
            peer.tail, b"2001:db8::1\r\nX-Forwarded-Proto: https\r\nX-Client-Cert-San: a\r\n"
        )


def networks(*texts: str) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


class ClientAddressTests(SynchronousTestCase):
    trusted = networks("10.0.0.0/8", "fd00::/8")

    def test_trusted(self) -> None:
        for address, expected in (
            ("10.1.2.3", True),
            ("11.1.2.3", False),
            ("fd00::1", True),
            ("fe80::1", False),
            ("::ffff:10.1.2.3", True),
            ("::ffff:11.1.2.3", False),
            ("unknown", False),
            ("", False),
        ):
            self.assertIs(is_trusted(address, self.trusted), expected, address)

    def test_walk(self) -> None:
        for value, expected in (
            (b"", b"10.0.0.1"),
            (b"198.51.100.1", b"198.51.100.1"),
            (b"1.1.1.1, 198.51.100.1", b"198.51.100.1"),
            (b"1.1.1.1, 198.51.100.1, 10.9.9.9", b"198.51.100.1"),
            (b"198.51.100.1, fd00::5,10.9.9.9", b"198.51.100.1"),
            (b"10.0.0.7, 10.9.9.9", b"10.0.0.7"),
            (b"198.51.100.1:4711", b"198.51.100.1"),
            (b"[2001:db8::1]:4711", b"2001:db8::1"),
            (b"[2001:DB8:0::1]", b"2001:db8::1"),
            (b"2001:db8::1", b"2001:db8::1"),
            (b"::ffff:198.51.100.1", b"198.51.100.1"),
            (b"198.51.100.1, ::ffff:10.1.1.1", b"198.51.100.1"),
            (b"fe80::1%eth0", b"fe80::1"),
            (b"fe80::1%\xe9;x", b"fe80::1"),
            (b"unknown", b"10.0.0.1"),
            (b"1.1.1.1, unknown, 10.9.9.9", b"10.9.9.9"),
            (b"1.1.1.1, \xe9", b"10.0.0.1"),
            (b"1.1.1.1, 1.2.3", b"10.0.0.1"),
            (b"1.1.1.1, 010.0.0.1", b"10.0.0.1"),
            (b"_hidden", b"10.0.0.1"),
            (b", ,", b"10.0.0.1"),
        ):
            fields = parse_fields(b"X-Forwarded-For: " + value)
            self.assertEqual(client_address(b"10.0.0.1", fields, self.trusted), expected, value)

    def test_several_lines_are_one_list(self) -> None:
        fields = parse_fields(b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 10.2.2.2")
        self.assertEqual(client_address(b"10.0.0.1", fields, self.trusted), b"198.51.100.1")

    def test_forwarded(self) -> None:
        for value, expected in (
            (b"", b"10.0.0.1"),
            (b"for=198.51.100.1", b"198.51.100.1"),
            (b"For=198.51.100.1;proto=https;by=10.0.0.1", b"198.51.100.1"),
            (b"proto=https ; for=198.51.100.1;", b"198.51.100.1"),
            (b'for="198.51.100.1:4711"', b"198.51.100.1"),
            (b'for="[2001:db8::1]:4711"', b"2001:db8::1"),
            (b"for=[2001:db8::1]", b"2001:db8::1"),
            (b'for="::ffff:198.51.100.1"', b"198.51.100.1"),
            (b"for=1.1.1.1, for=198.51.100.1, for=10.9.9.9", b"198.51.100.1"),
            (b"for=1.1.1.1,\t,for=198.51.100.1,", b"198.51.100.1"),
            (b"for=10.0.0.7, for=10.9.9.9", b"10.0.0.7"),
            (b'for="198.51.10\\0.1"', b"198.51.100.1"),
            # What is in quotes is no element and no parameter of its own.
            (b'for=198.51.100.1;host="a, for=1.1.1.1"', b"198.51.100.1"),
            (b'for=198.51.100.1;host="a;for=1.1.1.1"', b"198.51.100.1"),
            # What can not be read ends the walk.
            (b"for=1.1.1.1, for=unknown, for=10.9.9.9", b"10.9.9.9"),
            (b"for=1.1.1.1, for=_hidden", b"10.0.0.1"),
            (b"for=1.1.1.1, proto=https", b"10.0.0.1"),
            (b"for=1.1.1.1, for=2.2.2.2;for=3.3.3.3", b"10.0.0.1"),
            (b"for=1.1.1.1, for=2.2.2.2;;", b"10.0.0.1"),
            (b"for=1.1.1.1, for 2.2.2.2", b"10.0.0.1"),
            (b"for=1.1.1.1, for=2.2.2.2 3.3.3.3", b"10.0.0.1"),
            (b'for=1.1.1.1, for="2.2.2.2"3', b"10.0.0.1"),
            (b'for=1.1.1.1;host="a, for=2.2.2.2', b"10.0.0.1"),
            (b'host="a, for=2.2.2.2\r\nForwarded: for=198.51.100.1', b"198.51.100.1"),
            (b"for=1.1.1.1\r\nForwarded: for=10.2.2.2", b"1.1.1.1"),
        ):
            fields = parse_fields(b"Forwarded: " + value)
            self.assertEqual(client_address(b"10.0.0.1", fields, self.trusted), expected, value)

    def test_forwarded_counts_only_without_the_other(self) -> None:
        """A proxy that writes X-Forwarded-For lets a client's own Forwarded pass."""
        for value, expected in (
            (b"198.51.100.1", b"198.51.100.1"),
            (b"unknown", b"10.0.0.1"),
            (b"", b"1.1.1.1"),
        ):
            fields = parse_fields(b"Forwarded: for=1.1.1.1\r\nX-Forwarded-For: " + value)
            self.assertEqual(client_address(b"10.0.0.1", fields, self.trusted), expected, value)

    def test_many_proxies(self) -> None:
        for block in (
            b"X-Forwarded-For: 1.1.1.1, " + b", ".join([b"10.2.2.2"] * 40),
            b"Forwarded: for=1.1.1.1, " + b", ".join([b"for=10.2.2.2"] * 40),
        ):
            found = client_address(b"10.0.0.1", parse_fields(block), self.trusted)
            self.assertEqual(found, b"10.2.2.2")

    def test_request_id(self) -> None:
        for value, expected in (
            (b"abc-DEF_1.2~+/=", b"abc-DEF_1.2~+/="),
            (b"", None),
            (b"a b", None),
            (b'a"', None),
            (b"\xe9", None),
            (b"a" * 128, b"a" * 128),
            (b"a" * 129, None),
            (b"a\r\nX-Request-Id: b", None),
        ):
            self.assertEqual(believed_request_id(parse_fields(b"X-Request-Id: " + value)), expected)

    def test_scheme(self) -> None:
        for lines, expected in (
            (b"X-Forwarded-Proto: https", b"https"),
            (b"X-Forwarded-Proto: HTTPS", b"https"),
            (b"X-Forwarded-Proto: http, https", b"https"),
            (b"X-Forwarded-Proto: https, http", b"http"),  # what the client said comes first
            (b"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http", b"http"),
            (b"X-Forwarded-Proto:", b""),
            (b"Forwarded: for=1.1.1.1;proto=HTTPS", b"https"),
            (b"Forwarded: proto=https, for=1.1.1.1;proto=http", b"http"),
            (b"Forwarded: proto=https\r\nForwarded: for=1.1.1.1", b""),
            (b"Forwarded: proto=https\r\nX-Forwarded-Proto: http", b"http"),
            (b'Forwarded: proto=https;host="', b""),
            (b"Forwarded:", b""),
            (b"X-Other: https", b""),
        ):
            self.assertEqual(believed_scheme(parse_fields(lines)), expected)

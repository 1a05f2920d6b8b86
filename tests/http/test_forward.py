"""What changes in a head on its way: fields as they come in, and the lines that go out."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http import forward as module
from txrproxy.http.fields import HOP_BY_HOP, make_line, parse_fields
from txrproxy.http.forward import (
    Changes,
    RequestRules,
    ResponseRules,
    changes,
    is_proxy_field,
    request_head,
)
from txrproxy.http.head import RequestHead, parse_request_head, parse_response_head
from txrproxy.http.peer import (
    Peer,
    client_address,
    unmapped,
)

PEER = Peer(b"192.0.2.7", b"http", False)


def parse(block: bytes, line: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return parse_request_head(line + b"\r\n" + block)


def sent(
    block: bytes,
    *,
    trusted: bool = False,
    line: bytes = b"GET / HTTP/1.1",
    rules: RequestRules | None = None,
    peer: Peer = PEER,
) -> list[bytes]:
    """The lines that a backend gets for a request with these fields beside Host."""
    head = parse(b"Host: a" + (b"\r\n" + block if block else b""), line)
    rules = rules or RequestRules(trusted)
    made = request_head(
        head.method,
        head.target.origin,
        b"Host: backend\r\n" if rules.backend_host else b"",
        rules.block(head.fields, head.facts, head.authority),
        peer,
        b"id-1",
    )
    assert made.endswith(b"\r\n\r\n")
    again = parse_request_head(made[:-4])  # whatever is sent on is valid
    assert again.target.origin == head.target.origin
    return made[:-4].split(b"\r\n")


OURS = [
    b"Via: 1.1 txrproxy",
    b"X-Forwarded-Host: a",
    b'Forwarded: host="a";for=192.0.2.7;proto=http',
    b"X-Forwarded-For: 192.0.2.7",
    b"X-Forwarded-Proto: http",
    b"X-Request-Id: id-1",
]
PLAIN = [b"GET / HTTP/1.1", b"Host: a"]


class RequestTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(sent(b""), PLAIN + OURS)

    def test_passing(self) -> None:
        """Order, number and spelling stay."""
        lines = [b"b: 1", b"A: 2", b"B: 3", b"Cookie: a=b", b"cookie: c=d", b"Trailer: x"]
        self.assertEqual(sent(b"\r\n".join(lines)), PLAIN + lines + OURS)

    def test_dropped(self) -> None:
        for line in (
            b"Keep-Alive: timeout=5",
            b"Proxy-Authorization: Basic eDp5",
            b"Proxy-Authenticate: Basic",
            b"Proxy-Connection: keep-alive",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
            b"TE: trailers",
            b"Upgrade: websocket",
            b"Connection: keep-alive",
            b"Connection: close, X-Hop\r\nX-Hop: 1",
            b"Connection: cookie\r\nCookie: a=b",
            b"X-Hop: 1\r\nConnection: x-hop",
        ):
            self.assertEqual(sent(line), PLAIN + OURS, line)
            self.assertEqual(sent(line, trusted=True), PLAIN + OURS, line)

    def test_connection_can_not_drop_what_we_say(self) -> None:
        block = (
            b"Connection: close, host, via, forwarded, x-forwarded-for, x-forwarded-proto,"
            b" x-forwarded-host, x-request-id, content-length"
        )
        self.assertEqual(sent(block), PLAIN + OURS)
        block = b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n" + block
        self.assertEqual(sent(block, trusted=True), PLAIN + OURS)
        lines = sent(block + b"\r\nContent-Length: 3", line=b"POST / HTTP/1.1")
        self.assertIn(b"Content-Length: 3", lines)

    def test_claims_of_the_untrusted(self) -> None:
        for line in (
            b"Via: 1.1 other",
            b"Forwarded: for=1.1.1.1",
            b"X-Forwarded-For: 1.1.1.1",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: evil.example",
            b"X-Forwarded-Port: 443",
            b"X-Forwarded-Prefix: /x",
            b"X-Forwarded-Anything: x",
            b"X-Forwarded: x",
            b"X-Real-IP: 1.1.1.1",
            b"X-Request-Id: theirs",
        ):
            self.assertEqual(sent(line), PLAIN + OURS, line)

    def test_aliases(self) -> None:
        """What WSGI and CGI would fold into one of ours goes, from everyone."""
        for line in (
            b"X_Forwarded_For: 1.1.1.1",
            b"X-Forwarded_For: 1.1.1.1",
            b"x_real-ip: 1.1.1.1",
            b"X_Request_Id: x",
            b"Content_Length: 5",
            b"Content_Type: a/b",
            b"Transfer_Encoding: chunked",
            b"Proxy_Connection: x",
            b"Keep_Alive: x",
            b"X_Forwarded_Proto: https",
        ):
            self.assertEqual(sent(line), PLAIN + OURS, line)
            self.assertEqual(sent(line, trusted=True), PLAIN + OURS, line)
        self.assertIn(b"Harmless_Name: x", sent(b"Harmless_Name: x"))

    def test_aliases_of_configured_fields(self) -> None:
        rules = RequestRules(
            False,
            changes=changes(
                set=[(b"Remote-User", b"me")], add=[(b"X-Tag", b"1")], remove=[b"X-Gone"]
            ),
        )
        theirs = [
            "Remote_User: root",
            "remote-user: root",
            "X_Tag: 2",
            "X-Tag: 2",
            "X_Gone: 3",
            "X-Gone: 3",
        ]
        block = "\r\n".join(theirs).encode()
        expected = [b"X-Tag: 2", b"Remote-User: me", b"X-Tag: 1"]
        self.assertEqual(sent(block, rules=rules), PLAIN + expected + OURS)

    def test_a_quote_left_open_takes_nothing_in(self) -> None:
        """What we say behind it would be said in somebody's quotes."""
        for earlier in (b'for="a', b'for="a\\"', b'for=a;by="b", for="'):
            lines = sent(b"Forwarded: for=1\r\nForwarded: " + earlier, trusted=True)
            self.assertIn(b'Forwarded: for=1, host="a";for=192.0.2.7;proto=http', lines)
        lines = sent(b'Forwarded: for="a\\"b", for="c"', trusted=True)
        self.assertIn(b'Forwarded: for="a\\"b", for="c", host="a";for=192.0.2.7;proto=http', lines)

    def test_words_of_a_trusted_proxy(self) -> None:
        block = (
            b"Via: 1.0 first\r\nForwarded: for=198.51.100.1\r\nX-Forwarded-For: 198.51.100.1\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\nVia: 1.1 second\r\n"
            b"X-Real-IP: 198.51.100.1\r\nX-Forwarded-For: 198.51.100.2\r\nX-Request-Id: theirs"
        )
        self.assertEqual(
            sent(block, trusted=True),
            [
                *PLAIN,
                b"X-Forwarded-Proto: https",
                b"X-Forwarded-Host: public.example",
                b"X-Real-IP: 198.51.100.1",
                b"Via: 1.0 first, 1.1 second, 1.1 txrproxy",
                b'Forwarded: for=198.51.100.1, host="a";for=192.0.2.7;proto=http',
                b"X-Forwarded-For: 198.51.100.1, 198.51.100.2, 192.0.2.7",
                b"X-Request-Id: id-1",
            ],
        )

    def test_a_trusted_proxy_that_writes_forwarded_alone(self) -> None:
        """Backends that read the other fields hear the same."""
        ours = b'host="a";for=192.0.2.7;proto=http'
        for block, addresses, proto in (
            (b"Forwarded: for=1.1.1.1;proto=https", b"1.1.1.1, 192.0.2.7", b"https"),
            (
                b'Forwarded: for=1.1.1.1;proto=https, For="[2001:db8::1]:8"; proto=HTTP',
                b"1.1.1.1, 2001:db8::1, 192.0.2.7",
                b"http",
            ),
            (b"Forwarded: for=_x, proto=gopher", b"unknown, unknown, 192.0.2.7", b"http"),
            (b"Forwarded: ,", b"192.0.2.7", b"http"),
            (
                b"Forwarded: for=1.1.1.1;proto=https\r\nX-Forwarded-For: 2.2.2.2",
                b"2.2.2.2, 192.0.2.7",
                b"https",
            ),
            (
                b"Forwarded: for=1.1.1.1;proto=https\r\nX-Forwarded-Proto: http",
                b"1.1.1.1, 192.0.2.7",
                b"http",
            ),
        ):
            lines = sent(block, trusted=True)
            forwarded = [line for line in lines if line.startswith(b"Forwarded: ")]
            self.assertEqual(len(forwarded), 1)
            self.assertTrue(forwarded[0].endswith(ours))
            told = sorted(line for line in lines if line.startswith(b"X-Forwarded-"))
            self.assertEqual(
                told,
                [
                    b"X-Forwarded-For: " + addresses,
                    b"X-Forwarded-Host: a",
                    b"X-Forwarded-Proto: " + proto,
                ],
                block,
            )
            self.assertEqual(sent(b"Forwarded: for=1.1.1.1;proto=https"), PLAIN + OURS)
        kept = sent(
            b"Forwarded: proto=https\r\nX-Forwarded-Proto: https\r\nConnection: x-forwarded-proto",
            trusted=True,
        )
        self.assertIn(b"X-Forwarded-Proto: http", kept)

    def test_empty_lists_of_a_trusted_proxy(self) -> None:
        block = b"Via:\r\nForwarded: \r\nX-Forwarded-For: "
        self.assertEqual(sent(block, trusted=True), PLAIN + OURS)

    def test_trailers(self) -> None:
        offer = [b"Connection: TE", b"TE: trailers"]
        self.assertEqual(sent(b"TE: trailers, gzip\r\nConnection: te"), PLAIN + offer + OURS)

    def test_upgrade(self) -> None:
        offer = b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Version: 13"
        passed = [
            b"Sec-WebSocket-Version: 13",
            b"Connection: upgrade",
            b"Upgrade: websocket",
        ]
        self.assertEqual(sent(offer), PLAIN + passed + OURS)
        off = RequestRules(False, websocket=False)
        self.assertEqual(sent(offer, rules=off), PLAIN + passed[:1] + OURS)

    def test_framing_in_one_spelling(self) -> None:
        post = b"POST / HTTP/1.1"
        for block, expected in (
            (b"content-length:  007", [b"Content-Length: 7"]),
            (b"Content-Length: 0", [b"Content-Length: 0"]),
            (b"transfer-encoding: Chunked", [b"Transfer-Encoding: chunked"]),
            (b"A: b", [b"A: b"]),
        ):
            self.assertEqual(sent(block, line=post), [post, b"Host: a", *expected, *OURS])

    def test_expect(self) -> None:
        self.assertIn(b"Expect: 100-continue", sent(b"Expect: 100-continue"))
        old = sent(b"Expect: 100-continue", line=b"GET / HTTP/1.0")
        self.assertNotIn(b"Expect: 100-continue", old)

    def test_max_forwards(self) -> None:
        for value, expected in (
            (b"10", b"9"),
            (b"1", b"0"),
            (b"0", b"0"),
            (b"000", b"0"),
            (b"007", b"6"),
            (b"999", b"998"),
            (b"1000", b"999"),
            (b"9" * 5000, b"999"),
            (b"0" * 5000 + b"2", b"1"),
            (b"-1", b"-1"),
            (b"+5", b"+5"),
            (b"x", b"x"),
            (b"", b""),
            (b"\xb2", b"\xb2"),
        ):
            lines = sent(b"Max-Forwards: " + value, line=b"OPTIONS / HTTP/1.1")
            self.assertEqual(
                [line for line in lines if line.startswith(b"Max-Forwards")],
                [b"Max-Forwards: " + expected],
            )

    def test_version_and_no_host(self) -> None:
        head = parse(b"A: b", b"GET / HTTP/1.0")
        block = RequestRules(False).block(head.fields, head.facts, head.authority)
        made = request_head(b"GET", b"/", b"", block, PEER, b"i").split(b"\r\n")
        self.assertEqual(
            made[1:6],
            [
                b"Host: ",
                b"A: b",
                b"Via: 1.0 txrproxy",
                b"Forwarded: for=192.0.2.7;proto=http",
                b"X-Forwarded-For: 192.0.2.7",
            ],
        )

    def test_one_block_in_two_versions(self) -> None:
        """What HTTP/1.0 made of a block is not what HTTP/1.1 is answered with, and back."""
        rules = RequestRules(False)
        for number, order in enumerate(([b"1.0", b"1.1"], [b"1.1", b"1.0"])):
            block = (
                b"X-Case: %d\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                b"Expect: 100-continue" % number
            )
            for version in order:
                lines = sent(block, line=b"GET / HTTP/" + version, rules=rules)
                modern = version == b"1.1"
                self.assertIs(b"Upgrade: websocket" in lines, modern)
                self.assertIs(b"Expect: 100-continue" in lines, modern)
                self.assertIn(b"Via: %b txrproxy" % version, lines)

    def test_host(self) -> None:
        fixed = RequestRules(False, host=b"fixed.example")
        self.assertEqual(sent(b"", rules=fixed)[1], b"Host: fixed.example")
        self.assertIn(b"X-Forwarded-Host: a", sent(b"", rules=fixed))
        backend = RequestRules(False, backend_host=True)
        self.assertEqual(sent(b"", rules=backend)[1], b"Host: backend")
        both = RequestRules(
            False, changes=changes(set=[(b"host", b"set.example")]), backend_host=True
        )
        lines = sent(b"", rules=both)
        self.assertEqual(
            [line for line in lines if line.startswith(b"Host")], [b"Host: set.example"]
        )
        self.assertFalse(both.backend_host)

    def test_changes(self) -> None:
        rules = RequestRules(
            False,
            changes=changes(
                set=[(b"A", b"1"), (b"B", b"2")], add=[(b"A", b"3")], remove=[b"C", b"Host"]
            ),
        )
        got = sent(b"a: x\r\nC: y\r\nD: z", rules=rules)
        self.assertEqual(got, [*PLAIN, b"D: z", b"A: 1", b"B: 2", b"A: 3", *OURS])

    def test_changes_of_what_we_say(self) -> None:
        """`set` replaces ours as well: one line each."""
        told = [(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"public.example")]
        for trusted in (False, True):
            rules = RequestRules(trusted, changes=changes(set=told, remove=[b"Via"]))
            got = sent(b"X-Forwarded-Proto: ftp\r\nX-Forwarded-Host: x", rules=rules)
            self.assertEqual(
                got,
                [
                    *PLAIN,
                    b"X-Forwarded-Proto: https",
                    b"X-Forwarded-Host: public.example",
                    b'Forwarded: host="a";for=192.0.2.7;proto=http',
                    b"X-Forwarded-For: 192.0.2.7",
                    b"X-Request-Id: id-1",
                ],
            )

    @given(st.sampled_from(sorted(HOP_BY_HOP)), st.booleans(), st.sampled_from([b"1.0", b"1.1"]))
    def test_no_hop_by_hop_field_ever(self, name: bytes, trusted: bool, version: bytes) -> None:
        if name == b"transfer-encoding":
            return
        lines = sent(name + b": x", trusted=trusted, line=b"GET / HTTP/" + version)
        self.assertFalse([line for line in lines if line.lower().startswith(name + b":")])

    def test_aliases_of_every_spelling(self) -> None:
        for name in (b"X.Forwarded.For", b"X_Forwarded-For", b"Transfer.Encoding", b"X!Real!IP"):
            lines = sent(name + b": evil")
            self.assertFalse([line for line in lines if b"evil" in line], name)

    def test_trailers_pass_by_the_rules_of_fields(self) -> None:
        rules = RequestRules(
            False, changes=changes(set=[(b"X-Tier", b"edge")], remove=[b"X-Debug"])
        )
        head = parse(b"Host: a\r\nConnection: x-cl")
        block = b"X-Sum: 1\r\nX-Debug: 1\r\nx_tier: 1\r\nX-Cl: 1\r\nIf-Match: 1\r\nX-Real-IP: 1"
        passed = rules.trailers(parse_fields(block), head.facts)
        self.assertEqual([line[0] for line in passed.lines], [b"x-sum"])
        response = parse_response_head(b"HTTP/1.1 200 OK\r\nConnection: x-c")
        hidden = ResponseRules([b"X-Secret"])
        trailers = parse_fields(b"X-Secret: 1\r\nX-C: 1\r\nX-Sum: 1")
        passed = hidden.trailers(trailers, response)
        self.assertEqual([line[0] for line in passed.lines], [b"x-sum"])

    def test_mapped_addresses(self) -> None:
        for address, expected in (
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:102:304", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::1"),
            ("1.2.3.4", "1.2.3.4"),
            ("unknown", "unknown"),
            ("not:an:address", "not:an:address"),
        ):
            self.assertEqual(unmapped(address), expected)

    def test_only_so_many_proxies_are_walked_through(self) -> None:
        network = [ipaddress.ip_network("10.0.0.0/8")]
        fields = parse_fields(b"X-Forwarded-For: 1.1.1.1" + b", 10.0.0.1" * 100)
        self.assertEqual(client_address(b"10.0.0.2", fields, network), b"10.0.0.1")

    def test_httpoxy(self) -> None:
        for trusted in (True, False):
            lines = sent(b"Proxy: http://evil.example", trusted=trusted)
            self.assertFalse([line for line in lines if line.lower().startswith(b"proxy")])


class MemoTests(SynchronousTestCase):
    def test_made_once(self) -> None:
        rules = RequestRules(False)
        head = parse(b"Host: once.example")
        first = rules.block(head.fields, head.facts, head.authority)
        self.assertIs(rules.block(head.fields, head.facts, head.authority), first)
        self.assertIsNot(RequestRules(False).block(head.fields, head.facts, head.authority), first)

    def test_an_absolute_target_is_not_remembered(self) -> None:
        rules = RequestRules(False)
        fields = b"X-Case: absolute"
        for _ in range(2):  # what comes once is not kept
            parse(fields, b"GET / HTTP/1.0")
        absolute = parse(fields, b"GET http://evil.example/ HTTP/1.0")
        made = rules.block(absolute.fields, absolute.facts, absolute.authority)
        self.assertIn(b"Host: evil.example\r\n", made[0])
        plain = parse(fields, b"GET / HTTP/1.0")
        self.assertIs(plain.facts, absolute.facts)
        kept = rules.block(plain.fields, plain.facts, plain.authority)
        self.assertNotIn(b"evil", kept[0])
        again = rules.block(absolute.fields, absolute.facts, absolute.authority)
        self.assertEqual(again, made)

    def test_what_follows_from_host_is_shared(self) -> None:
        rules = RequestRules(False)
        heads = [parse(b"Host: plain.example\r\nX-Case: %d" % number) for number in (1, 2)]
        self.assertIs(heads[0].facts, heads[1].facts)
        made = [rules.block(head.fields, head.facts, head.authority) for head in heads]
        self.assertIn(b"X-Case: 1\r\n", made[0][0])
        self.assertEqual(made[1][0], made[0][0].replace(b"X-Case: 1", b"X-Case: 2"))
        self.assertEqual(len(heads[0].facts.frames), 1)

    def test_what_follows_from_the_host_is_made_once_for_all_its_blocks(self) -> None:
        rules = RequestRules(False)
        one = parse(b"Host: frames.example\r\nCookie: 1")
        two = parse(b"Host: frames.example\r\nCookie: 2")
        self.assertIs(one.facts, two.facts)
        first = rules.block(one.fields, one.facts, one.authority)
        frame = one.facts.frames[rules]
        second = rules.block(two.fields, two.facts, two.authority)
        self.assertIs(two.facts.frames[rules], frame)
        self.assertIn(b"Cookie: 1\r\n", first[0])
        self.assertIn(b"Cookie: 2\r\n", second[0])

    def test_bounded(self) -> None:
        head = parse(b"Host: bounded.example")
        for _ in range(100):
            RequestRules(False).block(head.fields, head.facts, head.authority)
        self.assertLessEqual(len(head.facts.frames), module._MAX_DERIVED)
        self.assertLessEqual(len(head.fields.derived), module._MAX_DERIVED)
        self.assertIs(parse(b"Host: bounded.example").facts, head.facts)
        response = parse_response_head(b"HTTP/1.1 200 OK\r\nX-Case: bounded")
        for _ in range(100):
            ResponseRules().block(response)
        self.assertLessEqual(len(response.fields.derived), module._MAX_DERIVED)


class PeerTests(SynchronousTestCase):
    def test_forwarded(self) -> None:
        """RFC 7239 section 6: an IPv6 address in brackets and quotes."""
        for address, node in (
            (b"192.0.2.7", b"192.0.2.7"),
            (b"2001:db8::1", b'"[2001:db8::1]"'),
            (b"unknown", b"unknown"),
        ):
            lines = sent(b"", peer=Peer(address, b"https", False))
            self.assertIn(b'Forwarded: host="a";for=%b;proto=https' % node, lines)
            self.assertIn(b"X-Forwarded-For: " + address, lines)
            self.assertIn(b"X-Forwarded-Proto: https", lines)

    def test_host_in_quotes(self) -> None:
        head = parse(b"Host: [2001:db8::2]:8080")
        block = RequestRules(False).block(head.fields, head.facts, head.authority)
        self.assertIn(b'Forwarded: host="[2001:db8::2]:8080";', block[0])


class ChangesTests(SynchronousTestCase):
    def test_checked(self) -> None:
        for name, value in ((b"a b", b""), (b"", b""), (b"a", b"b\r\nc: d"), (b"a", b"\x00")):
            self.assertRaises(ValueError, changes, set=[(name, value)])
            self.assertRaises(ValueError, changes, add=[(name, value)])

    def test_replaced(self) -> None:
        made = changes(set=[(b"A", b"1")], add=[(b"B", b"1")], remove=[b"C"])
        self.assertEqual(made.replaced, {b"a", b"c"})
        self.assertEqual(Changes().replaced, frozenset())

    def test_proxy_fields(self) -> None:
        for name in (b"via", b"x-forwarded-proto", b"x-forwarded-x", b"x-real-ip"):
            self.assertTrue(is_proxy_field(name))
        for name in (b"viaduct", b"x-forward", b"cookie"):
            self.assertFalse(is_proxy_field(name))


def passed(block: bytes, status: int = 200, rules: ResponseRules | None = None) -> list[bytes]:
    """The lines that go down for a response with these fields."""
    head = parse_response_head(b"HTTP/1.1 %d X\r\n%b" % (status, block))
    made = (rules or ResponseRules()).block(head)
    assert made.block == b"".join(line[2] for line in made.lines)
    return [line[2][:-2] for line in made.lines]


class ResponseTests(SynchronousTestCase):
    def test_passing(self) -> None:
        lines = [b"Server: x", b"set-cookie: a", b"Set-Cookie: b", b"Trailer: t", b"Via: 1.1 x"]
        self.assertEqual(passed(b"\r\n".join(lines)), lines)

    def test_dropped(self) -> None:
        for line in (
            b"Connection: close, X-Hop\r\nX-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"Transfer-Encoding: chunked",
            b"Upgrade: h2c",
            b"Proxy-Authenticate: Basic",
            b"TE: x",
            b"X-Request-Id: theirs",
            b"Connection: close\r\nClose: x",
        ):
            self.assertEqual(passed(line), [], line)

    def test_a_length_in_one_spelling(self) -> None:
        for value, expected in (
            (b"0", b"0"),
            (b"5", b"5"),
            (b"50", b"50"),
            (b"010", b"10"),
            (b"000", b"0"),
            (b"000000000000000007", b"7"),
        ):
            self.assertEqual(passed(b"content-length: " + value), [b"content-length: " + expected])
        # In no other field.
        block = b"X-Length: 010\r\nContent-Length: 010"
        self.assertEqual(passed(block), [b"X-Length: 010", b"Content-Length: 10"])

    def test_a_length_beside_a_coding(self) -> None:
        """As answers to HEAD and 304 may have it: the length is not to be believed."""
        block = b"Content-Length: 5\r\nTransfer-Encoding: chunked"
        for status in (200, 304):
            self.assertEqual(passed(block, status), [])

    def test_upgrade_required(self) -> None:
        """426 has to say to what; only of protocols that the proxy lets through."""
        block = b"Connection: close, Upgrade\r\nUpgrade: h2c, websocket, TLS/1.2\r\nUpgrade: foo/2"
        for status, expected in (
            (426, [b"Connection: upgrade", b"Upgrade: websocket, foo/2"]),
            (200, []),
        ):
            self.assertEqual(passed(block, status), expected)
        self.assertEqual(passed(b"Connection: upgrade\r\nUpgrade: h2c", 426), [])
        self.assertEqual(passed(b"X-A: 1", 426), [b"X-A: 1"])

    def test_hidden_and_changed(self) -> None:
        rules = ResponseRules(
            [b"Server"],
            changes(set=[(b"X-A", b"1")], add=[(b"X-B", b"2")], remove=[b"X-C"]),
        )
        block = b"server: x\r\nx-a: 0\r\nX-B: 0\r\nx-c: 0"
        self.assertEqual(passed(block, rules=rules), [b"X-B: 0", b"X-A: 1", b"X-B: 2"])
        own = rules.own([make_line(b"X-A", b"0"), make_line(b"Server", b"ours")])
        self.assertEqual(own.block, b"Server: ours\r\nX-A: 1\r\nX-B: 2\r\n")
        # Not in what comes before the response.
        self.assertEqual(passed(block, 103, rules), [b"X-B: 0"])

    def test_what_is_hidden_along(self) -> None:
        block = b"Alt-Svc: clear\r\nX-AspNet-Version: 4\r\nX-AspNetMvc-Version: 5\r\nX-A: 1"
        self.assertEqual(len(passed(block)), 4)
        self.assertEqual(len(passed(block, rules=ResponseRules([b"Server"]))), 3)
        both = ResponseRules([b"server", b"X-Powered-By"])
        self.assertEqual(passed(block, rules=both), [b"X-A: 1"])
        own = changes(set=[(b"Alt-Svc", b"ours")])
        self.assertIn(b"Alt-Svc: ours", passed(block, rules=ResponseRules([b"server"], own)))

    def test_nobody_drops_the_length(self) -> None:
        """Without it, the next response on the connection would be taken for the body."""
        block = b"Content-Length: 5\r\nConnection: close, content-length"
        self.assertEqual(passed(block), [b"Content-Length: 5"])
        rules = ResponseRules([b"content-length"], changes(remove=[b"Content-Length"]))
        self.assertEqual(passed(b"Content-Length: 5", rules=rules), [b"Content-Length: 5"])

    def test_the_length_of_nothing(self) -> None:
        for status in (100, 103, 199, 204):
            self.assertEqual(passed(b"Content-Length: 5", status), [], status)
        self.assertEqual(passed(b"Content-Length: 5", 304), [b"Content-Length: 5"])

    def test_remembered_by_rules_and_status(self) -> None:
        rules = ResponseRules()
        heads = [
            parse_response_head(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\nX-Case: status" % status)
            for status in (200, 200, 204, 200)  # what comes once is not kept
        ]
        blocks = [rules.block(head) for head in heads]
        self.assertIs(blocks[1], blocks[3])
        self.assertNotIn(b"Content-Length", blocks[2].block)
        self.assertIn(b"Content-Length", blocks[3].block)

    def test_what_the_block_says(self) -> None:
        for block, needs_date, names_backend in (
            (b"Date: now", False, False),
            (b"Server: x", True, False),
            (b"Location: /", True, False),
            (b"content-location: //a", True, True),
            (b"Refresh: 0;url=//a", True, True),
            (b"Refresh: 0", True, False),
            (b"Set-Cookie: a; domain=b", True, True),
            (b"Set-Cookie: a", True, False),
        ):
            made = ResponseRules().block(parse_response_head(b"HTTP/1.1 200 X\r\n" + block))
            self.assertEqual((made.needs_date, made.names_backend), (needs_date, names_backend))

"""Heads: what is taken and refused, what follows from the fields, and h11 as a second opinion."""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.errors import (
    BAD_CONTENT_LENGTH,
    BAD_EXPECTATION,
    BAD_FIELD,
    BAD_HOST,
    BAD_METHOD,
    BAD_REQUEST_LINE,
    BAD_RESPONSE,
    BAD_TARGET,
    BAD_VERSION,
    HOST_MISMATCH,
    TARGET_ABOVE_ROOT,
    TARGET_TOO_LONG,
    VERSION_UNSUPPORTED,
    Reason,
)
from txrproxy.http import head as module
from txrproxy.http.fields import TCHAR, make_line, parse_fields
from txrproxy.http.framing import CHUNKED
from txrproxy.http.head import (
    MAX_METHOD,
    MAX_TARGET,
    BadHead,
    RequestHead,
    is_hop_protocol,
    parse_request_head,
    parse_response_head,
    request_facts,
)


def get(block: bytes, version: bytes = b"1.1") -> RequestHead:
    return parse_request_head(b"GET / HTTP/%b\r\n%b" % (version, block))


class RequestLineTests(SynchronousTestCase):
    def refused(self, head: bytes, reason: Reason) -> None:
        error = self.assertRaises(BadHead, parse_request_head, head)
        self.assertIs(error.reason, reason, head)

    def test_accepted(self) -> None:
        head = parse_request_head(b"GET /a%20b/../c?d=e HTTP/1.1\r\nHost: A.example:80\r\nX: y")
        self.assertEqual(head.method, b"GET")
        self.assertEqual(head.target.origin, b"/a%20b/../c?d=e")
        self.assertEqual(head.path, b"/c")
        self.assertEqual(head.host, b"a.example")
        self.assertEqual(head.authority, b"A.example:80")
        self.assertEqual(head.fields.block, b"Host: A.example:80\r\nX: y\r\n")
        self.assertEqual(head.size, 58)
        self.assertTrue(head.facts.http_11)
        self.assertIn("/a%20b", repr(head))

    def test_any_token_is_a_method(self) -> None:
        for method in (b"PROPFIND", b"get", b"!#$%&'*+-.^_`|~", b"M" * MAX_METHOD):
            head = parse_request_head(method + b" / HTTP/1.1\r\nHost: a")
            self.assertEqual(head.method, method)

    def test_versions(self) -> None:
        for version, http_11 in ((b"1.0", False), (b"1.1", True), (b"1.2", True), (b"1.9", True)):
            self.assertIs(get(b"Host: a", version).facts.http_11, http_11)

    def test_forms_of_targets(self) -> None:
        head = parse_request_head(b"OPTIONS * HTTP/1.1\r\nHost: a")
        self.assertEqual((head.target.form, head.path), ("asterisk", b"*"))
        head = parse_request_head(b"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example")
        self.assertEqual((head.target.form, head.host), ("authority", b"b.example"))
        head = parse_request_head(b"GET HTTP://A.example/x HTTP/1.1\r\nHost: a.EXAMPLE")
        self.assertEqual((head.target.form, head.path), ("absolute", b"/x"))
        self.assertEqual((head.host, head.authority), (b"a.example", b"a.EXAMPLE"))

    def test_an_absolute_target_stands_in_for_host(self) -> None:
        head = parse_request_head(b"GET http://A.example:81/x HTTP/1.0")
        self.assertEqual((head.host, head.authority), (b"a.example", b"A.example:81"))

    def test_two_authorities(self) -> None:
        for authority in (b"b.example", b"a.example:443", b"a.example.", b"", b"[::1]"):
            for version in (b"1.0", b"1.1"):
                line = b"GET http://a.example/ HTTP/%b\r\nHost: %b" % (version, authority)
                self.refused(line, HOST_MISMATCH)

    def test_one_authority_in_two_spellings(self) -> None:
        """The port of the scheme may be left out (RFC 9110 section 4.2.3)."""
        for target, authority in (
            (b"http://a.example", b"A.example:80"),
            (b"http://a.example:80", b"a.example"),
            (b"http://a.example:", b"a.example"),
            (b"HTTPS://A.example", b"a.example:443"),
            (b"https://a.example:443", b"a.example:"),
            (b"http://[::1]:80", b"[::1]"),
        ):
            head = parse_request_head(b"GET %b/ HTTP/1.1\r\nHost: %b" % (target, authority))
            self.assertEqual(head.authority, authority)
        for target, authority in (
            (b"https://a.example:80", b"a.example"),
            (b"http://a.example", b"a.example:443"),
            (b"http://[::1]", b"[::80]"),
            (b"http://a.example:8080", b"a.example"),
        ):
            self.refused(b"GET %b/ HTTP/1.1\r\nHost: %b" % (target, authority), HOST_MISMATCH)

    def test_refused(self) -> None:
        table = [
            (b"", BAD_REQUEST_LINE),
            (b"GET", BAD_REQUEST_LINE),
            (b"GET /", BAD_REQUEST_LINE),
            (b"GET / HTTP/1.1 ", BAD_REQUEST_LINE),
            (b"GET  / HTTP/1.1", BAD_REQUEST_LINE),
            (b"GET /a b HTTP/1.1", BAD_REQUEST_LINE),
            (b"GET\t/\tHTTP/1.1", BAD_REQUEST_LINE),
            (b" / HTTP/1.1", BAD_METHOD),
            (b"G\xc3T / HTTP/1.1", BAD_METHOD),
            (b"GET: / HTTP/1.1", BAD_METHOD),
            (b"G/T / HTTP/1.1", BAD_METHOD),
            (b"M" * (MAX_METHOD + 1) + b" / HTTP/1.1", BAD_METHOD),
            (b"GET / http/1.1", BAD_VERSION),
            (b"GET / HTTP/1.1x", BAD_VERSION),
            (b"GET / HTTP/1", BAD_VERSION),
            (b"GET / HTTP/11", BAD_VERSION),
            (b"GET / HTTP/1.10", BAD_VERSION),
            (b"GET / HTTP/01.1", BAD_VERSION),
            (b"GET / HTTP/1,1", BAD_VERSION),
            (b"GET / HTTPS/1.1", BAD_VERSION),
            (b"GET / ", BAD_VERSION),
            (b"GET / HTTP/0.9", VERSION_UNSUPPORTED),
            (b"GET / HTTP/2.0", VERSION_UNSUPPORTED),
            (b"PRI * HTTP/2.0", VERSION_UNSUPPORTED),
            (b"GET  HTTP/1.1", BAD_TARGET),
            (b"GET * HTTP/1.1", BAD_TARGET),
            (b"GET a HTTP/1.1", BAD_TARGET),
            (b"GET /# HTTP/1.1", BAD_TARGET),
            (b"GET /\xe9 HTTP/1.1", BAD_TARGET),
            (b"GET /%zz HTTP/1.1", BAD_TARGET),
            (b"GET ftp://a/ HTTP/1.1", BAD_TARGET),
            (b"GET http:///a HTTP/1.1", BAD_TARGET),
            (b"GET http://u@a/ HTTP/1.1", BAD_TARGET),
            (b"CONNECT / HTTP/1.1", BAD_TARGET),
            (b"CONNECT a HTTP/1.1", BAD_TARGET),
            (b"GET /../a HTTP/1.1", TARGET_ABOVE_ROOT),
            (b"GET /%2e%2e/a HTTP/1.1", TARGET_ABOVE_ROOT),
            (b"GET /" + b"a" * MAX_TARGET + b" HTTP/1.1", TARGET_TOO_LONG),
        ]
        for line, reason in table:
            self.refused(line + b"\r\nHost: a", reason)

    def test_a_known_target_is_still_none_for_connect(self) -> None:
        parse_request_head(b"GET /known HTTP/1.1\r\nHost: a")
        self.refused(b"CONNECT /known HTTP/1.1\r\nHost: a", BAD_TARGET)

    def test_an_asterisk_is_not_remembered_for_others(self) -> None:
        parse_request_head(b"OPTIONS * HTTP/1.1\r\nHost: a")
        self.refused(b"GET * HTTP/1.1\r\nHost: a", BAD_TARGET)

    def test_the_longest_target(self) -> None:
        target = b"/" + b"a" * (MAX_TARGET - 1)
        head = parse_request_head(b"GET " + target + b" HTTP/1.1\r\nHost: a")
        self.assertEqual(head.path, target)
        self.assertNotIn(target, module._targets)

    def test_fields_are_refused(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nHost : a", BAD_FIELD)
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x", BAD_CONTENT_LENGTH)


class HostTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        table = [
            (b"a.example", b"a.example"),
            (b"A.Example:8080", b"a.example"),
            (b"a.example.", b"a.example"),
            (b"a.example:", b"a.example"),
            (b"127.0.0.1:80", b"127.0.0.1"),
            (b"[::1]:80", b"[::1]"),
            (b"[0:0::0001]", b"[::1]"),
            (b"", b""),
        ]
        for value, host in table:
            head = get(b"Host: " + value)
            self.assertEqual((head.host, head.authority), (host, value))

    def test_refused(self) -> None:
        blocks = [
            b"X: no host",
            b"Host: a\r\nHost: a",
            b"Host: a\r\nhost: b",
            b"Host: a\r\nHost: ",
            *(
                b"Host: " + value
                for value in (
                    b"u@a",
                    b"a/b",
                    b"a b",
                    b"a, b",
                    b"a,b",
                    b"a:b",
                    b"a:80:80",
                    b"a:65536",
                    b"a:-1",
                    b"a:+80",
                    b"a..b",
                    b".a",
                    b":80",
                    b"http://a",
                    b"a?b",
                    b"a#b",
                    b"a\\b",
                    b"a%00",
                    b"\xe9",
                    b"[::1",
                    b"::1",
                    b"[::1]x",
                    b"[1.2.3.4]",
                    b"[fe80::1%25eth0]",
                    b'"a"',
                    b"a" * 256,
                )
            ),
        ]
        for block in blocks:
            error = self.assertRaises(BadHead, get, block)
            self.assertIs(error.reason, BAD_HOST, block)

    def test_none_in_http_10(self) -> None:
        head = parse_request_head(b"GET / HTTP/1.0")
        self.assertEqual((head.host, head.authority), (b"", b""))
        self.assertRaises(BadHead, get, b"Host: a\r\nHost: a", b"1.0")


class FactsTests(SynchronousTestCase):
    def test_keep_alive(self) -> None:
        table = [
            (b"", True, False),
            (b"Connection: close", False, False),
            (b"Connection: x, CLOSE", False, False),
            (b"Connection: keep-alive", True, True),
            (b"Connection: Keep-Alive, close", False, False),
            (b"Connection: keep-alive\r\nConnection: close", False, False),
        ]
        for block, in_11, in_10 in table:
            lines = b"\r\n".join(filter(None, (b"Host: a", block)))
            self.assertIs(get(lines).facts.keep_alive, in_11, block)
            self.assertIs(get(lines, b"1.0").facts.keep_alive, in_10, block)

    def test_body(self) -> None:
        self.assertEqual(get(b"Host: a").facts.body, 0)
        self.assertEqual(get(b"Host: a\r\nContent-Length: 7").facts.body, 7)
        self.assertEqual(get(b"Host: a\r\nTransfer-Encoding: chunked").facts.body, CHUNKED)

    def test_expect(self) -> None:
        self.assertFalse(get(b"Host: a").facts.expects_continue)
        self.assertTrue(get(b"Host: a\r\nExpect: 100-Continue").facts.expects_continue)
        for value in (b"", b"100-continue, x", b"x", b"100-continue\r\nExpect: 100-continue"):
            block = b"Host: a\r\nExpect: " + value
            error = self.assertRaises(BadHead, get, block)
            self.assertIs(error.reason, BAD_EXPECTATION)
            self.assertFalse(get(block, b"1.0").facts.expects_continue)

    def test_trailers(self) -> None:
        table = [
            (b"TE: trailers\r\nConnection: TE", True),
            (b"TE: gzip, Trailers\r\nConnection: close, te", True),
            (b"TE: trailers", False),
            (b"Connection: te", False),
            (b"TE: gzip\r\nConnection: te", False),
        ]
        for block, expected in table:
            self.assertIs(get(b"Host: a\r\n" + block).facts.trailers, expected, block)

    def test_upgrade(self) -> None:
        connection = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: "
        table = [
            (connection + b"websocket", b"websocket"),
            (connection + b"websocket, h2c, HTTP/3, TLS/1.2, h2, x/1", b"websocket, x/1"),
            (connection + b"h2c", b""),
            (connection + b"", b""),
            (b"Host: a\r\nUpgrade: websocket", b""),
            (b"Host: a\r\nConnection: upgrade", b""),
            (connection + b"websocket\r\nContent-Length: 5", b""),
            (connection + b"websocket\r\nContent-Length: 0", b"websocket"),
            (connection + b"websocket\r\nTransfer-Encoding: chunked", b""),
        ]
        for block, expected in table:
            self.assertEqual(get(block).facts.upgrade, expected, block)
        self.assertEqual(get(connection + b"websocket", b"1.0").facts.upgrade, b"")
        self.assertTrue(is_hop_protocol(b"H2C"))
        self.assertFalse(is_hop_protocol(b"websocket"))

    def test_remembered_by_fields_and_version_alone(self) -> None:
        block = b"Host: facts.example\r\nConnection: keep-alive"
        get(block)  # what comes once is not kept
        first = get(block)
        other = parse_request_head(b"DELETE /other?x HTTP/1.1\r\n" + block)
        self.assertIs(other.facts, first.facts)
        old = get(block, b"1.0")
        self.assertIs(old.fields, first.fields)
        self.assertIsNot(old.facts, first.facts)
        self.assertFalse(old.facts.http_11)

    def test_an_absolute_target_leaves_the_shared_facts_alone(self) -> None:
        block = b"X-Facts: 1"
        head = parse_request_head(b"GET http://evil.example/ HTTP/1.0\r\n" + block)
        self.assertEqual(head.host, b"evil.example")
        self.assertEqual(get(block, b"1.0").host, b"")

    def test_a_refusal_is_not_remembered_as_facts(self) -> None:
        fields = parse_fields(b"X-Facts: 2")
        for _ in range(2):
            self.assertRaises(BadHead, request_facts, fields, True)
        facts = request_facts(fields, False)
        self.assertEqual(facts.host, b"")
        self.assertIs(request_facts(fields, False), facts)


class ResponseHeadTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        table = [
            (b"HTTP/1.1 200 OK", 200, True, b"HTTP/1.1 200 OK\r\n"),
            (b"HTTP/1.0 404 Not  Found", 404, False, b"HTTP/1.1 404 Not  Found\r\n"),
            (b"HTTP/1.1 200 ", 200, True, b"HTTP/1.1 200 \r\n"),
            (b"HTTP/1.1 200", 200, True, b"HTTP/1.1 200 \r\n"),
            (b"HTTP/1.7 599 \xe9\t!", 599, True, b"HTTP/1.1 599 \xe9\t!\r\n"),
            (b"HTTP/1.1 100 Continue", 100, True, b"HTTP/1.1 100 Continue\r\n"),
        ]
        for line, status, http_11, sent in table:
            head = parse_response_head(line + b"\r\nServer: a")
            self.assertEqual((head.status, head.http_11, head.status_line), (status, http_11, sent))
            self.assertEqual(head.size, len(line) + 15)
        self.assertEqual(repr(head), "<ResponseHead 100>")

    def test_refused(self) -> None:
        for line in (
            b"",
            b"HTTP/1.1",
            b"HTTP/1.1 ",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.1 600 OK",
            b"HTTP/1.1 +20 OK",
            b"HTTP/1.1 2\xb20 OK",
            b"HTTP/1.1 200OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/1.1 200 a\x00",
            b"HTTP/1.1 200 a\nb",
            b"HTTP/2.0 200 OK",
            b"HTTP/0.9 200 OK",
            b"http/1.1 200 OK",
            b"ICY 200 OK",
            b" HTTP/1.1 200 OK",
        ):
            error = self.assertRaises(BadHead, parse_response_head, line + b"\r\nServer: a")
            self.assertIs(error.reason, BAD_RESPONSE, line)
        for block in (b"a : b", b"a: b\r\n c", b"a: \x00"):
            error = self.assertRaises(BadHead, parse_response_head, b"HTTP/1.1 200 OK\r\n" + block)
            self.assertIs(error.reason, BAD_RESPONSE, block)

    def test_keep_alive(self) -> None:
        for line, block, expected in [
            (b"HTTP/1.1 200 OK", b"Server: a", True),
            (b"HTTP/1.1 200 OK", b"Connection: Close", False),
            (b"HTTP/1.0 200 OK", b"Server: a", False),
            (b"HTTP/1.0 200 OK", b"Connection: Keep-Alive", True),
            (b"HTTP/1.0 200 OK", b"Connection: keep-alive, close", False),
        ]:
            self.assertIs(parse_response_head(line + b"\r\n" + block).keep_alive, expected)

    def test_remembered(self) -> None:
        small = b"HTTP/1.1 200 OK\r\nX-Memo: response"
        parse_response_head(small)  # what comes once is not kept
        self.assertIs(parse_response_head(small), parse_response_head(bytes(bytearray(small))))
        large = b"HTTP/1.1 200 OK\r\nX-Memo: " + b"x" * 5000
        self.assertIsNot(parse_response_head(large), parse_response_head(large))


_METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"M-SEARCH"])
_TARGETS = st.text("abz/.%2e?=&;:@", max_size=12).map(lambda text: b"/" + text.encode())
_NAMES = st.text(TCHAR.decode(), min_size=1, max_size=8).map(str.encode)
_VALUES = st.text('ab, \t"=:;\xe9\xff', max_size=12).map(lambda text: text.encode("latin-1"))


class PropertyTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(_METHODS, _TARGETS, st.lists(st.tuples(_NAMES, _VALUES), max_size=5))
    def test_serialised_and_parsed(
        self, method: bytes, target: bytes, lines: list[tuple[bytes, bytes]]
    ) -> None:
        block = b"".join(make_line(name, value)[2] for name, value in lines)
        head = b"%b %b HTTP/1.1\r\nHost: a\r\n%b" % (method, target, block)
        try:
            parsed = parse_request_head(head[:-2])
        except BadHead:
            return
        again = b"%b %b HTTP/1.1\r\n%b" % (
            parsed.method,
            parsed.target.origin,
            parsed.fields.block,
        )
        twice = parse_request_head(again[:-2])
        self.assertEqual(twice.method, method)
        self.assertEqual(twice.target, parsed.target)
        self.assertEqual(twice.fields.lines, parsed.fields.lines)


# What h11 takes and we refuse, on purpose; nothing is taken by us alone.
STRICTER = [
    # Targets, which it does not look into.
    b"GET /#fragment HTTP/1.1\r\nHost: a",
    b"GET /%zz HTTP/1.1\r\nHost: a",
    b"GET /../a HTTP/1.1\r\nHost: a",
    b"GET * HTTP/1.1\r\nHost: a",
    # Whose host it is.
    b"GET / HTTP/1.1\r\nHost: user@a/b",
    b"GET http://b/ HTTP/1.1\r\nHost: a",
    # Framing: equal lengths, a length beside a coding, a coding on HTTP/1.0.
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked",
    # Lines: folds, LF for an end, control characters.
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x01c",
    b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles",
    b"GET / HTTP/2.0\r\nHost: a",
]
_PARTS = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Content-Length: 5, 5",
        b"content-length: 6",
        b"Content-Length: +5",
        b"Content-Length:",
        b"Content-Length : 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: CHUNKED",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding\x00: chunked",
        b"Host: a",
        b"Host: b",
        b"X: y\xe9",
        b"X:\ty \t",
        b" folded: 1",
        b"X: a\x00b",
        b"X: a\nY: b",
        b"Connection: close",
        b"no colon",
    ]
)


# Rewritten by h11 into one spelling; the framing itself is compared.
_FRAMING = (b"content-length", b"transfer-encoding")


class DifferentialTests(SynchronousTestCase):
    """h11 as a second opinion."""

    @settings(deadline=None, max_examples=300)
    @given(_METHODS, _TARGETS, st.lists(_PARTS, max_size=4), st.sampled_from([b"1.1", b"1.0"]))
    def test_requests(
        self, method: bytes, target: bytes, parts: list[bytes], version: bytes
    ) -> None:
        lines = [b"%b %b HTTP/%b" % (method, target, version), b"Host: a", *parts]
        self.compare(b"\r\n".join(lines))

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=40))
    def test_garbage(self, garbage: bytes) -> None:
        self.compare(b"GET / HTTP/1.1\r\nHost: a\r\n" + garbage)
        self.compare(garbage + b"\r\nHost: a")
        self.compare(b"GET /" + garbage + b" HTTP/1.1\r\nHost: a")

    def test_where_we_are_stricter(self) -> None:
        for head in STRICTER:
            self.assertRaises(BadHead, parse_request_head, head)
            peer = h11.Connection(h11.SERVER)
            peer.receive_data(head + b"\r\n\r\n")
            self.assertIsInstance(peer.next_event(), h11.Request, head)

    def compare(self, head: bytes) -> None:
        if b"\r\n\r\n" in head + b"\r\n":
            return
        try:
            ours = parse_request_head(head)
        except BadHead:
            return  # as in STRICTER, or both refuse
        peer = h11.Connection(h11.SERVER)
        peer.receive_data(head + b"\r\n\r\n")
        try:
            theirs = peer.next_event()
        except h11.RemoteProtocolError as error:
            self.fail(f"taken by us only: {head!r}: {error}")
        assert isinstance(theirs, h11.Request)
        self.assertEqual(theirs.method, ours.method)
        # h11 does not take absolute targets apart.
        if ours.target.form != "absolute":
            self.assertEqual(theirs.target, ours.target.origin)
        self.assertEqual(
            [(name, value) for name, value in theirs.headers if name not in _FRAMING],
            [(name, value) for name, value, *_ in ours.fields.lines if name not in _FRAMING],
        )
        event = peer.next_event()
        if ours.facts.body:
            self.assertIs(event, h11.NEED_DATA)
            chunked = type(peer._reader).__name__ == "ChunkedReader"
            self.assertIs(chunked, ours.facts.body == CHUNKED)
        else:
            self.assertIsInstance(event, h11.EndOfMessage)

    @settings(deadline=None)
    @given(
        st.sampled_from([b"200 OK", b"204", b"304 ", b"404 Not", b"099 X", b"20 X", b"700 X"]),
        st.lists(_PARTS, max_size=3),
        st.sampled_from([b"1.1", b"1.0"]),
    )
    def test_responses(self, status: bytes, parts: list[bytes], version: bytes) -> None:
        head = b"\r\n".join([b"HTTP/%b %b" % (version, status), *parts])
        try:
            ours = parse_response_head(head)
        except BadHead:
            return
        peer = h11.Connection(h11.CLIENT)
        peer.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        peer.send(h11.EndOfMessage())
        peer.receive_data(head + b"\r\n\r\n")
        try:
            theirs = peer.next_event()
        except h11.RemoteProtocolError:
            # Its framing is judged with the head, ours in framing.response_body.
            self.assertTrue(
                {b"content-length", b"transfer-encoding"} & {x[0] for x in ours.fields.lines}
            )
            return
        assert isinstance(theirs, h11.Response)
        self.assertEqual(theirs.status_code, ours.status)
        # Equal lengths become one there.
        self.assertEqual(
            [(name, value) for name, value in theirs.headers if name not in _FRAMING],
            [(name, value) for name, value, *_ in ours.fields.lines if name not in _FRAMING],
        )


class PlainTests(SynchronousTestCase):
    """Facts that follow from Host alone are shared by all requests with nothing else to say."""

    def test_shared(self) -> None:
        one = parse_request_head(b"GET / HTTP/1.1\r\nHost: plain.example\r\nCookie: a=1")
        two = parse_request_head(b"GET / HTTP/1.1\r\nHost: plain.example\r\nUser-Agent: b")
        self.assertTrue(one.facts.plain)
        self.assertIs(one.facts, two.facts)

    def test_never_with_a_field_that_has_a_say(self) -> None:
        for more in (
            b"Content-Length: 5",
            b"Connection: close",
            b"Expect: 100-continue",
            b"a_b: c",
        ):
            head = parse_request_head(b"GET / HTTP/1.1\r\nHost: plain.example\r\n" + more)
            self.assertFalse(head.facts.plain, more)

    def test_never_for_http_10(self) -> None:
        head = parse_request_head(b"GET / HTTP/1.0\r\nHost: plain.example")
        self.assertFalse(head.facts.plain)
        self.assertFalse(head.facts.keep_alive)

    def test_two_hosts_are_refused_however_often_the_first_was_seen(self) -> None:
        parse_request_head(b"GET / HTTP/1.1\r\nHost: plain.example")
        with self.assertRaises(BadHead):
            parse_request_head(b"GET / HTTP/1.1\r\nHost: plain.example\r\nHost: plain.example")

    def test_bounded(self) -> None:
        for number in range(module._MEMO_HOSTS + 10):
            parse_request_head(b"GET / HTTP/1.1\r\nHost: h%d.example" % number)
        self.assertLessEqual(len(module._plain_facts), module._MEMO_HOSTS)

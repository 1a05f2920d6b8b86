"""Every parser that reads what a client sends, each with what must hold of it for any bytes at all.

A target is a function of bytes that raises when something does not hold: an exception that the
parser does not announce, a result that depends on how the bytes were split, something taken that
the grammar of its RFC forbids, or an independent implementation that reads the same otherwise. The
same targets are driven by hypothesis, in the suite, and by atheris, for as long as one likes.
"""

from __future__ import annotations

import base64
import email.utils
import html
import http.cookies
import io
import ipaddress
import json
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11
import jwt
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ed25519
from OpenSSL import SSL

from tests.fuzz import grammar
from tests.http.conversation import requests, responses, split_at
from tests.tls.test_opening import hello
from txrproxy.cache.key import KeyMaker, normal_field, variant
from txrproxy.cache.policy.directives import parse_directives
from txrproxy.cache.policy.ranges import multipart, parse_ranges
from txrproxy.cache.policy.storing import tags, vary_names
from txrproxy.cache.policy.validators import entity_tag, listed_tags
from txrproxy.filters.basic import credentials
from txrproxy.filters.tokens import BadToken, Rules, find, parse_keys, verify
from txrproxy.http.body import MAX_CHUNK_LINE, MAX_TRAILERS, BadBody, ChunkedDecoder
from txrproxy.http.cookies import MAX_PAIRS, cookie_values
from txrproxy.http.date import parse_http_date
from txrproxy.http.errorpage import page
from txrproxy.http.fields import (
    BadFields,
    is_field_value,
    parse_fields,
    parse_line,
    split_list,
    split_members,
)
from txrproxy.http.form import BadForm, parse_multipart
from txrproxy.http.forward import RequestRules, ResponseRules, request_head
from txrproxy.http.head import BadHead, RequestHead, parse_request_head, parse_response_head
from txrproxy.http.peer import Peer, believed_request_id, believed_scheme, client_address
from txrproxy.http.public import PublicAddress, public_lines
from txrproxy.http.structured import parse_dictionary
from txrproxy.http.target import (
    BadTarget,
    normalise_path,
    parse_target,
    split_authority,
)
from txrproxy.routing.match import _arguments
from txrproxy.routing.redirect import Template
from txrproxy.tls.opening import Incomplete, Unreadable, server_name, speaks_http
from txrproxy.transport.proxyprotocol import V2_MAX, BadProxyHeader, NeedMore, parse


@frozen
class Target:
    """``seeds`` are examples to begin from, ``words`` what such texts are made of."""

    name: str
    check: Callable[[bytes], object]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()


TARGETS: dict[str, Target] = {}


def target(
    *seeds: bytes, words: str | Sequence[bytes] = ""
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    """Make a function of bytes a target; a text of ``words`` has them between spaces."""

    def made(check: Callable[[bytes], object]) -> Callable[[bytes], object]:
        listed = [w.encode("latin-1") for w in words.split()] if isinstance(words, str) else words
        name = check.__name__
        TARGETS[name] = Target(name, check, seeds, listed)
        return check

    return made


def pieces(data: bytes, wanted: int = 4) -> list[bytes]:
    """The bytes cut at a few places, which depend on nothing but the bytes."""
    chance = zlib.crc32(data)
    places = sorted((chance >> 8 * n) % (len(data) + 1) for n in range(wanted))
    return split_at(data, places)


# Heads and bodies.

_PEER = Peer(b"192.0.2.7", b"http", False)
_RULES = RequestRules(False)
_TRUSTING = RequestRules(True)
_HEAD_WORDS = (
    b"GET", b"POST", b"/", b"*", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n",
    b"Host: a", b"Content-Length: 5", b"Content-Length: 05", b"Content-Length:\t+5", b"0x5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"chunked, chunked",
    b"Connection: close", b"Connection: te, upgrade", b"Upgrade: h2c", b"Upgrade: websocket",
    b"TE: trailers", b"Expect: 100-continue", b"Forwarded: for=1", b"X-Forwarded-For: 1.1.1.1",
    b"Max-Forwards: 3", b"Via: 1.1 a", b": ", b" :", b"\t", b"\x00", b"\x0b", b"\x85", b"\xe9",
    b"http://b/", b"#", b"%00", b"..", b"X_Forwarded_For: 1", b"Trailer: x", b"hello",
)  # fmt: skip


@target(
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello"
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    words=_HEAD_WORDS,
)
def requests_of_a_connection(data: bytes) -> None:
    """Any split gives the same events; nothing is read past the first fault."""
    whole = requests([data])
    assert requests(pieces(data)) == whole
    if len(data) < 200:
        assert requests([data[at : at + 1] for at in range(len(data))]) == whole
    assert [event for event in whole if event[0] == "bad"] in ([], whole[-1:])
    _reread(data, whole)


def _reread(data: bytes, events: list[Any]) -> None:
    """h11 sees the same requests with the same bodies, as far as it is as strict as we are."""
    if _BWS.search(data):
        return
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(data)
    body, ended = b"", True
    for event in events:
        if event[0] == "request":
            assert ended
            if peer.their_state is h11.DONE:
                peer.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                peer.send(h11.EndOfMessage())
                if peer.our_state is not h11.DONE:
                    return
                peer.start_next_cycle()
            theirs = _next(peer)
            if "no request line received" in str(theirs) or theirs is h11.PAUSED:
                return  # empty lines before it (RFC 9112 section 2.2); an upgrade was offered
            assert isinstance(theirs, h11.Request), theirs
            assert theirs.method == event[1]
            body = b""
            while isinstance(more := _next(peer), h11.Data):
                body += more.data
            ended = isinstance(more, h11.EndOfMessage)
        elif event[0] == "body":
            assert ended and body == event[1]
        else:
            return


# White space before an extension: RFC 9110 section 5.6.3 has it accepted, and h11 does not.
_BWS = re.compile(rb"[0-9A-Fa-f][ \t]+;")


def _next(peer: h11.Connection) -> Any:
    try:
        return peer.next_event()
    except h11.RemoteProtocolError as error:
        return error


@target(
    b"GET / HTTP/1.1\r\nHost: a",
    b"POST /a?b=c HTTP/1.1\r\nHost: a.example:8080\r\nContent-Length: 5\r\nCookie: a=b; c=d",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nMax-Forwards: 10\r\nTE: trailers\r\nConnection: TE",
    b"GET http://a/x HTTP/1.0\r\nForwarded: for=1.1.1.1\r\nVia: 1.0 x\r\nX-Forwarded-For: 1.1.1.1",
    words=_HEAD_WORDS,
)
def one_request_head(data: bytes) -> None:
    """What is taken is in the grammar, and what is sent on for it reads the same."""
    try:
        head = parse_request_head(data)
    except BadHead:
        return
    line, *lines = data.split(b"\r\n")
    match = grammar.REQUEST_LINE.fullmatch(line)
    assert match, line
    assert grammar.TARGET.fullmatch(match[2]) or match[1] == b"CONNECT", match[2]
    fields = [grammar.FIELD.fullmatch(text) for text in lines if text or len(lines) > 1]
    assert all(fields), lines
    named = [(field[1].lower(), field[2]) for field in fields if field]
    assert [(name, value) for name, value, *_ in head.fields.lines] == named
    hosts = [value for name, value in named if name == b"host"]
    assert len(hosts) == 1 or (not hosts and match[3] == b"0")
    assert not hosts or not hosts[0] or grammar.AUTHORITY.fullmatch(hosts[0])
    lengths = [value for name, value in named if name == b"content-length"]
    codings = [value for name, value in named if name == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1
    assert head.facts.body == (int(lengths[0]) if lengths else -1 if codings else 0)
    for rules in (_RULES, _TRUSTING):
        _sent_on(head, rules)


def _sent_on(head: RequestHead, rules: RequestRules) -> None:
    block = rules.block(head.fields, head.facts, head.authority)
    sent = request_head(head.method, head.target.origin, b"", block, _PEER, b"id-1")
    assert sent.endswith(b"\r\n\r\n") and sent.count(b"\r\n\r\n") == 1
    again = parse_request_head(sent[:-4])
    assert (again.method, again.target.origin) == (head.method, head.target.origin)
    assert again.authority == head.authority
    assert again.facts.body == head.facts.body
    assert again.fields.first(b"x-request-id") == b"id-1"
    walked = again.fields.all(b"x-forwarded-for")
    assert len(walked) == 1 and walked[0].rpartition(b",")[2].strip() == b"192.0.2.7"
    (forwarded,) = again.fields.all(b"forwarded")
    elements = split_members(forwarded)
    ours = b"for=192.0.2.7;proto=http"
    assert elements[-1] in (ours, b'host="%b";%b' % (head.authority, ours)), forwarded
    if not rules.trusted:
        assert len(elements) == 1 and walked == (b"192.0.2.7",)
        assert grammar.FORWARDED_ELEMENT.fullmatch(forwarded), forwarded


@target(
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 304 \r\nSet-Cookie: a; domain=app\r\n\r\n",
    words=_HEAD_WORDS,
)
def responses_of_a_backend(data: bytes) -> None:
    """A response in any split is the same one, or none; what is passed on is valid."""
    for method in (b"GET", b"HEAD"):
        whole = responses([data], method, closes=True)
        split = responses(pieces(data), method, closes=True)
        if not any(event[0] in ("bad", "unsolicited") for event in whole + split):
            assert whole == split
        # A fault of a body, or bytes after it, show before or after the head has gone on.
        heads = [[e for e in events if e[0] == "response"] for events in (whole, split)]
        assert not all(heads) or heads[0] == heads[1]
    head, _, _ = data.partition(b"\r\n\r\n")
    try:
        parsed = parse_response_head(head)
    except BadHead:
        return
    line, *lines = head.split(b"\r\n")
    assert grammar.STATUS_LINE.fullmatch(line)
    assert all(grammar.FIELD.fullmatch(text) for text in lines if text or len(lines) > 1)
    block = ResponseRules([b"server"]).block(parsed).block
    assert parse_fields(block[:-2]).block == block or not block


@target(
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=\"b\"\r\nhello\r\nA\r\n0123456789\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\nrest",
    words=(
        b"0", b"1", b"5", b"F", b"10", b"\r\n", b"\n", b"\r", b";", b";a=b", b" ;", b"\t",
        b"0\r\n\r\n", b"hello", b"X: y\r\n", b"+", b"-", b"0x", b"_", b"\x00",
        b"ffffffffffffffff", b"\xe9",
    ),
)  # fmt: skip
def chunked_bodies(data: bytes) -> None:
    """In the grammar, in any split the same, in bounded memory, with the content that h11 reads."""
    whole = _decoded([data])
    assert whole == _decoded(pieces(data))
    if len(data) < 300:
        assert whole == _decoded([data[at : at + 1] for at in range(len(data))])
    if whole is None or not whole[1]:
        return
    content, _, rest, trailers = whole
    end = len(data) - len(rest)
    assert grammar.CHUNKED.fullmatch(data[:end]), data
    if _BWS.search(data):
        return
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    peer.next_event()
    theirs = b""
    while isinstance(event := _next(peer), h11.Data):
        theirs += event.data
    assert isinstance(event, h11.EndOfMessage), event
    assert theirs == content and peer.trailing_data[0] == rest
    assert list(event.headers) == trailers


def _decoded(parts: Sequence[bytes]) -> tuple[bytes, bool, bytes, list[Any]] | None:
    decoder, content, seen = ChunkedDecoder(), b"", 0
    try:
        for part in parts:
            if decoder.complete:
                decoder.rest += part
            else:
                content += decoder.feed(part)
                assert len(decoder._line) <= max(MAX_CHUNK_LINE, MAX_TRAILERS)
            seen += len(part)
    except BadBody:
        return None
    assert len(content) + len(decoder.rest) <= seen
    trailers = [(name, value) for name, value, *_ in decoder.trailers.lines]
    return content, decoder.complete, decoder.rest, trailers


@target(
    b"A: b", b"Cookie:  a=b; c \t", words=(b":", b" ", b"\t", b"\r", b"\n", b"\x00", b"a", b"\xff")
)
def one_field(data: bytes) -> None:
    """A line is in the grammar, and its own spelling is read as the same."""
    try:
        name, value, whole, marked = parse_line(data)
    except BadFields:
        assert not grammar.FIELD.fullmatch(data)
        return
    match = grammar.FIELD.fullmatch(data)
    assert match and (match[1].lower(), match[2]) == (name, value)
    assert parse_line(whole[:-2]) == (name, value, whole, marked)


# Where a request goes.

_PATH_WORDS = (
    "/ . .. ./ ../ // %2e %2E%2e %2f %5c \\ ; ;x= %25 %252e %00 %0a % ? # a ~ é @ : //evil * %zz"
)


@target(b"/a/b/../c?d=e", b"/a;x/..;y/%2e%2e/b", b"http://a:80/b?c", b"*", words=_PATH_WORDS)
def request_targets(data: bytes) -> None:
    """A target is taken apart and put together the same; its path has one spelling."""
    for method in (b"GET", b"OPTIONS", b"CONNECT"):
        try:
            parsed = parse_target(method, data)
            path = normalise_path(parsed.path)
        except BadTarget:
            continue
        if method == b"CONNECT":
            assert grammar.AUTHORITY.fullmatch(data) and data.rpartition(b":")[2].isdigit()
            continue
        assert grammar.TARGET.fullmatch(data)
        query = b"" if parsed.query is None else b"?" + parsed.query
        assert parsed.origin == (parsed.path + query)
        assert data.endswith(parsed.origin) or parsed.form == "absolute"
        if parsed.path == b"*":
            continue
        assert normalise_path(path) == path and path.startswith(b"/")
        segments = path.split(b"/")[1:]
        assert b"" not in segments[:-1]
        assert not {segment.partition(b";")[0] for segment in segments} & {b".", b".."}
        if parsed.form == "absolute":
            url = urlsplit(data.decode("ascii"))
            assert url.netloc.encode() == parsed.authority


@target(
    b"a.example:8080",
    b"[2001:db8::1]:80",
    b"A.b.",
    words=". : [ ] :: 80 65535 65536 a - _ @ % ffff: 1.2.3.4 /",
)
def authorities(data: bytes) -> None:
    """Host and port are those that the standard library reads, and are in the grammar."""
    try:
        host, port = split_authority(data)
    except BadTarget:
        return
    assert grammar.AUTHORITY.fullmatch(data)
    assert host == host.lower() and len(host) <= 255
    url = urlsplit(b"//" + data)
    theirs = url.hostname or b""
    if host.startswith(b"["):
        assert ipaddress.IPv6Address(theirs.decode()) == ipaddress.IPv6Address(host[1:-1].decode())
    else:
        assert theirs.removesuffix(b".") == host
    assert url.port == port
    again = host if port is None else b"%b:%d" % (host, port)
    assert split_authority(again) == (host, port)


@target(b"a=b&c=d&a=e", b"a=%20+%2B&=&&x", words="& = + % %26 %3d %zz a b %e9 ;")
def query_arguments(data: bytes) -> None:
    """The standard library finds the same names with the same values."""
    theirs = parse_qs(data.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    found = _arguments(data).items()
    assert {n.decode("latin-1"): {v.decode("latin-1") for v in vs} for n, vs in found} == {
        name: set(values) for name, values in theirs.items()
    }


_TEMPLATES = [
    (Template(text), host)
    for text, host in (
        ("https://new.example/{path}", b"new.example"),
        ("{scheme}://{host}{uri}", b"a.example"),
        ("https://new.example{uri}", b"new.example"),
        ("/login?next={uri}", b""),
        ("//other.example/x?q={query}#{path}", b"other.example"),
    )
]


@target(b"/a/b?c=d", b"//evil.example/x", b"/\\evil?x=//y", words=_PATH_WORDS + " & = // https:")
def redirects(data: bytes) -> None:
    """A redirect leads to the host of its template, whatever the client asks for."""
    try:
        parsed = parse_target(b"GET", data)
    except BadTarget:
        return
    for template, host in _TEMPLATES:
        for path in {parsed.path, parsed.path.lstrip(b"/"), parsed.path[1:]}:
            location = template.expand(
                scheme=b"https",
                host=b"a.example",
                path=path,
                raw_path=parsed.path,
                query=parsed.query,
            )
            assert is_field_value(location) and b"\\" not in location and b" " not in location
            assert urlsplit(location).netloc == host
            assert host or (location[:1] == b"/" and location[1:2] != b"/")


_PUBLIC = PublicAddress(
    b"https", b"www.example", b"www.example", frozenset({b"app:81", b"app"}), frozenset({b"app"})
)


@target(
    b"Location: http://app:81/x",
    b"Set-Cookie: a=b; Domain=app",
    b"Refresh: 5; url='//app/x'",
    b"Link: <http://app/>; rel=x, <//b/>",
    b'Alt-Svc: h2="app:1"',
    words="http:// https:// // app app:81 / \\ ; = domain .app @ ' \" < > url , . [ ] ? # evil",
)
def addresses_of_backends(data: bytes) -> None:
    """A line stays one valid line; nobody is led elsewhere than to the public address."""
    try:
        line = parse_line(data)
    except BadFields:
        return
    for authority in (b"www.example", b""):
        public = PublicAddress(
            _PUBLIC.scheme, authority, authority, _PUBLIC.own, _PUBLIC.own_hosts, b"/m"
        )
        for name, value, whole, _ in public_lines([line], public):
            assert parse_line(whole[:-2])[:2] == (name, value)
            assert name == line[0]
            if name == b"location" and value != line[1]:
                with suppress(ValueError):
                    assert urlsplit(value).netloc == authority
                    assert value[:2] not in (b"/\\",) and (authority or value[:2] != b"//")
            # Once is enough.
            again = public_lines([parse_line(whole[:-2])], public)
            assert [x[1] for x in again] == [value]


# Who asks.


@target(
    b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
    b"PROXY UNKNOWN whatever\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x00\x01\x00\x02rest",
    b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x04abcd",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x28" + bytes(36) + b"\x01\x00\x01a",
    words=(
        b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"192.0.2.1 ", b"::1 ", b"\r\n", b"\r", b"0 ",
        b"65536", b"\r\n\r\n\x00\r\nQUIT\n", b"\x21", b"\x11", b"\x00\x0c", b"\x03\x00\x04",
        b"\x00" * 12, b"01",
    ),
)  # fmt: skip
def proxy_headers(data: bytes) -> None:
    """Each beginning needs more until one decides, and what follows changes nothing."""
    for mode in ("any", "v1", "v2"):
        try:
            result = parse(data, mode)  # type: ignore[arg-type]
        except BadProxyHeader:
            continue
        if isinstance(result, NeedMore):
            assert len(data) < V2_MAX + 16
            continue
        header, consumed = result
        for end in {0, 1, 11, 12, 13, 15, 16, consumed // 2, consumed - 1}:
            if end < consumed:
                assert isinstance(parse(data[:end], mode), NeedMore)  # type: ignore[arg-type]
        assert parse(data[:consumed], mode) == result  # type: ignore[arg-type]
        assert parse(data + b"more", mode) == result  # type: ignore[arg-type]
        for end in (header.source, header.destination):
            if end is not None:
                assert str(ipaddress.ip_address(end[0])) == end[0] and 0 <= end[1] <= 65535
        if data.startswith(b"PROXY"):
            assert grammar.PROXY_1.fullmatch(data[:consumed])
            texts = data[:consumed].split()
            if header.source is not None:
                assert str(ipaddress.ip_address(texts[2].decode())) == header.source[0]
        elif header.source is not None:
            size = 4 if len(header.source[0].split(".")) == 4 and data[13] == 0x11 else 16
            assert ipaddress.ip_address(data[16 : 16 + size]) == ipaddress.ip_address(
                header.source[0]
            )


_TRUSTED = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "fd00::/8")]


@target(
    b"198.51.100.1, 10.9.9.9",
    b"[2001:db8::1]:80, fd00::1,10.0.0.1:99",
    b"unknown, _x, ::ffff:10.0.0.1",
    words=', 10.0.0.1 fd00::1 1.2.3.4 : [ ] % ::ffff: 256 01 a unknown " é',
)
def addresses_of_clients(data: bytes) -> None:
    """The client is the first from the right who is not trusted, by a walk written otherwise."""
    try:
        fields = parse_fields(
            b"X-Forwarded-For: " + data.replace(b"\r\n", b"\r\nX-Forwarded-For: ")
        )
    except BadFields:
        return
    found = client_address(b"10.0.0.1", fields, _TRUSTED)
    members = split_list(fields.all(b"x-forwarded-for"))
    expected = ipaddress.ip_address("10.0.0.1")
    for member in reversed(members[-32:]):
        text = member.decode("latin-1")
        if match := re.fullmatch(r"\[([^\]]*)(?:\].*)?", text, re.DOTALL):
            text = match[1]
        elif re.fullmatch(r"[^:]*:[^:]*", text, re.DOTALL):
            text = text.split(":")[0]
        try:
            address: Any = ipaddress.ip_address(text.split("%")[0])
        except ValueError:
            break
        address = getattr(address, "ipv4_mapped", None) or address
        expected = address
        if not any(
            address in network for network in _TRUSTED if network.version == address.version
        ):
            break
    assert found.decode() == str(expected)


@target(
    b'for=198.51.100.1;proto=https, For="[2001:db8::1]:80"; by=_x',
    b'host="a, for=10.0.0.1;b";for=10.9.9.9',
    b"for=unknown, for=1.2.3.4;;for=1.2.3.4",
    words='for= proto= host= , ; " \\ 10.0.0.1 "[fd00::1]:80" 1.2.3.4 _x unknown é',
)
def addresses_in_forwarded(data: bytes) -> None:
    """Without quotes and with ``for`` alone, it is the walk through X-Forwarded-For."""
    lines = data.split(b"\r\n")
    try:
        fields = parse_fields(b"\r\n".join(b"Forwarded: " + line for line in lines))
    except BadFields:
        return
    found = client_address(b"10.0.0.1", fields, _TRUSTED)
    ipaddress.ip_address(found.decode("ascii"))
    believed_scheme(fields)
    members = split_list(lines)
    plain = [re.fullmatch(rb"for=([0-9a-f.:]+)", member, re.IGNORECASE) for member in members]
    if members and all(plain):
        addresses = b", ".join(match[1] for match in plain if match)
        other = parse_fields(b"X-Forwarded-For: " + addresses)
        assert found == client_address(b"10.0.0.1", other, _TRUSTED), (data, found)


@target(
    b'for=192.0.2.1;proto=https, for="[::1]:80"',
    b'for="unclosed',
    b"for=a,,by=b;",
    words='for= by= host= proto= " \\ , ; [ ] :: https a = ( )',
)
def words_of_a_proxy(data: bytes) -> None:
    """Whatever a trusted proxy passes on of its client, what we say behind it is read as ours."""
    head = b"GET / HTTP/1.1\r\nHost: a"
    for name in (b"Forwarded", b"X-Forwarded-For", b"Via", b"X-Request-Id", b"X-Forwarded-Proto"):
        head += b"\r\n" + name + b": " + data
    try:
        parsed = parse_request_head(head)
    except BadHead:
        return
    _sent_on(parsed, _TRUSTING)
    request_id = believed_request_id(parsed.fields)
    assert request_id is None or re.fullmatch(rb"[!-~]{1,128}", request_id)
    believed_scheme(parsed.fields)


@target(
    b"a=b; c=d; a=e",
    b'a="b"; $Version=1; c',
    b"a =b;\ta=c;;=;",
    words='; = a b c " \\ , $ é a= a\t ',
)
def cookies(data: bytes) -> None:
    """The standard library reads the same where the text is one of RFC 6265; a cache tells apart
    whatever a filter tells apart."""
    if not is_field_value(data):
        return
    data = data.strip(b" \t")
    found = cookie_values([data], b"a")
    assert len(found) <= MAX_PAIRS
    pair = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+=[!#-+\--:<-\[\]-~]*"
    if re.fullmatch(pair + rb"(?:; " + pair + rb")*", data) and not re.search(rb"(?:^|; )\$", data):
        theirs: http.cookies.SimpleCookie = http.cookies.SimpleCookie(data.decode("ascii"))
        known = {name.lower() for name in http.cookies.Morsel._reserved}  # type: ignore[attr-defined]
        names = {p.partition(b"=")[0].decode().lower() for p in data.split(b"; ")}
        if "a" in theirs and not names & known:
            assert theirs["a"].value.encode() == found[-1]
    assert not found or _by_cookie(b"Cookie: " + data) != _by_cookie(b"Cookie: b=1")


_by_cookie_maker = KeyMaker(["host", "path", "query", "cookie:a"])


def _by_cookie(block: bytes) -> bytes:
    return _by_cookie_maker.key(b"http", b"a", b"/", parse_fields(block))


@target(
    b"Basic YWxpY2U6c2VjcmV0",
    b"bAsIc  YTpi",
    b"Basic YTo=",
    words="Basic YTpi YTo= = == Og A / + - _ \t é",
)
def passwords(data: bytes) -> None:
    """Exactly one spelling for a name and a password, which is that of RFC 4648."""
    found = credentials([data])
    assert credentials([data, data]) is None
    if found is None:
        return
    name, password = found
    assert grammar.BASIC.fullmatch(data)
    assert name and b":" not in name and is_field_value(name + password)
    token = data.split(b" ", 1)[1].strip(b" ")
    assert base64.b64encode(name + b":" + password) == token


_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_JWK = {**jwt.algorithms.OKPAlgorithm.to_jwk(_KEY.public_key(), as_dict=True), "kid": "k"}
_KEYS = parse_keys(json.dumps({"keys": [_JWK]}).encode())
_NOW = 1_700_000_000.0
_CLAIMS = {"exp": _NOW + 100, "aud": "api", "iss": "me", "sub": "alice", "roles": ["a", "b"]}
_ASKED = Rules(("EdDSA", "ES256"), ("api",), "me", claims={"sub": b"X-User", "roles": b"X-Roles"})
_GOOD = jwt.encode(_CLAIMS, _KEY, "EdDSA", {"kid": "k"}).encode()
_WITHOUT = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


@target(
    _GOOD,
    jwt.encode({**_CLAIMS, "exp": _NOW - 100}, _KEY, "EdDSA", {"kid": "k"}).encode(),
    jwt.encode({**_CLAIMS, "nbf": _NOW + 9e9, "aud": ["x", "api"]}, _KEY, "EdDSA").encode(),
    b"eyJhbGciOiJub25lIn0.e30.",
    words=[
        *_GOOD.split(b"."),
        b".",
        b"=",
        b"e30",
        b"eyJhbGciOiJub25lIn0",
        b"eyJhbGciOiJFZERTQSJ9",
        b"AA",
    ],
)
def tokens(data: bytes) -> None:
    """PyJWT as a whole believes what we believe; and nobody but the holder of the key makes one."""
    for rules, authorization, cookie in (
        (_ASKED, [b"Bearer " + data], []),
        (Rules(("EdDSA",), cookie=b"s"), [], [b"s=" + data]),
    ):
        with suppress(BadToken):
            found = find(rules, authorization, cookie)
            assert found is None or found == data.strip(b" ") or cookie
    try:
        verified = verify(data, _KEYS, _ASKED, _NOW)
    except BadToken:
        return
    theirs = jwt.decode(
        data, _KEY.public_key(), ["EdDSA"], audience="api", issuer="me", options=_WITHOUT
    )
    assert theirs["exp"] + 60 > _NOW and verified.expires == theirs["exp"] + 60
    assert [line[1] for line in verified.lines] == [b"alice", b"a,b"]


# What is asked of a cache, and what it answers.


@target(
    b"bytes=0-1, 5-, -3",
    b"bytes=,0-0,,",
    b"bytes=9-1",
    words="bytes= BYTES= , - 0-0 5- -3 0 99 100 101 18446744073709551616 \t é =",
)
def byte_ranges(data: bytes) -> None:
    """In the grammar; the bytes are those that a reading of each member on its own gives."""
    length = 100
    found = parse_ranges(data, length)
    if found is None:
        return
    assert grammar.RANGES.fullmatch(data), data
    wanted: set[int] = set()
    for spec in data.partition(b"=")[2].split(b","):
        first, dash, last = spec.strip(b" \t").partition(b"-")
        if dash and not first:
            wanted |= set(range(max(0, length - int(last)), length))
        elif dash:
            wanted |= set(range(int(first), min(int(last) + 1, length) if last else length))
    given = [at for start, end in found for at in range(start, end)]
    assert wanted <= set(given) and len(given) == len(set(given)) <= length
    assert bool(wanted) == bool(given)
    if len(found) > 1:
        parts, tail, size = multipart(found, length, b"text/plain", b"B")
        assert size == sum(len(p.head) + p.length for p in parts) + len(tail)


@target(b'W/"a", "b"', b"*", b'"a,b", "c', words=' , " W/ a * "a" "" é W/"x" ')
def entity_tags(data: bytes) -> None:
    """Each member of a valid list is found, in order; of whatever else, no more than there is."""
    found = listed_tags([data])
    assert len(found) <= 64 and sum(map(len, found)) <= len(data)
    tag = rb'(?:W/)?"[!#-~\x80-\xff]*"'
    if re.fullmatch(tag + rb"(?:[ \t]*,[ \t]*" + tag + rb"){0,62}", data):
        expected = re.findall(tag, data)
        assert [t for t in found if t not in (b'""', b'W/""')] == [
            t for t in expected if t not in (b'""', b'W/""')
        ] or b'""' in data
    with suppress(BadFields):
        fields = parse_fields(b"ETag: " + data)
        assert entity_tag(fields) in (b"", fields.first(b"etag"))


@target(
    b'max-age=60, private="a,b", no-store',
    b'a="\\"", max-age="5", ="x", no-cache=',
    words='max-age= no-store private no-cache= , = " \\ 0 60 99999999999999999999 \t é ; s-maxage',
)
def cache_directives(data: bytes) -> None:
    """A restriction is heard, whatever stands beside it."""
    if not is_field_value(data):
        return
    found = parse_directives([data])
    assert all(name == name.lower() for name in found)
    for values in ([data, b"no-store"], [b"no-store", data], [b"no-store, " + data]):
        assert b"no-store" in parse_directives(values)
    if data.count(b'"') % 2 == 0 and b"\\" not in data:
        assert b"no-store" in parse_directives([data + b", no-store"])
    token = grammar.TOKEN
    member = token + rb"(?:=(?:" + token + rb"|" + grammar.QUOTED + rb"))?"
    if re.fullmatch(member + rb"(?:[ \t]*,[ \t]*" + member + rb")*", data):
        names = re.findall(rb"(?:^|,)[ \t]*(" + token + rb")", re.sub(grammar.QUOTED, b"", data))
        assert {name.lower() for name in names} == set(found)


@target(
    b"text/html;q=0.9, */*;q=0.1",
    b"en;q=1.0,de;q=0.5,,",
    b"text/html;q=0.5;q=1",
    words=', ; q= 0.5 1.000 0 * / text/html " = \t EN en gzip é q=2',
)
def accepting(data: bytes) -> None:
    """One spelling of a list for a cache holds the same members; an error page is one of three."""
    if not is_field_value(data):
        return
    content_type, body = page(404, "<no>", b"id", data)
    assert content_type.split(b";")[0] in (
        b"text/html", b"application/json", b"application/problem+json",
    )  # fmt: skip
    assert html.escape("<no>").encode() in body or b"json" in content_type
    for name in (b"accept", b"accept-language", b"accept-encoding", b"x-other"):
        made = normal_field(name, [data])
        assert made.startswith(b"=")
        again = normal_field(name, [made[1:]])
        assert again == made
        held = {re.sub(rb"[ \t]", b"", m).lower() for m in split_members(data)} - {b""}
        kept = {re.sub(rb"[ \t]", b"", m).lower() for m in split_members(made[1:])} - {b""}
        if name == b"x-other":
            assert held == kept
        assert bool(held) == bool(kept)


@target(b"Accept, Accept-Language", b"*", b"a,,b, A", words=', * a A Accept Cookie " é ;')
def selecting_fields(data: bytes) -> None:
    """What Vary names is a set of names, or never matches; the order is nobody's business."""
    try:
        fields = parse_fields(
            b"Vary: " + data + b"\r\nSurrogate-Key: " + data + b"\r\nCache-Tag: " + data
        )
    except BadFields:
        return
    names = vary_names(fields)
    members = [m.strip(b" \t").lower() for m in data.split(b",") if m.strip(b" \t")]
    if names is None:
        assert b"*" in members or not all(re.fullmatch(grammar.TOKEN, m) for m in members)
    else:
        assert set(names) == set(members)
        one, other = parse_fields(b"A: 1\r\nB: 2"), parse_fields(b"B: 2\r\nA: 1")
        assert variant(names, one) == variant(names, other)
    found = tags(fields)
    assert len(found) == len(set(found)) and all(tag == tag.strip() for tag in found)


@target(
    b'a=1, b="x\\"y", c=?0, d=:YQ==:, e=(1 2);p, f',
    b"max-age=60;x, s-maxage=1.5",
    words='a= , ; = " \\ ( ) ?1 ?0 : @ 1.5 -1 * 999999999999999 1000000000000.0 %" é \t a b',
)
def structured_fields(data: bytes) -> None:
    """Written anew from what was understood, a dictionary is understood as the same."""
    found = parse_dictionary([data])
    if found is None:
        return
    assert all(re.fullmatch(rb"[a-z*][a-z0-9_.*-]*", key) for key in found)
    written = b", ".join(key + b"=" + _written(item) for key, item in found.items())
    assert parse_dictionary([written]) == found, written
    assert parse_dictionary([data + b", zz"]) == {**found, b"zz": True} or not found
    assert parse_dictionary([data + b",,"]) is None or not found


def _written(item: Any) -> bytes:
    if isinstance(item, tuple):
        return b"(" + b" ".join(map(_written, item)) + b")"
    if isinstance(item, bool):
        return b"?1" if item else b"?0"
    if isinstance(item, float):
        return b"%.3f" % item
    if isinstance(item, int):
        return b"%d" % item
    if type(item) is not bytes:
        return bytes(item)
    return b'"' + item.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


@target(
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
    words="Sun, 06 31 Feb 29 Nov 1994 2000 94 : 24 60 GMT - UTC +0000 é",
)
def dates(data: bytes) -> None:
    """The standard library reads the same time."""
    found = parse_http_date(data, _NOW)
    if found is None:
        return
    year = re.search(rb"[0-9]{4}", data)
    if year and data[3:4] == b"," and year[0] > b"0001" and b":60" not in data:
        theirs = email.utils.parsedate_to_datetime(data.decode("ascii"))
        assert theirs.timestamp() == found


# Bodies and beginnings of other kinds.


@target(
    b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B\r\n\r\nx\r\n--B--\r\n',
    b"--B--",
    words=(
        b"--B", b"--B--", b"\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; name=", b'"a"',
        b"; ", b'"', b"\\", b"x", b" \t", b"--",
    ),
)  # fmt: skip
def forms(data: bytes) -> None:
    """Parts lie in the content, one behind the other, and a form written anew has the same."""
    try:
        found = parse_multipart(data, b"multipart/form-data; boundary=B")
    except BadForm:
        return
    assert sum(len(name) + len(value) for name, value in found) <= len(data)
    out = io.BytesIO()
    for name, value in found:
        quoted = name.replace(b'"', b'\\"')
        if b"\r\n" in name or b"\\" in name:
            return
        out.write(b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % quoted)
        out.write(value + b"\r\n")
    assert parse_multipart(out.getvalue() + b"--B--", b"x; boundary=B") == found
    for cut in (b"", b"x;boundary=", b'x;boundary="' + data[:80] + b'"', data[:200]):
        with suppress(BadForm):
            parse_multipart(data, cut)


@target(
    hello(),
    hello(None),
    hello(version="1.2"),
    words=(b"\x16\x03\x01", b"\x00\x00", b"\x01", b"a.example"),
)
def client_hellos(data: bytes) -> None:
    """The name is the one that OpenSSL finds, and no further byte changes it."""
    with suppress(Incomplete):
        speaks_http(data)
    try:
        name = server_name(data)
    except (Incomplete, Unreadable) as error:
        for end in (1, len(data) // 2, len(data) - 1):
            if isinstance(error, Incomplete) and 0 < end < len(data):
                with_less = _outcome(data[:end])
                assert with_less is Incomplete
        return
    assert _outcome(data + b"more") == name
    for end in (0, 5, len(data) // 2):
        assert _outcome(data[:end]) in (Incomplete, name)
    asked: list[bytes | None] = []
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_tlsext_servername_callback(lambda c: asked.append(c.get_servername()))
    server = SSL.Connection(context)
    server.set_accept_state()
    server.bio_write(data)
    with suppress(SSL.Error):
        server.do_handshake()
    if asked:
        assert asked[0] == name or asked == [None], (asked, name)


def _outcome(data: bytes) -> Any:
    try:
        return server_name(data)
    except (Incomplete, Unreadable) as error:
        return type(error)

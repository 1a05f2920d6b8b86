"""What a parser does grows no faster than what it is sent, however that is made.

Steps are lines of Python that run, counted, not timed. The work inside one step (a pattern that
tries its choices again, bytes copied again and again) has no lines: for that the inputs are long
enough that quadratic work would be billions of steps, which nobody fails to notice.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import _GOOD, _KEYS, _PUBLIC, _TEMPLATES
from tests.http.conversation import Client, Server
from tests.tls.test_opening import hello, in_records
from txrproxy.cache.key import KeyMaker, normal_field
from txrproxy.cache.policy.directives import parse_directives
from txrproxy.cache.policy.ranges import parse_ranges
from txrproxy.cache.policy.validators import entity_tag, listed_tags
from txrproxy.filters.basic import credentials
from txrproxy.filters.tokens import BadToken, Rules, verify
from txrproxy.http.body import BadBody, ChunkedDecoder
from txrproxy.http.cookies import cookie_values
from txrproxy.http.date import parse_http_date
from txrproxy.http.errorpage import page
from txrproxy.http.fields import (
    BadFields,
    Fields,
    make_line,
    parse_fields,
    split_list,
    split_members,
)
from txrproxy.http.form import BadForm, parse_multipart
from txrproxy.http.head import BadHead, parse_request_head, parse_response_head
from txrproxy.http.peer import client_address
from txrproxy.http.public import public_lines
from txrproxy.http.structured import parse_dictionary
from txrproxy.http.target import BadTarget, normalise_path, parse_target, split_authority
from txrproxy.routing.match import _arguments
from txrproxy.tls.opening import Incomplete, Unreadable, server_name
from txrproxy.transport.proxyprotocol import BadProxyHeader, parse

SMALL, LARGE = 300, 1800  # bytes, about; LARGE is so many times SMALL
TIMES = LARGE // SMALL
SLACK = 1.3  # some things are bought in twos
LONG = 30_000  # bytes, for what has no lines: as many as a head may have

_KEY = KeyMaker(["host", "path", "query", "cookie:a", "header:accept"])
_REFUSED = (BadFields, BadHead, BadBody, BadForm, BadTarget, BadToken, BadProxyHeader)


def _reader(data: bytes) -> None:
    """A connection on which everything arrives in small pieces."""
    server = Server(max_head=1 << 20, max_fields=1 << 20)
    for at in range(0, len(data), 7):
        server.receive(data[at : at + 7])


def _chunked(data: bytes) -> None:
    decoder = ChunkedDecoder()
    for at in range(0, len(data), 7):
        decoder.feed(data[at : at + 7])


def _backend(data: bytes) -> None:
    client = Client()
    for at in range(0, len(data), 7):
        client.receive(data[at : at + 7])


def _opening(data: bytes) -> None:
    with contextlib.suppress(Incomplete, Unreadable):
        server_name(data)


def _lines(data: bytes) -> None:
    names = (b"location", b"link", b"refresh", b"set-cookie", b"alt-svc")
    public_lines([make_line(name, data) for name in names], _PUBLIC)


def _redirect(data: bytes) -> None:
    for template, _ in _TEMPLATES:
        template.expand(scheme=b"http", host=b"a", path=data, raw_path=b"/" + data, query=data)


PARSERS: dict[str, Callable[[bytes], object]] = {
    "reader": _reader,
    "chunked": _chunked,
    "backend": _backend,
    "head": lambda d: parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + d),
    "response": lambda d: parse_response_head(b"HTTP/1.1 200 OK\r\n" + d),
    "fields": parse_fields,
    "target": lambda d: parse_target(b"GET", b"/" + d),
    "absolute": lambda d: parse_target(b"GET", b"http://" + d),
    "path": lambda d: normalise_path(b"/" + d),
    "authority": split_authority,
    "arguments": _arguments.__wrapped__,
    "redirect": _redirect,
    "lines": _lines,
    "proxy": parse,
    "proxy 2": lambda d: parse(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + len(d[:9000]).to_bytes(2) + d),
    "client": lambda d: client_address(
        b"10.0.0.1", Fields([make_line(b"X-Forwarded-For", d)]), [*_NETWORKS]
    ),
    "list": lambda d: split_list([d]),
    "members": split_members,
    "cookies": lambda d: cookie_values([d], b"a"),
    "key": lambda d: _KEY.key(
        b"http", b"a", b"/", Fields([make_line(b"Cookie", d), make_line(b"Accept", d)])
    ),
    "normal": lambda d: normal_field(b"accept-language", [d]),
    "password": lambda d: credentials([b"Basic " + d]),
    "token": lambda d: verify(d, _KEYS, Rules(("EdDSA",)), 0.0),
    "signed": lambda d: verify(_GOOD + d, _KEYS, Rules(("EdDSA",)), 0.0),
    "ranges": lambda d: parse_ranges(b"bytes=" + d, 1000),
    "tags": lambda d: listed_tags([d]),
    "tag": lambda d: entity_tag(Fields([make_line(b"ETag", d)])),
    "directives": lambda d: parse_directives([d]),
    "accept": lambda d: page(404, "no", b"id", d),
    "structured": lambda d: parse_dictionary([d]),
    "date": lambda d: parse_http_date(d, 0.0),
    "form": lambda d: parse_multipart(d, b"x; boundary=B"),
    "boundary": lambda d: parse_multipart(b"--B--", b"x; " + d),
    "opening": _opening,
}


def _networks() -> list[Any]:
    import ipaddress

    return [ipaddress.ip_network("10.0.0.0/8")]


_NETWORKS = _networks()

# What is said again and again: opened and never closed, separators, escapes, almost an end.
SHAPES = (
    b"a", b" ", b"\t", b",", b";", b'"', b"\\", b"=", b"/", b"..", b"../", b"/../a", b"%2e", b"%",
    b"&", b"a&", b'",', b',"', b'"a",', b'\\"', b"a=", b"a=b;", b"a=b; ", b'a="b', b";a=", b"; ;",
    b"(", b"(a ", b"-", b"0-0,", b"1-,", b"http://", b"//a/", b"A:b\r\n", b"\r\n", b"1\r\nx\r\n",
    b"1;a\r\nx\r\n", b"0", b"1.1.1.1,", b"10.0.0.1, ", b"[::", b"::1,", b"\r\n--B",
    b"\r\n--B\r\n\r\n", b"--B\r\n", b".", b"e30.", b"W/", b'W/"a" ', b"q=0.5,", b"*;q=1,",
    b"\x16\x03\x01\x00\x01\x01", b"\x01\x00\x00", b"domain=", b";domain", b"url=", b"0;url=",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
)  # fmt: skip


def inputs(size: int) -> Iterator[bytes]:
    """One of each shape, of ``size`` bytes, with and without an end of its own."""
    for shape in SHAPES:
        text = shape * (size // len(shape))
        yield text
        yield b'a="' + text + b"\x00"


def steps(parser: Callable[[bytes], object], data: bytes) -> int:
    """The lines of Python that run."""
    count = 0

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        parser(data)
    except _REFUSED:
        pass
    finally:
        sys.settrace(before)
    return count


class StepsTests(SynchronousTestCase):
    def test_counting(self) -> None:
        """The measure sees what is quadratic."""

        def quadratic(data: bytes) -> None:
            for _ in data:
                for _ in data:
                    pass

        few, many = steps(quadratic, bytes(10)), steps(quadratic, bytes(80))
        self.assertGreater(many, few * 8 * SLACK)

    def test_python(self) -> None:
        for name, parser in PARSERS.items():
            # The first time is dearer: what is remembered is made, modules are imported.
            steps(parser, b"a")
            for few, many in zip(inputs(SMALL), inputs(LARGE), strict=True):
                # An odd number of quotes may be read otherwise than an even one.
                small = max(steps(parser, few), steps(parser, few + b'"'))
                large = steps(parser, many)
                bound = (small + 200) * TIMES * SLACK
                self.assertLess(large, bound, f"{name} of {few[:20]!r}...{few[-5:]!r}")

    def test_what_has_no_lines(self) -> None:
        """In more than quadratic time, none of these would end; in quadratic, not soon."""
        for parser in PARSERS.values():
            if parser in (_reader, _backend, _chunked, _redirect):
                continue  # their lines tell
            for data in inputs(LONG):
                with contextlib.suppress(*_REFUSED):
                    parser(data)

    def test_a_hello_in_pieces(self) -> None:
        """Read again with each byte that comes: its records are few, or it is not waited for."""
        flight = in_records(hello(), 1) + b"\x16\x03\x01\x00\x01\x00" * 2000
        most = max(steps(_opening, flight[:end]) for end in range(0, len(flight), 400))
        self.assertLess(most, 3000)

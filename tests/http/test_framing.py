"""The body length decision, row by row (RFC 9112 section 6.3)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.errors import (
    BAD_CONTENT_LENGTH,
    BAD_RESPONSE,
    BAD_TRANSFER_ENCODING,
    CODING_UNSUPPORTED,
    LENGTH_AND_ENCODING,
    Reason,
)
from txrproxy.http.fields import parse_fields
from txrproxy.http.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    BadFraming,
    content_length,
    request_body,
    response_body,
)


class ContentLengthTests(SynchronousTestCase):
    def test_valid(self) -> None:
        self.assertIsNone(content_length(parse_fields(b"Host: a")))
        table = [(b"0", 0), (b"5", 5), (b"005", 5), (b" 7\t", 7), (b"9" * 18, 10**18 - 1)]
        for value, length in table:
            self.assertEqual(content_length(parse_fields(b"Content-Length:" + value)), length)

    def test_invalid(self) -> None:
        for value in (
            b"",
            b"+5",
            b"-1",
            b"0x5",
            b"5a",
            b"5 5",
            b"5,5",
            b"5, 5",
            b"5,",
            b"5.0",
            b"5_0",
            b"1e3",
            b'"5"',
            b"\xef\xbc\x92",  # a full-width 2
            b"\xb2",
            b"1" * 19,
        ):
            fields = parse_fields(b"Content-Length: " + value)
            error = self.assertRaises(BadFraming, content_length, fields)
            self.assertIs(error.reason, BAD_CONTENT_LENGTH, value)

    def test_twice(self) -> None:
        for second in (b"5", b"6", b""):
            fields = parse_fields(b"Content-Length: 5\r\ncontent-length: " + second)
            self.assertRaises(BadFraming, content_length, fields)


class RequestBodyTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        table = [
            (b"Host: a", True, 0),
            (b"Host: a", False, 0),
            (b"Content-Length: 3", True, 3),
            (b"Content-Length: 3", False, 3),
            (b"Content-Length: 0", True, 0),
            (b"Transfer-Encoding: chunked", True, CHUNKED),
            (b"Transfer-Encoding: \t CHUNKed ", True, CHUNKED),
        ]
        for block, http_11, expected in table:
            self.assertEqual(request_body(parse_fields(block), http_11), expected, block)

    def test_refused(self) -> None:
        te = b"Transfer-Encoding: "
        table: list[tuple[bytes, bool, Reason]] = [
            (b"Content-Length: x", True, BAD_CONTENT_LENGTH),
            (te + b"chunked\r\nContent-Length: 3", True, LENGTH_AND_ENCODING),
            (b"Content-Length: 0\r\n" + te + b"chunked", True, LENGTH_AND_ENCODING),
            (te + b"identity\r\nContent-Length: 3", True, LENGTH_AND_ENCODING),
            (te + b"chunked", False, BAD_TRANSFER_ENCODING),
            (te + b"chunked\r\n" + te + b"chunked", True, BAD_TRANSFER_ENCODING),
            (te + b"gzip\r\n" + te + b"chunked", True, BAD_TRANSFER_ENCODING),
            (te + b"gzip, chunked", True, CODING_UNSUPPORTED),
            (te + b"X-GZIP,chunked", True, CODING_UNSUPPORTED),
            (te + b"gzip", True, BAD_TRANSFER_ENCODING),
            (te + b"br, chunked", True, BAD_TRANSFER_ENCODING),
        ]
        values = (
            b"",
            b",",
            b"identity",
            b"chunked,",
            b", chunked",
            b"chunked, chunked",
            b"chunked, identity",
            b"identity, chunked",
            b"chunked;q=1",
            b"chunked; ",
            b"xchunked",
            b"chunkedx",
            b"chunke",
            b'"chunked"',
            b"chunked chunked",
        )
        table += [(te + value, True, BAD_TRANSFER_ENCODING) for value in values]
        for block, http_11, reason in table:
            error = self.assertRaises(BadFraming, request_body, parse_fields(block), http_11)
            self.assertIs(error.reason, reason, block)


class ResponseBodyTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        length, chunked = b"Content-Length: 3", b"Transfer-Encoding: Chunked"
        table = [
            (b"Server: a", 200, True, b"GET", UNTIL_CLOSE),
            (b"Server: a", 200, False, b"GET", UNTIL_CLOSE),
            (length, 200, True, b"GET", 3),
            (length, 200, False, b"POST", 3),
            (chunked, 200, True, b"GET", CHUNKED),
            (chunked, 502, True, b"GET", CHUNKED),
            # Without a body, whatever the fields say.
            (length, 200, True, b"HEAD", 0),
            (chunked, 200, True, b"HEAD", 0),
            (chunked, 200, False, b"HEAD", 0),
            (length, 304, True, b"GET", 0),
            (chunked, 204, True, b"GET", 0),
            (length, 100, True, b"POST", 0),
            (chunked, 101, True, b"GET", 0),
            (b"Server: a", 199, True, b"GET", 0),
        ]
        for block, status, http_11, method, expected in table:
            got = response_body(parse_fields(block), status, http_11, method)
            self.assertEqual(got, expected, (block, status, method))

    def test_refused(self) -> None:
        te = b"Transfer-Encoding: "
        for block, http_11 in [
            (b"Content-Length: 3\r\n" + te + b"chunked", True),
            (te + b"chunked", False),
            (te + b"gzip", True),
            (te + b"gzip, chunked", True),
            (te + b"chunked\r\n" + te + b"chunked", True),
            (te + b"identity", True),
            (b"Content-Length: 3\r\nContent-Length: 3", True),
            (b"Content-Length: 3, 3", True),
            (b"Content-Length: -1", True),
        ]:
            fields = parse_fields(block)
            error = self.assertRaises(BadFraming, response_body, fields, 200, http_11, b"GET")
            self.assertIs(error.reason, BAD_RESPONSE, block)

    def test_a_bad_length_is_refused_even_where_it_frames_nothing(self) -> None:
        fields = parse_fields(b"Content-Length: 3, 4")
        self.assertRaises(BadFraming, response_body, fields, 304, True, b"GET")

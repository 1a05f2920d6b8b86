"""Field lines: what is taken and refused, what is remembered, and how much of it."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.errors import BAD_FIELD
from txrproxy.http import fields as module
from txrproxy.http.fields import (
    EMPTY,
    TCHAR,
    BadFields,
    Fields,
    allowed_trailers,
    connection_options,
    is_field_value,
    is_token,
    make_line,
    parse_fields,
    parse_line,
    split_list,
    split_members,
)

names = st.lists(st.sampled_from([bytes([c]) for c in TCHAR]), min_size=1, max_size=12).map(
    b"".join
)
values = st.binary(max_size=30).filter(is_field_value).map(lambda value: value.strip(b" \t"))
pairs = st.lists(st.tuples(names, values), max_size=8)


class ParseLineTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        table = [
            (b"Host: a", (b"host", b"a", b"Host: a\r\n")),
            (b"Host:a", (b"host", b"a", b"Host: a\r\n")),
            (b"HOST:\t a \t", (b"host", b"a", b"HOST: a\r\n")),
            (b"a:", (b"a", b"", b"a: \r\n")),
            (b"a: : b: c", (b"a", b": b: c", b"a: : b: c\r\n")),
            (b"a: b\tc  d", (b"a", b"b\tc  d", b"a: b\tc  d\r\n")),
            (b"a: \xe9\xff", (b"a", b"\xe9\xff", b"a: \xe9\xff\r\n")),
            (b"!#$%&'*+-.^_`|~09: x", (b"!#$%&'*+-.^_`|~09", b"x", b"!#$%&'*+-.^_`|~09: x\r\n")),
        ]
        for line, expected in table:
            self.assertEqual(parse_line(line)[:3], expected)

    def test_refused(self) -> None:
        for line in (
            b"",
            b"a",
            b":",
            b": a",
            b"a : b",
            b"a\t: b",
            b" a: b",
            b"\ta: b",
            b"a b: c",
            b"a(: b",
            b"a\x00: b",
            b"a\xe9: b",
            b"a\x7f: b",
            b'"a": b',
            b"a/b: c",
            b"a@b: c",
            *(b"a: b%cc" % code for code in (*range(9), *range(10, 32), 127)),
            *(b"a: %c" % code for code in (0, 10, 11, 12, 13, 127)),
        ):
            error = self.assertRaises(BadFields, parse_line, line)
            self.assertIs(error.reason, BAD_FIELD, line)

    @given(names, values)
    def test_any_token_and_value(self, name: bytes, value: bytes) -> None:
        self.assertEqual(parse_line(name + b":" + value), make_line(name, value))


class ParseFieldsTests(SynchronousTestCase):
    def test_order_and_number_are_kept(self) -> None:
        fields = parse_fields(b"B: 1\r\nA: 2\r\nb: 3\r\nB: 4")
        self.assertEqual([line[0] for line in fields.lines], [b"b", b"a", b"b", b"b"])
        self.assertEqual(fields.all(b"b"), (b"1", b"3", b"4"))
        self.assertEqual(fields.all(b"none"), ())
        self.assertEqual(fields.first(b"b"), b"1")
        self.assertEqual(fields.first(b"none", b"-"), b"-")
        self.assertIn(b"a", fields)
        self.assertNotIn(b"c", fields)
        self.assertEqual(len(fields), 4)
        self.assertEqual(fields.block, b"B: 1\r\nA: 2\r\nb: 3\r\nB: 4\r\n")
        self.assertIn("B: 1", repr(fields))

    def test_none(self) -> None:
        self.assertIs(parse_fields(b""), EMPTY)
        self.assertFalse(EMPTY)

    def test_refused(self) -> None:
        for block in (
            b"a: b\r\n c",  # obs-fold
            b"a: b\r\n\tc: d",
            b"a: b\r\n",
            b"\r\na: b",
            b"a: b\nc: d",
            b"a: b\rc: d",
            b"a: b\r\r\nc: d",
        ):
            self.assertRaises(BadFields, parse_fields, block)

    @given(pairs)
    def test_serialised_and_parsed(self, lines: list[tuple[bytes, bytes]]) -> None:
        fields = Fields(make_line(name, value) for name, value in lines)
        again = parse_fields(fields.block.removesuffix(b"\r\n"))
        self.assertEqual(again.lines, fields.lines)
        self.assertEqual(again.block, fields.block)

    def test_a_name_repeated_without_end(self) -> None:
        """In quadratic time this would take minutes."""
        fields = parse_fields(b"\r\n".join([b"a:"] * 300_000))
        self.assertEqual(len(fields.all(b"a")), 300_000)


class MemoTests(SynchronousTestCase):
    def test_equal_blocks_are_one(self) -> None:
        block = b"X-Memo: equal\r\nHost: a"
        parse_fields(block)  # what comes once is not kept
        self.assertIs(parse_fields(block), parse_fields(bytes(bytearray(block))))

    def test_what_is_refused_is_refused_again(self) -> None:
        for _ in range(2):
            self.assertRaises(BadFields, parse_fields, b"X-Memo: good\r\nbad\x00: a")
            self.assertRaises(BadFields, parse_line, b"bad\x00: a")

    def test_large_ones_are_not_kept(self) -> None:
        block = b"X-Memo: " + b"x" * module._MEMO_BLOCK_SIZE
        self.assertIsNot(parse_fields(block), parse_fields(block))
        self.assertNotIn(block, module._blocks)
        self.assertNotIn(block, module._lines)


class GrammarTests(SynchronousTestCase):
    def test_token(self) -> None:
        self.assertTrue(is_token(TCHAR))
        for value in (b"", b"a b", b"a,", b"a\x00", b"\xe9", b"a:", b"a="):
            self.assertFalse(is_token(value), value)

    def test_field_value(self) -> None:
        for value in (b"", b"a\tb", b"\x80\xff", b" "):
            self.assertTrue(is_field_value(value), value)
        for value in (b"\x00", b"a\r", b"\n", b"\x0b", b"\x7f"):
            self.assertFalse(is_field_value(value), value)

    def test_split_list(self) -> None:
        self.assertEqual(split_list([]), [])
        self.assertEqual(split_list([b", a,,\tb ,", b"", b"c d"]), [b"a", b"b", b"c d"])

    def test_connection_options(self) -> None:
        self.assertEqual(connection_options(EMPTY), frozenset())
        fields = parse_fields(b"Connection: Close, x\r\nconnection: ,Upgrade")
        self.assertEqual(connection_options(fields), {b"close", b"x", b"upgrade"})


class TrailerTests(SynchronousTestCase):
    def test_allowed(self) -> None:
        kept: list[bytes] = [b"X-Checksum: 1", b"Server-Timing: a", b"Digest_x: b", b"ETag: c"]
        dropped = [
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"Host: a",
            b"Authorization: x",
            b"Set-Cookie: a=b",
            b"Trailer: a",
            b"Connection: close",
            b"X-Forwarded-For: 1.1.1.1",
            b"X-Forwarded: 1",
            b"X-Real-IP: 1.1.1.1",
            b"X-Request-Id: a",
            b"Forwarded: for=a",
            # What a backend that folds names would take for one of these.
            b"Content_Length: 5",
            b"X_Forwarded_For: 1.1.1.1",
            b"x_real-ip: 1.1.1.1",
        ]
        fields = parse_fields(b"\r\n".join(_interleave(kept, dropped)))
        self.assertEqual([line[2][:-2] for line in allowed_trailers(fields).lines], kept)


def _interleave(first: list[bytes], second: list[bytes]) -> Iterator[bytes]:
    yield from second[:3]
    yield from first
    yield from second[3:]


class MarkedTests(SynchronousTestCase):
    def test_what_concerns_the_proxy_is_marked(self) -> None:
        for name, marked in (
            (b"Host", True),
            (b"Content-Length", True),
            (b"X-Forwarded-Anything", True),
            (b"X_Real_IP", True),
            (b"any_alias", True),
            (b"Cookie", False),
            (b"Accept", False),
        ):
            self.assertEqual(parse_line(name + b": 1")[3], marked, name)

    def test_marked_and_plain_are_found_alike(self) -> None:
        fields = parse_fields(b"Host: a\r\nAccept: b\r\naccept: c\r\nX-Real-IP: d")
        self.assertEqual(fields.marked, {b"host", b"x-real-ip"})
        self.assertEqual(fields.all(b"accept"), (b"b", b"c"))
        self.assertEqual(fields.all(b"x-real-ip"), (b"d",))
        self.assertIn(b"host", fields)
        self.assertNotIn(b"via", fields)
        self.assertNotIn(b"cookie", fields)


class SplitMembersTests(SynchronousTestCase):
    def test_table(self) -> None:
        for value, members in (
            (b"", [b""]),
            (b"a", [b"a"]),
            (b"a, b\t,c", [b"a", b"b", b"c"]),
            (b"a,,b", [b"a", b"", b"b"]),
            (b'a="b, c", d', [b'a="b, c"', b"d"]),
            (b'"a\\", b",c', [b'"a\\", b"', b"c"]),
            (b'a"b, c"d,e', [b'a"b, c"d', b"e"]),
            (b'"a, b', [b'"a', b"b"]),
            (b'"a, \\"b", c', [b'"a, \\"b"', b"c"]),
            (b'a", b, "c, d', [b'a", b, "c', b"d"]),
            (b'"\\", "a, b"', [b'"\\", "a', b'b"']),
        ):
            self.assertEqual(split_members(value), members, value)

    @given(st.lists(st.sampled_from([b'"', b",", b"\\", b"a", b" "]), max_size=20).map(b"".join))
    def test_nothing_is_lost(self, value: bytes) -> None:
        kept = b",".join(split_members(value)).replace(b" ", b"")
        self.assertEqual(kept, value.replace(b" ", b""))

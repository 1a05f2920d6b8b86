"""Bodies: each decoder whole, byte by byte and with trailing data; the encoder is its inverse."""

from __future__ import annotations

import re
from collections.abc import Iterable

import h11
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http.conversation import split_at, splits
from txrproxy.errors import BAD_CHUNK
from txrproxy.http.body import (
    LAST_CHUNK,
    MAX_CHUNK_LINE,
    MAX_EXTENSIONS,
    MAX_TRAILER_FIELDS,
    MAX_TRAILERS,
    BadBody,
    ChunkedDecoder,
    LengthDecoder,
    UntilCloseDecoder,
    broken_line_end,
    encode_chunk,
    encode_last_chunk,
)
from txrproxy.http.fields import EMPTY, parse_fields

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"

# Bodies, and what they say: content, trailers.
CHUNKED = [
    (b"0\r\n\r\n", b"", b""),
    (b"000\r\n\r\n", b"", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", b""),
    (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
    (b"5;a=b\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    (b"5 \t;a\r\nhello\r\n0 ; z\r\n\r\n", b"hello", b""),
    (b'5;a="\\"b; \xe9"\r\nhello\r\n0;\r\n\r\n', b"hello", b""),
    (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", b""),
    (b"1\r\nx\r\n0\r\nA: b\r\n\r\n", b"x", b"A: b\r\n"),
    (b"0\r\nA:b \r\na: c\r\n\r\n", b"", b"A: b\r\na: c\r\n"),
]

BROKEN = [
    b"0x5\r\nhello",
    b"+5\r\nhello",
    b"-1\r\n",
    b"5 5\r\nhello",
    b"5_0\r\n",
    b" 5\r\nhello",
    b"5 \r\nhello",
    b"5\t\r\nhello",
    b"\t5\r\n",
    b"5\nhello",
    b"5\rhello",
    b"5\r\r\nhello",
    b"\r\n",
    b"\r0\r\n",
    b"\n",
    b";a\r\n",
    b"g\r\n",
    b"5h\r\n",
    b"5\x00\r\n",
    b"5\x0b\r\n",
    b"\xef\xbc\x95\r\n",
    b"5,5\r\n",
    b"0" * 17 + b"\r\n",
    b"f" * 17 + b"\r\n",
    b"f" * 16,
    b"8" + b"0" * 15 + b"\r\n",  # 2**63
    b"5;a\nb\r\nhello",
    b"5;a\rb\r\nhello",
    b"5;a\x00\r\nhello",
    b"5;a\x7f\r\nhello",
    b"5;\nhello",
    b"5;a" + b"x" * MAX_CHUNK_LINE,
    b"5" + b" " * MAX_CHUNK_LINE,
    b"5\r\nhelloX",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhello\r\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello!\r\n",
    b"4\r\nhello\r\n0\r\n\r\n",
    b"6\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\n A: b\r\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\n: b\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\nA: b\n\r\n",
    b"0\r\nA: b\n\n",
    b"0\r\nA: b\rc\r\n\r\n",
    b"0\r\n\n",
    b"0\r\n\rX",
    b"0\n\n",
    b"0\r\n" + b"A: b\r\n" * (MAX_TRAILER_FIELDS + 1) + b"\r\n",
    b"0\r\nA: " + b"b" * MAX_TRAILERS,
    b"0\r\nA: " + b"b" * MAX_TRAILERS + b"\r\n\r\n",
]


def decode(pieces: Iterable[bytes]) -> tuple[ChunkedDecoder, bytes]:
    """Feed the pieces; what follows the end is gathered in ``rest``."""
    decoder = ChunkedDecoder()
    content = b""
    for piece in pieces:
        if decoder.complete:
            decoder.rest += piece
        else:
            content += decoder.feed(piece)
    return decoder, content


class ChunkedTests(SynchronousTestCase):
    def test_every_split(self) -> None:
        for body, content, trailers in CHUNKED:
            for rest in (b"", NEXT, b"\r\n", b"0\r\n\r\n"):
                for pieces in splits(body + rest):
                    decoder, got = decode(pieces)
                    self.assertTrue(decoder.complete, pieces)
                    self.assertEqual(got, content, pieces)
                    self.assertEqual(decoder.trailers.block, trailers, pieces)
                    self.assertEqual(decoder.rest, rest, pieces)

    def test_every_prefix_is_incomplete(self) -> None:
        for body, _, _ in CHUNKED:
            for end in range(len(body)):
                self.assertFalse(decode([body[:end]])[0].complete, body[:end])

    def test_broken(self) -> None:
        for body in BROKEN:
            for pieces in splits(body):
                error = self.assertRaises(BadBody, decode, pieces)
                self.assertIs(error.reason, BAD_CHUNK, body)

    def test_refused_as_soon_as_it_shows(self) -> None:
        for start in (b"0x", b"g", b"5 5", b"5\n", b"5\r0", b"5\r\nhelloX", b"0\r\na\n", b"\r"):
            self.assertRaises(BadBody, decode, [start])
            self.assertFalse(decode([start[:-1]])[0].complete)

    def test_a_size_beyond_all_data(self) -> None:
        decoder, content = decode([b"7fffffffffffffff\r\n", b"abc"])
        self.assertEqual(content, b"abc")
        self.assertFalse(decoder.complete)

    def test_bound_of_a_line(self) -> None:
        longest = b"5;" + b"x" * (MAX_CHUNK_LINE - 4) + b"\r\n"
        self.assertEqual(len(longest), MAX_CHUNK_LINE)
        for pieces in splits(longest + b"hello\r\n0\r\n\r\n"):
            self.assertTrue(decode(pieces)[0].complete)
        for pieces in splits(b"5;x" + longest[2:] + b"hello\r\n0\r\n\r\n"):
            self.assertRaises(BadBody, decode, pieces)

    def test_bound_of_all_extensions(self) -> None:
        chunk = b"1;" + b"x" * 1000 + b"\r\n-\r\n"
        allowed = MAX_EXTENSIONS // 1001
        self.assertTrue(decode([chunk * allowed + LAST_CHUNK])[0].complete)
        self.assertRaises(BadBody, decode, [chunk * (allowed + 1)])

    def test_bound_of_trailers(self) -> None:
        section = b"A: b\r\n" * MAX_TRAILER_FIELDS
        self.assertEqual(len(decode([b"0\r\n" + section + b"\r\n"])[0].trailers), 64)
        longest = b"0\r\nA: " + b"b" * (MAX_TRAILERS - 7) + b"\r\n\r\n"
        for pieces in ([longest], split_at(longest, range(0, len(longest), 1000))):
            self.assertTrue(decode(pieces)[0].complete)
        longer = longest.replace(b"A: ", b"A: b")
        for pieces in ([longer], split_at(longer, range(0, len(longer), 1000))):
            self.assertRaises(BadBody, decode, pieces)

    def test_memory_is_one_line(self) -> None:
        decoder, _ = decode([b"400\r\n", b"x" * 1024, b"\r\n5;", b"a" * 500])
        self.assertEqual(decoder._line, b"5;" + b"a" * 500)

    @settings(deadline=None)
    @given(
        st.lists(st.binary(min_size=1, max_size=40), max_size=6),
        st.sampled_from([b"", b"A: b", b"A: b\r\nC-d: "]),
        st.binary(max_size=10),
        st.lists(st.integers(0, 300), max_size=12),
    )
    def test_inverse_of_the_encoder(
        self, chunks: list[bytes], trailers: bytes, rest: bytes, places: list[int]
    ) -> None:
        fields = parse_fields(trailers)
        wire = b"".join(encode_chunk(chunk) for chunk in chunks) + encode_last_chunk(fields)
        pieces = split_at(wire + rest, sorted(place for place in places if place <= len(wire)))
        decoder, content = decode(pieces)
        self.assertTrue(decoder.complete)
        self.assertEqual(content, b"".join(chunks))
        self.assertEqual(decoder.trailers.block, fields.block)
        self.assertEqual(decoder.rest, rest)

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
    def test_garbage_in_any_split(self, data: bytes, places: list[int]) -> None:
        self.assertEqual(
            self.outcome([data]), self.outcome(split_at(data, sorted(p for p in places)))
        )

    @staticmethod
    def outcome(pieces: list[bytes]) -> object:
        try:
            decoder, content = decode(pieces)
        except BadBody:
            return "bad"
        return decoder.complete, content, decoder.rest, decoder.trailers.block


_PIECES = st.lists(
    st.sampled_from(
        b'0|1|2|a|F|;x|;y="z"| |\t|\r\n|\n|\r|\r\n\r\n|0\r\n\r\n|1\r\nx\r\n|2;e\r\nxy\r\n|A: b\r\n|'
        b"xxxxxxxxxx|-".split(b"|")
    ),
    max_size=8,
).map(b"".join)
_BWS = re.compile(rb"[ \t]+;")


class DifferentialTests(SynchronousTestCase):
    """h11 as a second opinion.

    It takes white space at the end of a size line, and LF for an end of lines, and we do not. We
    take white space before an extension, as RFC 9110 section 5.6.3 asks, and it does not.
    """

    @settings(deadline=None, max_examples=400)
    @given(_PIECES)
    def test_what_we_take(self, data: bytes) -> None:
        assume(not _BWS.search(data))
        try:
            decoder, content = decode([data + LAST_CHUNK])
        except BadBody:
            return
        peer = h11.Connection(h11.SERVER)
        peer.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.next_event()
        peer.receive_data(data + LAST_CHUNK)
        theirs = b""
        while isinstance(event := peer.next_event(), h11.Data):
            theirs += event.data
        self.assertEqual(theirs, content)
        self.assertIs(isinstance(event, h11.EndOfMessage), decoder.complete)
        if isinstance(event, h11.EndOfMessage):
            trailers = [(name, value) for name, value, *_ in decoder.trailers.lines]
            self.assertEqual(list(event.headers), trailers)
            self.assertEqual(peer.trailing_data[0], decoder.rest)


class LengthTests(SynchronousTestCase):
    def test_every_split(self) -> None:
        for rest in (b"", NEXT):
            for pieces in splits(b"hello" + rest):
                decoder = LengthDecoder(5)
                content = b""
                for piece in pieces:
                    if decoder.complete:
                        decoder.rest += piece
                    else:
                        content += decoder.feed(piece)
                self.assertEqual((content, decoder.rest), (b"hello", rest))
                self.assertTrue(decoder.complete)
                self.assertEqual(decoder.remaining, 0)

    def test_short(self) -> None:
        decoder = LengthDecoder(5)
        data = b"hell"
        self.assertIs(decoder.feed(data), data)
        self.assertFalse(decoder.complete)
        self.assertEqual(decoder.remaining, 1)

    def test_nothing(self) -> None:
        self.assertTrue(LengthDecoder(0).complete)
        self.assertIs(LengthDecoder(0).trailers, EMPTY)


class UntilCloseTests(SynchronousTestCase):
    def test_never_complete(self) -> None:
        decoder = UntilCloseDecoder()
        self.assertEqual(decoder.feed(b"0\r\n\r\n"), b"0\r\n\r\n")
        self.assertFalse(decoder.complete)
        self.assertEqual((decoder.rest, decoder.trailers), (b"", EMPTY))


class LineEndTests(SynchronousTestCase):
    def test_table(self) -> None:
        for data, place in [
            (b"", -1),
            (b"a\r\nb\r\n", -1),
            (b"a\r", -1),
            (b"\n", 0),
            (b"a\nb", 1),
            (b"a\rb", 1),
            (b"a\r\r\n", 1),
            (b"a\r\n\n", 3),
        ]:
            self.assertEqual(broken_line_end(data), place, data)
            self.assertEqual(broken_line_end(bytearray(data)), place)

    def test_between(self) -> None:
        self.assertEqual(broken_line_end(b"\na\r\n", 2), -1)
        self.assertEqual(broken_line_end(b"\na\r\n", 3), -1)  # the CR before is seen
        self.assertEqual(broken_line_end(b"ab\n", 0, 2), -1)
        self.assertEqual(broken_line_end(b"a\rb", 0, 2), -1)


class EncoderTests(SynchronousTestCase):
    def test_chunks(self) -> None:
        self.assertEqual(encode_chunk(b"0123456789abcdef"), b"10\r\n0123456789abcdef\r\n")
        self.assertEqual(encode_last_chunk(EMPTY), b"0\r\n\r\n")
        self.assertEqual(encode_last_chunk(parse_fields(b"A: b")), b"0\r\nA: b\r\n\r\n")

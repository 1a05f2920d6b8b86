"""Byte ranges: which are meant, which are not heard, and how several look."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.policy.ranges import MAX_RANGES, multipart, parse_ranges


class ParseTests(SynchronousTestCase):
    def test_one(self) -> None:
        for value, ranges in (
            (b"bytes=0-1", [(0, 2)]),
            (b"bytes=1-", [(1, 1000)]),
            (b"bytes=-1", [(999, 1000)]),
            (b"bytes=-5000", [(0, 1000)]),
            (b"bytes=0-5000", [(0, 1000)]),
            (b"bytes=999-999", [(999, 1000)]),
            (b"Bytes=0-0", [(0, 1)]),
            (b"bytes= 0-0 ", [(0, 1)]),
            (b"bytes=0-0,", [(0, 1)]),
            (b"bytes=000-001", [(0, 2)]),
        ):
            self.assertEqual(parse_ranges(value, 1000), ranges, value)

    def test_not_satisfiable(self) -> None:
        for value in (b"bytes=1000-", b"bytes=1000-1001,2000-", b"bytes=-0"):
            self.assertEqual(parse_ranges(value, 1000), [], value)
        self.assertEqual(parse_ranges(b"bytes=0-", 0), [])
        self.assertEqual(parse_ranges(b"bytes=-5", 0), [])
        # Those that can be are enough.
        self.assertEqual(parse_ranges(b"bytes=1000-,0-1", 1000), [(0, 2)])

    def test_not_heard(self) -> None:
        for value in (
            b"",
            b"bytes",
            b"bytes=",
            b"bytes=,",
            b"bytes=-",
            b"bytes=a-b",
            b"bytes=1",
            b"bytes=2-1",
            b"bytes=-1-2",
            b"bytes=1-2-3",
            b"bytes=+1-2",
            b"bytes=0x1-2",
            b"bytes 0-1",
            b"items=0-1",
            b"bytes=0-1;q",
            b"bytes=0-1,x",
            b"bytes=0-" + b"9" * 5000,
            "bytes=\u0660-".encode(),
        ):
            self.assertIsNone(parse_ranges(value, 1000), value)

    def test_too_many(self) -> None:
        def value(count: int) -> bytes:
            return b"bytes=" + b",".join([b"%d-%d" % (n * 200, n * 200) for n in range(count)])

        found = parse_ranges(value(MAX_RANGES), 10**6)
        self.assertEqual(len(found or ()), MAX_RANGES)
        self.assertIsNone(parse_ranges(value(MAX_RANGES + 1), 10**6))

    def test_overlapping_and_close_ones_become_one(self) -> None:
        for value, ranges in (
            (b"bytes=0-1,1-5", [(0, 6)]),
            (b"bytes=0-1,2-5", [(0, 6)]),
            (b"bytes=0-1,20-25", [(0, 26)]),
            (b"bytes=0-1,500-", [(0, 2), (500, 1000)]),
            (b"bytes=500-,0-1", [(500, 1000), (0, 2)]),
            (b"bytes=0-,0-,0-,-1000", [(0, 1000)]),
            (b"bytes=0-0,500-500,250-250,100-400", [(0, 1), (500, 501), (100, 401)]),
            (b"bytes=0-0,300-300,10-290", [(0, 301)]),
            (b"bytes=900-900,0-0,300-300,10-290", [(900, 901), (0, 301)]),
        ):
            self.assertEqual(parse_ranges(value, 1000), ranges, value)

    @given(
        st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=12),
        st.integers(1, 2500),
    )
    def test_what_is_asked_for_is_in(self, pairs: list[tuple[int, int]], length: int) -> None:
        asked = [(min(p), max(p)) for p in pairs]
        found = parse_ranges(b"bytes=" + b", ".join([b"%d-%d" % p for p in asked]), length)
        assert found is not None
        for start, end in found:
            self.assertTrue(0 <= start < end <= length)
        for first, last in asked:
            if first < length:
                held = [s for s, e in found if s <= first and min(last + 1, length) <= e]
                self.assertEqual(len(held), 1)
        # No two touch, so that the parts together are never more than the whole.
        placed = sorted(found)
        for (_, end), (start, _) in pairwise(placed):
            self.assertLess(end, start)

    @given(st.binary(max_size=40), st.integers(0, 50))
    def test_any_bytes(self, value: bytes, length: int) -> None:
        parse_ranges(b"bytes=" + value, length)


class MultipartTests(SynchronousTestCase):
    def test_parts(self) -> None:
        parts, tail, length = multipart([(0, 2), (500, 1000)], 1000, b"text/plain", b"B")
        self.assertEqual(
            [(p.head, p.start, p.length) for p in parts],
            [
                (
                    b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/1000\r\n\r\n",
                    0,
                    2,
                ),
                (
                    b"\r\n--B\r\nContent-Type: text/plain\r\n"
                    b"Content-Range: bytes 500-999/1000\r\n\r\n",
                    500,
                    500,
                ),
            ],
        )
        self.assertEqual(tail, b"\r\n--B--\r\n")
        self.assertEqual(length, sum(len(p.head) for p in parts) + 502 + len(tail))

    def test_without_a_type(self) -> None:
        parts, _, _ = multipart([(0, 1)], 9, b"", b"B")
        self.assertEqual(parts[0].head, b"\r\n--B\r\nContent-Range: bytes 0-0/9\r\n\r\n")

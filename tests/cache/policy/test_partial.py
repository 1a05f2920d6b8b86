"""Parts: what may be kept of them, what they answer, and what two of them make."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import START, date, request, response
from txrproxy.cache.policy import Rules, Verdict, for_request, reuse
from txrproxy.cache.policy.partial import (
    MAX_TOTAL,
    Piece,
    Span,
    joined,
    part_answer,
    part_key,
    span_of,
    storable_part,
    whole,
)
from txrproxy.cache.policy.storing import Decision
from txrproxy.cache.stored import Stored

RULES = Rules()
TAG = b'ETag: "a"'
FRESH = b"Cache-Control: max-age=60"
URL = b"http://h/a"
RANGE = b"Range: bytes=10-19"


def part(start: int, end: int, *lines: bytes, total: int = 100, at: float = START) -> Stored:
    """A stored one."""
    decision = decide(start, end, *(lines or (FRESH, TAG)), total=total, at=at)
    assert decision
    return decision.stored(part_key(b"k"), URL, end - start, at)


def decide(
    start: int,
    end: int,
    *lines: bytes,
    total: int = 100,
    asked: tuple[bytes, ...] = (RANGE,),
    at: float = START,
) -> Decision:
    head = request(*asked)
    placed = b"Content-Range: bytes %d-%d/%d" % (start, end - 1, total)
    got = response(placed, b"Content-Length: %d" % (end - start), *lines, status=206)
    return storable_part(head, for_request(head, RULES), got, RULES, URL, at)


class StoringTests(SynchronousTestCase):
    def test_section_3_3_a_part_says_that_it_is_one(self) -> None:
        decision = decide(10, 20, FRESH, TAG, b"Connection: x", b"X: y")
        self.assertTrue(decision.partial)
        stored = decision.stored(part_key(b"k"), URL, 10, START)
        self.assertEqual((stored.head.status, stored.length), (206, 10))
        self.assertEqual(stored.head.fields.all(b"content-range"), (b"bytes 10-19/100",))
        self.assertEqual(stored.head.fields.all(b"content-length"), (b"10",))
        self.assertNotIn(b"x", stored.head.fields)
        self.assertNotEqual(stored.key, b"k")

    def test_section_3_4_all_of_it_is_the_whole(self) -> None:
        decision = decide(0, 100, FRESH, TAG)
        self.assertTrue(decision)
        self.assertFalse(decision.partial)
        stored = decision.stored(b"k", URL, 100, START)
        self.assertEqual((stored.head.status, stored.head.status_line[9:12]), (200, b"200"))
        self.assertNotIn(b"content-range", stored.head.fields)

    def test_section_3_the_rules_are_those_of_the_whole(self) -> None:
        for lines, asked, reason in (
            ((b"Cache-Control: no-store", TAG), (RANGE,), "no-store"),
            ((b"Cache-Control: private", TAG), (RANGE,), "private"),
            ((FRESH, TAG, b"Vary: *"), (RANGE,), "vary"),
            ((FRESH, TAG, b"Set-Cookie: a=b"), (RANGE,), "set-cookie"),
            ((FRESH, TAG), (RANGE, b"Authorization: x y"), "authorization"),
            ((TAG,), (RANGE,), "not-fresh"),
        ):
            decision = decide(10, 20, *lines, asked=asked)
            self.assertEqual(decision.reason, reason, lines)
            self.assertEqual(decision.partial, not reason)

    def test_section_3_4_a_strong_validator(self) -> None:
        for lines in ((FRESH,), (FRESH, b'ETag: W/"a"'), (FRESH, TAG, TAG), (FRESH, b"ETag: a")):
            self.assertEqual(decide(10, 20, *lines).reason, "partial")

    def test_lengths(self) -> None:
        self.assertTrue(decide(0, 10, FRESH, TAG, total=MAX_TOTAL))
        self.assertFalse(decide(0, 10, FRESH, TAG, total=MAX_TOTAL + 1))
        head = request(RANGE)
        for length in ((), (b"Content-Length: 9",)):
            got = response(b"Content-Range: bytes 10-19/100", FRESH, TAG, *length, status=206)
            decision = storable_part(head, for_request(head, RULES), got, RULES, URL, START)
            self.assertEqual(decision.reason, "partial")

    def test_what_is_no_part_is_not_stored(self) -> None:
        head = request(RANGE)
        got = response(FRESH, TAG, b"Content-Length: 100")
        decision = storable_part(head, for_request(head, RULES), got, RULES, URL, START)
        self.assertEqual((decision.reason, decision.partial), ("partial", False))

    def test_spans(self) -> None:
        for value, span in (
            (b"bytes 0-0/1", Span(0, 1, 1)),
            (b"Bytes 10-19/20", Span(10, 20, 20)),
            (b"bytes 10-20/20", None),
            (b"bytes 10-9/20", None),
            (b"bytes 10-19/*", None),
            (b"bytes */20", None),
            (b"lines 1-2/3", None),
            (b"bytes 1-2/9999999999999999999", None),
        ):
            self.assertEqual(span_of(response(b"Content-Range: " + value, status=206)), span)
        self.assertIsNone(span_of(response(b"Content-Range: bytes 0-0/1")))
        self.assertIsNone(span_of(response(b"Content-Type: multipart/byteranges", status=206)))


class AnswerTests(SynchronousTestCase):
    def answer(self, stored: Stored, *lines: bytes):
        made = part_answer(request(*lines), stored, b"boundary")
        return made and (made.head.status, [(p.start, p.length) for p in made.parts], made.length)

    def test_section_3_3_only_what_lies_within(self) -> None:
        stored = part(10, 60)
        for asked, answered in (
            (b"bytes=10-59", (206, [(0, 50)], 50)),
            (b"bytes=20-29", (206, [(10, 10)], 10)),
            (b"bytes=9-29", None),
            (b"bytes=20-60", None),
            (b"bytes=20-", None),
            (b"bytes=-90", None),
            (b"bytes=0-", None),
            (b"bytes=100-", None),  # the origin may have more by now
            (b"lines=1-2", None),
        ):
            self.assertEqual(self.answer(stored, b"Range: " + asked), answered, asked)
        self.assertEqual(self.answer(part(50, 100), b"Range: bytes=-10"), (206, [(40, 10)], 10))

    def test_several(self) -> None:
        stored = part(0, 500, total=1000)
        made = part_answer(request(b"Range: bytes=10-19, 300-309"), stored, b"boundary")
        assert made is not None
        self.assertEqual([(p.start, p.length) for p in made.parts], [(10, 10), (300, 10)])
        self.assertIsNone(self.answer(stored, b"Range: bytes=10-19, 600-609"))

    def test_rfc_9110_section_15_3_7_what_is_said_of_it(self) -> None:
        made = part_answer(request(b"Range: bytes=20-29"), part(10, 60), b"b")
        assert made is not None
        self.assertEqual(made.head.fields.all(b"content-range"), (b"bytes 20-29/100",))
        self.assertEqual(made.head.fields.all(b"content-length"), (b"10",))
        self.assertEqual(made.head.fields.all(b"etag"), (b'"a"',))

    def test_rfc_9110_section_13_1_5_if_range(self) -> None:
        stored = part(10, 60)
        for tag, heard in ((b'"a"', True), (b'"b"', False), (b'W/"a"', False)):
            made = self.answer(stored, b"Range: bytes=20-29", b"If-Range: " + tag)
            self.assertEqual(made is not None, heard)

    def test_section_4_freshness_is_that_of_the_whole(self) -> None:
        complete = whole(part(10, 60))
        assert complete is not None
        self.assertEqual((complete.key, complete.length, complete.head.status), (b"k", 100, 200))
        plain = for_request(request(RANGE), RULES)
        self.assertIs(reuse(complete, plain, START + 59, RULES).verdict, Verdict.FRESH)
        self.assertIs(reuse(complete, plain, START + 61, RULES).verdict, Verdict.VALIDATE)

    def test_what_is_no_part(self) -> None:
        stored = part(10, 60)
        wrong = Stored(stored.key, URL, stored.head, 49, START, START)
        head = response(TAG, FRESH)
        for other in (wrong, Stored(stored.key, URL, head, 50, START, START)):
            self.assertIsNone(whole(other))
            self.assertIsNone(part_answer(request(RANGE), other, b"b"))
            self.assertIsNone(joined(other, stored))
            self.assertIsNone(joined(stored, other))


class JoiningTests(SynchronousTestCase):
    def test_section_3_4_runs(self) -> None:
        for old, new, span, pieces in (
            ((0, 10), (10, 20), (0, 20), [Piece(False, 0, 10), Piece(True, 0, 10)]),
            ((0, 10), (5, 20), (0, 20), [Piece(False, 0, 5), Piece(True, 0, 15)]),
            ((10, 20), (0, 10), (0, 20), [Piece(True, 0, 10), Piece(False, 0, 10)]),
            ((10, 20), (0, 15), (0, 20), [Piece(True, 0, 15), Piece(False, 5, 10)]),
            (
                (0, 30),
                (10, 20),
                (0, 30),
                [Piece(False, 0, 10), Piece(True, 0, 10), Piece(False, 20, 30)],
            ),
        ):
            made = joined(part(*old), part(*new))
            assert made is not None
            stored, how = made
            self.assertEqual(how, pieces)
            self.assertEqual(span_of(stored.head), Span(*span, 100))
            self.assertEqual(stored.length, span[1] - span[0])
            self.assertEqual(sum(piece.end - piece.start for piece in how), stored.length)
            self.assertEqual(stored.head.fields.all(b"content-length"), (b"%d" % stored.length,))

    def test_section_3_4_whole(self) -> None:
        made = joined(part(0, 60), part(60, 100))
        assert made is not None
        stored, _ = made
        self.assertEqual((stored.key, stored.length, stored.head.status), (b"k", 100, 200))
        self.assertEqual(stored.head.fields.all(b"content-length"), (b"100",))
        self.assertNotIn(b"content-range", stored.head.fields)

    def test_not_joined(self) -> None:
        first = part(0, 10)
        for other in (
            part(11, 20),  # a gap
            part(10, 20, FRESH, b'ETag: "b"'),
            part(10, 20, total=101),
            part(0, 10),  # all of what there was
            part(0, 20),
            part(10, 20, FRESH, TAG, b"Vary: Accept"),
        ):
            self.assertIsNone(joined(first, other))
        self.assertIsNone(joined(part(50, 60), part(0, 10)))
        self.assertIsNone(joined(first.replaced(invalidated=True), part(10, 20)))
        weak = part(10, 20)
        lines = [line for line in weak.head.fields.lines if line[0] != b"etag"]
        weak.head.fields = type(weak.head.fields)(lines)
        self.assertIsNone(joined(first, weak))

    def test_section_3_4_the_newer_fields_count(self) -> None:
        old = part(0, 10, FRESH, TAG, b"X: old", b"Y: old", b"Date: " + date())
        new = part(
            10, 20, b"Cache-Control: max-age=9", TAG, b"X: new", b"Date: " + date(50), at=START + 50
        )
        made = joined(old, new)
        assert made is not None
        stored, _ = made
        fields = stored.head.fields
        self.assertEqual(
            [fields.all(name) for name in (b"x", b"y", b"cache-control", b"date")],
            [(b"new",), (b"old",), (b"max-age=9",), (date(50),)],
        )
        self.assertEqual(stored.responded, START + 50)

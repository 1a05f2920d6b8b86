"""What a client gets of a stored response; preconditions are in ``test_rfc9111_validation``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import Got, Play, date, request, response
from txrproxy.cache.policy import Rules, answer, for_request
from txrproxy.cache.policy.answer import not_modified
from txrproxy.cache.stored import Stored


class RangeTests(SynchronousTestCase):
    """RFC 9110 section 14, from a stored body of ten bytes unless said."""

    def ask(
        self,
        *client: bytes,
        stored: tuple[bytes, ...] = (b'ETag: "a"', b"A: 1"),
        body: bytes = b"0123456789",
        status: int = 200,
        method: bytes = b"GET",
    ) -> Got:
        play = Play()
        play.origin(b"Cache-Control: max-age=600", *stored, body=body, status=status)
        play.ask()
        got = play.ask(*client, method=method)
        self.assertTrue(got.is_hit)
        return got

    def test_one_range(self) -> None:
        for asked, body, placed in (
            (b"0-1", b"01", b"bytes 0-1/10"),
            (b"1-", b"123456789", b"bytes 1-9/10"),
            (b"-1", b"9", b"bytes 9-9/10"),
            (b"8-99", b"89", b"bytes 8-9/10"),
        ):
            got = self.ask(b"Range: bytes=" + asked)
            self.assertEqual((got.status, got.body), (206, body))
            self.assertEqual(got.fields.all(b"content-range"), (placed,))
            self.assertEqual(got.fields.all(b"content-length"), (b"%d" % len(body),))
            self.assertEqual(got.fields.all(b"a"), (b"1",))

    def test_several_ranges(self) -> None:
        body = bytes(range(256)) * 4
        got = self.ask(
            b"Range: bytes=0-1,500-509",
            stored=(b"Content-Type: image/png",),
            body=body,
        )
        kind = b"multipart/byteranges; boundary=BOUNDARY"
        self.assertEqual((got.status, got.fields.all(b"content-type")), (206, (kind,)))
        self.assertEqual(
            got.body,
            b"\r\n--BOUNDARY\r\nContent-Type: image/png\r\nContent-Range: bytes 0-1/1024\r\n\r\n"
            + body[:2]
            + b"\r\n--BOUNDARY\r\nContent-Type: image/png\r\nContent-Range: bytes 500-509/1024\r\n"
            b"\r\n" + body[500:510] + b"\r\n--BOUNDARY--\r\n",
        )
        self.assertEqual(got.fields.all(b"content-length"), (b"%d" % len(got.body),))
        self.assertNotIn(b"content-range", got.fields)

    def test_not_satisfiable(self) -> None:
        got = self.ask(b"Range: bytes=10-")
        self.assertEqual((got.status, got.body), (416, b""))
        self.assertEqual(got.fields.all(b"content-range"), (b"bytes */10",))
        self.assertEqual(got.fields.all(b"content-length"), (b"0",))
        self.assertNotIn(b"etag", got.fields)

    def test_not_heard(self) -> None:
        for lines in (
            (b"Range: items=0-1",),
            (b"Range: bytes=2-1",),
            (b"Range: bytes=0-9",),
            (b"Range: bytes=0-",),
            (b"Range: bytes=0-1", b"Range: bytes=2-3"),
        ):
            got = self.ask(*lines)
            self.assertEqual((got.status, got.body), (200, b"0123456789"), lines)
        self.assertEqual(self.ask(b"Range: bytes=0-1", method=b"HEAD").status, 200)
        self.assertEqual(self.ask(b"Range: bytes=0-1", status=404).status, 404)

    def test_an_empty_body(self) -> None:
        for asked in (b"0-", b"-1"):
            got = self.ask(b"Range: bytes=" + asked, body=b"")
            self.assertEqual((got.status, got.body), (200, b""))

    def test_preconditions_go_first(self) -> None:
        got = self.ask(b"Range: bytes=0-1", b'If-None-Match: "a"')
        self.assertEqual(got.status, 304)

    def test_if_range_with_a_tag(self) -> None:
        for own, given, status in (
            (b'"a"', b'"a"', 206),
            (b'"a"', b'"b"', 200),
            (b'W/"a"', b'W/"a"', 200),
            (b'W/"a"', b'"a"', 200),
            (b'"a"', b'W/"a"', 200),
            (b"a", b"a", 200),
        ):
            got = self.ask(b"Range: bytes=0-1", b"If-Range: " + given, stored=(b"ETag: " + own,))
            self.assertEqual(got.status, status, (own, given))
        twice = (b"Range: bytes=0-1", b'If-Range: "a"', b'If-Range: "a"')
        self.assertEqual(self.ask(*twice).status, 200)

    def test_if_range_with_a_date(self) -> None:
        for modified, given, status in (
            (-60, -60, 206),
            (-60, -59, 200),
            (-60, -61, 200),
            (0, 0, 200),  # it may change again within the second
        ):
            got = self.ask(
                b"Range: bytes=0-1",
                b"If-Range: " + date(given),
                stored=(b"Last-Modified: " + date(modified),),
            )
            self.assertEqual(got.status, status, (modified, given))
        self.assertEqual(self.ask(b"Range: bytes=0-1", b"If-Range: soon").status, 200)

    def test_a_record_without_a_date(self) -> None:
        head = response(b"Last-Modified: " + date(-60))
        one = Stored(b"k", b"u", head, 10, 0.0, 0.0)
        asked = request(b"Range: bytes=0-1", b"If-Range: " + date(-60))
        got = answer(asked, for_request(asked, Rules()), one, b"B")
        self.assertEqual(got.head.status, 200)
        since = request(b"If-Modified-Since: " + date(-60)).fields
        self.assertTrue(not_modified(since, response(), 5.0))

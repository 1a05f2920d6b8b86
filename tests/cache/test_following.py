"""A reader's place, in a body that grows as the test says."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import response
from txrproxy.cache.following import Reader


class Body:
    """All of what there is, in memory."""

    def __init__(self) -> None:
        self.stored = response()
        self.data = b""
        self.complete = self.failed = self.broken = False
        self.reading = 0
        self.left: list[Reader] = []

    @property
    def length(self) -> int:
        return len(self.data)

    def look(self, reader: Reader, limit: int) -> bytes:
        return self.data[reader.place : reader.place + limit]

    def taken(self) -> None:
        """It does not matter here."""

    def was_read(self) -> None:
        """The same."""

    def leave(self, reader: Reader) -> None:
        self.left.append(reader)


class Listener:
    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def on_data(self) -> None:
        if self.fails:
            raise ValueError


class ReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.body = Body()
        self.reader = Reader(self.body, Listener(), 0)  # type: ignore[arg-type]

    def test_place(self) -> None:
        self.body.data = b"hello"
        self.assertEqual(self.reader.take(2), b"he")
        self.assertEqual(self.reader.take(9), b"llo")
        self.assertEqual(self.reader.take(9), b"")
        self.assertFalse(self.reader.ended)
        self.body.complete = True
        self.assertTrue(self.reader.ended)

    def test_cut_short(self) -> None:
        """What has come can be read to its end."""
        self.body.data = b"hello"
        self.body.failed = True
        self.assertFalse(self.reader.failed)
        self.reader.take(9)
        self.assertTrue(self.reader.failed)
        self.assertFalse(self.reader.ended)

    def test_closed(self) -> None:
        self.body.data = b"hello"
        self.reader.close()
        self.assertEqual((self.reader.take(9), self.body.left), (b"", [self.reader]))

    def test_broken(self) -> None:
        self.body.data = b"hello"
        self.body.broken = True
        self.assertEqual((self.reader.take(9), self.reader.failed), (b"", True))

    def test_a_listener_that_fails(self) -> None:
        self.reader.listener = Listener(fails=True)
        self.reader.notify()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.body.left, [self.reader])

"""A file on its way, without a store around it."""

from __future__ import annotations

import os
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import response
from txrproxy.cache.disk import Folder
from txrproxy.cache.entry import BLOCK, Entry, body_offset, decode_table, slot_size
from txrproxy.cache.file import File
from txrproxy.cache.heads import read_head
from txrproxy.cache.index import cost
from txrproxy.cache.owner import NoRoom
from txrproxy.cache.policy.storing import with_lines
from txrproxy.http.fields import make_line

BODY = os.urandom(2 * BLOCK + 17)


class Room:
    """So many bytes."""

    def __init__(self, path: str, size: int = 64 << 20) -> None:
        self.folder = Folder(path)
        self.folder.prepare()
        self.free = size

    def reserve(self, size: int) -> None:
        if size > self.free:
            raise NoRoom
        self.free -= size

    def release(self, size: int) -> None:
        self.free += size


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = Room(self.mktemp())
        self.addCleanup(self.room.folder.close)
        self.size = self.room.free

    def make(self, length: int = 0) -> tuple[File, object]:
        stored = response(length=length)
        return File(self.room, body_offset(slot_size(stored))), stored

    def left(self) -> list[str]:
        return os.listdir(self.room.folder._temporary)

    def test_whole(self) -> None:
        """Checksums do not depend on the pieces that a body comes in."""
        for piece in (BLOCK, 300_000, 7777):
            file, stored = self.make(len(BODY))
            for start in range(0, len(BODY), piece):
                file.write([BODY[start : start + piece]])
            entry, state = file.complete(stored, [])  # type: ignore[arg-type]
            path, reserved = file.hand_over()
            self.assertEqual(state.st_size, entry.size)
            self.assertLessEqual(cost(entry.size), reserved + 4096)
            fd = os.open(path, os.O_RDONLY)
            try:
                found = read_head(fd)
                assert isinstance(found, Entry)
                self.assertEqual(os.pread(fd, len(BODY), found.offset), BODY)
                table = os.pread(fd, 100, found.offset + len(BODY))
            finally:
                os.close(fd)
            blocks = [BODY[start : start + BLOCK] for start in range(0, len(BODY), BLOCK)]
            self.assertEqual(decode_table(table, found), tuple(map(crc32, blocks)))
            file.published()
            file.drop()
            self.assertTrue(os.path.exists(path))
            os.unlink(path)

    def test_a_head_that_grew(self) -> None:
        """The body begins where it began, however the length of the head fell out."""
        steps = set()
        for pad in range(300):
            stored = response(url=b"http://a/" + b"x" * pad, length=5)
            offset = body_offset(slot_size(stored))
            line = make_line(b"Content-Length", b"12345678901234567890")
            grown = stored.replaced(head=with_lines(stored.head, [*stored.head.fields.lines, line]))
            steps.add(body_offset(slot_size(grown)) - offset)
            file = File(self.room, offset)
            entry, state = file.complete(grown, [b"hello"])
            path, _ = file.hand_over()
            fd = os.open(path, os.O_RDONLY)
            try:
                found = read_head(fd)
                assert isinstance(found, Entry)
                self.assertEqual((found.offset, os.pread(fd, 9, found.offset)), (offset, b"hello"))
            finally:
                os.close(fd)
            file.published()
            os.unlink(path)
        self.assertEqual(steps, {0, 512})  # some do cross the step of a slot

    def test_a_head_that_has_outgrown_its_room(self) -> None:
        file, stored = self.make()
        self.assertRaises(ValueError, file.complete, response(tags=[bytes(5000)]), [])
        self.assertEqual((self.left(), self.room.free), ([], self.size))

    def test_dropped(self) -> None:
        file, stored = self.make()
        file.write([b"hello"])
        self.assertEqual(len(self.left()), 1)
        file.drop()
        self.assertEqual((self.left(), self.room.free), ([], self.size))
        self.assertEqual(file.write([b"more"]), -1)
        self.assertRaises(NoRoom, file.complete, stored, [])

    def test_no_room(self) -> None:
        self.room.free = self.size = 100_000
        file, _ = self.make()
        file.write([bytes(50_000)])
        self.assertRaises(NoRoom, file.write, [bytes(60_000)])
        self.assertEqual((self.left(), self.room.free), ([], self.size))

    def test_spool(self) -> None:
        """Another descriptor of the file, for who wants to read it."""
        file, _ = self.make()
        fd = file.write([b"hello"], spool=True)
        self.assertEqual(os.pread(fd, 100, file._offset), b"hello")
        os.close(fd)
        file.drop()

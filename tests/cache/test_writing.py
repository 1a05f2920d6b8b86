"""Filling: what is stored, what is not, and a disk that fails."""

from __future__ import annotations

import errno
import os

from tests.cache.storing import Later, StoreTestCase, disk_use, files, look, put, response
from txrproxy.cache.entry import BLOCK, Corrupt
from txrproxy.cache.writing import RETRY

LARGE = os.urandom(2 * BLOCK + 12345)


class WritingTests(StoreTestCase):
    def test_cut_short(self) -> None:
        """What is not whole is never stored."""
        for size in (10, 300_000):
            fill = self.store.fill(response(), size)
            assert fill is not None
            fill.write(bytes(size - 1))
            self.assertIsNone(fill.commit())
            self.assertFalse(fill.alive)
        self.assertEqual((files(self.store), self.store.owner.size), ([], 0))

    def test_too_long(self) -> None:
        fill = self.store.fill(response(), 10)
        assert fill is not None
        self.assertFalse(fill.write(bytes(11)))
        self.assertIsNone(fill.commit())
        self.assertFalse(fill.write(b"more"))

    def test_length_unknown(self) -> None:
        for size in (10, 300_000):
            fill = self.store.fill(response(), None)
            assert fill is not None
            fill.write(LARGE[:size])
            stored = fill.commit()
            assert stored is not None
            self.assertEqual(stored.length, size)
            self.forget()
            self.assertEqual(look(self.store), LARGE[:size])

    def test_max_object(self) -> None:
        self.again(max_object=1000)
        self.assertIsNone(self.store.fill(response(), 1001))
        fill = self.store.fill(response(), None)
        assert fill is not None
        self.assertTrue(fill.write(bytes(1000)))
        self.assertFalse(fill.write(b"1"))
        self.assertIsNone(fill.commit())

    def test_head_too_large(self) -> None:
        self.assertIsNone(self.store.fill(response(tags=[bytes(70_000)]), 5))

    def test_abort(self) -> None:
        for size in (10, 300_000):
            fill = self.store.fill(response(), None)
            assert fill is not None
            fill.write(bytes(size))
            fill.abort()
            fill.abort()
            self.assertIsNone(fill.commit())
        self.assertEqual((disk_use(self.path), self.store.owner.size), (0, 0))

    def test_full_queue(self) -> None:
        """A disk that is too slow: the response goes by unstored."""
        thread = Later()
        self.again(owner_thread=thread)
        thread.run()
        while self.store.owner.step():
            pass
        fills = []
        for number in range(200):
            fill = self.store.fill(response(b"%d" % number), None)
            assert fill is not None
            fills.append(fill)
            fill.write(bytes(300_000))
        alive = [fill for fill in fills if fill.alive]
        self.assertEqual(len(alive), (32 << 20) // 300_000)
        self.assertEqual(self.store.writer.given_up, 200 - len(alive))
        self.assertLessEqual(self.store.writer.queued, 32 << 20)
        for result in (True, False):
            small = self.store.fill(response(b"small"), None)
            assert small is not None
            small.write(bytes(200_000))
            self.assertEqual(small.commit() is not None, result)
        thread.run()
        self.assertEqual(self.store.writer.queued, 0)
        for fill in alive:
            self.assertIsNotNone(fill.commit())
        thread.run()
        self.assertEqual(len(files(self.store)), len(alive) + 1)

    def test_done_tells(self) -> None:
        told: list[object] = []
        fill = self.store.fill(response(), 5)
        assert fill is not None
        fill.write(b"hello")
        stored = fill.commit(told.append)
        self.assertEqual(told, [stored])

    def break_disk(self, error: OSError) -> list[int]:
        calls: list[int] = []

        def temporary() -> tuple[int, str]:
            calls.append(1)
            raise error

        self.patch(self.store.folder, "temporary", temporary)
        return calls

    def test_full_disk(self) -> None:
        """One line in the log, nothing stored for a while, then a try."""
        clock = self.store._clock
        calls = self.break_disk(OSError(errno.ENOSPC, "No space left on device"))
        told: list[object] = []
        for _ in range(3):
            fill = self.store.fill(response(), 5)
            if fill is not None:
                fill.write(b"hello")
                fill.commit(told.append)
        self.assertEqual((told, calls, self.store.writer.storing), ([None], [1], False))
        self.assertEqual(self.store.owner.size, 0)
        clock.advance(RETRY)
        self.assertIsNone(put(self.store, response(b"large"), LARGE))
        self.assertEqual(len(calls), 2)
        (line,) = [line for line in self.said if "nothing is stored" in line]
        self.assertIn("No space left", line)

    def test_works_again(self) -> None:
        self.break_disk(OSError(errno.EIO, "Input/output error"))
        put(self.store, response(), b"hello")
        del self.store.folder.temporary
        self.store._clock.advance(RETRY)
        self.said.clear()
        put(self.store, response(), b"hello")
        self.assertIn("storing responses again", self.said[-1])
        self.forget()
        self.assertEqual(look(self.store), b"hello")

    def test_fails_in_the_middle(self) -> None:
        """A disk that fills up under a body: the client gets it, and nothing stays."""
        real, count = os.pwrite, [0]

        def pwrite(fd: int, data: bytes, place: int) -> int:
            count[0] += 1
            if count[0] > 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, data, place)

        self.patch(os, "pwrite", pwrite)
        self.assertIsNone(put(self.store, response(), LARGE))
        self.assertEqual((disk_use(self.path), self.store.owner.size), (0, 0))

    def test_fails_at_the_end(self) -> None:
        def publish(path: str, name: str) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        self.patch(self.store.folder, "publish", publish)
        told: list[object] = []
        fill = self.store.fill(response(), 5)
        assert fill is not None
        fill.write(b"hello")
        fill.commit(told.append)
        self.assertEqual((told, files(self.store)), ([None], []))
        self.assertFalse(self.store.writer.storing)

    def test_a_bad_file_costs_itself(self) -> None:
        """It says nothing of the disk: what comes next is stored."""
        real = self.store.owner.publish

        def publish(*_: object) -> tuple[()]:
            self.store.owner.publish = real
            raise Corrupt("size")

        self.store.owner.publish = publish
        told: list[object] = []
        fill = self.store.fill(response(b"bad"), 5)
        assert fill is not None
        fill.write(b"hello")
        fill.commit(told.append)
        self.assertEqual(told, [None])
        self.assertTrue(self.store.writer.storing)
        self.assertIsNotNone(put(self.store, response(), b"hello"))

    def test_heads_of_every_length(self) -> None:
        """A length is added to what came without one, and never moves the body."""
        for pad in range(300):
            stored = response(url=b"http://a/" + b"x" * pad)
            fill = self.store.fill(stored, None)
            assert fill is not None
            fill.write(b"hello")
            self.assertIsNotNone(fill.commit())
            self.forget()
            self.assertEqual(look(self.store), b"hello", pad)

    def test_short_writes(self) -> None:
        """The kernel may take less than it is given."""
        real = os.pwrite
        self.patch(os, "pwrite", lambda fd, data, place: real(fd, data[:70_000], place))
        put(self.store, response(), LARGE)
        self.again()
        self.assertEqual(look(self.store), LARGE)

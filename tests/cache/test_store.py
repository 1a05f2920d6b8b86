"""The store as the exchange sees it."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import (
    HEAD,
    Later,
    body_of,
    disk_use,
    files,
    find,
    look,
    make_store,
    purge,
    put,
    response,
    variant,
)
from txrproxy.cache.entry import BLOCK
from txrproxy.cache.jobs import Inline
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.store import PENDING
from txrproxy.cache.writing import RETRY
from txrproxy.http.fields import EMPTY
from txrproxy.http.head import parse_response_head

LARGE = os.urandom(2 * BLOCK + 12345)
GERMAN = b"Accept-Language: de"
ENGLISH = b"Accept-Language: en"
BY_LANGUAGE = (b"accept-language",)


class StoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.store = make_store(self.path)
        self.addCleanup(lambda: self.store.close())

    def again(self, **given: object) -> None:
        """Restart."""
        self.store.close()
        self.store = make_store(self.path, **given)

    def forget(self) -> None:
        self.store.memory.clear()

    def test_miss(self) -> None:
        self.assertIsNone(find(self.store))

    def test_hit_in_memory(self) -> None:
        stored = put(self.store, response(), b"hello")
        copy = find(self.store)
        assert copy is not None and stored is not None
        self.assertIs(copy.stored, stored)
        self.assertEqual((copy.body, copy.length, stored.length), (b"hello", 5, 5))
        self.assertEqual(copy.ready(2, self.fail), 3)
        self.assertEqual(copy.read(1, 3, self.fail), b"ell")
        self.assertIs(find(self.store), copy)

    def test_hit_on_disk(self) -> None:
        put(self.store, response(tags=[b"t"]), b"hello")
        self.forget()
        copy = find(self.store)
        assert copy is not None
        self.assertEqual((copy.body, copy.stored.tags), (b"hello", (b"t",)))
        self.assertEqual(copy.stored.head.fields.block, HEAD.fields.block)
        self.assertIs(find(self.store), copy)

    def test_empty_body(self) -> None:
        put(self.store, response(), b"")
        self.forget()
        copy = find(self.store)
        assert copy is not None
        self.assertEqual(copy.body, b"")

    def test_sizes(self) -> None:
        """Around every bound of size, in memory, fresh on disk and after a restart."""
        sizes = [65535, 65536, 65537, 262143, 262144, 262145]
        sizes += [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, len(LARGE)]
        for size in sizes:
            put(self.store, response(b"%d" % size), LARGE[:size])
        for _ in range(2):
            for size in sizes:
                self.assertEqual(look(self.store, b"%d" % size), LARGE[:size], size)
            self.again()

    def test_large_for_sendfile(self) -> None:
        put(self.store, response(), LARGE)
        copy = find(self.store)
        assert copy is not None
        self.assertIsNone(copy.body)
        self.assertEqual(os.pread(copy.fd, 10, copy.offset + 5), LARGE[5:15])
        self.assertEqual(copy.ready(0, self.fail), BLOCK)  # it was this process that wrote it
        self.assertEqual(copy.ready(BLOCK + 10, self.fail), BLOCK - 10)
        self.assertEqual(copy.ready(2 * BLOCK, self.fail), 12345)
        copy.close()
        copy.close()
        self.assertEqual(copy.fd, -1)

    def test_large_after_restart(self) -> None:
        """A block that this process did not write is read by a thread, once."""
        put(self.store, response(), LARGE)
        self.again()
        copy = find(self.store)
        assert copy is not None
        later: list[int] = []
        self.assertEqual(copy.ready(0, later.append), 0)
        self.assertEqual(later, [BLOCK])
        self.assertEqual(copy.ready(0, self.fail), BLOCK)
        copy.close()
        other = find(self.store)
        assert other is not None
        self.assertEqual(other.ready(0, self.fail), BLOCK)
        other.close()

    def test_closed_while_a_thread_reads(self) -> None:
        put(self.store, response(), LARGE)
        threads = Later()
        self.again(reader_threads=threads)
        copy = self.store.find(b"key", EMPTY, variant, self.fail)
        self.assertEqual(copy.ready(0, self.fail), 0)
        copy.close()
        self.assertNotEqual(copy.fd, -1)
        threads.run()
        self.assertEqual(copy.fd, -1)

    def test_cold(self) -> None:
        """What is not in the page cache is read by a thread."""
        put(self.store, response(), b"hello")
        self.forget()
        self.store._reader.flags = 0x1000  # no kernel offers it, so nothing can be read at once
        later: list[object] = []
        self.assertIs(self.store.find(b"key", EMPTY, variant, later.append), PENDING)
        self.assertEqual([copy.body for copy in later], [b"hello"])  # type: ignore[attr-defined]
        self.assertIs(find(self.store), later[0])

    def test_no_new_knowledge_from_an_old_read(self) -> None:
        """What a thread read before a change does not stay in memory after it."""
        put(self.store, response(), b"old")
        threads = Later()
        self.again(reader_threads=threads)
        self.store._reader.flags = 0x1000
        later: list[object] = []
        self.assertIs(self.store.find(b"key", EMPTY, variant, later.append), PENDING)
        inline = Inline()
        (job, done) = threads.jobs.pop()
        result = job()
        put(self.store, response(), b"new")
        inline.submit(lambda: result, done)
        self.assertEqual(len(later), 1)
        self.assertEqual(look(self.store), b"new")

    def test_replaced(self) -> None:
        for body in (b"one", LARGE, b"two", LARGE[:BLOCK]):
            put(self.store, response(), body)
            self.assertEqual(look(self.store), body)
            self.forget()
            self.assertEqual(look(self.store), body)
        self.assertEqual(len(files(self.store)), 1)

    def test_restart(self) -> None:
        put(self.store, response(), b"hello")
        self.again()
        self.assertEqual(look(self.store), b"hello")
        self.assertTrue(self.store.writer.storing)
        self.assertEqual(self.store.owner.size, 4096 + 512)

    # Vary.

    def vary(self) -> None:
        for language in (b"de", b"en"):
            put(self.store, response(vary=BY_LANGUAGE, variant=language), b"in " + language)

    def test_variants(self) -> None:
        self.vary()
        for _ in range(2):
            self.assertEqual(look(self.store, fields=GERMAN), b"in de")
            self.assertEqual(look(self.store, fields=ENGLISH), b"in en")
            self.assertIsNone(look(self.store))
            self.forget()

    def test_several_lists(self) -> None:
        """A response may come with another Vary than the one before it; the newest is asked."""
        self.vary()
        put(self.store, response(vary=(b"cookie",), variant=b"x"), b"by cookie")
        put(self.store, response(), b"for all")
        for _ in range(2):
            self.assertEqual(look(self.store, fields=GERMAN + b"\r\nCookie: x"), b"for all")
            self.assertEqual(look(self.store), b"for all")
            self.forget()
        put(self.store, response(vary=(b"cookie",), variant=b"x"), b"by cookie")
        for _ in range(2):
            self.assertEqual(look(self.store, fields=b"Cookie: x"), b"by cookie")
            self.assertEqual(look(self.store, fields=GERMAN), b"for all")
            self.forget()

    def test_vary_after_none(self) -> None:
        put(self.store, response(), b"for all")
        self.vary()
        self.assertIsNone(look(self.store))
        self.assertEqual(look(self.store, fields=GERMAN), b"in de")

    def test_many_variants(self) -> None:
        for number in range(100):
            value = b"%d" % number
            put(self.store, response(vary=(b"n",), variant=value), value)
        for number in range(100):
            self.assertEqual(look(self.store, fields=b"N: %d" % number), b"%d" % number)
        self.assertEqual(purge(self.store, "key", b"key").count, 100)
        self.assertEqual(files(self.store), [])

    def test_purge_of_a_key_with_variants(self) -> None:
        self.vary()
        self.assertEqual(purge(self.store, "key", b"key").count, 2)
        self.assertIsNone(look(self.store, fields=GERMAN))
        self.assertEqual(files(self.store), [])

    # Filling.

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
        self.assertEqual((disk_use(self.store), self.store.owner.size), (0, 0))

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
        small = self.store.fill(response(b"small"), None)
        assert small is not None
        small.write(bytes(200_000))
        self.assertIsNone(small.commit())
        thread.run()
        self.assertEqual(self.store.writer.queued, 0)
        for fill in alive:
            self.assertIsNotNone(fill.commit())
        thread.run()
        self.assertEqual(len(files(self.store)), len(alive))

    def test_done_tells(self) -> None:
        told: list[object] = []
        fill = self.store.fill(response(), 5)
        assert fill is not None
        fill.write(b"hello")
        stored = fill.commit(told.append)
        self.assertEqual(told, [stored])

    # Trouble with the disk.

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
        calls = self.break_disk(OSError(28, "No space left on device"))
        told: list[object] = []
        for _ in range(3):
            fill = self.store.fill(response(), 5)
            if fill is not None:
                fill.write(b"hello")
                fill.commit(told.append)
        self.assertEqual((told, calls, self.store.writer.storing), ([None], [1], False))
        self.assertEqual(self.store.owner.size, 0)
        clock.advance(RETRY)
        self.assertIsNotNone(put(self.store, response(), LARGE[:300_000]))
        self.assertEqual(len(calls), 2)
        (event,) = self.flushed(self.store)
        self.assertIn("No space left", event)

    def flushed(self, store: object) -> list[str]:
        return []


class _Unused:
    clock = Clock
    purge = Purge
    purged = Purged
    parse = parse_response_head
    body = body_of

"""Reading from the disk: small and large, warm and cold, whole and damaged."""

from __future__ import annotations

import errno
import os
import shutil

from tests.cache.storing import (
    Later,
    StoreTestCase,
    files,
    find,
    look,
    make_store,
    purge,
    put,
    response,
    variant,
)
from txrproxy.cache.entry import BLOCK, name_of
from txrproxy.cache.index import Index
from txrproxy.cache.store import PENDING
from txrproxy.http.fields import EMPTY

LARGE = os.urandom(2 * BLOCK + 12345)


class ReadingTests(StoreTestCase):
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

    def test_without_nowait(self) -> None:
        """A file system that can not say whether it would wait: threads do it all."""
        put(self.store, response(), LARGE)
        put(self.store, response(b"small"), b"hello")
        self.again()
        self.store._reader.flags = 0x1000
        self.assertEqual(look(self.store), LARGE)
        self.assertEqual(look(self.store, b"small"), b"hello")

    def test_without_nowait_is_asked_once(self) -> None:
        put(self.store, response(), LARGE)
        self.again()
        calls: list[int] = []
        real = os.preadv

        def preadv(fd: int, buffers: object, place: int, flags: int = 0) -> int:
            if not flags:
                return real(fd, buffers, place)
            calls.append(flags)
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        self.patch(os, "preadv", preadv)
        for _ in range(3):
            self.assertEqual(look(self.store), LARGE)
        self.assertEqual(len(calls), 1)

    def test_large_head(self) -> None:
        """More than is read at first."""
        tags = [b"t%d" % number * 10 for number in range(2000)]
        put(self.store, response(tags=tags), b"hello")
        self.again()
        copy = find(self.store)
        assert copy is not None
        self.assertEqual(copy.stored.tags, tuple(tags))
        self.assertEqual(look(self.store), b"hello")

    def test_survives_eviction_and_purge(self) -> None:
        """Who reads goes on reading."""
        put(self.store, response(), LARGE)
        copies = [find(self.store) for _ in range(3)]
        self.store.owner.max_size = 3 << 20
        put(self.store, response(b"other"), LARGE)
        self.assertEqual(self.store.owner.counts.evicted, 1)
        purge(self.store, "all")
        self.assertEqual(files(self.store), [])
        for copy in copies:
            assert copy is not None
            later: list[bytes] = []
            self.assertEqual(copy.read(BLOCK, 1000, later.append), LARGE[BLOCK : BLOCK + 1000])
            copy.close()

    def test_dropped(self) -> None:
        """A copy that nobody closes does not keep its file open for ever."""
        put(self.store, response(), LARGE)
        copy = find(self.store)
        assert copy is not None
        fd = copy.fd
        del copy
        self.assertRaises(OSError, os.fstat, fd)

    def test_bound_on_what_is_remembered(self) -> None:
        reader = self.store._reader
        for number in range(10_000):
            reader._remember((number, 0, 0), bytearray(1))
        self.assertLessEqual(len(reader._checked), 8192)


class DamageTests(StoreTestCase):
    """What is not what was written is a miss, is removed, and is counted."""

    def damage(self, body: bytes, change: object, key: bytes = b"key") -> None:
        put(self.store, response(key), body)
        self.again()
        path = self.store.folder.path_of(name_of(response(key), False))
        with open(path, "r+b") as file:
            change(file)  # type: ignore[operator]

    def assert_gone(self, key: bytes = b"key") -> None:
        self.assertIsNone(look(self.store, key))
        self.assertEqual(files(self.store), [])
        self.assertEqual(self.store.owner.counts.damaged, 1)
        self.assertEqual(self.store.owner.size, 0)
        self.assertIsNone(look(self.store, key))
        self.assertEqual(len([line for line in self.said if "damaged" in line]), 1)

    def test_cut(self) -> None:
        for body in (b"hello", LARGE):
            for size in (0, 5, 13, 200, -1):
                with self.subTest(size=size, body=len(body)):
                    self.said.clear()
                    self.damage(
                        body, lambda f, size=size: f.truncate(size if size >= 0 else f.seek(-1, 2))
                    )
                    self.assert_gone()

    def test_grown(self) -> None:
        for body in (b"hello", LARGE):
            with self.subTest(body=len(body)):
                self.said.clear()
                self.damage(body, lambda f: (f.seek(0, 2), f.write(b"x")))
                self.assert_gone()

    def test_flipped(self) -> None:
        def flip(place: int) -> object:
            def change(file: object) -> None:
                file.seek(place, 2 if place < 0 else 0)  # type: ignore[attr-defined]
                byte = file.read(1)  # type: ignore[attr-defined]
                file.seek(-1, 1)  # type: ignore[attr-defined]
                file.write(bytes([byte[0] ^ 0x10]))  # type: ignore[attr-defined]

            return change

        for body in (b"hello", LARGE):
            # Magic, size of a slot, checksum, number, length, times, key; body; table.
            for place in (0, 8, 12, 16, 20, 30, 80, -1, -5, -20_000 if len(body) > 9 else -3):
                with self.subTest(place=place, body=len(body)):
                    self.said.clear()
                    self.damage(body, flip(place))
                    self.assert_gone()

    def test_flipped_while_it_is_known(self) -> None:
        """A file that changes after it was checked is checked again."""
        put(self.store, response(), LARGE)
        self.assertEqual(look(self.store), LARGE)
        (path,) = files(self.store)
        state = os.stat(path)
        with open(path, "r+b") as file:
            file.seek(100_000)
            file.write(b"evil")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        self.assert_gone()

    def test_small_and_known(self) -> None:
        """A head that was read before is not parsed again; a body is always compared."""
        self.again(memory=0)
        put(self.store, response(), b"hello")
        self.assertEqual([look(self.store) for _ in range(3)], [b"hello"] * 3)
        first, second = (find(self.store) for _ in range(2))
        assert first is not None
        assert second is not None
        self.assertIs(first.stored, second.stored)
        put(self.store, response(), b"world")
        self.assertEqual([look(self.store) for _ in range(3)], [b"world"] * 3)
        (path,) = files(self.store)
        with open(path, "r+b") as file:
            file.seek(-1, 2)
            file.write(b"D")
        self.assert_gone()

    def test_the_rest_of_a_damaged_body(self) -> None:
        """The blocks before the damage may have been sent; nothing after it is."""
        put(self.store, response(), LARGE)
        self.again()
        (path,) = files(self.store)
        with open(path, "r+b") as file:
            file.seek(-30_000, 2)
            file.write(b"evil")
        copy = find(self.store)
        assert copy is not None
        later: list[int] = []
        for block in range(3):
            self.assertEqual(copy.ready(block * BLOCK, later.append), 0)
        self.assertEqual(later, [BLOCK, 0, 12345])
        copy.close()

    def test_swapped(self) -> None:
        """A file in another's place is a miss."""
        put(self.store, response(b"a"), b"for a")
        put(self.store, response(b"b"), b"for b")
        self.forget()
        one, other = files(self.store)
        os.rename(one, one + "x")
        os.rename(other, one)
        os.rename(one + "x", other)
        self.assertIsNone(look(self.store, b"a"))
        self.assertIsNone(look(self.store, b"b"))
        self.assertEqual((files(self.store), self.store.owner.counts.damaged), ([], 2))

    def test_swapped_variants(self) -> None:
        for language in (b"de", b"en"):
            put(self.store, response(vary=[b"accept-language"], variant=language), language)
        self.forget()
        one, other = [path for path in files(self.store) if "." in os.path.basename(path)]
        shutil.copy(one, other)
        bodies = [look(self.store, fields=b"Accept-Language: " + v) for v in (b"de", b"en")]
        self.assertIn(bodies, ([b"de", None], [None, b"en"]))

    def test_a_variant_in_place_of_its_marker(self) -> None:
        put(self.store, response(vary=[b"accept-language"], variant=b"de"), b"de")
        self.forget()
        marker, entry = sorted(files(self.store), key=len)
        shutil.copy(entry, marker)
        self.assertIsNone(look(self.store, fields=b"Accept-Language: en"))
        self.assertIsNone(look(self.store, fields=b"Accept-Language: de"))

    def test_a_marker_in_place_of_a_variant(self) -> None:
        put(self.store, response(vary=[b"accept-language"], variant=b"de"), b"de")
        self.forget()
        marker, entry = sorted(files(self.store), key=len)
        shutil.copy(marker, entry)
        self.assertIsNone(look(self.store, fields=b"Accept-Language: de"))

    def test_another_keys_marker(self) -> None:
        for key in (b"a", b"b"):
            put(self.store, response(key, vary=[b"accept-language"], variant=b"de"), key)
        self.forget()
        markers = [path for path in files(self.store) if "." not in os.path.basename(path)]
        shutil.copy(*markers)
        found = {look(self.store, key, b"Accept-Language: de") for key in (b"a", b"b")}
        self.assertIn(found, ({b"a", None}, {b"b", None}))

    def test_foreign(self) -> None:
        put(self.store, response(), b"hello")
        self.again()
        (path,) = files(self.store)
        for content in (b"", b"hello world", bytes(100_000)):
            with self.subTest(content=len(content)):
                self.said.clear()
                self.store.owner.counts.damaged = 0
                put(self.store, response(), b"hello")
                self.forget()
                with open(path, "wb") as file:
                    file.write(content)
                self.assert_gone()

    def test_no_file_at_all(self) -> None:
        """A folder or a link in the place of a file is a miss."""
        put(self.store, response(), b"hello")
        self.forget()
        (path,) = files(self.store)
        os.rename(path, path + "x")
        os.symlink(path + "x", path)
        self.assertIsNone(look(self.store))
        os.unlink(path)
        os.mkdir(path)
        self.assertIsNone(look(self.store))

    def test_a_pipe(self) -> None:
        """Nobody ever writes to it, and nobody waits for that: neither here nor in the walk."""
        put(self.store, response(), b"hello")
        self.forget()
        (path,) = files(self.store)
        os.unlink(path)
        os.mkfifo(path)
        self.assertIsNone(look(self.store))
        self.assertFalse(os.path.lexists(path))
        self.store.close()
        os.mkfifo(path)
        Index.delete(self.store.folder.index)
        self.store = make_store(self.path)
        self.assertFalse(os.path.lexists(path))

    def test_a_newer_file_stays(self) -> None:
        """What was published in the place of a damaged file is not removed with it."""
        put(self.store, response(), b"hello")
        inode = os.stat(files(self.store)[0]).st_ino
        put(self.store, response(), b"again")
        self.store.owner.discard(name_of(response(), False), inode)
        self.forget()
        self.assertEqual(look(self.store), b"again")

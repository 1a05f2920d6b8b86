"""The owner: the bound, what goes first, and an index that can be lost at any time."""

from __future__ import annotations

import os
import random
import sqlite3

from tests.cache.storing import (
    Later,
    StoreTestCase,
    disk_use,
    files,
    find,
    look,
    make_store,
    purge,
    put,
    response,
)
from txrproxy.cache.index import cost
from txrproxy.cache.owner import NoRoom, NotReady
from txrproxy.cache.purge import Purge


class BoundTests(StoreTestCase):
    def test_holds_under_concurrent_filling(self) -> None:
        """Never more than there may be, what is being written included."""
        bound = 4 << 20
        self.again(max_size=bound)
        chance = random.Random(1)
        filling = []
        for number in range(1500):
            size = chance.choice([10, 1000, 70_000, 400_000])
            fill = self.store.fill(response(b"%d" % number), size)
            assert fill is not None
            filling.append((fill, size))
            chance.shuffle(filling)
            for _ in range(2):
                if filling:
                    fill, size = filling.pop()
                    fill.write(bytes(size // 2))
                    if chance.random() < 0.1:
                        fill.abort()
                    elif chance.random() < 0.1 or not fill.alive:
                        filling.append((fill, size - size // 2))
                    else:
                        fill.write(bytes(size - size // 2))
                        fill.commit()
            self.assertLessEqual(self.store.owner.size, bound)
            if not number % 10:
                self.assertLessEqual(disk_use(self.path), bound * 1.05)
        for fill, _ in filling:
            fill.abort()
        self.assertGreater(self.store.owner.counts.evicted, 100)
        self.assertGreater(self.store.owner.size, bound * 0.8)
        used = sum(cost(os.stat(path).st_size) for path in files(self.store))
        self.assertEqual(self.store.owner.size, used)

    def test_too_large_for_all(self) -> None:
        self.again(max_size=100_000)
        put(self.store, response(b"small"), b"hello")
        self.assertRaises(NoRoom, self.store.owner.reserve, 100_001)
        self.assertEqual(look(self.store, b"small"), b"hello")
        self.store.owner.reserve(90_000)
        self.assertRaises(NoRoom, self.store.owner.reserve, 20_000)

    def test_what_is_used_stays(self) -> None:
        """First in, first out, with a second chance for what was used."""
        self.again(max_size=100 * cost(1))
        for number in range(150):
            put(self.store, response(b"%d" % number), b"x")
            if number >= 10:
                self.assertEqual(look(self.store, b"3"), b"x")
                self.store._note()
        self.forget()
        self.assertEqual(look(self.store, b"3"), b"x")
        self.assertIsNone(look(self.store, b"4"))

    def test_a_smaller_bound(self) -> None:
        for number in range(100):
            put(self.store, response(b"%d" % number), b"x")
        self.again(max_size=50 * cost(1))
        put(self.store, response(b"new"), b"x")
        self.assertLessEqual(self.store.owner.size, 50 * cost(1))
        self.assertEqual(look(self.store, b"new"), b"x")


class IndexLossTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in range(300):
            put(self.store, response(b"%d" % number, tags=[b"t%d" % (number % 3)]), b"hello")
        put(self.store, response(b"v", vary=[b"accept"], variant=b"x"), b"varied")
        self.size = self.store.owner.size

    def lose(self, content: bytes | None = None) -> Later:
        """Restart without an index, or with a broken one; nothing runs by itself then."""
        self.store.close()
        for name in os.listdir(self.path):
            if name.startswith("index"):
                os.unlink(os.path.join(self.path, name))
        if content is not None:
            with open(os.path.join(self.path, "index.sqlite"), "wb") as file:
                file.write(content)
        thread = Later()
        self.store = make_store(self.path, owner_thread=thread)
        thread.run()
        return thread

    def walk(self) -> None:
        while self.store.owner.step():
            pass

    def assert_whole(self) -> None:
        self.assertEqual(self.store.owner.size, self.size)
        self.assertEqual(self.store.owner.stats()["responses"], 301)
        self.assertEqual(self.store.owner.preview(Purge("tag", b"t1")).count, 100)

    def test_missing(self) -> None:
        """Hits at once, and the rest in the background."""
        self.lose()
        self.assertEqual(look(self.store, b"7"), b"hello")
        self.assertEqual(look(self.store, b"v", b"Accept: x"), b"varied")
        self.walk()
        self.assert_whole()
        self.assertTrue([line for line in self.said if "301 files" in line or "302" in line])

    def test_damaged(self) -> None:
        for content in (b"no database at all", bytes(10_000)):
            self.lose(content)
            self.walk()
            self.assert_whole()

    def test_another_version(self) -> None:
        self.store.close()
        db = sqlite3.connect(os.path.join(self.path, "index.sqlite"))
        db.execute("PRAGMA user_version = 99")
        db.close()
        self.store = make_store(self.path)
        self.assert_whole()

    def test_damaged_while_in_use(self) -> None:
        def fail(*_: object) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

        index = self.store.owner._index
        assert index is not None
        self.patch(index, "put", fail)
        self.assertIsNotNone(put(self.store, response(), b"hello"))  # in memory it is
        self.assertTrue([line for line in self.said if "made anew" in line])
        self.walk()
        self.assert_whole()

    def test_full_while_in_use(self) -> None:
        """SQLite's own trouble with the disk is trouble with the disk."""

        def fail(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        index = self.store.owner._index
        assert index is not None
        self.patch(index, "put", fail)
        put(self.store, response(), b"hello")
        self.assertFalse(self.store.writer.storing)
        self.assertEqual(self.store.owner.size, self.size)

    def test_purge_waits_for_the_walk(self) -> None:
        for purged in (Purge("tag", b"t1"), Purge("key", b"7")):
            thread = self.lose()
            results: list[object] = []
            self.store.purge(purged, lambda *r, to=results: to.append(r))
            self.assertIsNone(look(self.store, b"7"))
            thread.run()
            self.assertEqual(len(results), 1)
            self.assertIsNone(look(self.store, b"7"))
            self.assertFalse(os.path.exists(self.store.folder.path_of("none")))

    def test_killed(self) -> None:
        """Rows without files, and files that changed their size, are put right."""
        paths = files(self.store)
        os.unlink(paths[0])
        os.truncate(paths[1], 10)
        with open(paths[2] + "junk", "wb"):
            pass
        os.symlink("/etc/passwd", paths[3] + "0")
        self.store.close()
        db = sqlite3.connect(os.path.join(self.path, "index.sqlite"))
        db.execute("UPDATE state SET clean = 0")
        db.execute("DELETE FROM entries WHERE name LIKE 'a/%'")
        db.commit()
        db.close()
        self.store = make_store(self.path)
        self.assertEqual(len(files(self.store)), len(paths) - 2)
        used = sum(cost(os.stat(path).st_size) for path in files(self.store))
        self.assertEqual(self.store.owner.size, used)
        self.assertEqual(self.store.owner.counts.damaged, 1)

    def test_out_of_place(self) -> None:
        """The walk removes what no request would find."""
        one, other, *_ = (p for p in files(self.store) if "." not in os.path.basename(p))
        os.unlink(other)
        os.link(one, other)
        self.lose()
        self.walk()
        self.assertEqual(self.store.owner.counts.damaged, 1)

    def test_larger_than_the_bound(self) -> None:
        self.lose()
        self.store.owner.max_size = self.size // 2
        self.walk()
        self.assertLessEqual(self.store.owner.size, self.size // 2)
        self.assertLessEqual(disk_use(self.path), self.size // 2 * 1.05)


class TwoProcessesTests(StoreTestCase):
    def test_the_second_reads(self) -> None:
        """And becomes the owner when the first has gone."""
        put(self.store, response(), b"hello")
        other = make_store(self.path, name="other")
        self.addCleanup(other.close)
        self.assertEqual(look(other), b"hello")
        self.assertIsNone(other.fill(response(), 5))
        self.assertFalse(other.owner.ready)
        self.assertIn("another process has the folder still", " ".join(self.said))
        self.store.close()
        other._clock.advance(11.0)
        self.assertTrue(other.owner.ready)
        self.assertIsNotNone(put(other, response(), b"again"))

    def test_damage_found_by_the_second(self) -> None:
        put(self.store, response(), b"hello")
        other = make_store(self.path)
        self.addCleanup(other.close)
        os.truncate(files(self.store)[0], 10)
        self.assertIsNone(look(other))
        self.assertEqual(files(self.store), [])
        self.assertIsNotNone(find(self.store))  # it has its own

    def test_folder_can_not_be_made(self) -> None:
        with open(self.path + "x", "wb"):
            pass
        other = make_store(self.path + "x/cache")
        self.addCleanup(other.close)
        self.assertIsNone(look(other))
        self.assertIsNone(other.fill(response(), 5))
        self.assertRaises(NotReady, purge, other, "all")
        self.assertIn("Not a directory", " ".join(self.said))

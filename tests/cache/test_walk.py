"""Storing goes on while the files get their rows, and the bound holds meanwhile."""

from __future__ import annotations

import os
import random

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
from txrproxy.cache.disk import FOLDERS
from txrproxy.cache.index import Index, cost
from txrproxy.cache.owner import BLINDLY, NotReady
from txrproxy.cache.purge import Purge
from txrproxy.cache.store import Store

BOUND = 4 << 20
EACH = 10_000  # bytes of a body


class WalkTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.again(max_size=BOUND)
        for number in range(BOUND // cost(EACH)):
            put(self.store, response(b"%d" % number), bytes(EACH))
        self.number = 1000
        self.lose()

    def lose(self, **given: object) -> None:
        """Restart without an index; the owner's thread does only what it is asked."""
        self.store.close()
        Index.delete(os.path.join(self.path, "index.sqlite"))
        self.thread = Later()
        self.store = make_store(self.path, owner_thread=self.thread, **{"max_size": BOUND, **given})
        self.thread.run()

    def fill(self, store: Store | None = None, size: int = EACH) -> bool:
        """Store something new; whether it is on the disk."""
        store = store or self.store
        self.number += 1
        key = b"new %d" % self.number
        put(store, response(key), bytes(size))
        self.thread.run()
        store.memory.clear()
        return find(store, key) is not None

    def count(self) -> None:
        walk = self.store.owner._walk
        assert walk is not None
        while not walk.counted:
            self.assertTrue(self.store.owner.step())

    def assert_agrees(self) -> None:
        self.assertFalse(self.store.owner.step())
        used = sum(cost(os.stat(path).st_size) for path in files(self.store))
        self.assertEqual(self.store.owner.size, used)
        index = self.store.owner._index
        assert index is not None
        self.assertEqual(index.total(), used)

    def test_before_anything_is_known(self) -> None:
        """As much as the bound may be exceeded by."""
        stored = 0
        while self.fill():
            stored += 1
            self.assertLess(stored, 100)
        self.assertEqual(stored, BOUND // BLINDLY // cost(EACH))
        self.assertLessEqual(disk_use(self.path), BOUND * 1.05)
        self.assertRaises(NotReady, self.store.owner.reserve, EACH)
        self.count()
        self.assertTrue(self.fill())
        self.assertLessEqual(disk_use(self.path), BOUND)

    def test_all_along(self) -> None:
        """Filling, renewing and purging between all steps, with room made from what is known."""
        chance = random.Random(1)
        self.count()
        before = len(files(self.store))
        stored = gone = 0
        while self.store.owner.step():
            stored += self.fill(size=chance.choice((100, EACH, 70_000)))
            copy = find(self.store, b"%d" % chance.randrange(before))
            if copy is not None:
                self.store.refresh(copy, copy.stored.replaced(responded=99.0))
                copy.close()
                self.thread.run()
            self.store.link.ask(None, "purge", Purge("key", b"%d" % chance.randrange(before)))
            self.thread.run()
            gone += 1
            if not gone % 10:
                self.assertLessEqual(disk_use(self.path), BOUND)
        self.assertGreater(stored, 10)
        self.assertEqual(stored, gone)
        self.assert_agrees()

    def test_room_is_found(self) -> None:
        """Who needs room walks on until there is something to evict."""
        self.count()
        self.assertTrue(self.fill(size=BOUND // 4))
        self.assertGreater(self.store.owner.counts.evicted, 0)
        self.assertLessEqual(disk_use(self.path), BOUND)

    def test_the_oldest_go_first(self) -> None:
        """What is stored meanwhile is younger than all that was there."""
        for age, path in enumerate(sorted(files(self.store), reverse=True)):
            os.utime(path, (10_000 + age, 10_000 + age))
        oldest = max(files(self.store))
        self.count()
        self.assertTrue(self.fill())
        new = self.number
        while self.store.owner.step():
            pass
        for _ in range(20):
            self.assertTrue(self.fill())
        self.assertFalse(os.path.exists(oldest))
        self.assertIsNotNone(find(self.store, b"new %d" % new))
        self.assert_agrees()

    def test_killed_on_the_way(self) -> None:
        """What has rows by then keeps them, and the rest is counted again."""
        self.count()
        for _ in range(100):
            self.store.owner.step()
        for _ in range(3):
            self.assertTrue(self.fill())
        self.store.close()
        self.store = make_store(self.path, max_size=BOUND)
        self.assert_agrees()
        self.assertEqual(look(self.store, b"new %d" % self.number), bytes(EACH))

    def test_a_folder_that_can_not_be_read(self) -> None:
        """The walk ends, and purges that would need it do not claim to be done."""

        def fail(folder: str) -> object:
            if folder == FOLDERS[200]:
                raise PermissionError(13, "Permission denied")
            return scan(folder)

        for counted in (True, False):
            self.lose()
            scan = self.store.folder.scan
            if counted:
                self.count()
            self.patch(self.store.folder, "scan", fail)
            while self.store.owner.step():
                pass
            self.assertFalse(self.store.owner.step())
            self.assertIn("could not all be listed", " ".join(self.said))
            self.assertEqual(self.fill(), True)
            self.store.close()
            self.store = make_store(self.path, max_size=BOUND, owner_thread=self.thread)
            self.patch(self.store.folder, "scan", fail)
            results: list[tuple[object, object]] = []
            self.store.purge(Purge("tag", b"t"), lambda *r, to=results: to.append(r))
            self.thread.run()
            ((purged, error),) = results
            self.assertIsNone(purged)
            self.assertIsInstance(error, OSError)

    def test_a_purge_in_the_middle(self) -> None:
        self.count()
        self.fill()
        self.store.close()
        self.store = make_store(self.path, max_size=BOUND)
        purge(self.store, "all")
        self.assertEqual((files(self.store), self.store.owner.size), ([], 0))

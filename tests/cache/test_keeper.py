"""One owner, and the stores of several processes."""

from __future__ import annotations

import os
import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.sharing import Loop, Process, attach, make_keeper
from tests.cache.storing import Later, disk_use, find, look, put, response
from txrproxy.cache import keeper
from txrproxy.cache.entry import BLOCK
from txrproxy.cache.keeper import ACKNOWLEDGE, LINGER, WAIT, Keeper
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import Store

LARGE = os.urandom(2 * BLOCK + 12345)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop()
        self.path = os.path.abspath(self.mktemp())
        self.over: list[Keeper] = []
        self.keep()
        self.one, self.other = (Process(name, self.keeper, self.loop) for name in ("one", "other"))
        self.mine = attach(self.one, self.path, self.loop)
        self.theirs = attach(self.other, self.path, self.loop)

    def keep(self, **given: Any) -> None:
        self.keeper = make_keeper(self.path, self.loop, over=self.over.append, **given)
        self.addCleanup(self.keeper.close)

    @property
    def owner(self) -> Any:
        return self.keeper.store.owner

    def purge(self, store: Any, kind: str, value: bytes = b"", soft: bool = False) -> list[Any]:
        results: list[Any] = []
        store.purge(Purge(kind, value, soft), lambda *told: results.append(told))
        return results

    def lease(self, store: Store, key: bytes = b"key", wait: bool = True) -> list[Any]:
        told: list[Any] = []
        store.lease(key, self.loop.seconds(), wait, told.append)
        return told


class FillTests(Case):
    def test_fill_in_one_hit_in_the_other(self) -> None:
        for key, body in ((b"a", b"hello"), (b"b", LARGE)):
            stored = put(self.mine, response(key, tags=[b"t"]), body)
            self.assertIsNotNone(stored)
            self.assertEqual(look(self.theirs, key), body)
            self.assertEqual(look(self.mine, key), body)
        self.assertEqual(self.owner.counts.stored, 2)

    def test_variants(self) -> None:
        for language in (b"de", b"en"):
            store = self.mine if language == b"de" else self.theirs
            put(store, response(vary=(b"accept-language",), variant=language), language)
        for store in (self.mine, self.theirs):
            for language in (b"de", b"en"):
                self.assertEqual(look(store, fields=b"Accept-Language: " + language), language)

    def test_refresh(self) -> None:
        for key, body in ((b"a", b"hello"), (b"b", LARGE)):
            put(self.mine, response(key), body)
            copy = find(self.theirs, key)
            assert copy is not None
            self.theirs.refresh(copy, copy.stored.replaced(responded=99.0))
            copy.close()
            mine = find(self.mine, key)
            assert mine is not None
            again = self.mine.find_again(mine, key, mine.stored.head.fields, _none, self.fail)
            assert isinstance(again, Copy)
            self.assertEqual(again.stored.responded, 99.0)
            again.close()
            self.assertEqual(look(self.mine, key), body)

    def test_room(self) -> None:
        """What is granted is bounded, counted, and given back by who dies."""
        put(self.mine, response(), b"hello")
        used = 4096 + 512
        granted = self.owner.size - used
        self.assertGreater(granted, 0)
        self.assertLess(granted, (64 << 20) * 0.03)
        put(self.mine, response(b"b"), b"hello")
        self.assertEqual(self.owner.size, used + granted)  # from what was granted before
        self.keeper.gone(self.one)
        self.assertEqual(self.owner.size, 2 * used)
        self.assertEqual(look(self.theirs), b"hello")

    def test_surplus_goes_back(self) -> None:
        for number in range(20):
            fill = self.mine.fill(response(b"%d" % number), None)
            assert fill is not None
            fill.write(bytes(3 << 20))
            fill.abort()
        self.assertLess(self.owner.size, 6 << 20)

    def test_full(self) -> None:
        self.keeper.close()
        self.path += "small"
        self.keep(max_size=1 << 20)
        one, other = (Process(name, self.keeper, self.loop) for name in "ab")
        stores = [attach(each, self.path, self.loop, max_size=1 << 20) for each in (one, other)]
        for number in range(60):
            put(stores[number % 2], response(b"%d" % number), bytes(50_000))
            self.assertLessEqual(self.owner.size, 1 << 20)
        self.assertGreater(self.owner.counts.evicted, 30)
        self.assertIsNone(put(stores[0], response(b"large"), bytes(2 << 20)))
        self.assertIsNone(find(stores[1], b"large"))

    def test_the_bound_holds_while_all_fill(self) -> None:
        """On the disk, at all times, whatever each has been granted and has not used."""
        bound = 8 << 20
        self.keeper.close()
        self.path += "small"
        self.keep(max_size=bound)
        chance = random.Random(1)
        stores = [
            attach(Process(name, self.keeper, self.loop), self.path, self.loop, max_size=bound)
            for name in "abcd"
        ]
        filling: list[tuple[Any, int]] = []
        for number in range(600):
            size = chance.choice([10, 5000, 70_000, 400_000, 1_000_000])
            fill = chance.choice(stores).fill(response(b"%d" % number), size)
            assert fill is not None
            filling.append((fill, size))
            if len(filling) > 12:
                chance.shuffle(filling)
                fill, size = filling.pop()
                fill.write(bytes(size - fill.length))
                fill.commit() if chance.random() < 0.9 else fill.abort()
            fill, size = chance.choice(filling)
            fill.write(bytes(min(size - fill.length, 300_000)))
            self.assertLessEqual(self.owner.size, bound)
            if not number % 5:
                self.assertLessEqual(disk_use(self.path), bound * 1.05)
        for fill, _ in filling:
            fill.abort()
        self.assertGreater(self.owner.counts.stored, 100)
        self.assertGreater(self.owner.counts.evicted, 50)

    def test_used(self) -> None:
        put(self.mine, response(), b"hello")
        look(self.theirs)
        self.loop.advance(6)
        (row,) = self.owner._index.next_out(5)
        self.assertTrue(row[2])

    def test_damaged(self) -> None:
        put(self.mine, response(), b"hello")
        (name,) = self.owner.folder.of_key("".join(self.owner._index.next_out(1)[0][0]))
        with open(self.owner.folder.path_of(name), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"X")
        self.assertIsNone(look(self.theirs))
        self.assertEqual((self.owner.counts.damaged, self.owner.folder.of_key(name)), (1, []))

    def test_a_file_that_is_gone(self) -> None:
        """As when its process died and another swept up: nothing is kept of it."""
        answer = self.keeper.told(
            self.one,
            None,
            {"do": "adopt", "link": 1, "file": self.path + "/none", "reserved": 0},
        )
        assert isinstance(answer, Deferred)
        self.assertEqual(self.successResultOf(answer)["error"][0], "FileNotFoundError")


class PurgeTests(Case):
    def both(self, *, tags: Any = (b"t",)) -> None:
        put(self.mine, response(tags=tags), b"hello")
        self.assertEqual((look(self.mine), look(self.theirs)), (b"hello", b"hello"))

    def test_in_all(self) -> None:
        for asked in (self.mine, self.theirs, self.keeper):
            for kind, value in (
                ("key", b"key"),
                ("url", b"http://example.com/key"),
                ("prefix", b"http://"),
                ("tag", b"t"),
                ("all", b""),
            ):
                self.both()
                ((purged, error),) = self.purge(asked, kind, value)
                self.assertEqual((purged.count, error), (1, None))
                self.assertEqual((look(self.mine), look(self.theirs)), (None, None))

    def test_soft(self) -> None:
        self.both()
        self.purge(self.mine, "tag", b"t", True)
        for store in (self.mine, self.theirs):
            copy = find(store)
            assert copy is not None
            self.assertTrue(copy.stored.invalidated)

    def test_on_its_way(self) -> None:
        """What was asked of the origin before a purge, and what is written but not published."""
        fill = self.theirs.fill(response(), 5, self.theirs.mark())
        assert fill is not None
        fill.write(b"hello")
        self.purge(self.mine, "all")
        self.assertIsNone(fill.commit())
        thread = Later()
        third = attach(
            Process("third", self.keeper, self.loop), self.path, self.loop, owner_thread=thread
        )
        told: list[object] = []
        fill = third.fill(response(), 5)
        assert fill is not None
        fill.write(b"hello")
        self.assertIsNotNone(fill.commit(told.append))
        self.assertEqual(look(third), b"hello")
        self.purge(self.mine, "all")
        thread.run()
        self.assertEqual((told, look(third), look(self.mine)), ([None], None, None))

    def test_a_store_that_attaches_meanwhile(self) -> None:
        self.both()
        thread = Later()
        self.keeper.store.link.threads = thread
        results = self.purge(self.mine, "all")
        self.assertEqual(results, [])
        third = attach(Process("third", self.keeper, self.loop), self.path, self.loop)
        for store in (self.mine, self.theirs, third):
            self.assertIsNone(look(store))
        thread.run()
        self.assertEqual([error for _, error in results], [None])
        self.assertEqual((third._purging, look(third)), ([], None))

    def test_acknowledged_first(self) -> None:
        """The files go when all know of it."""
        self.both()
        self.other.deaf = True
        results = self.purge(self.mine, "all")
        self.assertEqual((results, self.owner.counts.purged), ([], 0))
        self.keeper.gone(self.other)
        self.loop.advance(ACKNOWLEDGE)
        ((purged, error),) = results
        self.assertEqual((purged.count, error), (1, None))

    def test_logged(self) -> None:
        """Who looks for what has become of the responses finds it; the log stays whole."""
        self.both()
        said: list[str] = []

        def info(text: str, **values: Any) -> None:
            said.append(text.format(**values))

        self.patch(keeper._logger, "info", info)
        self.purge(self.mine, "url")  # a client's write
        self.keeper.purge(Purge("all"), lambda *_: None)
        self.keeper.purge(Purge("tag", b"a\nb\xff", soft=True), lambda *_: None)
        self.assertEqual(
            said,
            [
                "cache test: 1 responses purged: all",
                "cache test: 0 responses marked as stale: tag a\\nb\\xff",
            ],
        )

    def test_silent(self) -> None:
        """One that hangs does not hold it up for ever, but the purge is no success."""
        self.both()
        self.other.deaf = True
        results = self.purge(self.keeper, "all")
        self.loop.advance(ACKNOWLEDGE)
        ((purged, error),) = results
        self.assertIn("not in other", str(error))
        self.assertEqual(self.owner.counts.purged, 1)


class LeaseTests(Case):
    def test_one_at_a_time(self) -> None:
        (first,) = self.lease(self.mine)
        self.assertGreater(first, 0)
        second = self.lease(self.theirs)
        self.assertEqual(second, [])
        self.assertEqual(self.lease(self.theirs, wait=False), [None])
        self.assertEqual(self.lease(self.mine), [0])  # what it asks twice it has a reason for
        self.assertGreater(self.lease(self.theirs, b"else")[0], 0)
        self.loop.advance(1)
        self.mine.unlease(first)
        self.assertEqual(second, [None])
        # Who looked before the end looks again, who looked after it may ask.
        self.assertEqual(self.lease(self.theirs), [None])
        self.loop.advance(1)
        self.assertGreater(self.lease(self.theirs)[0], first)

    def test_ends_when_what_was_told_before_is_done(self) -> None:
        """Who waits is to find it; where nothing is on its way the owner's thread is not asked."""
        thread = self.keeper.store.link.threads
        later = Later()
        self.patch(self.keeper.store.link, "threads", later)
        (first,) = self.lease(self.mine)
        second = self.lease(self.theirs)
        self.mine.unlease(first)
        self.assertEqual((second, later.jobs), ([None], []))
        self.patch(self.keeper.store.link, "threads", thread)
        put(self.mine, response(), b"hello")
        copy = find(self.mine)
        assert copy is not None
        self.patch(self.keeper.store.link, "threads", later)
        self.loop.advance(1)
        (first,) = self.lease(self.mine)
        second = self.lease(self.theirs)
        self.mine.refresh(copy, copy.stored.replaced(responded=99.0))
        self.mine.unlease(first)
        self.assertEqual(second, [])
        later.run()
        self.assertEqual(second, [None])

    def test_no_longer_than(self) -> None:
        self.lease(self.mine)
        second = self.lease(self.theirs)
        self.loop.advance(WAIT)
        self.assertEqual(second, [0])

    def test_the_holder_dies(self) -> None:
        self.lease(self.mine)
        second = self.lease(self.theirs)
        self.keeper.gone(self.one)
        self.assertEqual(second, [None])

    def test_a_purge_ends_leases(self) -> None:
        (first,) = self.lease(self.mine)
        second = self.lease(self.theirs)
        self.purge(self.mine, "all")
        self.assertEqual(second, [None])
        (again,) = self.lease(self.theirs)
        self.assertGreater(again, first)
        self.mine.unlease(first)
        self.assertEqual(self.lease(self.mine), [])

    def test_a_purge_of_something_else_does_not(self) -> None:
        (first,) = self.lease(self.mine)
        second = self.lease(self.theirs)
        for kind, value in (("url", b"http://b/"), ("prefix", b"http://b/"), ("key", b"other")):
            self.purge(self.theirs, kind, value)
        self.assertEqual(second, [])
        self.assertEqual(self.lease(self.mine), [0])
        self.mine.unlease(first)
        self.assertEqual(second, [None])

    def test_forgets(self) -> None:
        for number in range(100):
            self.loop.advance(1)
            (lease,) = self.lease(self.mine, b"%d" % number)
            self.mine.unlease(lease)
        self.assertLess(len(self.keeper._ended), 15)
        self.assertEqual((self.keeper._leases, self.keeper._numbered), ({}, {}))


class LifeTests(Case):
    def test_peers(self) -> None:
        self.assertTrue(self.mine.shared)
        self.keeper.gone(self.other)
        self.assertFalse(self.mine.shared)

    def test_ends_when_nobody_is_left(self) -> None:
        self.keeper.gone(self.other)
        ended: list[int] = []
        self.mine.finish(lambda: ended.append(1))
        self.assertEqual((ended, self.over), ([1], []))
        self.loop.advance(LINGER - 1)
        again = attach(self.one, self.path, self.loop)
        self.loop.advance(2)
        self.assertEqual(self.over, [])
        again.finish(lambda: ended.append(2))
        self.loop.advance(LINGER)
        self.assertEqual((self.over, ended), ([self.keeper], [1, 2]))

    def test_finish_waits_for_fills(self) -> None:
        """Patiently for what is not whole yet; otherwise only for what is."""
        ended: list[int] = []
        fill = self.mine.fill(response(), 5)
        assert fill is not None
        self.mine.finish(lambda: ended.append(1), patient=True)
        self.assertIsNone(self.mine.fill(response(b"new"), 5))
        fill.write(b"hello")
        self.assertEqual(ended, [])
        fill.commit()
        self.assertEqual((ended, look(self.theirs)), ([1], b"hello"))
        fill = self.theirs.fill(response(b"b"), 5)
        assert fill is not None
        self.theirs.finish(lambda: ended.append(2), patient=True)
        self.theirs.give_up()
        self.assertEqual((ended, fill.alive), ([1, 2], False))

    def test_without_an_owner(self) -> None:
        """Another process has the folder: what is there is served, from the files alone."""
        put(self.mine, response(), b"hello")
        self.keeper.close()
        self.assertEqual(len(self.mine.memory), 0)
        self.assertEqual(look(self.mine), b"hello")
        self.assertEqual((len(self.mine.memory), self.mine.writer.storing), (0, False))
        successor = make_keeper(self.path, self.loop)
        self.addCleanup(successor.close)
        self.assertTrue(successor.owned)

    def test_the_folder_comes_later(self) -> None:
        first, path = self.keeper, self.path
        self.keeper = Keeper(path, 64 << 20, "cache test", self.loop)
        second = make_keeper(path, self.loop)
        store = attach(Process("new", second, self.loop), path, self.loop)
        self.assertFalse(store.writer.storing)
        first.close()
        self.loop.advance(1)
        while second.store.owner.step():
            pass
        self.assertTrue(store.writer.storing)
        second.close()

    def test_lost(self) -> None:
        put(self.mine, response(), b"hello")
        self.one.links.lost()
        self.assertEqual((len(self.mine.memory), self.mine.writer.storing), (0, False))
        self.assertEqual(look(self.mine), b"hello")

    def test_another_bound(self) -> None:
        put(self.mine, response(), bytes(3 << 20))
        attach(self.one, self.path, self.loop, max_size=1 << 20)
        self.assertEqual((self.owner.max_size, self.owner.counts.evicted), (1 << 20, 1))

    def test_questions(self) -> None:
        put(self.mine, response(tags=[b"t"]), b"hello")
        look(self.theirs)
        for store in (self.keeper, self.mine):
            told: list[Any] = []

            def done(result: Any, error: Any, told: list[Any] = told) -> None:
                told.append((result, error))

            store.preview(Purge("all"), done)
            store.listing(b"", 5, done)
            store.show(b"http://example.com/key", done)
            store.stats(done)
            self.assertEqual({error for _, error in told}, {None})
            preview, listed, shown, stats = (result for result, _ in told)
            self.assertEqual((preview.count, listed[0].tags, shown[0].length), (1, (b"t",), 5))
            self.assertEqual((stats["responses"], stats["memory_objects"]), (1, 2))
            self.assertEqual((stats["processes"], stats["storing"]), (2, True))
            # What was granted ahead is no part of what is stored.
            self.assertEqual(stats["size"], 4608)
            self.assertGreaterEqual(stats["reserved"], 2**20)


def _none(*_: Any) -> bytes:
    return b""

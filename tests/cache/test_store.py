"""The store as the exchange sees it."""

from __future__ import annotations

import os

from tests.cache.storing import (
    HEAD,
    Later,
    StoreTestCase,
    files,
    find,
    look,
    make_store,
    purge,
    put,
    response,
    temporary,
    unopened_store,
    variant,
)
from txrproxy.cache.entry import BLOCK
from txrproxy.cache.jobs import Inline
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.store import PENDING
from txrproxy.http.fields import EMPTY
from txrproxy.http.head import parse_response_head

LARGE = os.urandom(2 * BLOCK + 12345)
GERMAN = b"Accept-Language: de"
ENGLISH = b"Accept-Language: en"
BY_LANGUAGE = (b"accept-language",)


class StoreTests(StoreTestCase):
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
        length = b"Content-Length: 5\r\n"  # which the origin had not said
        self.assertEqual(copy.stored.head.fields.block, HEAD.fields.block + length)
        self.assertIs(find(self.store), copy)

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

    def vary(self) -> None:
        for language in (b"de", b"en"):
            put(self.store, response(vary=BY_LANGUAGE, variant=language), b"in " + language)

    def test_finished_before_it_knows_that_it_owns(self) -> None:
        """A last fill takes its time, and the answer comes meanwhile: nobody asks it any more."""
        self.store.close()
        threads = Later()
        store = unopened_store(self.path, owner_thread=threads)
        events: list[str] = []
        store.open(owned=lambda: events.append("owned"))
        self.assertTrue(store.owner.open())  # as the thread has done, but not told yet
        fill = store.fill(response(), 5)
        assert fill is not None
        fill.write(b"hello")
        store.finish(lambda: events.append("finished"), patient=True)
        fill.commit()
        threads.run()
        self.assertEqual(events, ["finished"])

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


class RefreshTests(StoreTestCase):
    """What a validation says of a stored response."""

    def test_small(self) -> None:
        put(self.store, response(), b"hello")
        copy = find(self.store)
        assert copy is not None
        head = parse_response_head(b'HTTP/1.1 200 OK\r\nETag: "a"\r\nAge: 1')
        new = self.store.refresh(copy, copy.stored.replaced(head=head, responded=99.0))
        for _ in range(2):
            found = find(self.store)
            assert found is not None
            self.assertEqual((found.stored.responded, found.body), (99.0, b"hello"))
            self.assertEqual(found.stored.head.fields.block, head.fields.block)
            self.forget()
        assert new is not None
        self.assertEqual(copy.stored.responded, 11.0)  # who reads it goes by what it knew

    def test_large(self) -> None:
        """In place: the body is neither written nor checked again."""
        put(self.store, response(), LARGE)
        inode = os.stat(files(self.store)[0]).st_ino
        for number in range(5):
            copy = find(self.store)
            assert copy is not None
            self.store.refresh(copy, copy.stored.replaced(responded=50.0 + number))
            copy.close()
        copy = find(self.store)
        assert copy is not None
        self.assertEqual(copy.stored.responded, 54.0)
        self.assertEqual(copy.ready(0, self.fail), BLOCK)
        copy.close()
        self.assertEqual(os.stat(files(self.store)[0]).st_ino, inode)
        self.again()
        self.assertEqual(look(self.store), LARGE)

    def test_outgrown(self) -> None:
        """A head that needs more room takes the body to another file."""
        for body in (b"hello", LARGE):
            put(self.store, response(), body)
            copy = find(self.store)
            assert copy is not None
            self.store.refresh(copy, copy.stored.replaced(tags=[b"t" * 2000]))
            copy.close()
            size = self.store.owner.size
            self.again()
            self.assertEqual(self.store.owner.size, size)
            self.assertEqual(look(self.store), body)
            self.assertEqual(purge(self.store, "tag", b"t" * 2000).count, 1)
            self.assertEqual(temporary(self.store), [])

    def test_variant(self) -> None:
        for language in (b"de", b"en"):
            put(self.store, response(vary=BY_LANGUAGE, variant=language), b"in " + language)
        copy = find(self.store, fields=GERMAN)
        assert copy is not None
        self.store.refresh(copy, copy.stored.replaced(responded=99.0))
        for _ in range(2):
            for fields, responded in ((GERMAN, 99.0), (ENGLISH, 11.0)):
                found = find(self.store, fields=fields)
                assert found is not None
                self.assertEqual(found.stored.responded, responded)
            self.forget()

    def test_replaced_since(self) -> None:
        """The validation of what is gone says nothing of what came after it."""
        put(self.store, response(), b"old")
        copy = find(self.store)
        put(self.store, response(responded=20.0), b"new")
        assert copy is not None
        self.store.refresh(copy, copy.stored.replaced(responded=99.0))
        for _ in range(2):
            found = find(self.store)
            assert found is not None
            self.assertEqual((found.stored.responded, found.body), (20.0, b"new"))
            self.forget()

    def test_gone(self) -> None:
        put(self.store, response(), LARGE)
        copy = find(self.store)
        assert copy is not None
        os.unlink(files(self.store)[0])
        self.store.refresh(copy, copy.stored.replaced(responded=99.0))
        copy.close()
        self.assertIsNone(find(self.store))

    def test_damaged(self) -> None:
        put(self.store, response(), LARGE)
        copy = find(self.store)
        assert copy is not None
        os.truncate(files(self.store)[0], 100)
        self.store.refresh(copy, copy.stored.replaced(responded=99.0))
        copy.close()
        self.assertEqual((files(self.store), self.store.owner.size), ([], 0))

    def test_purged_since(self) -> None:
        put(self.store, response(), b"hello")
        copy = find(self.store)
        assert copy is not None
        mark = self.store.mark()
        purge(self.store, "all", soft=True)
        new = self.store.refresh(copy, copy.stored.replaced(responded=99.0), mark)
        assert new is not None
        self.assertTrue(new.invalidated)
        purge(self.store, "all")
        self.assertIsNone(self.store.refresh(copy, copy.stored.replaced(), mark))
        self.assertIsNone(find(self.store))


class PurgeTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in (b"a/1", b"a/2", b"b/1"):
            put(self.store, response(name, tags=[b"all", name[:1]]), LARGE[:2000])
        put(self.store, response(b"large", tags=[b"l"]), LARGE)

    def left(self) -> list[bytes]:
        found = []
        for name in (b"a/1", b"a/2", b"b/1", b"large"):
            copy = find(self.store, name)
            if copy is not None:
                if not copy.stored.invalidated:
                    found.append(name)
                copy.close()
        return found

    def test_kinds(self) -> None:
        for soft in (False, True):
            for kind, value, left in (
                ("url", b"http://example.com/a/1", [b"a/2", b"b/1", b"large"]),
                ("key", b"a/1", [b"a/2", b"b/1", b"large"]),
                ("prefix", b"http://example.com/a/", [b"b/1", b"large"]),
                ("prefix", b"http://example.com/l", [b"a/1", b"a/2", b"b/1"]),
                ("tag", b"all", [b"large"]),
                ("tag", b"b", [b"a/1", b"a/2", b"large"]),
                ("tag", b"none", [b"a/1", b"a/2", b"b/1", b"large"]),
                ("all", b"", []),
            ):
                with self.subTest(kind=kind, value=value, soft=soft):
                    self.setUp()
                    previews: list[object] = []
                    self.store.preview(Purge(kind, value, soft), lambda *r, p=previews: p.append(r))
                    purged = purge(self.store, kind, value, soft)
                    self.assertEqual(previews, [(purged, None)])
                    self.assertEqual(purged.count, 4 - len(left))
                    self.assertEqual(self.left(), left)
                    self.forget()
                    self.assertEqual(self.left(), left)
                    self.again()
                    self.assertEqual(self.left(), left)
                    if not soft:
                        self.assertEqual(len(files(self.store)), len(left))

    def test_effective_at_once(self) -> None:
        """Before the owner has done it, nothing that is on the disk is found."""
        for soft in (False, True):
            self.setUp()
            thread = Later()
            self.again(owner_thread=thread)
            thread.run()
            self.assertEqual(len(self.left()), 4)
            results: list[object] = []
            purge_ = Purge("prefix", b"http://example.com/a/", soft)
            self.store.purge(purge_, lambda *r, to=results: to.append(r))
            self.assertEqual(self.left(), [b"b/1", b"large"])
            self.forget()
            self.assertEqual(self.left(), [b"b/1", b"large"])
            self.assertEqual(results, [])
            thread.run()
            ((purged, error),) = results  # type: ignore[misc]
            self.assertEqual((purged.count, error), (2, None))
            self.assertEqual(self.left(), [b"b/1", b"large"])

    def test_fill_under_way(self) -> None:
        """What was asked for before a purge is as old as what was purged."""
        for soft in (False, True):
            mark = self.store.mark()
            early = self.store.fill(response(b"a/1"), None)
            purge(self.store, "prefix", b"http://example.com/a", soft)
            late = self.store.fill(response(b"a/2"), None, mark)
            for fill in (early, late):
                assert fill is not None
                fill.write(b"old")
                self.assertEqual(fill.commit() is not None, soft)
            self.assertEqual(self.left(), [b"b/1", b"large"])
            put(self.store, response(b"a/1"), b"new")
            self.assertEqual(self.left(), [b"a/1", b"b/1", b"large"])

    def test_all_takes_markers_too(self) -> None:
        put(self.store, response(vary=BY_LANGUAGE, variant=b"de"), b"de")
        self.assertEqual(purge(self.store, "all").count, 5)
        self.assertEqual((files(self.store), self.store.owner.size), ([], 0))

    def test_soft_in_memory(self) -> None:
        """A reader that has it goes on; who comes next is told."""
        put(self.store, response(vary=BY_LANGUAGE, variant=b"de"), b"de")
        copies = [find(self.store, b"a/1"), find(self.store, fields=GERMAN)]
        purge(self.store, "all", soft=True)
        for before, after in zip(
            copies, [find(self.store, b"a/1"), find(self.store, fields=GERMAN)], strict=True
        ):
            assert before is not None and after is not None
            self.assertFalse(before.stored.invalidated)
            self.assertTrue(after.stored.invalidated)
            self.assertEqual(before.body, after.body)

    def test_failure_is_told(self) -> None:
        """Without the folder nothing can be promised of it."""
        other = make_store(self.path)
        self.addCleanup(other.close)
        self.assertEqual(self.left(), [b"a/1", b"a/2", b"b/1", b"large"])
        self.assertIsNotNone(find(other, b"a/1"))
        results: list[tuple[Purged | None, BaseException | None]] = []
        other.purge(Purge("all"), lambda *r: results.append(r))
        self.assertIsNotNone(results[0][1])

    def test_a_key_by_who_does_not_own_the_folder(self) -> None:
        """An invalidation must not fail: its files can be found without the index."""
        other = make_store(self.path)
        self.addCleanup(other.close)
        self.assertEqual(purge(other, "key", b"a/1").count, 1)
        self.assertEqual(purge(other, "key", b"a/2", soft=True).count, 1)
        self.forget()
        self.assertEqual(self.left(), [b"b/1", b"large"])
        self.assertIsNone(find(other, b"a/1"))


class QuestionTests(StoreTestCase):
    def ask(self, question: object, *arguments: object) -> object:
        results: list[tuple[object, object]] = []
        question(*arguments, lambda *r: results.append(r))  # type: ignore[operator]
        ((result, error),) = results
        self.assertIsNone(error)
        return result

    def test_listing(self) -> None:
        for name in (b"b", b"a", b"c/1"):
            put(self.store, response(name, tags=[b"x", b"t"]), b"hello")
        records = self.ask(self.store.listing, b"", 10)
        self.assertEqual([r.key for r in records], [b"a", b"b", b"c/1"])  # type: ignore[attr-defined]
        (record,) = self.ask(self.store.listing, b"http://example.com/c/", 10)  # type: ignore[misc]
        self.assertEqual((record.status, record.tags), (200, (b"t", b"x")))
        self.assertEqual(len(self.ask(self.store.listing, b"", 2)), 2)  # type: ignore[arg-type]

    def test_show(self) -> None:
        for language in (b"de", b"en"):
            put(self.store, response(vary=BY_LANGUAGE, variant=language), language)
        found = self.ask(self.store.show, b"http://example.com/key")
        self.assertEqual(sorted(s.variant for s in found), [b"de", b"en"])  # type: ignore[attr-defined]
        self.assertEqual(self.ask(self.store.show, b"http://example.com/"), [])

    def test_stats(self) -> None:
        put(self.store, response(), b"hello")
        stats = self.ask(self.store.stats)
        assert isinstance(stats, dict)
        self.assertEqual(
            [stats[n] for n in ("responses", "stored", "size", "memory_objects", "storing")],
            [1, 1, 4608, 1, True],
        )

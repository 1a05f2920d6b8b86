"""Heads that are said of files before they are in them."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import (
    Later,
    StoreTestCase,
    body_of,
    find,
    purge,
    put,
    response,
    variant,
)
from txrproxy.cache.jobs import Inline
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import INLINE
from txrproxy.cache.renewal import Renewals
from txrproxy.http.fields import EMPTY

LARGE = os.urandom(INLINE + 1)


class RenewalsTests(SynchronousTestCase):
    def test_chain(self) -> None:
        """Whatever of it a file says already, the last is what holds."""
        renewals = Renewals()
        one, two, three = (response(responded=float(n)) for n in (1, 2, 3))
        first, second = renewals.begin(one, two, 4), renewals.begin(two, three, 5)
        for read in (one, two):
            self.assertIs(renewals.last_of(read), second)
        self.assertIsNone(renewals.last_of(three))
        self.assertIsNone(renewals.last_of(response(responded=9.0)))
        self.assertIsNone(renewals.last_of(response(b"other", responded=1.0)))
        renewals.end(first)
        self.assertIs(renewals.last_of(two), second)
        self.assertIsNone(renewals.last_of(one))
        renewals.end(second)
        self.assertEqual(len(renewals), 0)


class AtOnceTests(StoreTestCase):
    """Between a validation and its being written, nobody sees what was before it."""

    def setUp(self) -> None:
        super().setUp()
        self.thread = Later()
        self.again(owner_thread=self.thread)
        self.thread.run()

    def fill(self, body: bytes) -> None:
        put(self.store, response(), body)
        self.thread.run()

    def renew(self, responded: float) -> None:
        copy = find(self.store)
        assert copy is not None
        mark = self.store.mark()
        self.store.refresh(copy, copy.stored.replaced(responded=responded), mark)
        copy.close()

    def assert_known(self, responded: float, body: bytes, invalidated: bool = False) -> None:
        copy = find(self.store)
        assert copy is not None
        self.assertEqual(copy.stored.responded, responded)
        self.assertEqual(copy.stored.invalidated, invalidated)
        self.assertEqual(body_of(copy), body)

    def test_before_it_is_written(self) -> None:
        for body in (LARGE, b"small"):
            self.fill(body)
            self.renew(50.0)
            self.forget()
            self.assert_known(50.0, body)
            self.renew(60.0)
            self.forget()
            self.assert_known(60.0, body)
            self.thread.run()
            self.forget()
            self.assert_known(60.0, body)

    def test_two_that_began_with_the_same(self) -> None:
        """What the later one says holds, wherever it is looked for."""
        for body in (LARGE, b"small"):
            self.fill(body)
            copy = find(self.store)
            assert copy is not None
            for responded in (50.0, 60.0):
                mark = self.store.mark()
                self.store.refresh(copy, copy.stored.replaced(responded=responded), mark)
            copy.close()
            self.assert_known(60.0, body)
            self.forget()
            self.assert_known(60.0, body)
            self.thread.run()
            self.forget()
            self.assert_known(60.0, body)

    def test_a_purge_meanwhile(self) -> None:
        for soft in (True, False):
            self.fill(LARGE)
            self.renew(50.0)
            results: list[object] = []
            self.store.purge(Purge("all", soft=soft), lambda *r, to=results: to.append(r))
            if soft:
                self.assert_known(50.0, LARGE, invalidated=True)
                self.renew(70.0)  # by a validation since
                self.assert_known(70.0, LARGE)
            else:
                self.assertIsNone(find(self.store))
            self.thread.run()
            self.assertEqual(len(results), 1)
            if soft:
                self.assert_known(70.0, LARGE)
            else:
                self.assertIsNone(find(self.store))

    def test_it_is_gone(self) -> None:
        """What can not be written is what it was."""
        self.fill(LARGE)
        self.renew(50.0)
        self.store.link.ask(None, "purge", Purge("all"))
        self.thread.jobs.reverse()
        self.thread.run()
        self.assertIsNone(find(self.store))
        self.assertEqual(len(self.store._renewals), 0)

    def test_a_purge_while_a_thread_reads(self) -> None:
        """It is over before the thread is heard of, which has read what was purged."""
        readers = Later()
        self.fill(LARGE[:100])
        self.store.close()
        self.again(reader_threads=readers)
        self.store._reader.flags = 0x1000
        later: list[object] = []
        self.store.find(b"key", EMPTY, variant, later.append)
        ((job, done),) = readers.jobs
        readers.jobs.clear()
        result = job()
        self.assertEqual(purge(self.store, "all").count, 1)
        Inline().submit(lambda: result, done)
        self.assertEqual(later, [None])

"""What a purge takes, and what it takes of what comes late."""

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import response
from txrproxy.cache.purge import Purge, Purges


class PurgeTests(SynchronousTestCase):
    def test_matches(self) -> None:
        stored = response(b"k", tags=[b"t", b"u"])
        for kind, right, wrong in (
            ("key", b"k", b"K"),
            ("url", b"http://example.com/k", b"http://example.com/"),
            ("prefix", b"http://example.com/", b"http://example.com/k/"),
            ("tag", b"u", b"v"),
        ):
            self.assertTrue(Purge(kind, right).matches(stored))
            self.assertFalse(Purge(kind, wrong).matches(stored))
        self.assertTrue(Purge("all").matches(stored))
        self.assertRaises(ValueError, Purge, "some")

    def test_what_is_not_there_yet(self) -> None:
        key, url = b"k\nauthorized", b"http://example.com/k"
        for kind, right, wrong in (
            ("key", b"k", b"K"),
            ("url", url, b"http://example.com/"),
            ("prefix", b"http://example.com/", b"http://example.com/k/"),
        ):
            self.assertTrue(Purge(kind, right).may_match(key, url))
            self.assertFalse(Purge(kind, wrong).may_match(key, url))
        self.assertTrue(Purge("tag", b"t").may_match(key, url))
        purges = Purges(keep=3)
        self.assertFalse(purges.may_touch(0, key, url))
        purges.add(Purge("url", url))
        for _ in range(2):
            purges.add(Purge("url", b"http://example.com/other"))
        self.assertTrue(purges.may_touch(0, key, url))
        self.assertFalse(purges.may_touch(1, key, url))
        purges.add(Purge("url", b"http://example.com/other"))
        self.assertTrue(purges.may_touch(0, key, url))  # nobody remembers
        self.assertFalse(purges.may_touch(1, key, url))

    def test_since(self) -> None:
        purges = Purges(keep=3)
        stored = response(b"k")
        self.assertIs(purges.since(0, stored), stored)
        purges.add(Purge("key", b"other"))
        purges.add(Purge("key", b"k", soft=True))
        self.assertIs(purges.since(2, stored), stored)
        for number in (0, 1):
            left = purges.since(number, stored)
            assert left is not None
            self.assertTrue(left.invalidated)
        purges.add(Purge("key", b"k"))
        self.assertIsNone(purges.since(0, stored))
        self.assertIs(purges.since(0, response(b"x")).__class__, response().__class__)
        purges.add(Purge("key", b"k"))
        self.assertIsNone(purges.since(0, response(b"x")))  # too long ago to say
        self.assertIsNotNone(purges.since(1, response(b"x")))

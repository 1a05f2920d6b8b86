"""The rows of the index."""

from __future__ import annotations

import os
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.index import Index, Record, cost
from txrproxy.cache.purge import Purge, Purged


class IndexTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.index = Index(self.path)

    def tearDown(self) -> None:
        self.index.close()

    def put(self, name: str, url: bytes | None, size: int = 10, *tags: bytes) -> None:
        self.index.put(Record(name, b"key " + name.encode(), url, size, 200, 1.0, tags=tags))

    def test_private(self) -> None:
        """It has the addresses of all that is kept, as have the files that SQLite adds."""
        self.put("0/1/a", b"http://a/")
        for end in ("", "-wal", "-shm"):
            self.assertEqual(os.stat(self.path + end).st_mode & 0o777, 0o600, end)
        self.index.close()
        os.chmod(self.path, 0o644)
        self.index = Index(self.path)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_rows(self) -> None:
        self.put("0/1/a", b"http://a/", 10, b"t")
        self.put("0/1/b", None, 5000)
        self.assertEqual(self.index.total(), cost(10) + cost(5000))
        self.assertEqual((cost(1), cost(4096), cost(4097)), (4608, 4608, 8704))
        self.assertEqual(self.index.names("0/1"), {"0/1/a": 10, "0/1/b": 5000})
        self.assertEqual(self.index.names("0/2"), {})
        self.assertEqual((self.index.size_of("0/1/b"), self.index.size_of("x")), (5000, None))
        self.assertEqual(self.index.response_size("0/1/b"), 0)
        self.assertEqual(self.index.responses(), 1)
        self.assertEqual((self.index.remove("0/1/a"), self.index.remove("0/1/a")), (10, -1))
        self.assertEqual(self.index.select(Purge("tag", b"t")), [])

    def test_prefixes(self) -> None:
        """Any byte may end one."""
        urls = [b"http://a/", b"http://a/1", b"http://b/", b"http://b/\xff", b"http://b/\xff\xff1"]
        for number, url in enumerate([*urls, None]):
            self.put(f"0/0/{number}", url)
        for prefix in (b"", b"http://a/", b"http://b", b"http://b/\xff", b"\xff", b"i"):
            expected = [f"0/0/{n}" for n, url in enumerate(urls) if url.startswith(prefix)]
            purge = Purge("prefix", prefix)
            self.assertEqual(sorted(self.index.select(purge)), expected, prefix)
            self.assertEqual(self.index.count(purge), Purged(len(expected), 10 * len(expected)))

    def test_queue(self) -> None:
        for name in "abc":
            self.put(name, b"u")
        self.index.use(["a", "x"])
        self.assertEqual(self.index.next_out(2), [("a", 10, True), ("b", 10, False)])
        self.index.send_back("a")
        self.assertEqual([row[0] for row in self.index.next_out(9)], ["b", "c", "a"])
        self.put("b", b"u")
        self.assertEqual([row[0] for row in self.index.next_out(9)], ["c", "a", "b"])

    def test_clean(self) -> None:
        """An index that nobody closed is compared with the files."""
        self.assertEqual((self.index.complete, self.index.clean), (False, True))
        self.index.set_complete()
        self.index.close()
        self.index = Index(self.path)
        self.assertEqual((self.index.complete, self.index.clean), (True, True))
        self.index.abandon()
        self.index = Index(self.path)
        self.assertEqual((self.index.complete, self.index.clean), (True, False))

    def test_together(self) -> None:
        """All or nothing, also one inside another."""
        with self.assertRaises(ZeroDivisionError), self.index.together():
            self.put("a", b"u")
            with self.index.together():
                self.put("b", b"u")
            1 // 0
        self.assertEqual(self.index.responses(), 0)

    def test_deleted(self) -> None:
        self.index.close()
        Index.delete(self.path)
        Index.delete(self.path)
        self.assertFalse(os.path.exists(self.path))
        with open(self.path, "wb") as file:
            file.write(b"not a database" * 1000)
        self.assertRaises(sqlite3.DatabaseError, Index, self.path)
        Index.delete(self.path)
        self.index = Index(self.path)

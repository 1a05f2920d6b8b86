"""Heads of files, read and changed in place."""

from __future__ import annotations

import os

from tests.cache.storing import StoreTestCase, files, put, response, temporary
from txrproxy.cache.entry import Corrupt, Entry, encode_marker, name_of
from txrproxy.cache.heads import change_head, find_name, lists_of, read_head, with_list


class HeadsTests(StoreTestCase):
    def head(self, path: str) -> object:
        fd = os.open(path, os.O_RDONLY)
        try:
            return read_head(fd)
        finally:
            os.close(fd)

    def test_read(self) -> None:
        tags = [b"t%d" % number * 9 for number in range(1000)]
        for given in ({}, {"tags": tags}):
            put(self.store, response(**given), b"hello")
            (path,) = files(self.store)
            entry = self.head(path)
            assert isinstance(entry, Entry)
            self.assertEqual(entry.stored.tags, tuple(given.get("tags", ())))

    def test_size(self) -> None:
        put(self.store, response(), b"hello")
        (path,) = files(self.store)
        with open(path, "ab") as file:
            file.write(b"x")
        self.assertRaises(Corrupt, self.head, path)

    def test_markers(self) -> None:
        """Long ones, too; but there is an end to it."""
        path = self.mktemp()
        lists = tuple((b"n%d" % number * 300,) for number in range(8))
        for marker, fits in ((lists, True), (((b"x" * (2 << 20),),), False)):
            with open(path, "wb") as file:
                file.write(encode_marker(b"key", marker))
            if fits:
                self.assertEqual(self.head(path), (b"key", lists))
            else:
                self.assertRaises(Corrupt, self.head, path)

    def test_change_nothing(self) -> None:
        put(self.store, response(), b"hello")
        folder, name = self.store.folder, name_of(response(), False)
        self.assertIsNone(change_head(folder, name, lambda entry: None, self.fail))
        put(self.store, response(vary=[b"a"], variant=b"x"), b"hello")
        self.assertIsNone(change_head(folder, name, lambda entry: self.fail(), self.fail))

    def test_no_room_for_a_second_file(self) -> None:
        put(self.store, response(), b"hello")

        def room(size: int) -> None:
            raise OSError("none")

        folder, name = self.store.folder, name_of(response(), False)
        change = lambda entry: entry.stored.replaced(tags=[bytes(5000)])  # noqa: E731
        self.assertRaises(OSError, change_head, folder, name, change, room)

    def test_moving_fails(self) -> None:
        """The old file stays, and nothing is left of the new one."""

        def publish(path: str, name: str) -> None:
            raise OSError("full")

        put(self.store, response(), b"hello")
        folder, name = self.store.folder, name_of(response(), False)
        self.patch(folder, "publish", publish)
        change = lambda entry: entry.stored.replaced(tags=[bytes(5000)])  # noqa: E731
        self.assertRaises(OSError, change_head, folder, name, change, lambda _: None)
        self.assertEqual(temporary(self.store), [])
        self.assertEqual(len(files(self.store)), 1)

    def test_lists(self) -> None:
        folder = self.store.folder
        self.assertEqual(lists_of(folder, b"key"), ())
        put(self.store, response(), b"hello")
        self.assertEqual(lists_of(folder, b"key"), ())
        self.assertEqual(find_name(folder, response()), name_of(response(), False))
        put(self.store, response(vary=[b"a"], variant=b"x"), b"hello")
        self.assertEqual(lists_of(folder, b"key"), ((b"a",),))
        self.assertEqual(find_name(folder, response()), name_of(response(), True))
        os.truncate(folder.path_of(name_of(response(), False)), 15)
        self.assertEqual(lists_of(folder, b"key"), ())

    def test_with_list(self) -> None:
        lists = tuple((b"%d" % number,) for number in range(8))
        self.assertEqual(with_list(lists, lists[3])[:2], (lists[3], lists[0]))
        self.assertEqual(len(with_list(lists, (b"new",))), 8)

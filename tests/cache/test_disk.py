"""The folder: names, locks, and what others left."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.disk import FOLDERS, Folder
from txrproxy.cache.entry import primary_name

NAME = primary_name(b"key")


class FolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Folder(self.mktemp())
        self.folder.prepare()
        self.addCleanup(self.folder.close)

    def write(self, content: bytes, name: str = NAME) -> None:
        fd, path = self.folder.temporary()
        os.write(fd, content)
        os.close(fd)
        self.folder.publish(path, name)

    def read(self) -> bytes:
        fd = self.folder.open(NAME)
        try:
            return os.read(fd, 100)
        finally:
            os.close(fd)

    def test_published(self) -> None:
        self.write(b"one")
        fd = self.folder.open(NAME)
        self.write(b"two")
        self.assertEqual((self.read(), os.read(fd, 100)), (b"two", b"one"))
        os.close(fd)
        self.assertEqual((self.folder.remove(NAME), self.folder.remove(NAME)), (True, False))
        self.assertRaises(FileNotFoundError, self.folder.open, NAME)

    def test_private(self) -> None:
        self.write(b"one")
        self.assertEqual(os.stat(self.folder.path_of(NAME)).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.folder.objects).st_mode & 0o777, 0o700)

    def test_of_key(self) -> None:
        self.assertEqual(self.folder.of_key(NAME), [])
        variant = NAME + ".0123456789abcdef"
        for name in (NAME, variant, NAME[:-1] + "x"):
            self.write(b"", name)
        self.assertEqual(sorted(self.folder.of_key(NAME)), [NAME, variant])

    def test_scan(self) -> None:
        self.write(b"one")
        folder = NAME[:3]
        for junk in ("junk", NAME[4:] + ".zz"):
            self.write(b"", f"{folder}/{junk}")
        os.mkdir(self.folder.path_of(f"{folder}/sub"))
        os.symlink("/nowhere", self.folder.path_of(f"{folder}/link"))
        os.mkfifo(self.folder.path_of(NAME[:-1] + ("0" if NAME[-1] != "0" else "1")))
        found = [name for one in FOLDERS for name, _ in self.folder.scan(one)]
        self.assertEqual(found, [NAME])
        self.assertEqual(sorted(os.listdir(self.folder.objects + folder)), [NAME[4:], "sub"])

    def test_what_the_dead_were_writing(self) -> None:
        """Is taken away; what the living are writing is not."""
        other = Folder(self.folder.path)
        other.prepare()
        self.addCleanup(other.close)
        fd, path = other.temporary()
        os.close(fd)
        parent = os.path.join(self.folder.path, "tmp")
        left = [os.path.join(parent, name) for name in ("0123456789abcdef", "0" * 16 + ".new")]
        for name in left:
            os.mkdir(name)
        with open(os.path.join(left[0], "1"), "wb"), open(os.path.join(parent, "f" * 16), "wb"):
            pass
        third = Folder(self.folder.path)
        third.prepare()
        third.prepare()
        self.addCleanup(third.close)
        self.assertEqual([name for name in left if os.path.exists(name)], [])
        self.assertTrue(os.path.exists(path))
        other.close()
        self.assertFalse(os.path.exists(path))

    def test_what_others_have_in_such_a_folder(self) -> None:
        """A path that is too short, such as /var, costs nobody a file."""
        path = self.mktemp()
        files = [os.path.join(path, "tmp", *names) for names in (("work", "file"), ("x.new", "y"))]
        for file in files:
            os.makedirs(os.path.dirname(file))
            with open(file, "wb"):
                pass
        folder = Folder(path)
        self.addCleanup(folder.close)
        self.assertFalse(folder.exists())
        folder.prepare()
        self.assertTrue(folder.exists())
        self.assertEqual([file for file in files if not os.path.exists(file)], [])

    def test_one_owner(self) -> None:
        other = Folder(self.folder.path)
        self.assertTrue(self.folder.own())
        self.assertTrue(self.folder.own())
        self.assertFalse(other.own())
        self.folder.close()
        self.assertTrue(other.own())
        other.close()

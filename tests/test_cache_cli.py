"""``txrproxy cache``."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os

from tests.cache.storing import StoreTestCase, files, make_store, put, response
from txrproxy.cache_cli import _size, add_commands

CONFIG = """\
version = 1
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.app]
backends = ["http://127.0.0.1:1"]
[[routes]]
name = "all"
match = {}
pool = "app"
"""


class CacheCommandTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        put(self.store, response(b"a", tags=[b"t"]), b"hello")
        put(self.store, response(b"b", vary=[b"accept"], variant=b"x", invalidated=True), b"hello")
        self.store.close()

    def close(self) -> None:
        pass

    def run_it(self, *arguments: str, folder: bool = True) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        add_commands(parser.add_subparsers())
        where = ("--folder", self.path) if folder else ()
        options = parser.parse_args(["cache", *arguments, *where])
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = options.run(options)
        return status, out.getvalue()

    def test_ls(self) -> None:
        status, said = self.run_it("ls")
        self.assertEqual(status, 0)
        self.assertRegex(
            said,
            r"^200 +\d+ 1970-01-01T00:00:11Z http://example.com/a\n"
            r"200 +\d+ 1970-01-01T00:00:11Z http://example.com/b stale\n$",
        )
        self.assertEqual(self.run_it("ls", "http://example.com/c"), (0, ""))
        self.assertEqual(self.run_it("ls", "--limit", "3")[1], said)
        self.assertEqual(self.run_it("ls", "--limit", "2")[1], said)
        end, first = self.run_it("ls", "--limit", "1")[1].splitlines()
        self.assertEqual(first, said.splitlines()[0])
        self.assertEqual(end, "the first 1: say more with --limit")
        for limit in ("0", "-1", "x", "100001"):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as out:
                self.run_it("ls", "--limit", limit)
            self.assertIn(f"argument --limit: '{limit}' is none of 1 to", out.getvalue())
        said = self.run_it("ls", "--limit", "1", "--json")[1]
        self.assertEqual(len(json.loads(said)), 1)

    def test_show(self) -> None:
        said = self.run_it("show", "http://example.com/a")[1]
        self.assertIn("tags: t\n    HTTP/1.1 200 OK\n", said)
        said = self.run_it("show", "http://example.com/b")[1]
        self.assertIn("vary: accept", said)
        self.assertIn("marked as stale", said)
        self.assertIn("nothing", self.run_it("show", "http://example.com/c")[1])

    def test_purge(self) -> None:
        status, said = self.run_it("purge", "--tag", "t", "--dry-run")
        self.assertRegex(said, r"^1 response would be removed, \d+ bytes\n$")
        status, said = self.run_it("purge", "--prefix", "http://", "--soft")
        self.assertRegex(said, r"^2 responses were marked as stale, [\d.]+ KiB\n$")
        status, said = self.run_it("purge", "--url", "http://example.com/a")
        self.assertRegex(said, r"^1 response was removed, ")
        status, said = self.run_it("purge", "--all", "--json")
        self.assertEqual(json.loads(said)["count"], 1)
        self.assertEqual(files(self.store), [])

    def test_stats(self) -> None:
        self.assertRegex(self.run_it("stats")[1], r"^responses +2\nsize +13.5 KiB\n$")

    def test_a_folder_of_something_else(self) -> None:
        """Is not made a cache by looking at it."""
        path = self.mktemp()
        os.mkdir(path)
        for arguments in (("ls",), ("purge", "--all")):
            said = self.run_it(*arguments, "--folder", path, folder=False)
            self.assertEqual(said[0], 1)
            self.assertIn("nothing has been stored in this folder", said[1])
        self.assertEqual(os.listdir(path), [])

    def test_sizes(self) -> None:
        for count, text in ((0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB")):
            self.assertEqual(_size(count), text)
        self.assertEqual(_size(5 * 2**40), "5.0 TiB")

    def test_an_owner_that_does_not_answer(self) -> None:
        store = make_store(self.path)
        try:
            status, said = self.run_it("stats", "--json")
        finally:
            store.close()
        self.assertEqual(status, 3)
        self.assertEqual(json.loads(said.splitlines()[0])["ok"], False)

    def test_control_characters(self) -> None:
        """An origin does not command the terminal."""
        from txrproxy.cache_cli import _printable

        self.assertEqual(_printable("a\x1b[2Jb"), "a\\x1b[2Jb")

    def test_by_configuration(self) -> None:
        folder = os.path.dirname(os.path.abspath(self.path))
        name = os.path.basename(self.path)
        file = os.path.join(folder, "edge.toml")

        def run(caches: str, *arguments: str) -> tuple[int, str]:
            with open(file, "w") as config:
                config.write(CONFIG + caches)
            return self.run_it("ls", "--config", file, *arguments, folder=False)

        one = f'[caches.main]\npath = "{name}"\n'
        two = one + '[caches.other]\npath = "other"\n'
        self.assertEqual(len(run(one)[1].splitlines()), 2)
        self.assertEqual(len(run(two, "--store", "main")[1].splitlines()), 2)
        for caches, arguments, error in (
            ("", (), "there are: none"),
            (two, (), "there are: main, other"),
            (two, ("--store", "x"), "no cache named x"),
            (two, ("--store", "other"), "no such folder"),
            ("nonsense", (), "edge.toml"),
        ):
            status, said = run(caches, *arguments)
            self.assertEqual(status, 1)
            self.assertIn(error, said)

"""Files, includes, syntax errors: where problems are, whatever file they are in."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL, problems
from txrproxy.config import toml
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config, Name
from txrproxy.config.toml import load, load_with_warnings, loads


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def errors(self, path: Path) -> list[str]:
        error = self.assertRaises(ConfigErrors, load, path)
        return str(error).replace(f"{self.folder}/", "").split("\n")

    def load(self, include: str, **files: str) -> Config:
        for name, text in files.items():
            self.write(f"{name}.toml", text)
        return load(self.write("main.toml", f"include = [{include}]\n{MINIMAL}"))

    def wrong(self, include: str, **files: str) -> list[str]:
        for name, text in files.items():
            self.write(f"{name}.toml", text)
        return self.errors(self.write("main.toml", f"include = [{include}]\n{MINIMAL}"))


class Reading(Files):
    def test_base_is_the_folder_of_the_file(self) -> None:
        path = self.write("main.toml", MINIMAL)
        for name in (path, str(path)):
            config = load(name)
            self.assertEqual(config.base, self.folder.resolve())
            self.assertEqual(config.resolve("state"), self.folder.resolve() / "state")

    def test_no_file(self) -> None:
        path = self.folder / "none.toml"
        self.assertEqual(
            self.errors(path), ["none.toml: can not be read: No such file or directory"]
        )

    def test_a_folder(self) -> None:
        self.assertEqual(
            str(self.assertRaises(ConfigErrors, load, self.folder)),
            f"{self.folder}: can not be read: Is a directory",
        )

    def test_not_utf_8(self) -> None:
        path = self.write("main.toml", b"# ok\n# \xff\n")
        self.assertEqual(self.errors(path), ["main.toml:2: not UTF-8: byte 0xff"])

    def test_byte_order_mark_and_crlf(self) -> None:
        path = self.write("main.toml", b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
        self.assertEqual(list(load(path).pools), ["app"])

    def test_problems_are_data(self) -> None:
        path = self.write("main.toml", MINIMAL + "\n[admin]\nlisten = 1\n")
        error = self.assertRaises(ConfigErrors, load, path)
        (problem,) = error.problems
        self.assertEqual((problem.file, problem.line, problem.key), (str(path), 11, "admin.listen"))

    def test_warnings_are_problems_too(self) -> None:
        path = self.write("main.toml", MINIMAL + "[policies.p]\n")
        config, warnings = load_with_warnings(path)
        self.assertEqual(list(config.policies), ["p"])
        self.assertEqual(
            [str(warning) for warning in warnings],
            [f"{path}:9: policies.p: no route uses this policy"],
        )


class Places(SynchronousTestCase):
    def test_only_of_what_there_is_something_to_say(self) -> None:
        """To find the line of each key takes as long as all else together."""
        with mock.patch.object(toml, "locate", wraps=toml.locate) as locate:
            loads(MINIMAL)
            locate.assert_not_called()
            self.assertRaises(ConfigErrors, loads, MINIMAL + "\n[admin]\nlisten = 1\n")
            locate.assert_called_once()


class Syntax(SynchronousTestCase):
    def test_line_and_column(self) -> None:
        self.assertEqual(problems("a = 1\nb = x\n"), [":2: column 5: not TOML: Invalid value"])

    def test_end_of_file(self) -> None:
        self.assertEqual(
            problems("a = [\n1\n"), [":3: not TOML: Unclosed array at the end of the file"]
        )

    def test_a_name_twice(self) -> None:
        self.assertEqual(
            problems("[a]\n[a]\n"),
            [":2: column 3: not TOML: Cannot declare ('a',) twice"],
        )

    def test_too_many_digits(self) -> None:
        (problem,) = problems("a = " + "1" * 5000)
        self.assertIn("not TOML: Exceeds the limit", problem)

    def test_too_deep(self) -> None:
        (problem,) = problems("a = " + "[" * 100_000)
        self.assertEqual(problem, "lists or tables are nested too deeply")


class Includes(Files):
    def test_tables_merge_and_routes_follow(self) -> None:
        config = self.load(
            '"*.part.toml", "last.toml"',
            **{
                "b.part": '[[routes]]\nname = "b"\npool = "api"\n',
                "a.part": (
                    '[pools.api]\nbackends = ["http://a"]\n[server]\nbacklog = 1\n'
                    '[[routes]]\nname = "a"\npool = "app"\n'
                ),
                "last": '[[routes]]\nname = "c"\npool = "app"\n[log]\n[[routes]]\nname = "d"\n'
                "respond = {}",
            },
        )
        self.assertEqual([route.name for route in config.routes], ["all", "a", "b", "c", "d"])
        self.assertEqual(list(config.pools), ["app", "api"])
        self.assertEqual(config.server.backlog, 1)

    def test_problems_are_in_their_own_file(self) -> None:
        self.assertEqual(
            self.wrong(
                '"a.toml", "b.toml"',
                a='[[routes]]\nname = "a"\npool = "app"\n\n[[routes]]\nname = "a2"\npool = 5\n',
                b='[pools.b]\nbackends = ["x"]\n[[routes]]\nname = "b"\npool = "ap"\n',
            ),
            [
                "a.toml:7: routes[2].pool: found 5 (a number), expected a name of 1 to 100 "
                "printable characters without quotes, braces or backslash",
                'b.toml:2: pools.b.backends[0].url: found "x", expected "http://host:port", '
                '"https://host:port" or "unix:/path"',
                'b.toml:5: routes[3].pool: unknown pool "ap"; did you mean "app"?',
            ],
        )

    def test_a_name_twice(self) -> None:
        self.assertEqual(
            self.wrong(
                '"a.toml"',
                a='[pools.app]\nbackends = ["http://a"]\n[listeners.http]\nbind = []\n',
            ),
            [
                "a.toml:1: pools.app: defined twice; first at main.toml:5",
                "a.toml:3: listeners.http: defined twice; first at main.toml:3",
            ],
        )

    def test_a_key_twice(self) -> None:
        for name in ("a", "b"):
            self.write(f"{name}.toml", "[server]\nbacklog = 1\n")
        self.assertEqual(
            self.wrong('"a.toml", "b.toml"'),
            ["b.toml:2: server.backlog: defined twice; first at a.toml:2"],
        )

    def test_what_can_not_merge(self) -> None:
        self.assertEqual(
            self.wrong('"a.toml"', a="pools = 1\nroutes = {}\nversion = 2\n"),
            [
                "a.toml:1: pools: defined twice; first at main.toml:5",
                "a.toml:2: routes: defined twice; first at main.toml:7",
                "a.toml:3: version: defined twice; first at main.toml:2",
            ],
        )

    def test_the_same_version_may_be_repeated(self) -> None:
        self.load('"a.toml"', a="version = 1\n")

    def test_an_include_does_not_include(self) -> None:
        self.assertEqual(
            self.wrong('"a.toml"', a='include = ["b.toml"]'),
            ["a.toml:1: include: only the main file includes others"],
        )

    def test_no_match(self) -> None:
        self.load('"conf.d/*.toml", "x[0-9].toml", "?.toml"')

    def test_no_file(self) -> None:
        # What else is wrong is left out that the missing file might have made right.
        text = f'include = ["*.d",\n"none.toml"]\n{MINIMAL}[[routes]]\nname = "b"\npool = "x"\n'
        self.assertEqual(
            self.errors(self.write("main.toml", text)),
            ['main.toml:2: include[1]: found "none.toml", which is not a file'],
        )

    def test_a_file_that_is_not_toml(self) -> None:
        self.assertEqual(
            self.wrong('"a.toml"', a="[x\n"),
            ["a.toml:1: column 3: not TOML: Expected ']' at the end of a table declaration"],
        )

    def test_a_file_that_can_not_be_read(self) -> None:
        path = self.write("a.toml", b"\xff")
        self.assertEqual(self.wrong('"a.toml"'), ["a.toml:1: not UTF-8: byte 0xff"])
        path.unlink()
        os.symlink("a.toml", path)
        self.assertEqual(
            self.wrong('"a.toml"'),
            ['main.toml:1: include[0]: found "a.toml", which is not a file'],
        )

    def test_each_file_once_and_folders_never(self) -> None:
        self.write("d.toml/x", "")
        config = self.load(
            '"*.toml", "a.toml", "./a.toml"', a='[[routes]]\nname = "a"\npool = "app"\n'
        )
        self.assertEqual(len(config.routes), 2)

    def test_the_main_file_is_not_one_of_its_includes(self) -> None:
        self.load('"*.toml"')

    def test_not_a_list_of_names(self) -> None:
        self.assertEqual(
            self.errors(self.write("main.toml", f'include = "a"\n{MINIMAL}')),
            ['main.toml:1: include: found "a" (a string), expected a list'],
        )
        self.assertEqual(
            self.wrong('"", 5'),
            [
                'main.toml:1: include[0]: found "", expected a path',
                "main.toml:1: include[1]: found 5 (a number), expected a path",
            ],
        )

    def test_of_a_text(self) -> None:
        self.write("a.toml", '[pools.api]\nbackends = ["http://a"]\n')
        config = loads(f'include = ["a.toml"]\n{MINIMAL}', base=self.folder)
        self.assertEqual(config.base, self.folder.resolve())
        self.assertIn(Name("api"), config.pools)

    def test_folders_with_wildcards_in_their_names(self) -> None:
        self.folder = self.folder / "x[1]*"
        self.folder.mkdir()
        self.assertEqual(
            len(self.load('"a*.toml"', a='[[routes]]\nname = "a"\npool = "app"').routes), 2
        )

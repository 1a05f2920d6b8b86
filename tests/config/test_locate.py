"""Every key path that tomllib yields has its line, whatever the text looks like."""

from __future__ import annotations

import random
import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.locate import DEEPEST, locate
from txrproxy.config.problems import KeyPath


def key_paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """All key paths of what tomllib yields."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return {path for path in [path] if path}.union(
        *(key_paths(inner, (*path, name)) for name, inner in items)
    )


KEYS = ["a", "b-1", "_", "0", '"q.d"', '"x # y"', "'[z]'", '"tab\\t\\u00e9"', "'='", '""']
SCALARS = [
    "1",
    "0x1f",
    "true",
    "3.5e-1",
    "1979-05-27 07:32:00",
    "12:00:00",
    '"plain"',
    '"# [not] = a, {comment}"',
    r'"quote \" and backslash \\"',
    "'literal \\'",
    "''",
    '""',
    '"""\nlines # with ] and }\n\n  "two"" quotes \\""" end"""',
    '"""a\\\n   b"""',
    '"""five"""""',
    "'''\n[x]\n''two'' = 1\n'''",
    "'''end'''''",
    '""""""',
    "''''''",
]
BLANKS = ["", " ", "\t", "  "]
COMMENTS = ["", "", " # c", '# "open', "#[h]", "\t# it's = {"]


class Writer:
    """Writes a random TOML text and notes the line of each key as it goes."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.text = ""
        self.expected: dict[KeyPath, int] = {}
        self.taken: set[KeyPath] = set()
        self.names = 0

    def put(self, *parts: str) -> None:
        self.text += "".join(parts)

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def blank(self) -> None:
        self.put(self.rng.choice(BLANKS))

    def end(self) -> None:
        self.put(self.rng.choice(BLANKS), self.rng.choice(COMMENTS))
        self.put(self.rng.choice(["\n", "\r\n", "\n\n", "\n \t\n# x\n"]))

    def key(self) -> tuple[str, str]:
        """A fresh key: as written, and as read. Fresh, so that nothing is defined twice."""
        self.names += 1
        if self.rng.random() < 0.4:
            written = self.rng.choice(KEYS)
            read = next(iter(tomllib.loads(f"{written}=1")))
            if self.rng.random() < 0.5:
                return f"'{read}~{self.names}'", f"{read}~{self.names}"
        return f"k{self.names}", f"k{self.names}"

    def pair(self, base: KeyPath, depth: int) -> None:
        line, path = self.line, base
        for index in range(self.rng.choice([1, 1, 1, 2, 3])):
            if index:
                self.blank()
                self.put(".")
                self.blank()
            written, read = self.key()
            self.put(written)
            path = (*path, read)
            self.expected[path] = line
        self.blank()
        self.put("=")
        self.blank()
        self.value(path, depth)

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.rng.random()
        if depth and kind < 0.25:
            self.array(path, depth - 1)
        elif depth and kind < 0.45:
            self.table(path, depth - 1)
        else:
            self.put(self.rng.choice(SCALARS))

    def gap(self) -> None:
        self.blank()
        if self.rng.random() < 0.4:
            self.end()
        self.blank()

    def array(self, path: KeyPath, depth: int) -> None:
        self.put("[")
        self.gap()
        count = self.rng.randrange(4)
        for index in range(count):
            self.expected[(*path, index)] = self.line
            self.value((*path, index), depth)
            self.gap()
            if index < count - 1 or self.rng.random() < 0.3:
                self.put(",")
                self.gap()
        self.put("]")

    def table(self, path: KeyPath, depth: int) -> None:
        self.put("{")
        self.blank()
        for index in range(self.rng.randrange(3)):
            if index:
                self.put(",")
                self.blank()
            self.pair(path, depth)
            self.blank()
        self.put("}")

    def header(self, parents: list[KeyPath], lengths: dict[KeyPath, int]) -> KeyPath:
        """A header below an earlier one, or at the top; a list at times, or its next element."""
        lists = sorted(lengths, key=str)
        line = self.line
        if lists and self.rng.random() < 0.4:
            path = self.rng.choice(lists)
            lengths[path] += 1
            for other in [p for p in lengths if p[: len(path)] == path and p != path]:
                del lengths[other]
            parents[:] = [p for p in parents if p[: len(path)] != path]
        else:
            above = self.rng.choice(parents)
            path = (*above, *(self.key()[1] for _ in range(self.rng.choice([1, 1, 2]))))
            for length in range(len(above) + 1, len(path)):
                self.expected.setdefault(path[:length], line)
            if self.rng.random() < 0.5:
                self.write_header(path, double=False)
                self.expected[path] = line
                parents.append(path)
                return path
            lengths[path] = 1
        self.expected.setdefault(path, line)
        self.write_header(path, double=True)
        element = (*path, lengths[path] - 1)
        self.expected[element] = line
        parents.append(element)
        return element

    def write_header(self, path: KeyPath, *, double: bool) -> None:
        words = [f'"{w}"' if self.rng.random() < 0.3 else w for w in path if isinstance(w, str)]
        words = [w if w[0] == '"' or w.isalnum() else _quoted(w) for w in words]
        spaced = [self.rng.choice(BLANKS) + w + self.rng.choice(BLANKS) for w in words]
        self.put("[[" if double else "[", ".".join(spaced), "]]" if double else "]")

    def document(self) -> str:
        parents: list[KeyPath] = [()]
        lengths: dict[KeyPath, int] = {}
        base: KeyPath = ()
        for _ in range(self.rng.randrange(8)):
            for _ in range(self.rng.randrange(3)):
                self.blank()
                self.pair(base, 3)
                self.end()
            self.blank()
            base = self.header(parents, lengths)
            self.end()
        return self.text


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


class Generated(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.randoms(use_true_random=False))
    def test_lines(self, rng: random.Random) -> None:
        writer = Writer(rng)
        text = writer.document()
        tree = tomllib.loads(text)
        found = locate(text)
        self.assertEqual(key_paths(tree), set(found), text)
        self.assertEqual(writer.expected, found, text)


class Cases(SynchronousTestCase):
    def check(self, text: str, expected: dict[str, int]) -> None:
        found = locate(text)
        self.assertEqual(key_paths(tomllib.loads(text)), set(found))
        self.assertEqual(expected, {".".join(map(str, path)): line for path, line in found.items()})

    def test_empty(self) -> None:
        self.check("", {})
        self.check("# only\n\n", {})

    def test_no_newline_at_the_end(self) -> None:
        self.check("\n\na = 1", {"a": 3})
        self.check("a = 1 # x", {"a": 1})

    def test_table_is_where_its_header_is(self) -> None:
        self.check("[a.b]\nx = 1\n[a]\ny = 2\n", {"a": 3, "a.b": 1, "a.b.x": 2, "a.y": 4})

    def test_dotted_key_is_where_it_is_first_mentioned(self) -> None:
        self.check("a.b = 1\na.c = 2\n", {"a": 1, "a.b": 1, "a.c": 2})

    def test_headers_pass_through_the_last_element(self) -> None:
        self.check(
            "[[r]]\nn = 1\n[[r]]\nn = 2\n[r.m]\nx = 1\n[[r.l]]\n[[r.l]]\ny = 1\n",
            {
                "r": 1,
                "r.0": 1,
                "r.0.n": 2,
                "r.1": 3,
                "r.1.n": 4,
                "r.1.m": 5,
                "r.1.m.x": 6,
                "r.1.l": 7,
                "r.1.l.0": 7,
                "r.1.l.1": 8,
                "r.1.l.1.y": 9,
            },
        )

    def test_multi_line_list(self) -> None:
        self.check(
            'a = [ # "\n  "x", # ]\n\n  { b = [\n1,2] },\n] # end\nc = 1\n',
            {"a": 1, "a.0": 2, "a.1": 4, "a.1.b": 4, "a.1.b.0": 5, "a.1.b.1": 5, "c": 7},
        )

    def test_strings_hide_what_looks_like_syntax(self) -> None:
        self.check(
            'a = """\n[x]\nb = 1 # \\"""\n"""\nc = \'\'\'\n]\'\'\'\nd = \'"\' # \'\ne = 2\n',
            {"a": 1, "c": 5, "d": 7, "e": 8},
        )

    def test_crlf(self) -> None:
        self.check("a = 1\r\n[b]\r\nc = [\r\n1]\r\n", {"a": 1, "b": 2, "b.c": 3, "b.c.0": 4})

    def test_quoted_keys(self) -> None:
        self.check(
            '"a.b".\'c d\' = 1\n[ "x\\u0041" . y ]\n',
            {"a.b": 1, "a.b.c d": 1, "xA": 2, "xA.y": 2},
        )

    def test_deep_paths_are_left_out(self) -> None:
        text = ".".join(["a"] * 2000) + " = 1\n"
        self.assertEqual(len(locate(text)), DEEPEST)

    def test_deep_nesting_is_as_in_tomllib(self) -> None:
        text = "a = " + "[" * 100_000
        self.assertRaises(RecursionError, locate, text)

    def test_long_strings_take_linear_time(self) -> None:
        text = 'a = """' + '""x\\"' * 200_000 + '"""\nb = 1\n'
        self.assertEqual(locate(text), {("a",): 1, ("b",): 2})

    def test_text_that_is_not_toml(self) -> None:
        self.assertRaises(ValueError, locate, "a = 'x\n")

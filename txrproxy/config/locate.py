"""Finds the line of every key in a TOML text.

``tomllib`` forgets where values stood. This scanner walks the same text once more and yields only
places. It runs on text that ``tomllib`` has accepted, so it needs to tell tokens apart, never to
judge them; all it must get right is where a string, a comment, a list or a table ends.

The model: a statement is a header (``[a.b]``, ``[[a.b]]``) or ``key = value``. A header sets the
path that later keys are below; ``[[...]]`` adds one to a list, and later headers that pass through
this list mean its last element.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from txrproxy.config.problems import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*+")
_SPACE = re.compile(r"[ \t]*+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
# A run of quotes shorter than three is content of a multi-line string; one of up to five ends it.
_STRING = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'"
)
_SCALAR = re.compile(r"[^,\]}#\r\n]++")

DEEPEST = 16
"""Paths with more parts are left out: no key is that deep, and their sum would be quadratic."""


def locate(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every key path and list element of a valid TOML text.

    A table is where its header is, else where it is first mentioned. The text is what
    ``tomllib.loads`` accepted; on other text the result, or the exception, means nothing. Deep
    nesting raises RecursionError, as it does in ``tomllib``.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._starts = [match.end() for match in re.finditer("\n", text)]
        self._lengths: dict[KeyPath, int] = {}  # of lists made by [[headers]]

    def document(self) -> None:
        base: KeyPath = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text[self.at] == "[":
                base = self._header()
            else:
                self._pair(base)

    def _header(self) -> KeyPath:
        line = self._line()
        is_list = self.text.startswith("[[", self.at)
        self.at += 2 if is_list else 1
        keys = self._keys()
        self.at += 2 if is_list else 1
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self._enter((*path, key), line)
        path = (*path, keys[-1])
        if not is_list:
            self._note(path, line)
            return path
        self._mention(path, line)
        index = self._lengths.get(path, 0)
        self._lengths[path] = index + 1
        self._note((*path, index), line)
        return (*path, index)

    def _enter(self, path: KeyPath, line: int) -> KeyPath:
        self._mention(path, line)
        length = self._lengths.get(path)
        return (*path, length - 1) if length else path

    def _pair(self, base: KeyPath) -> None:
        line = self._line()
        path = base
        for key in self._keys():
            path = (*path, key)
            self._mention(path, line)
        self.at += 1  # the equals sign
        self._value(path)

    def _keys(self) -> list[str]:
        """A dotted key, and the space around it."""
        keys = []
        while True:
            self._skip(_SPACE)
            keys.append(self._key())
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _key(self) -> str:
        if self.text[self.at] in "\"'":
            written = self._take(_STRING)
            return str(tomllib.loads(f"key = {written}")["key"])
        return self._take(_BARE)

    def _value(self, path: KeyPath) -> None:
        self._skip(_SPACE)
        first = self.text[self.at]
        if first in "\"'":
            self._take(_STRING)
        elif first == "[":
            self._list(path)
        elif first == "{":
            self._table(path)
        else:
            self._take(_SCALAR)

    def _list(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self._next("]"):
            self._note((*path, index), self._line())
            self._value((*path, index))
            index += 1

    def _table(self, path: KeyPath) -> None:
        self.at += 1
        while self._next("}"):
            self._pair(path)

    def _next(self, end: str) -> bool:
        """Moves to the next item, past a comma; False past ``end``."""
        self._skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_BLANK)
        if self.text[self.at] != end:
            return True
        self.at += 1
        return False

    def _take(self, token: re.Pattern[str]) -> str:
        match = token.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not TOML at offset {self.at}")
        self.at = match.end()
        return match[0]

    def _skip(self, blank: re.Pattern[str]) -> int:
        self._take(blank)  # which may be empty, so it is always there
        return self.at

    def _note(self, path: KeyPath, line: int) -> None:
        if len(path) <= DEEPEST:
            self.lines[path] = line

    def _mention(self, path: KeyPath, line: int) -> None:
        if path not in self.lines:
            self._note(path, line)

    def _line(self) -> int:
        return bisect_right(self._starts, self.at) + 1

"""Reads a configuration from TOML files, or says all that is wrong with them.

The way of a file: text, tables (``tomllib``), one tree of the main file and its includes, the
schema's classes (``structure``), then what only the whole can tell (``check``, ``available``).
Every value of the tree remembers the file and line it came from.

All problems are reported at once. So when parts do not fit, they are taken out or replaced by a
stand-in, the rest is checked as if nothing were wrong, and findings that concern the parts that
were taken out are dropped: they would be echoes.
"""

from __future__ import annotations

import glob
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
from attrs import define

from txrproxy.config.available import refusals
from txrproxy.config.certificates import file_errors, file_warnings
from txrproxy.config.check import errors, warnings
from txrproxy.config.locate import locate
from txrproxy.config.logfiles import log_errors
from txrproxy.config.mend import mended, without_echoes
from txrproxy.config.permissions import open_to_all, permission_errors, permission_warnings
from txrproxy.config.problems import ConfigErrors, Finding, KeyPath, Problem, quote, spell
from txrproxy.config.schema import Config
from txrproxy.config.secrets import secret_errors, secret_warnings
from txrproxy.config.structure import structure
from txrproxy.config.waf import conflicts, rule_errors

Place = tuple[str, int]  # file, line; line 0 is the file as a whole
Further = Callable[[Config], Iterable[Finding]]

_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_WILDCARD = re.compile(r"[*?\[]")
_LISTS = frozenset({"routes", "tests"})  # the tables that are appended to, not merged


def load(path: str | Path, *, available: bool = True, files: bool = False) -> Config:
    """The configuration in a file and what it includes.

    ``available=False`` lets features pass that this version does not have yet. ``files=True`` also
    looks at the certificates, users, keys and logs that it names. Raises
    :class:`~txrproxy.config.problems.ConfigErrors` with every problem there is.
    """
    return load_with_warnings(path, available=available, files=files)[0]


def load_with_warnings(
    path: str | Path,
    *,
    available: bool = True,
    files: bool = False,
    further: Further | None = None,
) -> tuple[Config, tuple[Problem, ...]]:
    """As :func:`load`, and what is valid but likely a mistake.

    ``further`` looks at a configuration without errors, and what it finds are errors too.
    """
    reader, file = _Reader(), Path(path)
    if main := reader.read(file, str(path)):
        reader.merge(main, main)
        reader.include(file.parent, file)
    return reader.config(file.parent, available, files, further)


def unchecked(path: str | Path) -> Tree:
    """What a file says, and what it includes, as far as they can be read.

    Raises :class:`~txrproxy.config.problems.ConfigErrors` if the file itself can not be read.
    """
    reader, file = _Reader(), Path(path)
    main = reader.read(file, str(path))
    if main is None:
        raise ConfigErrors(reader.problems)
    reader.merge(main, main)
    reader.include(file.parent, file)
    return reader.tree


def loads(
    text: str, name: str = "<string>", *, base: str | Path = ".", available: bool = True
) -> Config:
    """As :func:`load`, of a text. Paths and includes are relative to the folder ``base``."""
    return loads_with_warnings(text, name, base=base, available=available)[0]


def loads_with_warnings(
    text: str, name: str = "<string>", *, base: str | Path = ".", available: bool = True
) -> tuple[Config, tuple[Problem, ...]]:
    """As :func:`load_with_warnings`, of a text."""
    reader = _Reader()
    if main := reader.parse(text, name):
        reader.merge(main, main)
        reader.include(Path(base), None)
    return reader.config(Path(base), available)


Tree = dict[str, Any]


@define
class _File:
    """One file, read: its tree, and the line of each key, for who has something to say of one."""

    name: str
    tree: Tree
    text: str
    offsets: dict[str | int, int] = attrs.Factory(dict)  # of lists, in the tree of all files

    @cached_property
    def lines(self) -> dict[KeyPath, int]:
        return locate(self.text)

    def line(self, path: KeyPath) -> int:
        return self.lines.get(path, 0)


@define
class _Reader:
    tree: Tree = attrs.Factory(dict)  # of all files
    located: dict[KeyPath, Place] = attrs.Factory(dict)
    unlocated: list[_File] = attrs.Factory(list)  # files that are not in there yet
    problems: list[Problem] = attrs.Factory(list)
    files: dict[str, int] = attrs.Factory(dict)  # names in the order of reading
    incomplete: bool = False  # a file could not be read
    open_to_all: list[Problem] = attrs.Factory(list)  # files that everybody can write

    def read(self, path: Path, name: str) -> _File | None:
        if why := open_to_all(path):
            self.open_to_all.append(Problem(name, 0, "", why))
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            self._problem(name, 0, f"can not be read: {error.strerror or error}")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            self._problem(name, line, f"not UTF-8: byte 0x{error.object[error.start]:02x}")
        else:
            return self.parse(text, name)
        return None

    def parse(self, text: str, name: str) -> _File | None:
        self.files.setdefault(name, len(self.files))
        try:
            return _File(name, tomllib.loads(text), text)
        except tomllib.TOMLDecodeError as error:
            where = _WHERE.search(str(error))
            message = str(error)[: where.start()] if where else str(error)
            if where and where[1]:
                self._problem(name, int(where[1]), f"column {where[2]}: not TOML: {message}")
            else:
                line = text.count("\n") + 1
                self._problem(name, line, f"not TOML: {message} at the end of the file")
        except ValueError as error:  # an integer of thousands of digits
            self._problem(name, 0, f"not TOML: {error}")
        except RecursionError:
            self._problem(name, 0, "lists or tables are nested too deeply")
        return None

    def include(self, folder: Path, main: Path | None) -> None:
        """Adds the files that the main file's ``include`` names, each once."""
        patterns = self.tree.get("include")
        if not isinstance(patterns, list):
            return  # structure() has a word on it
        read = {os.path.realpath(main)} if main else set()
        for index, pattern in enumerate(patterns):
            if not isinstance(pattern, str) or not pattern or "\0" in pattern:
                continue
            is_glob = _WILDCARD.search(pattern) is not None
            for path in self._included(folder, pattern, is_glob):
                identity = os.path.realpath(path)
                if identity in read:
                    continue
                read.add(identity)
                if not is_glob and not path.is_file():
                    self._at(("include", index), f"found {quote(pattern)}, which is not a file")
                    self.incomplete = True
                elif part := self.read(path, str(path)):
                    self.merge(part)

    @staticmethod
    def _included(folder: Path, pattern: str, is_glob: bool) -> list[Path]:
        if not is_glob:
            return [folder / pattern]
        names = glob.glob(str(Path(glob.escape(str(folder))) / pattern), recursive=True)
        return [path for path in map(Path, sorted(names)) if path.is_file()]

    def merge(self, part: _File, main: _File | None = None) -> None:
        """Adds a file to the tree: tables merge by name, routes and tests are appended."""
        for key, value in part.tree.items():
            mine = self.tree.get(key)
            if key == "include" and part is not main:
                self._again(part, (key,), "only the main file includes others")
            elif key not in self.tree:
                self.tree[key] = value
            elif key == "version" and value == mine:
                pass
            elif key in _LISTS and isinstance(mine, list) and isinstance(value, list):
                part.offsets[key] = len(mine)
                mine.extend(value)
            elif isinstance(mine, dict) and isinstance(value, dict):
                for name, inner in value.items():
                    if name in mine:
                        self._twice(part, (key, name))
                    else:
                        mine[name] = inner
            else:
                self._twice(part, (key,))
        self.unlocated.append(part)

    @property
    def places(self) -> dict[KeyPath, Place]:
        """Where each key is. Nobody asks as long as there is nothing to say of any."""
        for part in self.unlocated:
            for path, line in part.lines.items():
                shifted = _shifted(path, part.offsets.get(path[0], 0))
                self.located.setdefault(shifted, (part.name, line))
        self.unlocated.clear()
        return self.located

    def _twice(self, part: _File, path: KeyPath) -> None:
        self._again(part, path, "defined twice; first at {}:{}".format(*self.place(path)))

    def _again(self, part: _File, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(part.name, part.line(path), spell(path), message))

    def place(self, path: KeyPath) -> Place:
        """Where a key is; of one that is not written, where the table around it is."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path[:-1]
        return (next(iter(self.files), ""), 0)

    def config(
        self,
        base: Path,
        available: bool,
        files: bool = False,
        further: Further | None = None,
    ) -> tuple[Config, tuple[Problem, ...]]:
        """Structures and checks the tree, or raises all problems."""
        if files:
            self.problems += self.open_to_all
        if self.problems and not self.tree:
            raise ConfigErrors(self.problems)
        odd: list[Finding] = []
        config, unfit = structure(self.tree)
        self.problems += map(self._locate, unfit)
        if config is None:
            config = mended(self.tree, unfit)
        # A file that could not be read may define what others refer to.
        if config is not None and not self.incomplete:
            config = attrs.evolve(config, base=Path(os.path.realpath(base)))
            more = [
                *errors(config),
                *conflicts(config),
                *(refusals(config) if available else ()),
                *(
                    (
                        *permission_errors(config),
                        *file_errors(config),
                        *secret_errors(config),
                        *rule_errors(config),
                        *log_errors(config),
                    )
                    if files
                    else ()
                ),
            ]
            self.problems += map(self._locate, without_echoes(more, unfit))
            odd += warnings(config)
            if files:
                odd += [
                    *file_warnings(config, time.time()),
                    *secret_warnings(config),
                    *permission_warnings(config),
                ]
        doubtful = tuple(self._sorted(map(self._locate, without_echoes(odd, unfit))))
        if self.problems or config is None:
            raise ConfigErrors(self._sorted(self.problems), doubtful)
        if further is not None and (found := [*further(config)]):
            raise ConfigErrors(self._sorted(map(self._locate, found)), doubtful)
        return config, doubtful

    def _locate(self, finding: Finding) -> Problem:
        path, message = finding.path, finding.message
        file, line = self.place(path)
        # One value where a list was possible has no index of its own.
        while path and isinstance(path[-1], int) and path not in self.places:
            path = path[:-1]
        if finding.first:
            message += "; first at {}:{}".format(*self.place(finding.first))
        return Problem(file, line, spell(path), message)

    def _problem(self, file: str, line: int, message: str) -> None:
        self.incomplete = True
        self.problems.append(Problem(file, line, "", message))

    def _at(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(*self.place(path), spell(path), message))

    def _sorted(self, problems: Iterable[Problem]) -> list[Problem]:
        return sorted(problems, key=lambda p: (self.files.get(p.file, len(self.files)), p.line))


def _shifted(path: KeyPath, offset: int) -> KeyPath:
    if len(path) > 1 and isinstance(path[1], int):
        return (path[0], path[1] + offset, *path[2:])
    return path

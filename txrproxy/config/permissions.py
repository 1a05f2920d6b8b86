"""Files that everybody may write: who can change one of them decides what the proxy does.

That goes for the configuration and for every file that it names to be read: keys, passwords,
authorities, rules, databases. A configuration with such a file is refused, by ``txrproxy check``
and before anything is started or reloaded. What the proxy itself writes (logs, its state, its
caches) is none of them, but for the folder of its state, where the control socket is.

A new key of the schema that is a path is held against this rule unless :data:`_WRITTEN` has it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import attrs

from txrproxy.config.problems import Finding, KeyPath
from txrproxy.config.schema import AccessLog, Cache, Config, ErrorLog, Server, WafAudit
from txrproxy.config.values import FilePath, OptionalPath, Secret

_PATHS = (FilePath, OptionalPath, FilePath | None)
_WORDS = frozenset({"", "-", "auto", "system", "crs"})  # that stand where a path may be
_WRITTEN = frozenset(
    {
        (AccessLog, "path"),
        (ErrorLog, "path"),
        (WafAudit, "path"),
        (Cache, "path"),
        (Server, "state_dir"),
        (Config, "include"),  # what it has led to is known by its name
    }
)


def open_to_all(path: Path) -> str:
    """Why a file or folder is not to be trusted; empty if it is, or is not there."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""  # whoever reads it has a word on that
    if not mode & stat.S_IWOTH or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return ""
    return f"{path} has mode {stat.S_IMODE(mode):04o}, so everybody can write it; chmod o-w it"


def permission_errors(config: Config) -> Iterator[Finding]:
    """Files that a configuration names and must not trust."""
    for path, name in _read(config):
        if why := open_to_all(config.resolve(name)):
            yield Finding(path, why)
    if why := open_to_all(config.resolve(config.server.state_dir)):
        yield Finding(("server", "state_dir"), why)


def permission_warnings(config: Config) -> Iterator[Finding]:
    """Folders where everybody can put another file in the place of one that is trusted."""
    seen = {config.base}
    if why := open_to_all(config.base):
        yield Finding((), why)
    for path, name in _read(config):
        folder = config.resolve(name).parent
        if folder not in seen:
            seen.add(folder)
            if why := open_to_all(folder):
                yield Finding(path, why)


_MANY, _ONE, _RULES, _INSIDE = range(4)


@cache
def _keys(table: Any) -> tuple[tuple[str, int], ...]:
    """The keys of a table that may lead to files, and how."""
    found = []
    for field in attrs.fields(attrs.resolve_types(table)):
        if "hidden" in field.metadata or (table, field.name) in _WRITTEN:
            continue
        if field.type == tuple[FilePath, ...]:
            how = _MANY
        elif field.type in _PATHS:
            how = _ONE
        elif field.name == "rules":  # of a firewall: its own word, or files
            how = _RULES
        elif _leads(field.type):
            how = _INSIDE
        else:
            continue  # as most keys of a route: there may be thousands
        found.append((field.name, how))
    return tuple(found)


def _leads(kind: Any) -> bool:
    """Whether a value of a type may lead to files."""
    if attrs.has(kind):
        return kind is Secret or bool(_keys(kind))
    return any(map(_leads, get_args(kind)))


def _read(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """The files that a table names to be read, each with its key."""
    for key, how in _keys(value.__class__):
        item = getattr(value, key)
        if how == _INSIDE:
            yield from _inside(item, (*path, key))
        elif how == _ONE:
            if item is not None and item not in _WORDS:
                yield (*path, key), item
        else:
            for index, name in enumerate(item):
                if how == _MANY or name not in _WORDS:
                    yield (*path, key, index), name


def _inside(item: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(item, Secret):
        if item.kind == "file":
            yield path, item.name
    elif isinstance(item, dict | tuple):
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, one in pairs:
            yield from _inside(one, (*path, key))
    elif type(item).__module__ == Config.__module__:
        yield from _read(item, path)

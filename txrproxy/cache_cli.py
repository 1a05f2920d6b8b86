"""``txrproxy cache ls | show | purge | stats``: a cache's folder, in a person's words.

It works while the proxy runs, and when none does; see ``cache/control.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from txrproxy.cache.control import MAX_LISTED, NoOwner, Silent, ask
from txrproxy.commands.progress import progress
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load

_NOT_ANSWERED = 3
_BYTES = {"size", "reserved", "max_size", "evicted_bytes", "memory_size", "memory_limit"}


def add_commands(commands: Any) -> None:
    """Add ``cache`` to the commands of ``argparse``; each sets ``run`` as the others do."""
    cache = commands.add_parser(
        "cache",
        help="look into a response cache, or take something out of it",
        description="Works on the cache of a configuration, or on a folder. A proxy that runs is "
        "asked, and a purge is in force in all its processes when the command ends; otherwise the "
        "files are read.",
    )
    verbs = cache.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, run: Callable[[Any], int], about: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=about)
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("-c", "--config", metavar="FILE", help="the TOML file")
        where.add_argument("--folder", metavar="PATH", help="the folder of a cache")
        parser.add_argument("--store", metavar="NAME", help="which cache, if there are several")
        parser.add_argument("--json", action="store_true", help="for programs to read")
        parser.set_defaults(run=lambda options: _guarded(run, options))
        return parser

    ls = verb("ls", _ls, "list what is stored, by URL")
    ls.add_argument("prefix", nargs="?", default="", help="only URLs that begin so")
    ls.add_argument("--limit", type=_count, default=1000, help="at most so many (1000)")
    verb("show", _show, "everything stored for a URL").add_argument("url")
    purge = verb("purge", _purge, "take responses out, or mark them as stale")
    what = purge.add_mutually_exclusive_group(required=True)
    what.add_argument("--url", help="the one with this URL")
    what.add_argument("--prefix", help="all whose URL begins so")
    what.add_argument("--tag", help="all with this tag")
    what.add_argument("--all", action="store_true", help="everything")
    purge.add_argument("--soft", action="store_true", help="keep them, but ask the origin first")
    purge.add_argument("--dry-run", action="store_true", help="only say how much that is")
    verb("stats", _stats, "figures")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LISTED:
        raise argparse.ArgumentTypeError(f"{text!r} is none of 1 to {MAX_LISTED}")
    return int(text)


def _guarded(run: Callable[[Any], int], options: Any) -> int:
    try:
        return run(options)
    except (ConfigErrors, NoOwner, OSError, ValueError) as error:
        if options.json:
            print(json.dumps({"ok": False, "error": str(error)}))
        print(error, file=sys.stderr)
        return _NOT_ANSWERED if isinstance(error, Silent) else 1


def _folder(options: Any) -> str:
    if options.folder is not None:
        return str(options.folder)
    config = load(options.config, available=False)
    names = ", ".join(map(str, config.caches)) or "none"
    if options.store is None:
        if len(config.caches) != 1:
            raise ValueError(f"say which cache, with --store; there are: {names}")
        (cache,) = config.caches.values()
    else:
        found = [cache for name, cache in config.caches.items() if str(name) == options.store]
        if not found:
            raise ValueError(f"no cache named {options.store}; there are: {names}")
        (cache,) = found
    return str(config.resolve(cache.path))


def _text(value: str) -> str:
    """What a person typed, as it is on the wire."""
    return value.encode("utf-8").decode("latin-1")


def _ask(options: Any, lines: Callable[[Any], Iterable[str]], **question: Any) -> int:
    folder = _folder(options)
    with progress("asking the cache", quiet=options.json):
        result = ask(folder, question)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for line in lines(result):
            print(_printable(line))
    return 0


def _printable(line: str) -> str:
    """A line for a terminal: what came from an origin is not to command it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)


def _ls(options: Any) -> int:
    def lines(found: Any) -> Iterable[str]:
        if len(found) > options.limit:
            print(f"the first {options.limit}: say more with --limit", file=sys.stderr)
        for item in found[: options.limit]:
            about = f"{item['status']} {item['size']:>12} {_when(item['responded'])}"
            yield f"{about} {item['url']}{' stale' if item['invalidated'] else ''}"

    limit = options.limit + (not options.json)  # one more tells that there are more
    return _ask(options, lines, ask="ls", prefix=_text(options.prefix), limit=limit)


def _show(options: Any) -> int:
    def lines(found: Any) -> Iterable[str]:
        if not found:
            yield "nothing is stored for it"
        for item in found:
            yield f"{item['url']}, {item['length']} bytes, {_when(item['responded'])}"
            if item["invalidated"]:
                yield "  marked as stale by a purge"
            for name in ("vary", "tags"):
                if item[name]:
                    yield f"  {name}: {', '.join(item[name])}"
            for line in item["head"].split("\r\n"):
                if line:
                    yield f"    {line}"

    return _ask(options, lines, ask="show", url=_text(options.url))


def _purge(options: Any) -> int:
    kind = next(k for k in ("url", "prefix", "tag", "all") if getattr(options, k))
    value = "" if kind == "all" else _text(getattr(options, kind))
    how = "marked as stale" if options.soft else "removed"

    def lines(result: Any) -> Iterable[str]:
        responses, were = ("response", "was") if result["count"] == 1 else ("responses", "were")
        did = "would be" if options.dry_run else were
        yield f"{result['count']} {responses} {did} {how}, {_size(result['size'])}"

    what = "preview" if options.dry_run else "purge"
    return _ask(options, lines, ask=what, kind=kind, value=value, soft=options.soft)


def _stats(options: Any) -> int:
    def lines(figures: Any) -> Iterable[str]:
        for name, value in figures.items():
            yield f"{name:16}{_figure(name, value)}"

    return _ask(options, lines, ask="stats")


def _figure(name: str, value: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _size(value) if name in _BYTES else str(value)


def _size(count: int) -> str:
    """``24.3 MiB``; of what is less than 1 KiB, bytes."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

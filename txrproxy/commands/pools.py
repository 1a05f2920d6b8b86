"""``txrproxy pools``: how the backends of a proxy that runs are, and what people want of them."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from txrproxy import control
from txrproxy.commands.asking import asks, show
from txrproxy.table import columns, width
from txrproxy.transport.channel import Refused

_STATES = {
    "up": "give a backend requests again",
    "drain": "give a backend no more requests; those that run finish",
    "down": "the same, and ask it no more whether it is well",
}


def add_commands(commands: Any) -> None:
    """Add ``pools`` to the commands of ``argparse``."""
    pools = commands.add_parser(
        "pools",
        help="list the backends of the proxy that runs, or take one out",
        description="What is set lasts until the backend leaves the configuration, or a restart.",
    )
    verbs = pools.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, about: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=about)
        return parser

    ls = verb("ls", "list pools, backends and their states")
    ls.add_argument("pool", nargs="?", metavar="POOL", help="this one alone")
    asks(ls, _ls)
    for state, about in _STATES.items():
        parser = verb(state, about)
        _backend(parser)
        asks(parser, partial(_set, state))
    weight = verb("weight", "give a backend another share; 0 takes it out")
    _backend(weight)
    weight.add_argument("weight", type=_weight, metavar="N", help="0 to 65535")
    asks(weight, partial(_set, None))


def _backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", metavar="POOL")
    parser.add_argument("backend", metavar="BACKEND", help="as `txrproxy pools ls` names it")


def _weight(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError("a whole number from 0 to 65535")
    return int(text)


def _ls(options: Namespace, folder: str) -> int:
    pools = control.call(folder, "pools", options.timeout)["pools"]
    if options.pool is not None:
        known = [pool["name"] for pool in pools]
        pools = [pool for pool in pools if pool["name"] == options.pool]
        if not pools:
            raise Refused(f"no pool named {options.pool}; there are: {', '.join(known)}")
    if options.json:
        show({"pools": pools})
    else:
        print("\n".join(columns(_rows(pools), width())))
    return 0


def _rows(pools: list[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield "pool", "backend", "state", "weight", "active", "idle", "waiting", "health"
    for pool in pools:
        name = pool["name"]
        if pool["panic"]:
            yield name, *[""] * 6, "too few are well: health is ignored"
            name = ""
        for row in pool["backends"]:
            numbers = [str(row[key]) for key in ("weight", "active", "idle", "waiting")]
            yield name, row["id"], row["state"], *numbers, _health(row)
            name = ""


def _health(row: Mapping[str, Any]) -> str:
    if row["ejected"]:
        return f"ejected for {row['ejected_for']:.0f} s"
    check = row.get("check")
    said = f": {check['text']}" if check and check.get("text") else ""
    if row["healthy"] is None:
        return f"not checked yet{said}"
    return "well" if row["healthy"] else f"unhealthy{said}"


def _set(state: str | None, options: Namespace, folder: str) -> int:
    weight = None if state is not None else options.weight
    body = {"pool": options.pool, "backend": options.backend, "state": state, "weight": weight}
    done = control.call(folder, "backend", options.timeout, body)
    if options.json:
        show({"ok": True, **done})
    else:
        what = state if state is not None else f"weight {weight}"
        print(f"{options.pool} {options.backend}: {what}")
    return 0

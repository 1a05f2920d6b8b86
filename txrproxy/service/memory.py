"""A configuration in memory that processes share: read and checked by one, built by all.

It is in pieces, which are read one after the other: thousands of routes in one would take longer
than a process that serves may stop.
"""

from __future__ import annotations

import mmap
import pickle
from collections.abc import Iterable
from itertools import islice
from typing import Any, BinaryIO

import attrs

from txrproxy.config.schema import Config
from txrproxy.config.steps import Steps

_PIECE = 8  # routes, pools or tests
_LONG = {"pools": dict, "routes": tuple, "tests": tuple}  # what a configuration may have many of


def write(config: Config, file: BinaryIO) -> None:
    """Write a configuration to where it is read from by :func:`read`."""
    _dump(attrs.evolve(config, pools={}, routes=(), tests=()), file)
    _dump_all(config.pools.items(), file)
    _dump_all(config.routes, file)
    _dump_all(config.tests, file)


def _dump(value: object, file: BinaryIO) -> None:
    pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)


def _dump_all(values: Iterable[object], file: BinaryIO) -> None:
    left = iter(values)
    while piece := tuple(islice(left, _PIECE)):
        _dump(piece, file)
    _dump((), file)


def unpacked(fd: int, start: int = 0) -> Steps[Config]:
    """The configuration in a descriptor, from that byte on; a step for each piece.

    What it holds is believed, so it must be from a process of ours. The descriptor may be closed,
    and others may read from it at the same time.
    """
    file = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    file.seek(start)
    return _pieces(file)


def _pieces(file: mmap.mmap) -> Steps[Config]:
    config: Config = _load(file)
    found: dict[str, list[Any]] = {}
    for key in _LONG:
        found[key] = []
        while piece := _load(file):
            found[key] += piece
            yield
    return attrs.evolve(config, **{key: make(found[key]) for key, make in _LONG.items()})


def _load(file: mmap.mmap) -> Any:
    return pickle.load(file)

"""The walk over a folder that makes an index agree with the files: after a crash, or without one.

First the files without rows are counted, folder by folder, from their sizes alone: soon it is known
how much there is, and responses can be stored within the bound. Then their heads are read and they
get rows, in the order of their age for eviction and all of them before what is stored meanwhile.

All of it happens in the owner's thread, in steps between which that does what it is asked. What is
stored, evicted or purged between two steps only makes the count too high, until the second pass has
come by.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Protocol

from twisted.logger import Logger

from txrproxy.cache.disk import FOLDERS, Folder
from txrproxy.cache.entry import Corrupt, Entry, primary_name, variant_name
from txrproxy.cache.heads import read_head
from txrproxy.cache.index import Index, Record, cost, record_of

_logger = Logger()

BATCH = 64  # files between two breaths
_PROGRESS = 10.0  # seconds between two lines in the log


class Owned(Protocol):
    """The owner, as it is walked for."""

    folder: Folder
    name: str
    size: int

    def record(self, index: Index, record: Record, turn: int | None = None) -> None:
        """Make a row, or replace it, and count it."""

    def remove(self, index: Index, name: str) -> None:
        """Remove a file and its row."""

    def damaged(self) -> None:
        """Count a file that is not what it should be."""

    def fit(self, index: Index) -> None:
        """Evict what is beyond the bound."""


class Walk:
    """``counted``: all that has no row yet is part of the owner's size. ``over``: all has rows.

    ``failed``: it ended before that.
    """

    def __init__(self, owner: Owned, index: Index) -> None:
        self.counted = index.complete
        self.over = False
        self.failed = False
        self._owner = owner
        self._index = index
        self._without = dict.fromkeys(FOLDERS, 0)  # bytes of files that have no rows, by folder
        self._steps = self._walk()
        self._stepping = False

    def step(self) -> bool:
        """Go on; False when there is nothing to go on with, as within a step."""
        if self.over or self.failed or self._stepping:
            return False
        self._stepping = True
        try:
            next(self._steps)
        except StopIteration:
            self.over = True
        except OSError as error:
            # Not to be tried for ever; what is counted holds, and the next start begins anew.
            self.failed = True
            _logger.error(
                "{name}: the files could not all be listed: {error}",
                name=self._owner.name,
                error=error,
            )
        except BaseException:
            self.failed = True
            raise
        finally:
            self._stepping = False
        return not (self.over or self.failed)

    def _walk(self) -> Iterator[None]:
        owner, index = self._owner, self._index
        known = index.complete
        _logger.info(
            "{name}: {what} in the background",
            name=owner.name,
            what="comparing the index with the files" if known else "making the index anew",
        )
        started = time.monotonic()
        if not known:
            index.make_anew()
            yield from self._count()
        count = yield from self._compare(started)
        index.set_complete()
        owner.fit(index)
        _logger.info(
            "{name}: index complete after {seconds:.1f} s: {count} files, {size} bytes",
            name=owner.name,
            seconds=time.monotonic() - started,
            count=count,
            size=owner.size,
        )

    def _count(self) -> Iterator[None]:
        for folder in FOLDERS:
            rows = self._index.names(folder)
            for name, state in self._owner.folder.scan(folder):
                if rows.get(name) != state.st_size:
                    self._without[folder] += cost(state.st_size)
            self._owner.size += self._without[folder]
            yield
        self.counted = True
        _logger.info(
            "{name}: {size} bytes are there; responses are stored within the bound from now on",
            name=self._owner.name,
            size=self._owner.size,
        )

    def _compare(self, said: float) -> Generator[None, None, int]:
        """Returns the number of files."""
        owner, index = self._owner, self._index
        count = 0
        for number, folder in enumerate(FOLDERS):
            rows = index.names(folder)
            for name, state in owner.folder.scan(folder):
                count += 1
                if rows.pop(name, None) != state.st_size:
                    self._counted_again(folder, cost(state.st_size))
                    self._take_in(name, state)
                if not count % BATCH:
                    yield
            for name in rows:
                if not os.path.lexists(owner.folder.path_of(name)):
                    owner.remove(index, name)
            self._counted_again(folder, self._without[folder])
            if not (number + 1) % 16:
                yield
            if time.monotonic() - said > _PROGRESS:
                said = time.monotonic()
                _logger.info(
                    "{name}: index: {percent}%, {count} files so far",
                    name=owner.name,
                    percent=100 * (number + 1) // len(FOLDERS),
                    count=count,
                )
        return count

    def _counted_again(self, folder: str, size: int) -> None:
        """It is gone, or gets a row, which counts."""
        size = min(size, self._without[folder])
        self._without[folder] -= size
        self._owner.size -= size

    def _take_in(self, name: str, state: os.stat_result) -> None:
        """Make a row of a file, or remove it."""
        owner, index = self._owner, self._index
        try:
            fd = owner.folder.open(name)
        except OSError:
            return
        try:
            found = read_head(fd)
            if isinstance(found, Entry):
                stored = found.stored
                record = record_of(name, stored, found.size)
                primary = primary_name(stored.key)
                if name != variant_name(primary, stored.vary, stored.variant) and (
                    name != primary or stored.vary
                ):
                    raise Corrupt("out of place")
            else:
                record = Record(name, found[0], None, os.fstat(fd).st_size)
                if name != primary_name(record.key):
                    raise Corrupt("out of place")
        except (Corrupt, OSError):
            owner.damaged()
            with suppress(OSError):
                owner.remove(index, name)
        else:
            owner.record(index, record, state.st_mtime_ns - 2**62)
        finally:
            os.close(fd)

"""Who owns a cache's folder: keeps its size within the bound, evicts, purges, and knows the index.

There is one owner for a folder, whatever the number of processes: it holds the lock. What other
parts of the proxy need of it is :class:`Owner`'s few methods, with plain values in and out, so that
they can as well be messages over a pipe. All of them may block and are called in one thread, in the
order in which things happened: that order is what makes a purge final.

How the bound holds: room is reserved before a byte is written and given back after a file has gone.
A row is in the index before its file has its name, and goes after the file: a process that is
killed leaves at most rows without files, never files without rows.

After such an end, and when there is no index, the folder is walked in the background
(:mod:`txrproxy.cache.walk`). Responses are served and stored meanwhile: up to a small part of the
bound until the files are counted, and within it from then on. A purge of what only rows can tell
waits for the end of the walk.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from attrs import asdict, define
from twisted.logger import Logger

from txrproxy.cache.disk import Folder
from txrproxy.cache.entry import (
    Corrupt,
    Entry,
    Vary,
    encode_marker,
    primary_name,
    variant_name,
)
from txrproxy.cache.heads import change_head, find_name, lists_of, read_head, with_list
from txrproxy.cache.index import Index, Record, as_os_error, cost, record_of
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.stored import Stored
from txrproxy.cache.walk import Walk

_logger = Logger()

_BATCH = 64  # rows looked at in one go
_STEPS = 32  # of a walk in one transaction
_CHANCES = 1024  # second chances in one go, so that room is found even if everything was used
BLINDLY = 32  # the part of the bound that may be stored before it is known how much there is


class NoRoom(Exception):
    """There is no room and none can be made."""


class NotReady(Exception):
    """Nothing is stored now: another process owns the folder, or its files are being counted."""


@define
class Counts:
    """What happened since the process began."""

    stored: int = 0
    evicted: int = 0
    evicted_bytes: int = 0
    purged: int = 0
    damaged: int = 0


class Owner:
    """The owner of ``folder``, of at most ``max_size`` bytes on disk. ``name`` is for the log."""

    def __init__(self, folder: Folder, max_size: int, name: str = "cache") -> None:
        self.folder = folder
        self.max_size = max_size
        self.name = name
        self.counts = Counts()
        self.size = 0  # bytes on disk, with what is reserved
        self._reserved = 0
        self._index: Index | None = None
        self._walk: Walk | None = None
        self._steps = 0  # of walks
        self._blindly = 0  # bytes reserved before the files were counted

    # Beginning and end.

    def open(self) -> bool:
        """Take the folder, if no other process has it. Raises OSError."""
        if self._index is not None:
            return True
        self.folder.prepare()
        if not self.folder.own():
            return False
        with as_os_error():
            try:
                index = Index(self.folder.index)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                _logger.warn(
                    "{name}: the index is damaged and will be made anew: {error}",
                    name=self.name,
                    error=str(error),
                )
                Index.delete(self.folder.index)
                index = Index(self.folder.index)
            self._index = index
            self.size = index.total() + self._reserved
            if not (index.complete and index.clean):
                self._walk = Walk(self, index)
        return True

    def close(self) -> None:
        if self._index is not None:
            if self._walk is None:
                self._index.close()
            else:
                self._index.abandon()
            self._index = None
        self._walk = None
        self.folder.close()

    @property
    def ready(self) -> bool:
        """Whether anything can be stored."""
        return self._index is not None

    def step(self) -> bool:
        """Go on with the walk; False when there is nothing to go on with."""
        if self._walk is None:
            return False
        with self._guarded() as index:
            if index.complete:
                with index.together():
                    going_on = self._walk.step()
            else:
                # Should this process end now, the next one begins anew: nothing is lost with what
                # is not committed, and pages that change again and again are written once.
                index.begin()
                going_on = False
                try:
                    going_on = self._walk.step()
                finally:
                    self._steps += 1
                    if not going_on or not self._steps % _STEPS:
                        index.commit()
            if self._walk is not None and self._walk.over:
                self._walk = None
        return going_on

    def _finish_walk(self) -> None:
        while self.step():
            pass
        if self._walk is not None:
            raise OSError(errno.EIO, "the files of the cache could not all be listed")

    # Room.

    def reserve(self, size: int) -> None:
        """Make room for ``size`` bytes. Raises :class:`NoRoom`, :class:`NotReady`, OSError."""
        if not self.ready:
            raise NotReady
        if self._walk is not None and not self._walk.counted:
            # What was there when the process ended was within the bound.
            if self._blindly + size > self.max_size // BLINDLY:
                raise NotReady
            self._blindly += size
        elif self.size + size > self.max_size:
            with self._guarded() as index:
                self._evict(index, size)
        self.size += size
        self._reserved += size

    def release(self, size: int) -> None:
        """Give back what was reserved."""
        self.size -= size
        self._reserved -= size

    def grant(self, size: int, more: int) -> int:
        """Reserve for another process, ``more`` for its next files where there is room for it.

        Returns how much that is. Raises as :meth:`reserve`.
        """
        try:
            self.reserve(size + more)
            return size + more
        except (NoRoom, NotReady):
            self.reserve(size)
            return size

    def resize(self, max_size: int) -> None:
        """Another bound; what is beyond it goes."""
        self.max_size = max_size
        if self.ready:
            with self._guarded() as index:
                self.fit(index)

    def fit(self, index: Index) -> None:
        """Evict what is beyond the bound."""
        if self.size > self.max_size:
            self._evict(index, 0)

    def damaged(self) -> None:
        """Count a file that is not what it should be."""
        self.counts.damaged += 1

    def _evict(self, index: Index, size: int) -> None:
        if size > self.max_size:
            raise NoRoom
        # A little more than is needed, so that not every response has to make its own room.
        target = self.max_size - size - min(self.max_size // 100, 4 * 1024 * 1024)
        chances = _CHANCES
        while self.size > max(target, 0):
            rows = index.next_out(_BATCH)
            if not rows and not self.step():
                break
            with index.together():
                for name, length, used in rows:
                    if used and chances:
                        chances -= 1
                        index.send_back(name)
                        continue
                    self.remove(index, name)
                    self.counts.evicted += 1
                    self.counts.evicted_bytes += length
                    if self.size <= target:
                        break
        if self.size + size > self.max_size:
            raise NoRoom

    def remove(self, index: Index, name: str) -> None:
        """Remove a file and its row."""
        self.folder.remove(name)
        size = index.remove(name)
        if size >= 0:
            self.size -= cost(size)

    def used(self, names: Iterable[str]) -> None:
        """These files answered requests lately: :func:`names_of`."""
        if self._index is None:
            return
        with self._guarded() as index:
            index.use(names)

    # Responses in and out.

    def publish(self, path: str, stored: Stored, size: int, reserved: int) -> tuple[Vary, ...]:
        """Put the finished file ``path`` of ``size`` bytes in its place, for what was reserved.

        Returns the lists of the key's marker. Raises OSError; the reservation is given back
        then, and the file is still there.
        """
        try:
            with self._guarded() as index:
                lists = lists_of(self.folder, stored.key)
                name = primary = primary_name(stored.key)
                if stored.vary or lists:
                    name = variant_name(primary, stored.vary, stored.variant)
                    if lists[:1] != (stored.vary,):
                        lists = with_list(lists, stored.vary)
                        self._mark(index, primary, stored.key, lists)
                self.record(index, record_of(name, stored, size))
                self.folder.publish(path, name)
                self.counts.stored += 1
                return lists
        finally:
            self.release(reserved)

    def adopt(self, path: str, reserved: int) -> tuple[Vary, ...]:
        """:meth:`publish` a file that another process has finished: it says itself what it is.

        Raises :class:`Corrupt` for one that is not whole, OSError.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                entry = read_head(fd)
            finally:
                os.close(fd)
            if not isinstance(entry, Entry):
                raise Corrupt("a marker")
        except (OSError, Corrupt):
            self.release(reserved)
            raise
        return self.publish(path, entry.stored, entry.size, reserved)

    def _mark(self, index: Index, primary: str, key: bytes, lists: tuple[Vary, ...]) -> None:
        """The marker comes first: what it leads to may be missing, but must not be unreachable."""
        marker = encode_marker(key, lists)
        fd, path = self.folder.temporary()
        try:
            os.write(fd, marker)
        finally:
            os.close(fd)
        self.record(index, Record(primary, key, None, len(marker)))
        self.folder.publish(path, primary)

    def record(self, index: Index, record: Record, turn: int | None = None) -> None:
        """Make a row, or replace it; see :meth:`Index.put`."""
        old = index.size_of(record.name)
        if old is None and not record.tags:
            index.put(record, turn, False)  # one statement needs no transaction
        else:
            with index.together():
                index.put(record, turn, old is not None)
        self.size += cost(record.size) - (0 if old is None else cost(old))

    def update(self, old: Stored, new: Stored) -> tuple[Entry, os.stat_result] | None:
        """Say ``new`` of the body that had ``old`` said of it; None if that is gone. OSError."""
        if not self.ready:
            return None

        def change(entry: Entry) -> Stored | None:
            return new if entry.stored.same(old) else None

        with self._guarded() as index:
            name = find_name(self.folder, old)
            changed = self._change(name, change)
            if changed is not None:
                self.record(index, record_of(name, new, changed[0].size))
            return changed

    def discard(self, name: str, inode: int) -> None:
        """Remove a file that was found damaged, unless there is another in its place by now."""
        self.counts.damaged += 1
        with suppress(OSError):
            if os.lstat(self.folder.path_of(name)).st_ino != inode:
                return
            if self._index is None:
                self.folder.remove(name)
                return
            with self._guarded() as index:
                self.remove(index, name)

    def _change(
        self, name: str, change: Callable[[Entry], Stored | None]
    ) -> tuple[Entry, os.stat_result] | None:
        """:func:`change_head`, with room for a second file should it need one."""
        reserved = 0

        def room(size: int) -> None:
            nonlocal reserved
            self.reserve(cost(size))
            reserved = cost(size)

        try:
            return change_head(self.folder, name, change, room)
        except FileNotFoundError:
            return None
        except Corrupt:
            self.counts.damaged += 1
            with self._guarded() as index:
                self.remove(index, name)
            return None
        finally:
            self.release(reserved)

    # Purges and questions.

    def purge(self, purge: Purge) -> Purged:
        """Take out, or mark, what matches. Raises :class:`NotReady`, OSError.

        The files of a key can be found without the index, and so by who does not own the folder;
        how large they were is not known then.
        """
        count = size = 0
        if self._index is None and purge.kind == "key":
            for name in self.folder.of_key(primary_name(purge.value)):
                if not purge.soft:
                    count += self.folder.remove(name)
                elif self._change(name, lambda entry: entry.stored.replaced(invalidated=True)):
                    count += 1
            return Purged(count, 0)
        names = self._select(purge)
        with self._guarded() as index:
            for start in range(0, len(names), _BATCH):
                with index.together():
                    for name in names[start : start + _BATCH]:
                        length = index.response_size(name)
                        if purge.soft:
                            if self._invalidate(index, name):
                                count += 1
                                size += length
                        else:
                            self.remove(index, name)
                            count += length > 0
                            size += length
        self.counts.purged += count
        return Purged(count, size)

    def _select(self, purge: Purge) -> list[str]:
        if purge.kind == "key":
            return self.folder.of_key(primary_name(purge.value))
        self._finish_walk()
        with self._guarded() as index:
            return index.select(purge)

    def _invalidate(self, index: Index, name: str) -> bool:
        changed = self._change(name, lambda entry: entry.stored.replaced(invalidated=True))
        if changed is not None:
            index.set_invalidated(name)
        return changed is not None

    def preview(self, purge: Purge) -> Purged:
        """What a purge would take."""
        self._finish_walk()
        with self._guarded() as index:
            return index.count(purge)

    def listing(self, prefix: bytes, limit: int) -> list[Record]:
        """Responses by URL; those known so far, if the files are still being counted."""
        with self._guarded() as index:
            return index.listing(prefix, limit)

    def show(self, url: bytes) -> list[Stored]:
        """Every response stored for an exact URL."""
        self._finish_walk()
        with self._guarded() as index:
            names = index.select(Purge("url", url))
        found = []
        for name in names:
            with suppress(OSError, Corrupt):
                fd = self.folder.open(name)
                try:
                    entry = read_head(fd)
                finally:
                    os.close(fd)
                if isinstance(entry, Entry):
                    found.append(entry.stored)
        return found

    def stats(self) -> dict[str, int | bool]:
        """Figures by name. Sizes are bytes on disk, as far as they are known.

        ``reserved`` is for what is being written, and granted ahead for what may be.
        """
        with self._guarded() as index:
            return {
                "responses": index.responses(),
                "size": self.size - self._reserved,
                "reserved": self._reserved,
                "max_size": self.max_size,
                "complete": index.complete,
                **asdict(self.counts),
            }

    # Trouble.

    @contextmanager
    def _guarded(self) -> Iterator[Index]:
        """The index; a damaged one is dropped and made anew."""
        index = self._index
        if index is None:
            raise NotReady
        with as_os_error():
            try:
                yield index
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                _logger.warn(
                    "{name}: the index is damaged and will be made anew: {error}",
                    name=self.name,
                    error=str(error),
                )
                if self._index is index:
                    index.abandon()
                    self._index = None
                    Index.delete(self.folder.index)
                    self._index = index = Index(self.folder.index)
                    # What is reserved stays reserved; what has rows is counted anew.
                    self.size = self._reserved
                    if self._walk is None or self._walk.counted:
                        self._blindly = 0
                    self._walk = Walk(self, index)
                raise OSError(errno.EIO, str(error)) from error

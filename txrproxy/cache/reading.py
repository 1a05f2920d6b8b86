"""From a key to a copy that can be sent, without ever waiting for a disk on the loop.

What is in the page cache is read where it is asked for: ``preadv2`` with ``RWF_NOWAIT`` answers in
a microsecond or says that it would have to wait, and then a thread asks again and may. A file
system that does not offer that (tmpfs, NFS) is left to threads altogether.

A body of up to :data:`INLINE` bytes comes whole and checked. A larger one stays in its file, open,
for ``sendfile``: :meth:`Copy.ready` says how far it may be sent from an offset. That is the end of
its block, if it was checked since the file was written and is in memory; otherwise a thread reads
the block, which brings it there, and compares it with its checksum.

``open(2)`` itself has no way not to wait. It is done on the loop; a folder whose names have all
dropped out of the kernel's memory costs a read of the disk for each.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from zlib import crc32

from txrproxy.cache.disk import Folder
from txrproxy.cache.entry import (
    BLOCK,
    MAX_HEAD,
    Corrupt,
    Entry,
    Vary,
    decode_head,
    decode_marker,
    decode_table,
    head_size,
    is_marker,
    primary_name,
    table_size,
    variant_name,
)
from txrproxy.cache.jobs import Runs
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import Fields

_ENTRIES = 16 * 1024 * 1024  # bytes, about, of heads that are kept parsed
_ENTRY_WEIGHT = 2048
INLINE = 64 * 1024
"""Bytes of the largest body that is read whole, and that the tier in memory takes."""

Variant = Callable[[Vary, Fields], bytes]
"""The policy's: the variant that a request asks for, given the names it is selected by."""

_BUFFER = INLINE + 16 * 1024
_PROBE = 256 * 1024  # one byte is asked for every so many, to see if a block is in memory
_NAMES = 8192  # of keys that are remembered
_KNOWN = 8192  # files whose checked blocks are remembered

Checked = dict[tuple[int, int, int], bytearray]  # by inode, time of writing and checksum


class Copy:
    """A stored response and its body, to be read by one exchange; or by many if ``body`` is there.

    ``body`` is the whole of it, or None when it is in the file ``fd`` from ``offset`` on. Call
    :meth:`close` when done with it. What it leads to survives eviction and purges.
    """

    __slots__ = ("body", "fd", "length", "offset", "stored")

    def __init__(self, stored: Stored, body: bytes | None) -> None:
        self.stored = stored
        self.body = body
        self.length = stored.length
        self.fd = -1
        self.offset = 0

    def __repr__(self) -> str:
        return f"<Copy of {self.stored!r}>"

    def ready(self, start: int, done: Callable[[int], None]) -> int:
        """How many bytes of the body may be sent from ``start`` on, now; 0 if that takes time.

        After 0, ``done`` is called on the loop with the number, or with 0 if the body proves to be
        damaged: nothing of it may be sent any more.
        """
        return self.length - start

    def file(self) -> tuple[int, int] | None:
        """What tells its file from others that have had the same name; None without one."""
        return None

    def read(self, start: int, size: int, done: Callable[[bytes], None]) -> bytes | None:
        """Up to ``size`` bytes of the body from ``start`` on; None if that takes time.

        After None, ``done`` is called on the loop with the bytes; with none if it is damaged.
        """
        assert self.body is not None
        return self.body[start : start + size]

    def close(self) -> None:
        """Nothing more will be read."""


class FileCopy(Copy):
    """A copy whose body is in a file."""

    __slots__ = ("_busy", "_checked", "_closed", "_entry", "_name", "_reader", "_table")

    def __init__(self, reader: Reader, name: str, entry: Entry, fd: int, checked: bytearray):
        super().__init__(entry.stored, None)
        self.fd = fd
        self.offset = entry.offset
        self._reader = reader
        self._name = name
        self._entry = entry
        self._checked = checked
        self._table: tuple[int, ...] | None = None
        self._busy = 0  # jobs that use the descriptor
        self._closed = False

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def ready(self, start: int, done: Callable[[int], None]) -> int:
        block = start // BLOCK
        end = min((block + 1) * BLOCK, self.length)
        if self._checked[block] and self._is_in_memory(start, end):
            return end - start
        self._busy += 1

        def checked(_: None, error: BaseException | None) -> None:
            self._busy -= 1
            if self._closed:
                self.close()
                return
            if error is not None:
                self._reader.damaged(self._name, self.fd, error)
                done(0)
                return
            self._checked[block] = 1
            done(end - start)

        self._reader.threads.submit(lambda: self._check(block), checked)
        return 0

    def file(self) -> tuple[int, int] | None:
        state = os.fstat(self.fd)
        return state.st_ino, state.st_mtime_ns

    def read(self, start: int, size: int, done: Callable[[bytes], None]) -> bytes | None:
        def take(ready: int) -> bytes:
            return os.pread(self.fd, min(size, ready), self.offset + start) if ready else b""

        ready = self.ready(start, lambda ready: done(take(ready)))
        return take(ready) if ready else None

    def close(self) -> None:
        self._closed = True
        if not self._busy and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _is_in_memory(self, start: int, end: int) -> bool:
        probe, flags, fd, offset = self._reader.probe, self._reader.flags, self.fd, self.offset
        if not self._reader.offered:
            return False
        try:
            for place in (*range(start, end - 1, _PROBE), end - 1):
                os.preadv(fd, probe, offset + place, flags)
        except OSError:
            return False
        return True

    def _check(self, block: int) -> None:
        """In a thread: read the block and compare it."""
        entry = self._entry
        length = entry.stored.length
        if self._table is None:
            place, size = entry.offset + length, table_size(length)
            self._table = decode_table(os.pread(self.fd, size, place) if size else b"", entry)
        place = block * BLOCK
        crc = 0
        end = min(place + BLOCK, length)
        while place < end:
            data = os.pread(self.fd, min(end - place, 256 * 1024), entry.offset + place)
            if not data:
                raise Corrupt("cut short")
            crc = crc32(data, crc)
            place += len(data)
        if crc != self._table[block]:
            raise Corrupt("body")


class Reader:
    """Looks for responses in a folder.

    :param threads: where to wait for a disk.
    :param damaged: told the name of a file that is not whole or not in its place, a descriptor of
        it, and why.
    """

    def __init__(
        self,
        folder: Folder,
        threads: Runs,
        damaged: Callable[[str, int, BaseException], None],
    ) -> None:
        self.threads = threads
        self.damaged = damaged
        self.flags = os.RWF_NOWAIT
        self.offered = True  # until the folder's file system says that it does not know that
        self.probe = (bytearray(1),)
        self._folder = folder
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._checked: Checked = {}
        self._names: dict[bytes, str] = {}  # of primary keys
        # The same heads are read again and again, and what is derived from one dies with it. By
        # name: the head's bytes, what they say, and the size of a file that is read whole, or -1.
        self._recent: dict[str, tuple[bytes, Entry, int]] = {}
        self._weight = 0  # of those

    def find(self, key: bytes, fields: Fields, variant: Variant) -> Found:
        """Now, or raise BlockingIOError where that would have to wait. On the loop."""
        if not self.offered:
            raise BlockingIOError
        return self._find(key, fields, variant, self._view, self.flags)

    def wait(self, key: bytes, fields: Fields, variant: Variant) -> Found:
        """The same, however long it takes. In a thread."""
        return self._find(key, fields, variant, memoryview(bytearray(_BUFFER)), 0)

    def _find(
        self, key: bytes, fields: Fields, variant: Variant, buffer: memoryview, flags: int
    ) -> Found:
        primary = self._names.get(key)
        if primary is None:
            primary = primary_name(key)
            if flags:
                if len(self._names) >= _NAMES:
                    self._names.clear()
                self._names[key] = primary
        first = self._open(primary, key, (), b"", buffer, flags)
        if not isinstance(first, tuple):
            return first, ()
        for vary in first:
            value = variant(vary, fields)
            name = variant_name(primary, vary, value)
            copy = self._open(name, key, vary, value, buffer, flags)
            if isinstance(copy, Copy):
                return copy, first
        return None, first

    def _open(
        self, name: str, key: bytes, vary: Vary, variant: bytes, buffer: memoryview, flags: int
    ) -> Copy | tuple[Vary, ...] | None:
        """What is at ``name``: a response, the lists of a marker, or nothing that can be used."""
        try:
            fd = self._folder.open(name)
        except OSError:
            return None
        kept = False
        try:
            # A short count without waiting means only that the rest is not in memory.
            count = os.preadv(fd, (buffer,), 0, flags)
            if flags:
                copy = self._read_again(name, key, vary, variant, count)
                if copy is not None:
                    return copy
            data = buffer[:count]
            if is_marker(data):
                if flags and count < os.fstat(fd).st_size:
                    raise BlockingIOError
                marked, varies = decode_marker(bytes(data))
                if marked != key or vary:
                    raise Corrupt("another's marker")
                return varies
            entry, data = self._entry(fd, name, data, flags)
            stored = entry.stored
            if stored.key != key or stored.vary != vary or stored.variant != variant:
                raise Corrupt("another's response")
            size = entry.size
            if stored.length <= INLINE and size < len(buffer):
                if count < size and flags:
                    raise BlockingIOError
                if count != size:
                    raise Corrupt("size")
                body = bytes(data[entry.offset :])
                if crc32(body) != entry.checksum:
                    raise Corrupt("body")
                return Copy(stored, body)
            state = os.fstat(fd)
            if state.st_size != size:
                raise Corrupt("size")
            kept = True
            return FileCopy(self, name, entry, fd, self._checked_of(state, entry))
        except Corrupt as error:
            self.damaged(name, fd, error)
        except BlockingIOError:
            raise
        except OSError as error:
            if flags:
                if error.errno == errno.EOPNOTSUPP:
                    self.offered = False
                raise BlockingIOError from error  # a thread finds out what
            self.damaged(name, fd, error)
        finally:
            if not kept:
                os.close(fd)
        return None

    def _read_again(
        self, name: str, key: bytes, vary: Vary, variant: bytes, count: int
    ) -> Copy | None:
        """The common case: ``count`` bytes in the loop's buffer have a head that is known."""
        known = self._recent.get(name)
        if known is None:
            return None
        head, entry, size = known
        stored = entry.stored
        if (
            count != size
            or not self._buffer.startswith(head)
            or (stored.key, stored.vary, stored.variant) != (key, vary, variant)
        ):
            return None
        body = bytes(self._view[entry.offset : count])
        return Copy(stored, body) if crc32(body) == entry.checksum else None

    def _entry(self, fd: int, name: str, data: memoryview, flags: int) -> tuple[Entry, memoryview]:
        """The head in ``data``, or in more of the file where that is not enough."""
        if flags and len(data) < 12:
            raise BlockingIOError
        offset = head_size(data)
        if len(data) < offset:
            if flags:
                raise BlockingIOError
            data = memoryview(os.pread(fd, min(offset, MAX_HEAD), 0))
        if not flags:
            return decode_head(data), data  # in a thread, which has no business with the memo
        head = bytes(data[:offset])
        known = self._recent.get(name)
        if known is not None:
            if known[0] == head:
                return known[1], data
            self._weight -= _ENTRY_WEIGHT + 4 * len(known[0])
        entry = decode_head(head)
        self._weight += _ENTRY_WEIGHT + 4 * offset
        if self._weight > _ENTRIES:
            self._recent.clear()
            self._weight = _ENTRY_WEIGHT + 4 * offset
        self._recent[name] = (head, entry, entry.size if entry.stored.length <= INLINE else -1)
        return entry, data

    def _checked_of(self, state: os.stat_result, entry: Entry) -> bytearray:
        key = (state.st_ino, state.st_mtime_ns, entry.checksum)
        known = self._checked.get(key)
        if known is None:
            known = self._remember(key, bytearray(-(-entry.stored.length // BLOCK)))
        return known

    def trust(self, file: tuple[int, int, int], length: int) -> None:
        """Every block of a body was checked, or made, by this process.

        ``file`` is its inode, its time of writing in ns, and the checksum.
        """
        self._remember(file, bytearray(b"\1" * -(-length // BLOCK)))

    def _remember(self, key: tuple[int, int, int], blocks: bytearray) -> bytearray:
        checked = self._checked
        if len(checked) >= _KNOWN:
            with suppress(StopIteration, KeyError, RuntimeError):  # threads come here, too
                del checked[next(iter(checked))]
        checked[key] = blocks
        return blocks


Found = tuple[Copy | None, tuple[Vary, ...]]
"""A copy, and the lists of the key's marker if it has one."""

"""A file of the store that is being written: under a temporary name, in the thread that writes.

Room is reserved before a byte is written, and the body is summed up as it comes. The head, which
has the checksum, comes last, though it is first in the file: what is cut short is never whole.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol
from zlib import crc32

from txrproxy.cache.disk import Folder
from txrproxy.cache.entry import BLOCK, Entry, body_checksum, encode_head, encode_table
from txrproxy.cache.index import cost
from txrproxy.cache.owner import NoRoom
from txrproxy.cache.stored import Stored


class Room(Protocol):
    """Where room for files comes from: the owner, or what it has granted to this process."""

    folder: Folder

    def reserve(self, size: int) -> None:
        """Take ``size`` bytes. Raises :class:`NoRoom`, :class:`NotReady`, OSError; may block."""

    def release(self, size: int) -> None:
        """Give them back."""


class File:
    """A file that is being written, in the thread that writes."""

    def __init__(self, room: Room, offset: int) -> None:
        self._room = room
        self._offset = offset
        self._fd = -1
        self._path = ""
        self._reserved = 0
        self._size = 0  # of the body so far
        self._sums: list[int] = []
        self.failed = False

    def write(self, pieces: list[bytes], spool: bool = False) -> int:
        """Raises OSError, NoRoom, NotReady; the file is gone then.

        With ``spool``, returns another descriptor of the file for who wants to read it, or -1.
        """
        if self.failed:
            return -1
        try:
            size = sum(map(len, pieces))
            if self._fd < 0:
                self._reserve(cost(self._offset + size))
                self._fd, self._path = self._room.folder.temporary()
            else:
                self._reserve(size + 8)
            for piece in pieces:
                self._sum(piece)
            _write_at(self._fd, b"".join(pieces), self._offset + self._size - size)
            return os.dup(self._fd) if spool else -1
        except BaseException:
            self.drop()
            raise

    def complete(self, stored: Stored, pieces: list[bytes]) -> tuple[Entry, os.stat_result]:
        """Write the rest. Raises what :meth:`write` does; the file is gone then.

        It is to be published by :meth:`hand_over`.
        """
        if self.failed:
            raise NoRoom
        self.write(pieces)
        try:
            checksum = body_checksum(self._sums)
            head = encode_head(stored, checksum, self._offset)
            table = encode_table(self._sums)
            if table:
                _write_at(self._fd, table, self._offset + self._size)
            _write_at(self._fd, head, 0)
            state = os.fstat(self._fd)
            os.close(self._fd)
            self._fd = -1
            return Entry(stored, checksum, self._offset, 1), state
        except BaseException:
            self.drop()
            raise

    def hand_over(self) -> tuple[str, int]:
        """The path of the finished file, and what is reserved for it: the owner's from now on."""
        reserved, self._reserved = self._reserved, 0
        return self._path, reserved

    def published(self) -> None:
        """The path leads to the file no longer."""
        self._path = ""

    def drop(self) -> None:
        """Give up what is not published."""
        self.failed = True
        if self._reserved:
            self._room.release(self._reserved)
            self._reserved = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)
            self._path = ""

    def _reserve(self, size: int) -> None:
        self._room.reserve(size)
        self._reserved += size

    def _sum(self, piece: bytes) -> None:
        view = memoryview(piece)
        sums = self._sums
        while view:
            room = BLOCK - self._size % BLOCK
            if room == BLOCK:
                sums.append(0)
            part = view[:room]
            sums[-1] = crc32(part, sums[-1])
            self._size += len(part)
            view = view[room:]


def _write_at(fd: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, place)
        place += count
        view = view[count:]

"""The heads of stored files, read and changed in place. All of it may block: it runs in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from txrproxy.cache.disk import Folder
from txrproxy.cache.entry import (
    MAX_VARIES,
    Corrupt,
    Entry,
    Vary,
    decode_head,
    decode_marker,
    encode_head,
    encode_slot,
    head_size,
    is_marker,
    primary_name,
    slot_place,
    variant_name,
)
from txrproxy.cache.stored import Stored

_FIRST = 4096  # bytes that most heads fit in
_MAX_MARKER = 1024 * 1024


def read_head(fd: int) -> Entry | tuple[bytes, tuple[Vary, ...]]:
    """The head of the response, or the key and lists of the marker, in an open file.

    The size of the file is checked, the body is not. Raises :class:`Corrupt`, OSError.
    """
    data = os.pread(fd, _FIRST, 0)
    size = os.fstat(fd).st_size
    if is_marker(data):
        if size > _MAX_MARKER:
            raise Corrupt("marker")
        return decode_marker(data if size <= _FIRST else os.pread(fd, size, 0))
    offset = head_size(data)
    if offset > len(data):
        data = os.pread(fd, offset, 0)
    entry = decode_head(data)
    if entry.size != size:
        raise Corrupt("size")
    return entry


def change_head(
    folder: Folder,
    name: str,
    change: Callable[[Entry], Stored | None],
    room: Callable[[int], None],
) -> tuple[Entry, os.stat_result] | None:
    """Say something else of the body in a file: what ``change`` returns, None for nothing new.

    ``room`` is asked for the bytes of a second file where the head has outgrown its slot.
    Returns the entry as it is then, with the state of its file. Raises :class:`Corrupt`, OSError.
    """
    fd = os.open(folder.path_of(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        entry = read_head(fd)
        if not isinstance(entry, Entry):
            return None
        stored = change(entry)
        if stored is None:
            return None
        place, size = slot_place(entry)
        slot = encode_slot(stored, entry.checksum, size, entry.sequence + 1)
        if slot is not None:
            os.pwrite(fd, slot, place)
            changed = Entry(stored, entry.checksum, entry.offset, entry.sequence + 1)
            return changed, os.fstat(fd)
        room(entry.size + len(encode_head(stored, entry.checksum)))
        return _moved(folder, name, fd, entry, stored)
    finally:
        os.close(fd)


def _moved(
    folder: Folder, name: str, fd: int, entry: Entry, stored: Stored
) -> tuple[Entry, os.stat_result]:
    """The body in a new file: the old one has no room for this head."""
    head = encode_head(stored, entry.checksum)
    to, path = folder.temporary()
    try:
        os.write(to, head)
        place, left = entry.offset, entry.size - entry.offset
        os.lseek(to, len(head), os.SEEK_SET)
        while left:
            count = os.sendfile(to, fd, place, left)
            if not count:
                raise Corrupt("cut short")
            place += count
            left -= count
        folder.publish(path, name)
        return Entry(stored, entry.checksum, len(head), 1), os.fstat(to)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(to)


def lists_of(folder: Folder, key: bytes) -> tuple[Vary, ...]:
    """The lists of the key's marker; empty if there is none that can be read."""
    try:
        fd = folder.open(primary_name(key))
    except OSError:
        return ()
    try:
        if not is_marker(os.pread(fd, 8, 0)):
            return ()
        found = read_head(fd)
        if isinstance(found, tuple) and found[0] == key:
            return found[1]
    except (Corrupt, OSError):
        pass
    finally:
        os.close(fd)
    return ()


def with_list(lists: tuple[Vary, ...], vary: Vary) -> tuple[Vary, ...]:
    """The lists of a marker after one more response, which comes first."""
    return (vary, *(known for known in lists if known != vary))[:MAX_VARIES]


def find_name(folder: Folder, stored: Stored) -> str:
    """The name that a response has, or would have, as things are."""
    primary = primary_name(stored.key)
    if stored.vary or lists_of(folder, stored.key):
        return variant_name(primary, stored.vary, stored.variant)
    return primary


def names_of(responses: Iterable[Stored]) -> set[str]:
    """The files that these may be in."""
    names = set()
    for stored in responses:
        primary = primary_name(stored.key)
        # Without Vary it may be in either place; the one that is none changes nothing.
        names.add(primary)
        names.add(variant_name(primary, stored.vary, stored.variant))
    return names

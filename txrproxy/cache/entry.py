"""The form of a stored response on disk: one file that says of itself all there is to know.

::

    prefix   magic, size of a slot
    slot     checksum, sequence, length │ times, length and checksum of the body, key, url, vary,
    slot     the same, or nothing yet   │ variant, tags, head; zeros up to the size of a slot
    body
    table    a CRC-32 for each block of the body, when it has more than one

The model: *what is not provably whole is not there.* Every byte that counts is under a checksum and
every length is checked against the size of the file. The checksum of a slot covers the prefix, and
the checksum of the body in the slot covers the body, or its table; so a file that was torn, cut,
flipped or grown is :class:`Corrupt`, and one in another's place names the wrong key.

Why two slots: validation and soft purges change what is said of a body and not the body. The slot
that is not in force is written over, with a higher sequence number. A write that is cut short
leaves a slot whose checksum is wrong, and the other one is still what it was.

Why a table: a large body is checked block by block as it is read, so that the first byte of a
gigabyte need not wait for the last.

A *marker* is the small file in the place of a key whose responses have Vary: it lists the field
names they were selected by, and the responses are in files of their own.

Checksums find accidents, not forgeries: who can write to the folder can write what is served.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b
from zlib import crc32

from txrproxy.cache.stored import Stored
from txrproxy.http.head import BadHead, parse_response_head

BLOCK = 1024 * 1024
"""Bytes of a body under one checksum."""

MAX_HEAD = 1024 * 1024
"""Bytes that everything before the body may take."""

MAX_VARIES = 8
"""Lists of Vary that a marker keeps; of a key whose responses have more, the oldest are lost."""

Vary = tuple[bytes, ...]

_MAGIC = b"\x89TXRC\r\n\x01"
_MARKER = b"\x89TXRV\r\n\x01"
_PREFIX = struct.Struct("<8sI")
_SLOT = struct.Struct("<III")  # checksum of what follows, sequence number, length of the record
_AFTER_CHECKSUM = struct.Struct("<II")
_RECORD = struct.Struct("<ddQIBHHIIII")
_MARKER_HEAD = struct.Struct("<8sII")  # magic, checksum of what follows, length of the key
_INVALIDATED = 1
_GRAIN = 256  # a slot is a multiple of this: room for a head that grows a little


class Corrupt(Exception):
    """The bytes are not what was written."""


class Entry:
    """A file's response, and where its parts are. ``offset`` is that of the body, in bytes.

    ``checksum`` is that of the body, or of the table when the body has more than one block.
    """

    __slots__ = ("checksum", "offset", "sequence", "stored")

    def __init__(self, stored: Stored, checksum: int, offset: int, sequence: int) -> None:
        self.stored = stored
        self.checksum = checksum
        self.offset = offset
        self.sequence = sequence

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        length = self.stored.length
        return self.offset + length + table_size(length)


def table_size(length: int) -> int:
    """Bytes of the table for a body of ``length`` bytes."""
    return 0 if length <= BLOCK else 4 * -(-length // BLOCK)


def encode_table(checksums: Sequence[int]) -> bytes:
    """The table for a body whose blocks have these checksums."""
    return struct.pack(f"<{len(checksums)}I", *checksums) if len(checksums) > 1 else b""


def body_checksum(checksums: Sequence[int]) -> int:
    """What an entry says of a body whose blocks have these checksums."""
    if len(checksums) > 1:
        return crc32(encode_table(checksums))
    return checksums[0] if checksums else 0


def decode_table(table: bytes, entry: Entry) -> tuple[int, ...]:
    """The checksums of the blocks; raises :class:`Corrupt`."""
    length = entry.stored.length
    if length <= BLOCK:
        return (entry.checksum,) if length else ()
    if len(table) != table_size(length) or crc32(table) != entry.checksum:
        raise Corrupt("table")
    return struct.unpack(f"<{len(table) // 4}I", table)


def slot_size(stored: Stored) -> int:
    """Bytes of a slot for this response, whatever its length turns out to be.

    There is room for a Content-Length that it does not have yet.

    Raises ValueError for one that has more to say than there may be.
    """
    record = encode_record(stored, 0)
    size = -(-(_SLOT.size + len(record) + _GRAIN // 4) // _GRAIN) * _GRAIN
    if body_offset(size) > MAX_HEAD:
        raise ValueError("the head of this response is too large to be stored")
    return size


def body_offset(slot: int) -> int:
    """Where the body begins, after two slots of ``slot`` bytes."""
    return _PREFIX.size + 2 * slot


def _slot_before(offset: int) -> int:
    """Bytes of each of the two slots before a body at ``offset``."""
    return (offset - _PREFIX.size) // 2


def encode_slot(stored: Stored, checksum: int, slot: int, sequence: int) -> bytes | None:
    """One slot with its sequence number, or None if it takes more than ``slot`` bytes."""
    record = encode_record(stored, checksum)
    if _SLOT.size + len(record) > slot:
        return None
    rest = _AFTER_CHECKSUM.pack(sequence, len(record)) + record
    crc = crc32(rest, crc32(_PREFIX.pack(_MAGIC, slot)))
    return (crc.to_bytes(4, "little") + rest).ljust(slot, b"\0")


def encode_head(stored: Stored, checksum: int, offset: int = 0) -> bytes:
    """Everything before the body, in a new file; the body begins at ``offset`` if that is given.

    Raises ValueError where what is said of the body does not fit before that.
    """
    slot = _slot_before(offset) if offset else slot_size(stored)
    first = encode_slot(stored, checksum, slot, 1)
    if first is None:
        raise ValueError("the head of this response has outgrown its room")
    return _PREFIX.pack(_MAGIC, slot) + first + bytes(slot)


def slot_place(entry: Entry) -> tuple[int, int]:
    """Offset and size in bytes of the slot that is not in force."""
    slot = _slot_before(entry.offset)
    return _PREFIX.size + slot * (entry.sequence % 2), slot


def head_size(data: bytes | bytearray | memoryview) -> int:
    """Bytes before the body of the file that begins with ``data``; raises :class:`Corrupt`."""
    if len(data) < _PREFIX.size:
        raise Corrupt("cut short")
    magic, slot = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise Corrupt("magic")
    offset = body_offset(slot)
    if slot < _SLOT.size or offset > MAX_HEAD:
        raise Corrupt("slot size")
    return offset


def is_marker(data: bytes | bytearray | memoryview) -> bool:
    """Whether the file that begins with ``data`` says that it is a marker."""
    return data[:8] == _MARKER


def decode_head(data: bytes | bytearray | memoryview) -> Entry:
    """What a file says of its body; ``data`` begins with everything before that.

    Raises :class:`Corrupt`. The body, and the size of the file, are left to be checked.
    """
    offset = head_size(data)
    if len(data) < offset:
        raise Corrupt("cut short")
    head = bytes(data[:offset])
    slot = _slot_before(offset)
    # The one with the higher number, unless writing it was cut short.
    places = [_PREFIX.size, _PREFIX.size + slot]
    if _SLOT.unpack_from(head, places[1])[1] > _SLOT.unpack_from(head, places[0])[1]:
        places.reverse()
    for place in places:
        crc, sequence, length = _SLOT.unpack_from(head, place)
        end = place + _SLOT.size + length
        if (
            sequence
            and length <= slot - _SLOT.size
            and crc32(head[place + 4 : end], crc32(head[: _PREFIX.size])) == crc
        ):
            stored, checksum = decode_record(head[place + _SLOT.size : end])
            return Entry(stored, checksum, offset, sequence)
    raise Corrupt("head")


def encode_record(stored: Stored, checksum: int) -> bytes:
    """What is said of a body with this checksum; ValueError when that is more than there may be."""
    head = stored.head
    line = head.status_line if head.http_11 else b"HTTP/1.0" + head.status_line[8:]
    parts = [*stored.vary, *stored.tags]
    text = [stored.key, stored.url, stored.variant, (line + head.fields.block)[:-2]]
    try:
        lengths = struct.pack(f"<{len(parts)}H", *map(len, parts))
        fixed = _RECORD.pack(
            stored.requested,
            stored.responded,
            stored.length,
            checksum,
            _INVALIDATED if stored.invalidated else 0,
            len(stored.vary),
            len(stored.tags),
            *map(len, text),
        )
    except struct.error as error:
        raise ValueError("this response has too much to say of itself to be stored") from error
    return b"".join([fixed, lengths, *text, *parts])


def decode_record(record: bytes) -> tuple[Stored, int]:
    """The response, and the checksum of its body. Raises :class:`Corrupt`."""
    try:
        requested, responded, length, checksum, flags, varies, tags, *sizes = _RECORD.unpack_from(
            record
        )
        place = _RECORD.size
        if varies or tags:
            sizes.extend(struct.unpack_from(f"<{varies + tags}H", record, place))
            place += 2 * (varies + tags)
        parts = []
        for size in sizes:
            parts.append(record[place : place + size])
            place += size
        if place != len(record):
            raise Corrupt("record")
        key, url, variant, head = parts[:4]
        stored = Stored(
            key,
            url,
            parse_response_head(head),
            length,
            requested,
            responded,
            vary=parts[4 : 4 + varies],
            variant=variant,
            tags=parts[4 + varies :],
            invalidated=bool(flags & _INVALIDATED),
        )
    except (struct.error, BadHead) as error:
        raise Corrupt("record") from error
    return stored, checksum


# Where it is.


def primary_name(key: bytes) -> str:
    """The path, below the folder, of what is stored under a primary key: a response or a marker."""
    name = blake2b(key, digest_size=16).hexdigest()
    return f"{name[0]}/{name[1]}/{name[2:]}"


def variant_name(primary: str, vary: Vary, variant: bytes) -> str:
    """The path of one of several responses under the key whose path is ``primary``."""
    text = b"\0".join([b",".join(vary), variant])
    return f"{primary}.{blake2b(text, digest_size=8).hexdigest()}"


def name_of(stored: Stored, marked: bool) -> str:
    """The path of a response; ``marked``: its key has a marker."""
    primary = primary_name(stored.key)
    return variant_name(primary, stored.vary, stored.variant) if marked else primary


# Markers.


def encode_marker(key: bytes, varies: Sequence[Vary]) -> bytes:
    """The marker of a key with these lists of field names, the newest first."""
    lists = b"\n".join(b",".join(vary) for vary in varies)
    crc = crc32(key + lists, len(key))
    return _MARKER_HEAD.pack(_MARKER, crc, len(key)) + key + lists


def decode_marker(data: bytes) -> tuple[bytes, tuple[Vary, ...]]:
    """The key and the lists of a marker, which is all of ``data``; raises :class:`Corrupt`."""
    if len(data) < _MARKER_HEAD.size:
        raise Corrupt("cut short")
    magic, crc, length = _MARKER_HEAD.unpack_from(data)
    rest = data[_MARKER_HEAD.size :]
    if magic != _MARKER or crc32(rest, length) != crc or length > len(rest):
        raise Corrupt("marker")
    lists = rest[length:].split(b"\n")
    return rest[:length], tuple(tuple(names.split(b",")) if names else () for names in lists)

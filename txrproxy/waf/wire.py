"""Messages between the proxy and its engine processes: lists of byte strings, with their lengths.

::

    message = length 4OCTET, then part *(part)     length is that of all that follows
    part    = length 4OCTET, then so many octets

All integers are big-endian. Nothing in a message can run, whatever happened to the process that
sent it: what the engine reads was written by strangers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import BinaryIO

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes; a longer message is none of ours."""

_LENGTH = Struct("!I")


class BadMessage(Exception):
    """The other side does not speak as it should."""


def pack(parts: Sequence[bytes]) -> bytes:
    """A message, with its length."""
    out = [b""]
    size = 0
    for part in parts:
        length = len(part)
        out.append(_LENGTH.pack(length))
        out.append(part)
        size += 4 + length
    out[0] = _LENGTH.pack(size)
    return b"".join(out)


def unpack(data: bytes) -> list[bytes]:
    """The parts of a message, given without its length. Raises :class:`BadMessage`."""
    parts = []
    at, end = 0, len(data)
    while at < end:
        start = at + 4
        if start > end:
            raise BadMessage("a length is cut off")
        at = start + _LENGTH.unpack_from(data, start - 4)[0]
        if at > end:
            raise BadMessage("a part is cut off")
        parts.append(data[start:at])
    return parts


class Messages:
    """Puts messages together from what arrives in pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """The messages that ``data`` completes. Raises :class:`BadMessage`."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 4:
            end = 4 + _bounded(_LENGTH.unpack_from(buffer)[0])
            if len(buffer) < end:
                return
            message = bytes(buffer[4:end])
            del buffer[:end]
            yield unpack(message)


def read(stream: BinaryIO) -> list[bytes] | None:
    """Wait for a message; None at the end of the stream. Raises :class:`BadMessage`."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    length = _bounded(_LENGTH.unpack(head)[0])
    data = stream.read(length)
    return unpack(data) if len(data) == length else None


def _bounded(length: int) -> int:
    if length > MAX_MESSAGE:
        raise BadMessage(f"a message of {length} bytes")
    return length

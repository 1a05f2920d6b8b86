"""The PROXY protocol, versions 1 and 2: who the client behind a load balancer really is.

A balancer that forwards plain TCP puts one header before the first byte of the connection. This is
the receiving side as a pure function on the bytes so far (HAProxy, "The PROXY protocol, versions 1
& 2"): :func:`parse` says that it needs more, or gives the header and how many bytes it took, or
raises. It is for connections that *must* begin with a header. Who may send one is for the listener
to decide: the addresses in it are taken on trust, so it must come from a trusted peer, and a peer
that is to send one must not be served without.

Version 1 is one line of text, ``PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\\r\\n``. Version 2 is
binary: a signature of 12 bytes, version and command, family and transport, the length of what
follows, the addresses, and then type-length-value entries (TLVs).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from attrs import field, frozen

Mode = Literal["v1", "v2", "any"]
Address = tuple[str, int]  # (IP address, port)

V1_MAX = 107  # section 2.1: the longest line, CRLF included
V2_MAX = 16 * 1024  # bytes after the fixed part; the format itself allows 65,535

_V1_START = b"PROXY "
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16  # signature, command, family, length

# Section 2.2: the second half of the family byte; SOCK_DGRAM is not for a listener of streams.
_UNSPEC, _STREAM = 0, 1
_AF_UNSPEC, _AF_INET, _AF_INET6, _AF_UNIX = 0, 1, 2, 3
_ADDRESS_LENGTHS = {_AF_UNSPEC: 0, _AF_INET: 12, _AF_INET6: 36, _AF_UNIX: 216}

CRC32C: Final = 0x03  # TLV types of section 2.2
_NOTHING: Mapping[int, bytes] = MappingProxyType({})


class BadProxyHeader(ValueError):
    """The connection does not begin with a valid header; all it deserves is to be closed."""


class NeedMore:
    """What has arrived may be the beginning of a header."""

    def __repr__(self) -> str:
        return "NEED_MORE"


NEED_MORE = NeedMore()


@frozen
class Header:
    """What the header says.

    ``source`` and ``destination`` are None where it names no IP address, and then the connection's
    own addresses hold: health checks of the balancer itself (``local``), UNKNOWN, and Unix sockets.
    """

    source: Address | None = None
    destination: Address | None = None
    local: bool = False
    tlvs: Mapping[int, bytes] = field(default=_NOTHING)  # version 2: the last value of each type


def parse(buffer: bytes, mode: Mode = "any") -> NeedMore | tuple[Header, int]:
    """Read a header from the beginning of all that a connection has sent so far.

    Returns the header and the number of bytes it took; what follows them is the client's. The
    buffer never needs to grow beyond 16 KiB and the fixed part before this decides.

    :raises BadProxyHeader: no continuation of ``buffer`` is a header of the versions allowed.
    """
    if not buffer:
        return NEED_MORE
    if mode != "v1" and buffer[: len(_SIGNATURE)] == _SIGNATURE[: len(buffer)]:
        return _parse_v2(buffer)
    if mode != "v2" and buffer[: len(_V1_START)] == _V1_START[: len(buffer)]:
        return _parse_v1(buffer)
    raise BadProxyHeader("no PROXY header")


def _parse_v1(buffer: bytes) -> NeedMore | tuple[Header, int]:
    end = buffer.find(b"\r\n", 0, V1_MAX)
    if end < 0:
        if len(buffer) >= V1_MAX:
            raise BadProxyHeader("the line is too long")
        if b"\n" in buffer or b"\r" in buffer[:-1]:
            raise BadProxyHeader("the line does not end in CRLF")
        return NEED_MORE
    line, consumed = buffer[:end], end + 2
    if b"\n" in line or b"\r" in line:
        raise BadProxyHeader("the line does not end in CRLF")
    fields = line.split(b" ")
    if fields[1] == b"UNKNOWN":  # what follows on the line is to be ignored
        return Header(), consumed
    if fields[1] not in {b"TCP4", b"TCP6"} or len(fields) != 6:
        raise BadProxyHeader("not PROXY, protocol, two addresses and two ports")
    version = 4 if fields[1] == b"TCP4" else 6
    source, destination = (_ip(text, version) for text in fields[2:4])
    source_port, destination_port = (_port(text) for text in fields[4:6])
    return Header((source, source_port), (destination, destination_port)), consumed


def _ip(text: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        raise BadProxyHeader("an address is invalid") from None
    if address.version != version or b"%" in text:
        raise BadProxyHeader("an address is of the wrong family")
    return str(address)


def _port(text: bytes) -> int:
    if not (text.isdigit() and len(text) <= 5 and (text == b"0" or text[:1] != b"0")):
        raise BadProxyHeader("a port is invalid")
    number = int(text)
    if number > 65535:
        raise BadProxyHeader("a port is invalid")
    return number


def _parse_v2(buffer: bytes) -> NeedMore | tuple[Header, int]:
    if len(buffer) > 12 and buffer[12] not in {0x20, 0x21}:
        raise BadProxyHeader("the version is not 2 or the command is unknown")
    if len(buffer) < _FIXED:
        return NEED_MORE
    length = int.from_bytes(buffer[14:16])
    if length > V2_MAX:
        raise BadProxyHeader("the header is too long")
    consumed = _FIXED + length
    local = buffer[12] == 0x20
    family, transport = divmod(buffer[13], 16)
    if not local:
        if family not in _ADDRESS_LENGTHS:
            raise BadProxyHeader("the address family is unknown")
        if transport != (_UNSPEC if family == _AF_UNSPEC else _STREAM):
            raise BadProxyHeader("the transport is not a stream")
        if length < _ADDRESS_LENGTHS[family]:
            raise BadProxyHeader("the header is too short for its addresses")
    if len(buffer) < consumed:
        return NEED_MORE
    header = buffer[:consumed]
    if local or family == _AF_UNSPEC:  # what follows is to be skipped, whatever it holds
        return Header(local=local), consumed
    tlvs = _tlvs(header, _FIXED + _ADDRESS_LENGTHS[family])
    if family == _AF_UNIX:
        return Header(tlvs=tlvs), consumed
    source, destination = _addresses(header, 4 if family == _AF_INET else 16)
    return Header(source, destination, tlvs=tlvs), consumed


def _addresses(header: bytes, size: int) -> tuple[Address, Address]:
    """Both addresses and then both ports, ``size`` bytes for an address."""
    ports = _FIXED + 2 * size
    source, destination = (
        str(ipaddress.ip_address(header[at : at + size])) for at in (_FIXED, _FIXED + size)
    )
    return (
        (source, int.from_bytes(header[ports : ports + 2])),
        (destination, int.from_bytes(header[ports + 2 : ports + 4])),
    )


def _tlvs(header: bytes, start: int) -> Mapping[int, bytes]:
    """The entries from ``start`` on, the checksum verified (section 2.2.3)."""
    if start == len(header):
        return _NOTHING
    found: dict[int, bytes] = {}
    at = start
    while at < len(header):
        value = at + 3
        end = value + int.from_bytes(header[at + 1 : value])
        if value > len(header) or end > len(header):
            raise BadProxyHeader("a TLV runs past the header")
        kind = header[at]
        if kind == CRC32C:
            if kind in found:  # each costs a pass over the header
                raise BadProxyHeader("there are two checksums")
            blank = header[:value] + bytes(end - value) + header[end:]
            if end - value != 4 or crc32c(blank) != int.from_bytes(header[value:end]):
                raise BadProxyHeader("the checksum is wrong")
        found[kind] = header[value:end]
        at = end
    return MappingProxyType(found)


def _crc_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC (RFC 3720 appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF

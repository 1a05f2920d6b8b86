"""Writes small databases in MaxMind's format: as much of it as the tests need.

https://maxmind.github.io/MaxMind-DB/: a binary tree over the bits of an address, 24 bits a branch,
then the data it leads to, then what the file says of itself. IPv4 is at ``::/96`` of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, ip_network
from typing import Any

_MARK = b"\xab\xcd\xefMaxMind.com"


class _Short(int):
    """Of 16 bits."""


class _Long(int):
    """Of 64 bits."""


def database(records: Mapping[str, Any], kind: str = "Test-Country", version: int = 6) -> bytes:
    """A file that knows ``records`` by network; ``kind`` is its type."""
    nodes: list[list[int | None]] = [[None, None]]  # a branch: a node, a record below 0, nothing
    data, places = b"", []
    for text, record in records.items():
        network = ip_network(text)
        bits, number = network.prefixlen, int(network.network_address)
        width = 32 if isinstance(network, IPv4Network) else 128
        if isinstance(network, IPv4Network) and version == 6:
            bits, width = bits + 96, 128
        places.append(len(data))
        data += _encode(record)
        node = 0
        for at in range(bits):
            side = number >> (width - 1 - at) & 1
            if at == bits - 1:
                nodes[node][side] = -len(places)
                break
            below = nodes[node][side]
            if below is None:
                nodes.append([None, None])
                below = nodes[node][side] = len(nodes) - 1
            node = below
    count = len(nodes)
    tree = b""
    for node in nodes:
        for branch in node:
            if branch is None:
                where = count
            else:
                where = branch if branch >= 0 else count + 16 + places[-branch - 1]
            tree += where.to_bytes(3, "big")
    about = {
        "node_count": count,
        "record_size": _Short(24),
        "ip_version": _Short(version),
        "database_type": kind,
        "languages": [],
        "binary_format_major_version": _Short(2),
        "binary_format_minor_version": _Short(0),
        "build_epoch": _Long(1_700_000_000),
        "description": {"en": "for tests"},
    }
    return tree + bytes(16) + data + _MARK + _encode(about)


def _encode(value: Any) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return _control(2, len(raw)) + raw
    if isinstance(value, int):
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return _control({_Short: 5, _Long: 9}.get(type(value), 6), len(raw)) + raw
    if isinstance(value, dict):
        parts = [_encode(key) + _encode(item) for key, item in value.items()]
        return _control(7, len(value)) + b"".join(parts)
    return _control(11, len(value)) + b"".join(map(_encode, value))


def _control(kind: int, size: int) -> bytes:
    assert size < 285
    small, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    if kind < 8:
        return bytes([kind << 5 | small]) + more
    return bytes([small, kind - 7]) + more

"""A client's address as a number, taken apart once a request however many filters ask.

Addresses come in the spelling in which :mod:`ipaddress` and the kernel write them. It takes their
usual forms apart at a third of the price of that module, which under a flood of always new
addresses was most of what access lists cost, and leaves the rest to it.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address

_OCTETS = {b"%d" % octet: octet for octet in range(256)}


def number(client: bytes) -> tuple[int, bool]:
    """The number, and whether it is one of IPv6; IPv6 that maps IPv4 counts as that.

    Raises ValueError for what is no address.
    """
    if b":" in client:
        return _six(client)
    try:
        a, b, c, d = client.split(b".")
        return _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d], False
    except KeyError:
        raise ValueError(client) from None


@lru_cache(maxsize=8)
def _six(client: bytes) -> tuple[int, bool]:
    text = client.decode("ascii")
    if "." in text or "%" in text:
        found = int(IPv6Address(text.partition("%")[0]))
    else:
        found = _groups(text)
    return (found & 0xFFFFFFFF, False) if found >> 32 == 0xFFFF else (found, True)


def _groups(text: str) -> int:
    """RFC 4291 section 2.2, forms 1 and 2."""
    head, gap, tail = text.partition("::")
    groups = head.split(":") if head else []
    zeros = 8 - len(groups)
    digits = "".join([group.rjust(4, "0") for group in groups])
    if gap:
        if tail:
            after = tail.split(":")
            zeros -= len(after)
            digits += "0000" * zeros + "".join([group.rjust(4, "0") for group in after])
            groups += after
        else:
            digits += "0000" * zeros
        zeros -= 1
    elif zeros:
        raise ValueError(text)
    # A group that is too long makes the whole too long, and white space makes it too short.
    number = bytes.fromhex(digits)
    if zeros < 0 or "" in groups or len(number) != 16:
        raise ValueError(text)
    return int.from_bytes(number, "big")

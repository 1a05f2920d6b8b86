"""A client's address as a number.

``inet_pton`` is the one function of ``socket`` that touches no socket. It costs a tenth of what
:mod:`ipaddress` takes, which under a flood of always new addresses was most of the price of a list.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_pton

_MAPPED = 0xFFFF  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2


def number(client: bytes) -> tuple[int, bool]:
    """The number, and whether it is one of IPv6; IPv6 that maps IPv4 counts as that.

    Raises ValueError for what is no address.
    """
    try:
        if b":" not in client:
            return int.from_bytes(inet_pton(AF_INET, client.decode("ascii")), "big"), False
        text = client.partition(b"%")[0].decode("ascii")
        found = int.from_bytes(inet_pton(AF_INET6, text), "big")
    except OSError:
        raise ValueError(client) from None
    return (found & 0xFFFFFFFF, False) if found >> 32 == _MAPPED else (found, True)

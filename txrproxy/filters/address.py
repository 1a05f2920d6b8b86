"""A client's address as a number.

``inet_pton`` is the one function of ``socket`` that touches no socket. It costs a tenth of what
:mod:`ipaddress` takes, which under a flood of always new addresses was most of the price of a list.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_pton

_MAPPED = 0xFFFF  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2

_from_bytes = int.from_bytes
_last: tuple[bytes, tuple[int, bool]] = (b"none yet", (0, False))


def number(client: bytes) -> tuple[int, bool]:
    """The number, and whether it is one of IPv6; IPv6 that maps IPv4 counts as that.

    The last answer is kept: the filters of one request ask one after the other. Raises ValueError
    for what is no address.
    """
    global _last
    asked, found = _last
    if asked is client:
        return found
    try:
        if b":" not in client:
            found = _from_bytes(inet_pton(AF_INET, client.decode())), False
        else:
            address = client.partition(b"%")[0] if b"%" in client else client
            v6 = _from_bytes(inet_pton(AF_INET6, address.decode()))
            found = (v6 & 0xFFFFFFFF, False) if v6 >> 32 == _MAPPED else (v6, True)
    except OSError:
        raise ValueError(client) from None
    _last = client, found
    return found

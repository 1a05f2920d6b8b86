"""Which clients may come at all, by address.

A list of networks may have thousands of members, so they are kept by the length of their prefix: a
look-up masks the address once for each length that occurs. What came out is remembered for the
addresses that came lately.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from txrproxy.filters.bounded import Bounded

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REMEMBERED = 4096  # addresses

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class Networks:
    """A set of networks; IPv6 that maps IPv4 counts as that."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, networks: Iterable[Network]) -> None:
        by_prefix: dict[int, dict[int, set[int]]] = {32: {}, 128: {}}
        for network in networks:
            bits = network.max_prefixlen
            length, first = network.prefixlen, int(network.network_address)
            if bits == 128 and length >= 96 and network.network_address in _MAPPED:
                bits, length, first = 32, length - 96, first & 0xFFFFFFFF
            by_prefix[bits].setdefault(bits - length, set()).add(first >> (bits - length))
        # How far to shift an address, and what may be left of it then.
        self._v4, self._v6 = (list(by_prefix[bits].items()) for bits in (32, 128))

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)

    def has(self, number: int, v6: bool) -> bool:
        """Whether an address, as a number, is in one of them."""
        for shift, firsts in self._v6 if v6 else self._v4:  # noqa: SIM110 - twice as fast as any()
            if number >> shift in firsts:
                return True
        return False


class Access:
    """Who may come: nobody from ``deny``, and if there is ``allow``, nobody from elsewhere.

    ``admits(client)`` takes the address as bytes. A client without an address (of a unix socket) is
    in no network. ``places`` is asked as well where it is given: whether an address is in a place
    from where requests are welcome.
    """

    __slots__ = ("_allow", "_deny", "_known", "_places")

    def __init__(
        self,
        allow: Iterable[Network],
        deny: Iterable[Network],
        places: Callable[[str], bool] | None = None,
    ) -> None:
        self._allow = Networks(allow)
        self._deny = Networks(deny)
        self._places = places
        self._known: Bounded[bool] = Bounded(REMEMBERED)

    def admits(self, client: bytes) -> bool:
        """Whether a client may come."""
        known = self._known.get(client)
        if known is None:
            known = self._judge(client)
            self._known.put(client, known)
        return known

    def forget(self) -> None:
        """Judge everyone anew: what ``places`` says has changed."""
        self._known.clear()

    def _judge(self, client: bytes) -> bool:
        try:
            number, v6 = _number(client)
        except ValueError:
            return not self._allow and self._places is None
        if self._deny.has(number, v6) or (self._allow and not self._allow.has(number, v6)):
            return False
        if self._places is None:
            return True
        return self._places(str((ipaddress.IPv6Address if v6 else ipaddress.IPv4Address)(number)))


def _number(client: bytes) -> tuple[int, bool]:
    """An address as a number, and whether it is IPv6. Raises ValueError for what is none."""
    if b":" not in client:
        parts = bytes(map(int, client.split(b".")))  # half the price of ipaddress
        if len(parts) != 4:
            raise ValueError
        return int.from_bytes(parts, "big"), False
    address = ipaddress.IPv6Address(client.partition(b"%")[0].decode("ascii"))
    mapped = address.ipv4_mapped
    return (int(address), True) if mapped is None else (int(mapped), False)

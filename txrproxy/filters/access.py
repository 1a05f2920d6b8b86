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

    __slots__ = ("_by_prefix",)

    def __init__(self, networks: Iterable[Network]) -> None:
        by_prefix: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            bits = network.max_prefixlen
            length, first = network.prefixlen, int(network.network_address)
            if bits == 128 and length >= 96 and network.network_address in _MAPPED:
                bits, length, first = 32, length - 96, first & 0xFFFFFFFF
            by_prefix.setdefault((bits, bits - length), set()).add(first >> (bits - length))
        self._by_prefix = by_prefix

    def __bool__(self) -> bool:
        return bool(self._by_prefix)

    def __contains__(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        bits, number = address.max_prefixlen, int(address)
        return any(
            version == bits and number >> shift in firsts
            for (version, shift), firsts in self._by_prefix.items()
        )


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
            known = self._judge(client.decode("ascii", "replace"))
            self._known.put(client, known)
        return known

    def forget(self) -> None:
        """Judge everyone anew: what ``places`` says has changed."""
        self._known.clear()

    def _judge(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            return not self._allow and self._places is None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address in self._deny or (self._allow and address not in self._allow):
            return False
        return self._places is None or self._places(str(address))

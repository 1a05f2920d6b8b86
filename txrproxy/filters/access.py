"""Which clients may come at all, by address.

A list of networks may have thousands of members, so they are kept by the length of their prefix: a
look-up masks the address once for each length that occurs. What came out is remembered for the
addresses that came lately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from txrproxy.filters.address import number

Network = IPv4Network | IPv6Network
Places = Callable[[IPv4Address | IPv6Address | None], bool]

REMEMBERED = 4096  # addresses

_MAPPED = IPv6Network("::ffff:0:0/96")


class Networks:
    """A set of networks; IPv6 that maps IPv4 counts as that."""

    __slots__ = ("v4", "v6")

    def __init__(self, networks: Iterable[Network]) -> None:
        by_prefix: dict[int, dict[int, set[int]]] = {32: {}, 128: {}}
        for network in networks:
            bits = network.max_prefixlen
            length, first = network.prefixlen, int(network.network_address)
            if bits == 128 and length >= 96 and network.network_address in _MAPPED:
                bits, length, first = 32, length - 96, first & 0xFFFFFFFF
            by_prefix[bits].setdefault(bits - length, set()).add(first >> (bits - length))
        # How far to shift an address, and what may be left of it then.
        self.v4, self.v6 = (list(by_prefix[bits].items()) for bits in (32, 128))

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def has(self, address: int, v6: bool) -> bool:
        """Whether an address, as a number, is in one of them."""
        for shift, firsts in self.v6 if v6 else self.v4:  # noqa: SIM110 - twice as fast as any()
            if address >> shift in firsts:
                return True
        return False


class Access:
    """Who may come: nobody from ``deny``, and if there is ``allow``, nobody from elsewhere.

    ``admits(client)`` takes the address as bytes. A client without an address (of a unix socket) is
    in no network. ``places`` is asked as well where it is given: whether an address is in a place
    from where requests are welcome; None is a client without an address.
    """

    __slots__ = ("_allow", "_deny", "_known", "_places", "admits")

    admits: Callable[[bytes], bool]

    def __init__(
        self, allow: Iterable[Network], deny: Iterable[Network], places: Places | None = None
    ) -> None:
        self._allow = Networks(allow)
        self._deny = Networks(deny)
        self._places = places
        self._known = _Known(self._judge)
        self.admits = self._known.__getitem__

    def forget(self) -> None:
        """Judge everyone anew: what ``places`` says has changed."""
        self._known.clear()

    def _judge(self, client: bytes) -> bool:
        places = self._places
        try:
            address, v6 = number(client)
        except ValueError:
            return not self._allow and (places is None or places(None))
        if self._deny.has(address, v6) or (self._allow and not self._allow.has(address, v6)):
            return False
        return places is None or places((IPv6Address if v6 else IPv4Address)(address))


class _Known(dict[bytes, bool]):
    """What came out for the clients that came lately; judges one that is not among them.

    When it is full it is emptied: a judgment costs less than keeping the order of all.
    """

    __slots__ = ("_judge",)

    def __init__(self, judge: Callable[[bytes], bool]) -> None:
        self._judge = judge

    def __missing__(self, client: bytes) -> bool:
        if len(self) >= REMEMBERED:
            self.clear()
        self[client] = verdict = self._judge(client)
        return verdict

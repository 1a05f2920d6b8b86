"""From the name in a backend's URL to the servers behind it: addresses, or SRV records.

A question that gets no answer keeps the last good one: so a family of addresses whose server is
slow today, or one target of many whose zone is broken, does not take away what was there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, TimeoutError

from txrproxy.names.files import Address
from txrproxy.names.question import Unanswered
from txrproxy.names.resolver import AAAA, SRV, A, Resolver, has_route

MAX_TARGETS = 64  # of the SRV records of one name
GRACE = 1.0  # seconds that one family of addresses is waited for after the other is there

_KINDS = {A: "A", AAAA: "AAAA"}


@frozen(order=True)
class Target:
    """One server behind a name. ``host`` is what SRV calls it, empty for a name with addresses."""

    version: int
    packed: bytes
    port: int
    host: str = ""
    priority: int = 0
    weight: int = 1

    @property
    def address(self) -> str:
        return str(ipaddress.ip_address(self.packed))


@frozen
class Found:
    """The targets, in order, and the names among them about which there is no answer today."""

    targets: tuple[Target, ...]
    missing: tuple[str, ...] = ()


LookUp = Callable[[], Coroutine[Any, Any, Found]]


class Addresses:
    """All addresses of a name, of both families, from the hosts file or by A and AAAA records.

    Calling raises :class:`Unanswered` when there is none.
    """

    def __init__(
        self,
        resolver: Resolver,
        name: str,
        port: int,
        has_route: Callable[[Address], bool] = has_route,
    ) -> None:
        self._resolver = resolver
        self._name = name
        self._port = port
        self._has_route = has_route
        self._last: dict[tuple[str, int], frozenset[Address]] = {}
        self.known: frozenset[Address] = frozenset()  # the last good answer
        self.missing: tuple[str, ...] = ()  # what it lacks, or has from one before it

    async def __call__(self) -> Found:
        found = await self.addresses()
        targets = (Target(address.version, address.packed, self._port) for address in found)
        return Found(tuple(sorted(targets)), self.missing)

    async def addresses(self) -> frozenset[Address]:
        resolver = self._resolver
        self.missing = ()
        found = _usable(resolver.hosts(self._name))
        if not found:
            for candidate in resolver.candidates(self._name):
                found = await self._both(candidate)
                if found:
                    break
            else:
                raise Unanswered("the name has no address")
        if len({address.version for address in found}) > 1:
            # On a machine with one family, the other's addresses would fail every other request.
            found = frozenset(filter(self._has_route, found)) or found
        self.known = found
        return found

    async def _both(self, name: str) -> frozenset[Address]:
        """The addresses of an absolute name; none if it certainly has none."""
        clock = self._resolver.reactor
        four, six = (
            Deferred.fromCoroutine(self._resolver.records(name, kind)) for kind in (A, AAAA)
        )

        def hurry(records: Any, other: Deferred[Any]) -> Any:
            if records:
                other.addTimeout(GRACE, clock)
            return records

        four.addCallback(hurry, six)
        six.addCallback(hurry, four)
        outcomes: list[tuple[bool, Any]]
        outcomes = await DeferredList([four, six], consumeErrors=True)
        found: set[Address] = set()
        missing = []
        failure = None
        exists = True
        for kind, (answered, records) in zip((A, AAAA), outcomes, strict=True):
            if answered:
                addresses = _usable(
                    ipaddress.ip_address(record.address) for record in records or ()
                )
                self._last[name, kind] = addresses
                found |= addresses
                exists = exists and records is not None
            else:
                records.trap(Unanswered, TimeoutError)
                failure = records.value
                missing.append(f"{name} {_KINDS[kind]}")
                found |= self._last.get((name, kind), frozenset())
        # That a name does not exist holds for every type (RFC 8020 section 2).
        if failure is not None and (len(missing) == 2 or (exists and not found)):
            raise failure
        self.missing = tuple(missing)
        return frozenset(found)


class Services:
    """The targets of SRV records (RFC 2782), with all of their addresses.

    Lower priorities go first. A weight of 0 becomes 1, the smallest there is. Calling raises
    :class:`Unanswered` when there is no target with an address.
    """

    def __init__(self, resolver: Resolver, name: str) -> None:
        self._resolver = resolver
        self._name = name
        self._hosts: dict[str, Addresses] = {}

    async def __call__(self) -> Found:
        services = await self._services()
        self._hosts = {
            host: self._hosts.get(host) or Addresses(self._resolver, f"{host}.", 0)
            for *_, host in services
        }
        names = list(self._hosts)
        outcomes: list[tuple[bool, Any]]
        outcomes = await DeferredList(
            [Deferred.fromCoroutine(self._hosts[name].addresses()) for name in names],
            consumeErrors=True,
        )
        missing = []
        for name, (answered, outcome) in zip(names, outcomes, strict=True):
            if not answered:
                outcome.trap(Unanswered, TimeoutError)
                missing.append(name)
            else:
                missing += self._hosts[name].missing
        targets: dict[tuple[bytes, int], Target] = {}
        for priority, weight, port, host in services:
            for address in self._hosts[host].known:
                target = Target(
                    address.version, address.packed, port, host, priority, max(1, weight)
                )
                targets.setdefault((address.packed, port), target)
        if not targets:
            raise Unanswered(f"there is no address of {', '.join(missing[:3])}")
        return Found(tuple(sorted(targets.values())), tuple(missing))

    async def _services(self) -> list[tuple[int, int, int, str]]:
        for name in self._resolver.candidates(self._name):
            records = await self._resolver.records(name, SRV)
            services = {
                (r.priority, r.weight, r.port, r.target.name.decode("latin-1").lower())
                for r in records or ()
                if r.port
            }
            # A target of "." says that there is no such service here.
            found = sorted(service for service in services if service[3] not in {"", "."})
            if found:
                return found[:MAX_TARGETS]
        raise Unanswered("the name has no SRV record")


def _usable(addresses: Iterable[Address]) -> frozenset[Address]:
    """Those that one server can have; an IPv4 address in IPv6 clothes is that IPv4 address.

    0.0.0.0 is this machine to the kernel, and what filtering name servers say for "blocked".
    """
    plain = (getattr(address, "ipv4_mapped", None) or address for address in addresses)
    return frozenset(
        address
        for address in plain
        if not (address.is_unspecified or address.is_multicast)
        and (address.version == 4 or not address.is_link_local)
    )

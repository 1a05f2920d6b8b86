"""A stub resolver: what the name servers of the machine, or those of the configuration, say.

Servers are asked in their order, and again as often as ``attempts`` says; the next one is asked
when one does not answer, or answers that it can not or will not. That a name does not exist, or
has no record of the type, is an answer like any other.

The C library's ``getaddrinfo`` would do the same in a thread that nothing can call back; see
``docs/decisions/0009-names.md``.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.names import dns

from txrproxy.names.files import (
    Address,
    File,
    Server,
    Settings,
    is_name,
    parse_hosts,
    parse_resolv_conf,
)
from txrproxy.names.question import Unanswered, ask

CONCURRENT = 128  # questions on their way at a time

A, AAAA, SRV = dns.A, dns.AAAA, dns.SRV
_ERRORS = {dns.EFORMAT: "FORMERR", dns.ESERVER: "SERVFAIL", dns.EREFUSED: "REFUSED"}


class Resolver:
    """Asks ``servers``; without any, those of ``resolv_conf``.

    What else that file says holds either way. ``hosts`` goes before every server.
    """

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[Server] = (),
        resolv_conf: str = "/etc/resolv.conf",
        hosts: str = "/etc/hosts",
    ) -> None:
        self.reactor = reactor
        self._servers = tuple(servers)
        self._settings = File(resolv_conf, parse_resolv_conf)
        self._hosts = File(hosts, parse_hosts)
        self._places = DeferredSemaphore(CONCURRENT)

    def hosts(self, name: str) -> tuple[Address, ...]:
        """The addresses of a name in the hosts file."""
        return self._hosts().get(name.rstrip(".").lower(), ())

    def candidates(self, name: str) -> Iterator[str]:
        """The absolute names that a name may stand for, in the order to try them in."""
        settings = self._settings()
        plain = name.removesuffix(".")
        below = [f"{plain}.{domain}" for domain in settings.search]
        if name.endswith("."):
            names = [plain]
        elif plain.count(".") >= settings.ndots:
            names = [plain, *below]
        else:
            names = [*below, plain]
        return filter(is_name, names)

    async def records(self, name: str, kind: int) -> list[Any] | None:
        """The payloads of the records of one type; None if the name does not exist.

        Raises :class:`Unanswered` when no server has an answer.
        """
        await self._places.acquire()
        try:
            return await self._records(name, kind)
        finally:
            self._places.release()

    async def _records(self, name: str, kind: int) -> list[Any] | None:
        settings: Settings = self._settings()
        why = ""
        for _ in range(settings.attempts):
            for server in self._servers or settings.servers:
                try:
                    message = await ask(self.reactor, server, name, kind, settings.timeout)
                except Unanswered as reason:
                    why = str(reason)
                    continue
                if message.rCode == dns.OK:
                    return _select(message.answers, name, kind)
                if message.rCode == dns.ENAME:
                    return None
                code = _ERRORS.get(message.rCode, f"error {message.rCode}")
                why = f"name server {server[0]} answers {code}"
        raise Unanswered(why)


def _select(answers: Sequence[Any], name: str, kind: int) -> list[Any]:
    """The payloads of one type, of the name or of what it is an alias for."""
    names = {dns.Name(name.encode("ascii")).name.lower()}
    aliases = [
        (record.name.name.lower(), record.payload.name.name.lower())
        for record in answers
        if record.type == dns.CNAME
    ]
    for _ in range(len(aliases)):  # they may stand in any order
        found = {target for alias, target in aliases if alias in names} - names
        if not found:
            break
        names |= found
    return [
        record.payload
        for record in answers
        if record.type == kind and record.name.name.lower() in names
    ]


def has_route(address: Address) -> bool:
    """Whether this machine knows a way to an address. Nothing is sent."""
    family = socket.AF_INET6 if isinstance(address, ipaddress.IPv6Address) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
    except OSError:
        return False
    return True

"""What the machine says about names: ``resolv.conf(5)`` and ``hosts(5)``.

Both are read again when they have changed, which network managers and container runtimes do at any
time. What is malformed in them is passed over, line by line, as every resolver does.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import frozen

T = TypeVar("T")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Server = tuple[str, int]  # address and port of a name server

PORT = 53
MAX_SERVERS = 3  # as many as the C library asks
MAX_SEARCH = 16
MAX_NDOTS = 15
LARGEST = 4 << 20  # characters of a file that are read
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")


@frozen
class Settings:
    """How name servers are asked. ``timeout`` is in seconds, for one try at one server.

    A name with fewer dots than ``ndots`` is tried below each domain of ``search`` first.
    """

    servers: tuple[Server, ...] = (("127.0.0.1", PORT),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 2.0
    attempts: int = 2


def parse_resolv_conf(text: str) -> Settings:
    """The settings of a ``resolv.conf``: nameserver, search or domain, options."""
    servers: list[Server] = []
    search: tuple[str, ...] = ()
    options = {"ndots": 1, "timeout": 2, "attempts": 2}
    for line in text.splitlines():
        keyword, *words = line.split() or [""]
        if keyword == "nameserver" and words:
            address = read_address(words[0])
            if address is not None:
                servers.append((str(address), PORT))
        elif keyword in {"search", "domain"}:  # the last of them counts
            domains = (word.rstrip(".").lower() for word in words)
            search = tuple(domain for domain in domains if is_name(domain))[:MAX_SEARCH]
        elif keyword == "options":
            for word in words:
                option, _, value = word.partition(":")
                if option in options and value.isascii() and value.isdigit():
                    options[option] = int(value[:4])
    return Settings(
        tuple(servers[:MAX_SERVERS]) or Settings().servers,
        search,
        min(options["ndots"], MAX_NDOTS),
        float(min(max(options["timeout"], 1), 10)),
        min(max(options["attempts"], 1), 5),
    )


def parse_hosts(text: str) -> dict[str, tuple[Address, ...]]:
    """Names, in lower case, with their addresses."""
    found: dict[str, list[Address]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        address = read_address(words[0]) if words else None
        if address is not None:
            for name in words[1:]:
                found.setdefault(name.rstrip(".").lower(), []).append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}


def read_address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_name(name: str) -> bool:
    """Whether it can be that of a host (RFC 1035 section 2.3), with underscores as they occur."""
    return len(name.removesuffix(".")) <= 253 and bool(_NAME.fullmatch(name))


class File(Generic[T]):
    """What a file says, parsed again when it has changed. One that is not there is empty."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[int, int, int] | None = None
        self._value = parse("")

    def __call__(self) -> T:
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                status = os.fstat(file.fileno())
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
                if seen != self._seen:
                    self._value = self._parse(file.read(LARGEST))
                    self._seen = seen
        except OSError:
            self._seen = None
            self._value = self._parse("")
        return self._value

"""Where an address is from: databases in MaxMind's format, looked up in this process.

A database is read into memory of its own and mapped there. So nothing that is done to its file
while it is in use, a cut in the middle of a download say, can reach who looks something up; and the
library's own code, which is the faster one, wants something to map.

See the specification, https://maxmind.github.io/MaxMind-DB/, and the extra ``txrproxy[geo]``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from twisted.logger import Logger

from txrproxy.filters.access import Places
from txrproxy.filters.places import welcome

MAX_DATABASE = 512 * 1024 * 1024  # bytes; the largest that is sold has a quarter of it

COUNTRIES = "countries"
NETWORKS = "autonomous systems"

_logger = Logger()

# What words in the type of a database say of what it has. Of other types anything may be expected.
_KINDS = (
    ("ASN", {NETWORKS}),
    ("ISP", {NETWORKS}),
    ("Enterprise", {COUNTRIES, NETWORKS}),
    ("Country", {COUNTRIES}),
    ("City", {COUNTRIES}),
)


class BadDatabase(Exception):
    """A file that is no database, or a broken one."""


class Database:
    """One database, of the content of its file. Raises :class:`BadDatabase`.

    ``kinds`` says what it may have: :data:`COUNTRIES`, :data:`NETWORKS`.
    """

    def __init__(self, content: bytes) -> None:
        maxminddb: Any = import_module("maxminddb")
        fd = os.memfd_create("txrproxy-geo", os.MFD_CLOEXEC)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(content)
            self._reader = maxminddb.open_database(f"/proc/self/fd/{fd}")
            self.type: str = self._reader.metadata().database_type
            self._reader.get("192.0.2.1")
        except Exception as error:  # whatever the library makes of what somebody else wrote
            raise BadDatabase(f"not a database in MaxMind's format: {_why(error, fd)}") from None
        finally:
            os.close(fd)
        self.kinds = frozenset(
            next((kinds for word, kinds in _KINDS if word in self.type), {COUNTRIES, NETWORKS})
        )
        self._complained = False

    def places(self, address: IPv4Address | IPv6Address) -> list[str]:
        """What it knows: ``["CH"]``, ``["AS64500"]``, both, or nothing."""
        try:
            record = self._reader.get(address)
        except ValueError:  # an IPv6 address, and a database of IPv4
            return []
        except Exception as error:
            if not self._complained:
                self._complained = True
                _logger.error("{type} is broken: {why}", type=self.type, why=str(error))
            return []
        found = []
        if isinstance(record, dict):
            country = record.get("country")
            code = country.get("iso_code") if isinstance(country, dict) else None
            if isinstance(code, str):
                found.append(code)
            system = record.get("autonomous_system_number")
            if isinstance(system, int):
                found.append(f"AS{system}")
        return found


def _why(error: Exception, fd: int) -> str:
    """The library's words, without the name of a file that is nowhere."""
    words = str(error).replace(f"/proc/self/fd/{fd}", "it").removesuffix(".")
    return words or type(error).__name__


def places(
    databases: Callable[[], Collection[Database]], allow: Collection[str], deny: Collection[str]
) -> Places:
    """Whether clients from where an address is are welcome; None is a client without one."""

    def judge(address: IPv4Address | IPv6Address | None) -> bool:
        found: list[str] = []
        if address is not None:
            for database in databases():
                found += database.places(address)
        return welcome(found, allow, deny)

    return judge

"""Names of servers: as certificates spell them, as clients ask for them, and how the two meet.

RFC 9525: a name is compared in its A-label form without regard to case; ``*`` stands for exactly
one whole label, the first; an IP address matches itself alone. A certificate's Common Name counts
for nothing. A trailing dot, which a client may copy from a URL, is not part of the name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_MAX_NAME = 253  # characters of a DNS name
_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def normalise(name: str | bytes) -> str | None:
    """The one spelling of a server name, IP address or wildcard; None for what is no name.

    Unicode names become A-labels (``bücher.example`` → ``xn--bcher-kva.example``).
    """
    if isinstance(name, bytes):
        try:
            name = name.decode("ascii")
        except UnicodeDecodeError:
            return None
    if len(name) > _MAX_NAME + 1:
        return None
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    name = name.lower().removesuffix(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    labels = name.removeprefix("*.").split(".")
    good = all(0 < len(label) <= 63 and _LABEL.issuperset(label) for label in labels)
    return name if good and len(name) <= _MAX_NAME else None


def wildcard(name: str) -> str:
    """The wildcard that takes a normalised name: ``*.example.com`` for ``www.example.com``.

    Empty when none does: for an address, and for a name of one label.
    """
    first, dot, rest = name.partition(".")
    if not dot or first == "*" or ":" in name or rest.rpartition(".")[2].isdigit():
        return ""
    return f"*.{rest}"


def find(table: Mapping[str, T], name: str) -> T | None:
    """What a table of normalised names holds for one: its own entry, else that of its wildcard."""
    found = table.get(name)
    return found if found is not None else table.get(wildcard(name))

"""Who asks: the client's end of a connection, and the client behind the proxies that are trusted.

An address is the connection's own, or what X-Forwarded-For says where that was written by proxies
that are believed; where there is none, what Forwarded says (RFC 7239). The first is the one that
proxies write, and those that do let a client's Forwarded through: it must not count beside it. Of
what else such a proxy says, the request id and the scheme are read here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from txrproxy.http.fields import Fields, is_closed, split_list, split_members

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_PROXIES = 32  # addresses that are looked at, from the right

# One parameter of an element of Forwarded. An address with colons is to be quoted; not all do so.
_PARAMETER = re.compile(
    rb"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*+"|[^;" \t]*+)[ \t]*(?:;|\Z)"""
)


class ClientIdentity(Protocol):
    """The holder of a verified client certificate: :class:`txrproxy.tls.identity.Identity`."""

    @property
    def log_notes(self) -> tuple[tuple[bytes, bytes], ...]: ...

    def values(self, kind: str) -> frozenset[str]: ...


Way = tuple[bytes, bytes, bytes, bytes]
"""The name of a listener, ``http`` or ``https``, a version of TLS, a server name; empty without."""


class Peer:
    """The client's end of one connection, as it appears in what is sent on.

    ``address`` is IP text, or b"unknown" (a unix socket). ``trusted`` says that it is a proxy whose
    word is believed. ``identity`` is the holder of its TLS client certificate, and
    ``certificate_lines`` what backends are told of that (whole header lines). ``admits`` says
    whether the connection may ask for a host, where TLS made it for another; None: for any.
    ``way`` is for the log: the listener, its scheme, the version of TLS, and the name asked for.
    """

    __slots__ = (
        "address",
        "admits",
        "forwarded",
        "identity",
        "scheme",
        "secure",
        "short_tail",
        "tail",
        "trusted",
        "way",
    )

    def __init__(
        self,
        address: bytes,
        scheme: bytes,
        trusted: bool,
        identity: ClientIdentity | None = None,
        certificate_lines: bytes = b"",
        admits: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.address = address
        self.scheme = scheme
        self.secure = scheme == b"https"
        self.trusted = trusted
        self.identity = identity
        self.admits = admits
        self.way: Way = (b"", scheme, b"", b"")
        node = b'"[%b]"' % address if b":" in address else address
        self.forwarded = b"for=%b;proto=%b\r\n" % (node, scheme)
        self.short_tail = b"%b\r\n%b" % (address, certificate_lines)
        self.tail = b"%b\r\nX-Forwarded-Proto: %b\r\n%b" % (address, scheme, certificate_lines)


_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")


def believed_request_id(fields: Fields) -> bytes | None:
    """The request id that a trusted proxy gave, when it is one that can be logged and sent on."""
    values = fields.all(b"x-request-id")
    if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]):
        return values[0]
    return None


def believed_scheme(fields: Fields) -> bytes:
    """The scheme that a trusted proxy says the client used; empty where it says none.

    What it put last is its own word; before that may be the client's.
    """
    values = fields.all(b"x-forwarded-proto")
    if values:
        return values[-1].rpartition(b",")[2].strip(b" \t").lower()
    elements = _elements(fields.all(b"forwarded")[-1:])
    return elements[-1].get(b"proto", b"").lower() if elements else b""


def unmapped(address: str) -> str:
    """IP text with IPv4 in place of IPv6 that maps it; what is no address comes back as it is."""
    if ":" in address:
        try:
            mapped = ipaddress.IPv6Address(address).ipv4_mapped
        except ValueError:
            return address
        if mapped is not None:
            return str(mapped)
    return address


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address (IP text) lies in one of the networks; mapped IPv6 counts as IPv4."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip.version == network.version and ip in network for network in trusted)


def client_address(peer: bytes, fields: Fields, trusted: Sequence[Network]) -> bytes:
    """The client's address: X-Forwarded-For walked from the right through trusted proxies.

    Without one, it is Forwarded that is walked. The first address that is no trusted proxy is the
    client; what it claims further left is not believed. A list that is not one of addresses ends
    the walk at the last one that could be read. Mapped IPv6 becomes IPv4, as it counts everywhere
    else.
    """
    client = peer
    entries = split_list(fields.all(b"x-forwarded-for")) or _nodes(fields)
    for entry in entries[: -_MAX_PROXIES - 1 : -1]:
        text = _address(entry)
        if not text:
            return client
        client = text.encode("ascii")
        if not is_trusted(text, trusted):
            return client
    return client


def addresses_told(fields: Fields) -> bytes:
    """What Forwarded says of addresses, as members of X-Forwarded-For; empty if it says nothing."""
    addresses = [_address(node) or "unknown" for node in _nodes(fields)[-_MAX_PROXIES:]]
    return ", ".join(addresses).encode("ascii")


def _nodes(fields: Fields) -> list[bytes]:
    values = fields.all(b"forwarded")
    return [element.get(b"for", b"") for element in _elements(values)] if values else []


def _address(entry: bytes) -> str:
    """The IP text of an entry of a list; empty where it has none."""
    text = _bare_address(entry.decode("latin-1"))
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # a zone names nothing here
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def _bare_address(entry: str) -> str:
    """An address without the port or brackets that some proxies add."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    if entry.count(":") == 1:
        return entry.partition(":")[0]
    return entry


def _elements(values: Sequence[bytes]) -> list[dict[bytes, bytes]]:
    """The elements of Forwarded, each with its parameters by lower-case name (RFC 7239 section 4).

    One that can not be read, or says the same thing twice, says nothing, and neither does a line
    with a quote that is left open.
    """
    elements: list[dict[bytes, bytes]] = []
    for value in values:
        if is_closed(value):
            elements += [_parameters(member) for member in split_members(value) if member]
        else:
            elements.append({})
    return elements


def _parameters(element: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(element):
        match = _PARAMETER.match(element, at)
        if match is None or (name := match[1].lower()) in found:
            return {}
        at = match.end()
        value = match[2]
        if value.startswith(b'"'):
            value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
        found[name] = value
    return found

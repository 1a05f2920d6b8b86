"""The conditions of one route, compiled.

A condition on host or path is decided by the tree, for all routes at once, and remembered for each
(host, path). What is left, and differs between two requests for the same address, is decided here:
``unconditional`` says that nothing is left, so that a plain route costs no call.

Within one condition any value does; all conditions given must hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import re2

from txrproxy.http.peer import ClientIdentity
from txrproxy.http.target import (
    BadTarget,
    keeps_segments,
    normalise_path,
    normalise_prefix,
    split_authority,
)

#: Gives the values of all lines of one field, by its lower-case name.
FieldValues = Callable[[bytes], Iterable[bytes]]

_MAX_ADDRESS = 64  # characters: longer than any spelling of an IP address


def compile_regex(pattern: str | bytes) -> Any:
    """An RE2 expression on bytes; raises :class:`ValueError` with RE2's words for a bad one."""
    options = re2.Options()
    options.log_errors = False  # RE2 would print to standard error
    text = pattern.encode() if isinstance(pattern, str) else pattern
    try:
        return re2.compile(text, options)
    except re2.error as error:
        said = error.args[0]
        raise ValueError(said.decode() if isinstance(said, bytes) else str(said)) from None


class Pattern(NamedTuple):
    """A literal, or with ``wild`` all that begins (a path) or ends (a host) with ``text``."""

    text: bytes
    wild: bool


class Refusal(NamedTuple):
    """The condition that does not hold, what it asks for, and what the request has."""

    condition: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.condition} is {self.found}, not {self.wanted}"


ANY = Pattern(b"", True)


def host_pattern(text: bytes) -> Pattern:
    """Compile ``name``, ``*.name`` (one or more labels before it) or ``*``."""
    if text == b"*":
        return ANY
    wild = text.startswith(b"*.")
    try:
        host, port = split_authority(text[2:] if wild else text)
    except BadTarget:
        raise ValueError("not a valid host name") from None
    if port is not None:
        raise ValueError("a host is matched without its port")
    return Pattern(b"." + host, True) if wild else Pattern(host, False)


def path_pattern(text: bytes) -> Pattern:
    """Compile a path, or a prefix that ends in ``*``; it is normalised as requests are."""
    if text in (b"*", b"/*"):
        return ANY  # everything, the "*" of OPTIONS included
    if not text.startswith(b"/"):
        raise ValueError("a path begins with '/'")
    if re.search(rb"[?#]", text):
        raise ValueError("a path has neither '?' nor '#'")
    if text.endswith(b"*"):
        return Pattern(normalise_prefix(text[:-1]), True)
    return Pattern(normalise_path(text), False)


class Networks:
    """A set of IP networks. A look-up costs one dict hit for each distinct prefix length."""

    __slots__ = ("_by_version",)

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._by_version: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for network in networks:
            version, shift = network.version, network.max_prefixlen - network.prefixlen
            address = network.network_address
            if isinstance(address, IPv6Address) and network.prefixlen >= 96 and address.ipv4_mapped:
                version, address = 4, address.ipv4_mapped
            self._by_version[version].setdefault(shift, set()).add(int(address) >> shift)

    def __contains__(self, client: str) -> bool:
        """Whether an address given as text is inside; what is no address (a unix socket) is not."""
        parsed = _parse_address(client) if len(client) <= _MAX_ADDRESS else None
        if parsed is None:
            return False
        version, number = parsed
        for shift, prefixes in self._by_version[version].items():
            if number >> shift in prefixes:
                return True
        return False

    def __str__(self) -> str:
        networks: list[IPv4Network | IPv6Network] = []
        for shift, prefixes in sorted(self._by_version[4].items()):
            networks += [IPv4Network((p << shift, 32 - shift)) for p in sorted(prefixes)]
        for shift, prefixes in sorted(self._by_version[6].items()):
            networks += [IPv6Network((p << shift, 128 - shift)) for p in sorted(prefixes)]
        return _any_of(map(str, networks))


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> tuple[int, int] | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.version, int(address)


class Conditions:
    """What a route asks of a request. Raises :class:`ValueError` for a value it can not compile.

    ``hosts`` and ``paths`` are texts for :func:`host_pattern` and :func:`path_pattern`; none means
    any. ``fields`` (lower-case name, accepted values) holds when any line of the field equals any
    accepted value. ``query`` (name, accepted values) is compared after decoding ``%XX`` and ``+``.
    ``client_cert`` ("subject", "san" or "fingerprint", accepted values) holds when the verified
    certificate of the client has any of the values.
    ``path_regex`` is *searched for* in the normalised path: anchor it with ``^`` and ``$``.
    """

    __slots__ = (
        "client_cert",
        "clients",
        "fields",
        "hosts",
        "methods",
        "path_regex",
        "paths",
        "query",
        "unconditional",
    )

    def __init__(
        self,
        hosts: Sequence[bytes] = (),
        paths: Sequence[bytes] = (),
        *,
        methods: frozenset[bytes] | None = None,
        fields: Sequence[tuple[bytes, frozenset[bytes]]] = (),
        query: Sequence[tuple[bytes, frozenset[bytes]]] = (),
        path_regex: str | bytes | None = None,
        clients: Sequence[IPv4Network | IPv6Network] = (),
        client_cert: Sequence[tuple[str, frozenset[str]]] = (),
    ) -> None:
        self.hosts = tuple(dict.fromkeys(map(host_pattern, hosts))) or (ANY,)
        self.paths = tuple(dict.fromkeys(map(path_pattern, paths))) or (ANY,)
        self.path_regex = None if path_regex is None else compile_regex(path_regex)
        self.methods = methods
        self.fields = tuple(fields)
        self.query = tuple(query)
        self.clients = Networks(clients) if clients else None
        self.client_cert = tuple(client_cert)
        #: Nothing is asked beyond host and path.
        self.unconditional = methods is None and not (fields or query or clients or client_cert)

    @property
    def takes_all(self) -> bool:
        """No request that fits the host and path patterns is refused."""
        return self.unconditional and self.path_regex is None

    def holds(
        self,
        method: bytes,
        field: FieldValues,
        query: bytes | None,
        client: str,
        identity: ClientIdentity | None = None,
    ) -> bool:
        """Whether the conditions beyond host and path hold; the cheap ones are asked first."""
        if self.methods is not None and method not in self.methods:
            return False
        if self.clients is not None and client not in self.clients:
            return False
        for kind, accepted_values in self.client_cert:
            if identity is None or accepted_values.isdisjoint(identity.values(kind)):
                return False
        for name, accepted in self.fields:
            if accepted.isdisjoint(field(name)):
                return False
        return not self.query or self._query_holds(query or b"")

    def _query_holds(self, query: bytes) -> bool:
        given = _arguments(query)
        return all(not accepted.isdisjoint(given.get(name, ())) for name, accepted in self.query)

    def why_not(
        self,
        host: bytes,
        path: bytes,
        method: bytes,
        field: FieldValues,
        query: bytes | None,
        client: str,
        identity: ClientIdentity | None = None,
    ) -> Refusal | None:
        """The first condition that refuses a request, host and path among them; None: none does.

        For people. It says of each request what the tree and :meth:`holds` say together.
        """
        if not any(host.endswith(text) if wild else host == text for text, wild in self.hosts):
            wanted = _any_of(b"*" + text if wild else text for text, wild in self.hosts)
            return Refusal("host", wanted, _shown([host]))
        if not any(path.startswith(text) if wild else path == text for text, wild in self.paths):
            wanted = _any_of(text + b"*" if wild else text for text, wild in self.paths)
            return Refusal("path", wanted, _shown([path]))
        if self.path_regex is not None and self.path_regex.search(path) is None:
            pattern = self.path_regex.pattern
            return Refusal("path", f"a match of {_shown([pattern])}", _shown([path]))
        if self.methods is not None and method not in self.methods:
            return Refusal("method", _any_of(sorted(self.methods)), _shown([method]))
        if self.clients is not None and client not in self.clients:
            return Refusal("client", str(self.clients), client)
        for kind, accepted_values in self.client_cert:
            values = frozenset() if identity is None else identity.values(kind)
            if accepted_values.isdisjoint(values):
                found = _any_of(sorted(values)) if values else "absent"
                return Refusal(f"client_cert {kind}", _any_of(sorted(accepted_values)), found)
        for name, accepted in self.fields:
            if accepted.isdisjoint(field(name)):
                condition = f"header {name.decode('latin-1')}"
                return Refusal(condition, _any_of(sorted(accepted)), _shown(field(name)))
        given = _arguments(query or b"")
        for name, accepted in self.query:
            if accepted.isdisjoint(given.get(name, ())):
                condition = f"query {name.decode('utf-8', 'replace')}"
                return Refusal(
                    condition, _any_of(sorted(accepted)), _shown(sorted(given.get(name, ())))
                )
        return None

    def wildcard(self, path: bytes, raw: bytes) -> bytes:
        """What the ``*`` of the longest matching prefix took, as the client spelled it if it can.

        ``path`` is the normalised copy of ``raw``. Empty for an exact path; the whole path without
        its first slash for ``/*`` and for a route without paths. The normalised spelling is given
        when the raw one holds dot segments, or spells the prefix in another way.
        """
        prefix = self.prefix(path)
        if raw.startswith(prefix) and keeps_segments(raw, path):
            return raw[len(prefix) :]
        return path[len(prefix) :]

    def prefix(self, path: bytes) -> bytes:
        """The beginning of a matching normalised path that the conditions name: all of it for an
        exact pattern, else the longest prefix; a slash for ``/*`` and for a route without paths.
        """
        found = b"/"
        for text, wild in self.paths:
            if not wild:
                if text == path:
                    return path
            elif path.startswith(text) and len(text) > len(found):
                found = text
        return found


def _shown(values: Iterable[bytes]) -> str:
    """What a request has, for a person."""
    texts = [repr(value.decode("utf-8", "replace")) for value in values]
    return ", ".join(texts) if texts else "absent"


def _any_of(values: Iterable[bytes | str]) -> str:
    """What is asked for, for a person."""
    texts = [v if isinstance(v, str) else v.decode("utf-8", "replace") for v in values]
    return " | ".join(texts)


@lru_cache(maxsize=8)  # one request may meet many routes that ask
def _arguments(query: bytes) -> dict[bytes, set[bytes]]:
    given: dict[bytes, set[bytes]] = {}
    for pair in query.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            given.setdefault(_decode(name), set()).add(_decode(value))
    return given


def _decode(text: bytes) -> bytes:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text

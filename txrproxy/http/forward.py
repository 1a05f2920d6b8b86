"""What changes in a head on its way through the proxy (RFC 9110 section 7.6, RFC 7239).

A request loses the fields of its own hop and every field by which a client could pass itself off as
a proxy; it gains Via, Forwarded, X-Forwarded-* and X-Request-Id. Fields that tell of a client's
certificate are this proxy's alone to set: nobody's are passed on, not even those of a proxy that is
trusted. A response loses the fields of its hop and what identifies the backend.

What a rule set does to a block of fields depends on the two and the version alone, so the result
is kept with what was found out about the fields: a warm request costs one look-up. What belongs to
a connection (the client's address, the scheme) is rendered once for it, in :class:`Peer`, and
completes the lines that the block leaves open.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import frozen

from txrproxy.http.fields import (
    EMPTY,
    HOP_BY_HOP,
    Fields,
    Line,
    allowed_trailers,
    fold,
    is_client_certificate,
    is_field_value,
    is_token,
    make_line,
    split_list,
)
from txrproxy.http.head import RequestFacts, ResponseHead

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PSEUDONYM = b"txrproxy"

# Only a proxy says these of a request. Believed from trusted proxies, dropped from everyone else.
_PROXY_FIELDS = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-request-id", b"x-forwarded"})
# Fields that frame or route: an underscore alias of one (as WSGI and CGI would fold it) is dropped.
_ALIASED = (
    HOP_BY_HOP
    | _PROXY_FIELDS
    | {b"host", b"content-length", b"content-type", b"expect", b"trailer"}
)
# What a request never carries on as it came: its hop's, and what is rendered anew.
# "Proxy" would become HTTP_PROXY in a CGI environment, where libraries obey it (httpoxy).
_NOT_SENT_ON = HOP_BY_HOP | {b"content-length", b"proxy"}
_MAX_PROXIES = 32  # addresses of X-Forwarded-For that are looked at, from the right
_MAX_DERIVED = 8  # rule sets remembered for one block
_MAX_FORWARDS = 1000  # a larger one is lowered to this: no path has as many hops


def is_proxy_field(name: bytes) -> bool:
    """Whether only a proxy may have set the field with this lower-case name."""
    return name in _PROXY_FIELDS or name.startswith(b"x-forwarded-")


@frozen(eq=False)
class Changes:
    """Configured changes: ``remove`` first, then ``set`` replaces, then ``add`` appends."""

    set: tuple[Line, ...] = ()
    add: tuple[Line, ...] = ()
    remove: frozenset[bytes] = frozenset()

    @property
    def replaced(self) -> frozenset[bytes]:
        """The names of which no line of the message stays."""
        return self.remove | {line[0] for line in self.set}


def changes(
    set: Iterable[tuple[bytes, bytes]] = (),
    add: Iterable[tuple[bytes, bytes]] = (),
    remove: Iterable[bytes] = (),
) -> Changes:
    """Changes from plain pairs. Raises ValueError for a name or value that can not be sent."""
    lines = []
    for pairs in (set, add):
        for name, value in pairs:
            if not is_token(name) or not is_field_value(value):
                raise ValueError(f"not a header field: {name!r}: {value!r}")
        lines.append(tuple(make_line(name, value) for name, value in pairs))
    return Changes(lines[0], lines[1], frozenset(name.lower() for name in remove))


# Requests.


class ClientIdentity(Protocol):
    """The holder of a verified client certificate: :class:`txrproxy.tls.identity.Identity`."""

    @property
    def log_name(self) -> bytes: ...

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


# The parts of a request's fields, each completed by the peer: everything up to an open Forwarded
# element, then an open X-Forwarded-For list, and whether the peer's scheme is to be told.
RequestBlock = tuple[bytes, bytes, bool]


class RequestRules:
    """What one route does to the fields of a request. One object each for trusted and untrusted.

    ``host`` is the Host sent on, None to preserve the client's; with ``backend_host`` it is each
    backend's own, and left to :func:`request_head`. ``websocket`` lets upgrades pass.
    """

    __slots__ = (
        "_aliased",
        "_changes",
        "_removed",
        "backend_host",
        "host",
        "trusted",
        "websocket",
    )

    def __init__(
        self,
        trusted: bool,
        host: bytes | None = None,
        websocket: bool = True,
        changes: Changes = Changes(),
        backend_host: bool = False,
    ) -> None:
        self.trusted = trusted
        self.websocket = websocket
        for line in changes.set:
            if line[0] == b"host":
                host, backend_host = line[1], False
        self.backend_host = backend_host
        self.host = host
        self._changes = Changes(
            tuple(line for line in changes.set if line[0] != b"host"),
            tuple(line for line in changes.add if line[0] != b"host"),
            changes.remove,
        )
        configured = changes.replaced | {line[0] for line in changes.add}
        self._removed = self._changes.replaced | {b"host"}
        self._aliased = _ALIASED | configured

    def block(self, fields: Fields, facts: RequestFacts, authority: bytes) -> RequestBlock:
        """The fields to send on; remembered for the common version and the authority of Host."""
        known = fields.derived.get(self)
        common = facts.http_11 and authority is facts.authority
        if known is not None and common:
            return known  # type: ignore[no-any-return]
        made = self._make(fields, facts, authority)
        if common:
            if len(fields.derived) >= _MAX_DERIVED:
                fields.derived.clear()
            fields.derived[self] = made
        return made

    def _make(self, fields: Fields, facts: RequestFacts, authority: bytes) -> RequestBlock:
        removed = self._removed
        if facts.plain and authority is facts.authority:
            # Only Host is not sent on as it came, and what takes its place is known for the host.
            frame = facts.frames.get(self)
            if frame is None:
                frame = self._frame(EMPTY, (), facts, authority)
                if len(facts.frames) >= _MAX_DERIVED:
                    facts.frames.clear()
                facts.frames[self] = frame
            passed = [line[2] for line in fields.lines if line[0] not in removed]
        else:
            removed = removed | facts.options
            passes = self._passes
            passing = [
                line
                for line in fields.lines
                if line[0] not in removed and (not line[3] or passes(line[0], facts))
            ]
            frame = self._frame(fields, passing, facts, authority)
            passed = [
                _one_less(line) if line[0] == b"max-forwards" else line[2] for line in passing
            ]
        host, rest, forwarded_for, tells_proto = frame
        return b"%b%b%b" % (host, b"".join(passed), rest), forwarded_for, tells_proto

    def _frame(
        self, fields: Fields, passing: Sequence[Line], facts: RequestFacts, authority: bytes
    ) -> tuple[bytes, bytes, bytes, bool]:
        """What stands around the lines that pass: Host before them, the proxy's own after."""
        host = b""
        if not self.backend_host:
            host = b"Host: %b\r\n" % (authority if self.host is None else self.host)
        told = {line[0] for line in passing} | self._changes.replaced
        out = []
        if facts.body:
            # What the reader understood is what is sent, in one spelling.
            if facts.body > 0:
                out.append(b"Content-Length: %d\r\n" % facts.body)
            else:
                out.append(b"Transfer-Encoding: chunked\r\n")
        elif b"content-length" in fields:
            out.append(b"Content-Length: 0\r\n")
        if facts.upgrade and self.websocket:
            out.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % facts.upgrade)
        elif facts.trailers:
            out.append(b"Connection: TE\r\nTE: trailers\r\n")
        out += [line[2] for line in self._changes.set + self._changes.add]
        if b"via" not in self._changes.replaced:
            version = b"1.1 " if facts.http_11 else b"1.0 "
            out.append(b"Via: %b%b%b\r\n" % (self._earlier(fields, b"via"), version, PSEUDONYM))
        if authority and b"x-forwarded-host" not in told:
            out.append(b"X-Forwarded-Host: %b\r\n" % authority)
        element = b'host="%b";' % authority if authority else b""
        out.append(b"Forwarded: " + self._earlier(fields, b"forwarded") + element)
        forwarded_for = b"X-Forwarded-For: " + self._earlier(fields, b"x-forwarded-for")
        return host, b"".join(out), forwarded_for, b"x-forwarded-proto" not in told

    def _earlier(self, fields: Fields, name: bytes) -> bytes:
        """The list that a trusted proxy began, open for one member more."""
        if not self.trusted:
            return b""
        return b"".join(value + b", " for value in fields.all(name) if value)

    def trailers(self, trailers: Fields, facts: RequestFacts) -> Fields:
        """The trailers to send on: what could not pass as a header field does not pass here."""
        removed = self._removed | facts.options
        passing = [
            line
            for line in allowed_trailers(trailers).lines
            if line[0] not in removed and (not line[3] or self._passes(line[0], facts))
        ]
        return Fields(passing)

    def _passes(self, name: bytes, facts: RequestFacts) -> bool:
        if name in _NOT_SENT_ON:
            return False
        folded = fold(name)
        if folded != name:
            return not (
                folded in self._aliased or is_proxy_field(folded) or is_client_certificate(folded)
            )
        if name == b"expect":
            return facts.http_11
        if is_proxy_field(name):
            # These few are rendered anew, with what a trusted proxy said before.
            made = name in (b"via", b"forwarded", b"x-forwarded-for", b"x-request-id")
            return self.trusted and not made
        return not is_client_certificate(name)


def _one_less(line: Line) -> bytes:
    """A Max-Forwards line to send on (RFC 9110 section 7.6.2)."""
    _, value, whole, _ = line
    if not value.isdigit():
        return whole
    digits = value.lstrip(b"0")
    hops = int(digits or b"0") if len(digits) < 4 else _MAX_FORWARDS
    return b"Max-Forwards: %d\r\n" % max(0, hops - 1)


def request_head(
    method: bytes,
    target: bytes,
    host_line: bytes,
    block: RequestBlock,
    peer: Peer,
    request_id: bytes,
) -> bytes:
    """The head to send to a backend, ready for the wire; ``host_line`` where the block has none."""
    fields, forwarded_for, tells_proto = block
    return b"".join(
        (
            method,
            b" ",
            target,
            b" HTTP/1.1\r\n",
            host_line,
            fields,
            peer.forwarded,
            forwarded_for,
            peer.tail if tells_proto else peer.short_tail,
            b"X-Request-Id: ",
            request_id,
            b"\r\n\r\n",
        )
    )


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
    return values[-1].rpartition(b",")[2].strip(b" \t").lower() if values else b""


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

    The first address that is no trusted proxy is the client; what it claims further left is not
    believed. A list that is not one of addresses ends the walk at the last one that could be read.
    Mapped IPv6 becomes IPv4, as it counts everywhere else.
    """
    client = peer
    for entry in split_list(fields.all(b"x-forwarded-for"))[: -_MAX_PROXIES - 1 : -1]:
        text = _bare_address(entry.decode("latin-1"))
        try:
            address = ipaddress.ip_address(text.partition("%")[0])  # a zone names nothing here
        except ValueError:
            return client
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        text = str(address)
        client = text.encode("ascii")
        if not is_trusted(text, trusted):
            return client
    return client


def _bare_address(entry: str) -> str:
    """An address without the port or brackets that some proxies add."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    if entry.count(":") == 1:
        return entry.partition(":")[0]
    return entry


# Responses.

_NAMES_BACKEND = frozenset({b"location", b"content-location", b"refresh", b"set-cookie"})


class ResponseBlock:
    """The fields of a response, ready to go down.

    ``block`` is their bytes; ``needs_date`` that the backend sent none; ``names_backend`` that a
    field may hold the backend's own address, so that the lines are to be looked at one by one.
    """

    __slots__ = ("block", "lines", "names_backend", "needs_date")

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = tuple(lines)
        self.block = b"".join([line[2] for line in self.lines])
        names = {line[0] for line in self.lines}
        self.needs_date = b"date" not in names
        self.names_backend = not names.isdisjoint(_NAMES_BACKEND)


class ResponseRules:
    """What one route does to the fields of a response: ``hide`` and the configured changes.

    ``defaults`` are fields for responses that do not have them. ``secure`` are the rules for
    connections with TLS, where ``secure_defaults`` is added to them.
    """

    __slots__ = ("_changes", "_defaults", "_dropped", "_secure")

    def __init__(
        self,
        hide: Iterable[bytes] = (),
        changes: Changes = Changes(),
        defaults: Iterable[Line] = (),
        secure_defaults: Iterable[Line] = (),
    ) -> None:
        self._changes = changes
        self._defaults = tuple(defaults)
        more = tuple(secure_defaults)
        # None for itself: a cycle would keep the rules of a former configuration in memory.
        self._secure: ResponseRules | None = None
        if more:
            self._secure = ResponseRules(hide, changes, (*self._defaults, *more))
        hidden = frozenset(name.lower() for name in hide)
        self._dropped = HOP_BY_HOP | {b"x-request-id"} | hidden | changes.replaced

    @property
    def secure(self) -> ResponseRules:
        """The rules for connections with TLS."""
        return self._secure or self

    def block(self, head: ResponseHead) -> ResponseBlock:
        """The fields to pass on; remembered with those of the head."""
        derived = head.fields.derived
        known = derived.get((self, head.status))
        if known is None:
            known = ResponseBlock(self._make(head))
            if len(derived) >= _MAX_DERIVED:
                derived.clear()
            derived[self, head.status] = known
        return known

    def _make(self, head: ResponseHead) -> list[Line]:
        # The length frames the response: nobody can have it dropped, not even Connection.
        dropped = (self._dropped | head.options) - {b"content-length"}
        if head.status < 200 or head.status == 204:
            dropped |= {b"content-length"}  # RFC 9110 section 8.6
        lines = [line for line in head.fields.lines if line[0] not in dropped]
        if head.status >= 200:
            lines += self._changes.set + self._changes.add
            self._complete(lines)
        return lines

    def trailers(self, trailers: Fields, head: ResponseHead) -> Fields:
        """The trailers to pass on: what is hidden as a header field is hidden here."""
        dropped = self._dropped | head.options
        return Fields(line for line in allowed_trailers(trailers).lines if line[0] not in dropped)

    def _complete(self, lines: list[Line]) -> None:
        """Add the defaults of which nobody has said anything, nor asked to remove them."""
        if self._defaults:
            known = {line[0] for line in lines} | self._changes.remove
            lines += [line for line in self._defaults if line[0] not in known]

    def own(self, lines: Iterable[Line]) -> ResponseBlock:
        """The fields of a response of the proxy's own, with the configured changes."""
        kept = [line for line in lines if line[0] not in self._changes.replaced]
        kept += self._changes.set + self._changes.add
        self._complete(kept)
        return ResponseBlock(kept)


@frozen
class PublicAddress:
    """Where the client believes to be, and which authorities are the backend's own.

    ``own`` holds lower-case authorities ("10.0.0.1:8080"), ``own_hosts`` their names alone.
    ``mount`` is the path prefix that the route takes off on the way in.
    """

    scheme: bytes
    authority: bytes
    host: bytes
    own: frozenset[bytes]
    own_hosts: frozenset[bytes]
    mount: bytes = b""


_ABSOLUTE = re.compile(rb"(?:(https?):)?//([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
# No white space before the end, which a value does not have: it would take quadratic time.
_REFRESH = re.compile(rb"([0-9.]+\s*[;,]\s*url\s*=\s*)(['\"]?)(.*?)\2", re.IGNORECASE)
_DOMAIN = re.compile(rb"(;\s*domain\s*=\s*)\.?([^;\s]*)", re.IGNORECASE)


def public_lines(lines: Iterable[Line], public: PublicAddress) -> list[Line]:
    """The lines, with the backend's own address replaced by the public one wherever it is named."""
    return [_public_line(line, public) if line[0] in _NAMES_BACKEND else line for line in lines]


def _public_line(line: Line, public: PublicAddress) -> Line:
    name, value, whole, marked = line
    if name == b"set-cookie":
        changed = _DOMAIN.sub(lambda m: _public_domain(m, public), value)
    elif name == b"refresh":
        match = _REFRESH.fullmatch(value)
        if match is None:
            return line
        changed = match[1] + match[2] + _public_url(match[3], public) + match[2]
    else:
        changed = _public_url(value, public)
    if changed == value:
        return line
    return name, changed, whole[: len(name)] + b": " + changed + b"\r\n", marked


def _public_domain(match: re.Match[bytes], public: PublicAddress) -> bytes:
    if match[2].lower() in public.own_hosts and public.host:
        return match[1] + public.host
    return match[0]


def _public_url(url: bytes, public: PublicAddress) -> bytes:
    match = _ABSOLUTE.fullmatch(url)
    if match is None or not public.authority:
        return url
    scheme = (match[1] or b"").lower()
    authority = match[2].rpartition(b"@")[2].lower()
    default = b":443" if scheme == b"https" else b":80"
    # An authority with the default port and one without are the same.
    if public.own.isdisjoint((authority, authority + default, authority.removesuffix(default))):
        return url
    prefix = public.scheme + b":" if scheme else b""
    return prefix + b"//" + public.authority + public.mount + match[3]

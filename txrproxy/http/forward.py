"""What changes in a head on its way through the proxy (RFC 9110 section 7.6, RFC 7239).

A request loses the fields of its own hop and every field by which a client could pass itself off as
a proxy; it gains Via, Forwarded, X-Forwarded-* and X-Request-Id. Fields that tell of a client's
certificate are this proxy's alone to set: nobody's are passed on, not even those of a proxy that is
trusted. A response loses the fields of its hop and what identifies the backend.

What a rule set does to a block of fields depends on the two and the version alone, so the result
is kept with what was found out about the fields: a warm request costs one look-up. What belongs to
a connection (the client's address, the scheme) is rendered once for it, in
:class:`~txrproxy.http.peer.Peer`, and completes the lines that the block leaves open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from txrproxy.http.fields import (
    EMPTY,
    HOP_BY_HOP,
    Fields,
    Line,
    allowed_trailers,
    fold,
    is_client_certificate,
    is_closed,
    is_field_value,
    is_token,
    make_line,
    split_list,
)
from txrproxy.http.head import RequestFacts, ResponseHead, is_hop_protocol
from txrproxy.http.peer import Peer, addresses_told, believed_scheme
from txrproxy.http.public import NAMES_BACKEND, may_name_backend

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
        forwarded_for = b"X-Forwarded-For: " + self._earlier(fields, b"x-forwarded-for")
        tells_proto = b"x-forwarded-proto" not in told
        if self.trusted and fields.all(b"forwarded"):
            # A proxy that writes that alone is to be believed by backends that read the others.
            if not fields.all(b"x-forwarded-for") and (addresses := addresses_told(fields)):
                forwarded_for += addresses + b", "
            if tells_proto and not fields.all(b"x-forwarded-proto"):
                scheme = believed_scheme(fields)
                if scheme in (b"http", b"https"):
                    out.append(b"X-Forwarded-Proto: %b\r\n" % scheme)
                    tells_proto = False
        element = b'host="%b";' % authority if authority else b""
        out.append(b"Forwarded: " + self._earlier(fields, b"forwarded") + element)
        return host, b"".join(out), forwarded_for, tells_proto

    def _earlier(self, fields: Fields, name: bytes) -> bytes:
        """The list that a trusted proxy began, open for one member more."""
        if not self.trusted:
            return b""
        # In a quote that is left open, what follows would be no word of ours.
        return b"".join(value + b", " for value in fields.all(name) if value and is_closed(value))

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


# Responses.


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
        self.names_backend = not names.isdisjoint(NAMES_BACKEND) and any(
            may_name_backend(line) for line in self.lines
        )


# Who hides the first does not want the others seen, which say the same of the backend: where else
# it listens (RFC 7838), and what it runs on.
_KIN = {
    b"server": frozenset({b"alt-svc"}),
    b"x-powered-by": frozenset({b"x-aspnet-version", b"x-aspnetmvc-version"}),
}


_LENGTH = frozenset({b"content-length"})


def _as_read(line: Line) -> Line:
    """The line; a length without leading zeros, with which it is octal to some."""
    name, value, whole, _ = line
    if name != b"content-length":
        return line
    return make_line(whole[: len(name)], value.lstrip(b"0") or b"0")


def _wanted_upgrade(head: ResponseHead) -> list[Line]:
    """What 426 has to name (RFC 9110 section 15.5.22): protocols that may pass through here."""
    offered = split_list(head.fields.all(b"upgrade"))
    protocols = b", ".join(protocol for protocol in offered if not is_hop_protocol(protocol))
    if not protocols:
        return []
    return [make_line(b"Connection", b"upgrade"), make_line(b"Upgrade", protocols)]


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
        hidden = {name.lower() for name in hide}
        hidden.update(*(_KIN[name] for name in hidden & _KIN.keys()))
        # The length frames the response: nobody can have it dropped, not even Connection. A field
        # "Close" is reserved (RFC 9112 section 9.6); so that option, too, changes nothing.
        own = {b"x-request-id", b"close"}
        self._dropped = (HOP_BY_HOP | own | hidden | changes.replaced) - _LENGTH

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
        fields, status, dropped = head.fields, head.status, self._dropped
        if not head.options <= dropped:
            dropped = (dropped | head.options) - _LENGTH
        padded = False
        lengths = fields.all(b"content-length")
        if lengths:
            # No length where none can be (RFC 9110 section 8.6), nor beside a coding, which wins
            # (RFC 9112 section 6.3): the two stand together only where no body follows.
            if status < 200 or status == 204 or b"transfer-encoding" in fields.marked:
                dropped |= _LENGTH
            padded = lengths[0] < b"1" and lengths[0] != b"0"
        lines = [line for line in fields.lines if line[0] not in dropped]
        if padded:
            lines = [_as_read(line) for line in lines]
        if status == 426:
            lines += _wanted_upgrade(head)
        if status >= 200:
            lines += self._changes.set + self._changes.add
            if self._defaults:
                self._complete(lines)
        return lines

    def trailers(self, trailers: Fields, head: ResponseHead) -> Fields:
        """The trailers to pass on: what is hidden as a header field is hidden here."""
        dropped = self._dropped | head.options
        return Fields(line for line in allowed_trailers(trailers).lines if line[0] not in dropped)

    def _complete(self, lines: list[Line]) -> None:
        """Add the defaults of which nobody has said anything, nor asked to remove them."""
        known = {line[0] for line in lines} | self._changes.remove
        lines += [line for line in self._defaults if line[0] not in known]

    def own(self, lines: Iterable[Line]) -> ResponseBlock:
        """The fields of a response of the proxy's own, with the configured changes."""
        kept = [line for line in lines if line[0] not in self._changes.replaced]
        kept += self._changes.set + self._changes.add
        if self._defaults:
            self._complete(kept)
        return ResponseBlock(kept)

"""Request and response heads: from bytes to what an exchange needs to know, strictly.

Two steps. The bytes of a head become a start line and :class:`~txrproxy.http.fields.Fields`; then
everything that follows from the fields alone (whose host, how long a body, may the connection be
kept) is worked out once, and remembered with the shared fields, because equal blocks come again.

A head is given without the empty line that ends it. Bounds on its size belong to the reader
(:mod:`txrproxy.http.connection`), which sees it grow.
"""

from __future__ import annotations

import re
from typing import Any

from txrproxy.errors import (
    BAD_EXPECTATION,
    BAD_HOST,
    BAD_METHOD,
    BAD_REQUEST_LINE,
    BAD_RESPONSE,
    BAD_VERSION,
    HOST_MISMATCH,
    TARGET_TOO_LONG,
    VERSION_UNSUPPORTED,
    Reason,
)
from txrproxy.http.fields import (
    BadFields,
    Fields,
    connection_options,
    is_token,
    parse_fields,
    split_list,
)
from txrproxy.http.framing import BadFraming, request_body
from txrproxy.http.memo import Memo
from txrproxy.http.target import (
    BadTarget,
    Target,
    normalise_path,
    parse_target,
    split_authority,
)

METHODS = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"}
)
# Sending these again does no more than sending them once (RFC 9110 section 9.2.2).
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})

_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")

# Protocols that would change how this very hop is framed, and so never pass through: a tunnel in
# which the client speaks HTTP/2 to the backend past every rule of the proxy.
_HOP_PROTOCOLS = (b"h2c", b"h2", b"http/", b"tls/")

MAX_TARGET = 16 * 1024
MAX_METHOD = 64  # no registered method is half as long
MAX_REQUEST_LINE = MAX_TARGET + MAX_METHOD + len("  HTTP/1.1\r\n")

_MEMO_TARGET_SIZE = 256
_TARGET_WEIGHT = 400  # bytes that a parsed target takes beside its text
_targets: Memo[tuple[Target, bytes]] = Memo(4 * 1024 * 1024)

_MEMO_REQUEST_SIZE = 2048
_REQUEST_WEIGHT = 300  # bytes that a head takes beside its text, its target and its fields

# With no marked field but these, everything about a request follows from its Host: browsers' GETs.
_NO_SAY = frozenset({b"host", b"referer", b"user-agent"})
_MEMO_HOSTS = 1024
_plain_facts: dict[bytes, RequestFacts] = {}


class BadHead(Exception):
    """The head is refused; ``reason`` says with which status and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


class RequestFacts:
    """What the fields of a request say, apart from its start line.

    ``host`` is normalised for routing (lower case, no port); ``authority`` is the Host field as it
    came. ``body`` is a length in bytes or ``CHUNKED``. ``upgrade`` holds the protocols the client
    offers to change to, b"" for none that may pass. ``plain`` says that nothing but Host had a say
    in any of this, so that the facts are shared by all such requests; ``frames`` belongs to
    :class:`~txrproxy.http.forward.RequestRules`: what each makes of plain facts.
    """

    __slots__ = (
        "authority",
        "body",
        "expects_continue",
        "frames",
        "host",
        "http_11",
        "keep_alive",
        "options",
        "plain",
        "trailers",
        "upgrade",
    )

    def __init__(self, fields: Fields, http_11: bool) -> None:
        self.frames: dict[Any, Any] = {}
        self.plain = http_11 and fields.marked <= _NO_SAY
        self.http_11 = http_11
        self.authority, self.host = _host(fields, http_11)
        self.body = request_body(fields, http_11)
        self.options = options = connection_options(fields)
        self.expects_continue = _expects_continue(fields, http_11)
        self.keep_alive = http_11
        self.trailers = False
        self.upgrade = b""
        if not options:
            return
        self.keep_alive = b"close" not in options and (http_11 or b"keep-alive" in options)
        self.trailers = b"te" in options and b"trailers" in [
            coding.lower() for coding in split_list(fields.all(b"te"))
        ]
        # An upgrade with a body is legal and useless: it would leave two readers of one stream.
        if http_11 and b"upgrade" in options and self.body == 0:
            offered = split_list(fields.all(b"upgrade"))
            self.upgrade = b", ".join(p for p in offered if not is_hop_protocol(p))


def is_hop_protocol(protocol: bytes) -> bool:
    """Whether changing to this protocol would concern the hop and not the exchange."""
    return protocol.lower().startswith(_HOP_PROTOCOLS)


def _host(fields: Fields, http_11: bool) -> tuple[bytes, bytes]:
    """The Host field and its normalised name (RFC 9112 section 3.2)."""
    values = fields.all(b"host")
    if len(values) > 1 or (http_11 and not values):
        raise BadHead(BAD_HOST)
    authority = values[0] if values else b""
    if not authority:
        # An empty Host is what a client without an authority must send; it names no site.
        return b"", b""
    try:
        return authority, split_authority(authority)[0]
    except BadTarget as error:
        raise BadHead(BAD_HOST) from error


def _expects_continue(fields: Fields, http_11: bool) -> bool:
    values = fields.all(b"expect")
    if not values or not http_11:  # RFC 9110 section 10.1.1: ignored from HTTP/1.0
        return False
    if len(values) > 1 or values[0].lower() != b"100-continue":
        raise BadHead(BAD_EXPECTATION)
    return True


class RequestHead:
    """One request line with its fields. May be shared, as its parts may; do not change it.

    ``path`` is the normalised copy that routing matches on, ``host`` likewise; ``authority`` is
    the host as the client wrote it, from the Host field or an absolute target, b"" without either.
    ``size`` counts the bytes of the head.
    """

    __slots__ = ("authority", "facts", "fields", "host", "method", "path", "size", "target")

    def __init__(
        self,
        method: bytes,
        target: Target,
        path: bytes,
        host: bytes,
        authority: bytes,
        fields: Fields,
        facts: RequestFacts,
        size: int,
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.host = host
        self.authority = authority
        self.fields = fields
        self.facts = facts
        self.size = size

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target.origin!r}>"


def request_facts(fields: Fields, http_11: bool) -> RequestFacts:
    """The facts of these fields, remembered with them. Raises :class:`BadHead`."""
    facts: RequestFacts | None = fields.derived.get(http_11)
    if facts is not None:
        return facts
    host = fields.first(b"host")
    plain = http_11 and fields.marked <= _NO_SAY
    if plain and len(fields.all(b"host")) == 1:
        facts = _plain_facts.get(host)
    if facts is None:
        try:
            facts = RequestFacts(fields, http_11)
        except BadFraming as error:
            raise BadHead(error.reason) from error
        if plain:
            if len(_plain_facts) >= _MEMO_HOSTS:
                _plain_facts.clear()
            _plain_facts[host] = facts
    fields.derived[http_11] = facts
    return facts


def _target(method: bytes, target: bytes) -> tuple[Target, bytes]:
    """The target taken apart, and its normalised path."""
    known = _targets.get(target)
    if known is not None and method != b"CONNECT":
        return known
    if len(target) > MAX_TARGET:
        raise BadHead(TARGET_TOO_LONG)
    try:
        parsed = parse_target(method, target)
        both = parsed, normalise_path(parsed.path)
    except BadTarget as error:
        raise BadHead(error.reason) from error
    # Only the form that means the same with every method is shared.
    if parsed.form == "origin" and len(target) <= _MEMO_TARGET_SIZE:
        _targets.remember(target, both, _TARGET_WEIGHT + 3 * len(target))
    return both


_requests: Memo[RequestHead] = Memo(4 * 1024 * 1024)


def parse_request_head(head: bytes) -> RequestHead:
    """Parse a request head, without its final empty line (RFC 9112 sections 3 and 5).

    Raises :class:`BadHead`.
    """
    known = _requests.get(head)
    if known is not None:
        return known
    line, _, block = head.partition(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadHead(BAD_REQUEST_LINE)
    method, raw_target, version = parts
    if method not in METHODS and (len(method) > MAX_METHOD or not is_token(method)):
        raise BadHead(BAD_METHOD)
    if version == b"HTTP/1.1":
        http_11 = True
    else:
        match = _VERSION.fullmatch(version)
        if match is None:
            raise BadHead(BAD_VERSION)
        if match[1] != b"1":
            raise BadHead(VERSION_UNSUPPORTED)
        http_11 = match[2] != b"0"
    target, path = _target(method, raw_target)
    try:
        fields = parse_fields(block)
    except BadFields as error:
        raise BadHead(error.reason) from error
    known_facts: RequestFacts | None = fields.derived.get(http_11)
    facts = known_facts or request_facts(fields, http_11)
    host, authority = facts.host, facts.authority
    if target.authority is not None and target.form == "absolute":
        # RFC 9112 section 3.2.2 lets the target win; two readings are one too many. An HTTP/1.0
        # client may leave Host out.
        if b"host" not in fields:
            authority = target.authority
            host = split_authority(authority)[0]
        elif _bare(target.authority, target.scheme) != _bare(authority, target.scheme):
            raise BadHead(HOST_MISMATCH)
    parsed = RequestHead(method, target, path, host, authority, fields, facts, len(head) + 4)
    # A head comes again as a whole only if its fields do.
    if known_facts is not None and len(head) <= _MEMO_REQUEST_SIZE:
        _requests.remember(head, parsed, _REQUEST_WEIGHT + len(head))
    return parsed


def _bare(authority: bytes, scheme: bytes | None) -> bytes:
    """An authority in lower case, without the port of its scheme (RFC 9110 section 4.2.3)."""
    port = b":443" if scheme == b"https" else b":80"
    return authority.lower().removesuffix(port).removesuffix(b":")


class ResponseHead:
    """A status line with its fields, from a backend. May be shared; do not change it.

    ``status_line`` is the one to send on, in the proxy's own version; ``keep_alive`` is what the
    head says of the backend's connection.
    """

    __slots__ = ("fields", "http_11", "keep_alive", "options", "size", "status", "status_line")

    def __init__(
        self, status: int, reason_phrase: bytes, http_11: bool, fields: Fields, size: int
    ) -> None:
        self.status = status
        self.status_line = b"HTTP/1.1 %d %b\r\n" % (status, reason_phrase)
        self.http_11 = http_11
        self.fields = fields
        self.size = size
        self.options = options = connection_options(fields)
        if http_11:
            self.keep_alive = b"close" not in options
        else:
            self.keep_alive = b"keep-alive" in options and b"close" not in options

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"


_MEMO_RESPONSE_SIZE = 4096
_RESPONSE_WEIGHT = 400  # bytes that a head takes beside its text and its fields
_responses: Memo[ResponseHead] = Memo(4 * 1024 * 1024)


def parse_response_head(head: bytes) -> ResponseHead:
    """Parse a response head, without its final empty line (RFC 9112 section 4).

    Raises :class:`BadHead` with ``BAD_RESPONSE``: a backend that is not strict is not guessed at.
    """
    known = _responses.get(head)
    if known is not None:
        return known
    line, _, block = head.partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None or match[2] > b"599":
        raise BadHead(BAD_RESPONSE)
    try:
        fields = parse_fields(block)
    except BadFields as error:
        raise BadHead(BAD_RESPONSE) from error
    parsed = ResponseHead(int(match[2]), match[3] or b"", match[1] != b"0", fields, len(head) + 4)
    if len(head) <= _MEMO_RESPONSE_SIZE:
        weight = _RESPONSE_WEIGHT * (2 + len(fields)) + 4 * len(head)
        _responses.remember(head, parsed, weight)
    return parsed

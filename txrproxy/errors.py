"""Every way an exchange can end, as one table.

A :class:`Reason` row drives the status sent to the client, whether another backend may be tried,
and the name in the access log and the metrics. Nothing else in the product spells these facts, so
a new way to fail is one new row here.

``status`` is 0 where no status can be sent: the response has begun, or nobody is left to read it.
"""

from __future__ import annotations

import enum

from attrs import field, frozen


class Fault(enum.Enum):
    """Whose doing the end of an exchange is."""

    NONE = "none"
    CLIENT = "client"
    PROXY = "proxy"
    BACKEND = "backend"


class Retry(enum.Enum):
    """What kind of failure it is, as ``retry.on`` of a pool names it."""

    NEVER = ""
    CONNECT = "connect"  # the request never reached a backend: always safe to send again
    RESET = "reset"  # it may have: idempotent methods with a replayable body only
    TIMEOUT = "timeout"  # the same


@frozen(eq=False)
class Reason:
    """One way for an exchange to end.

    ``text`` is what the person at the client may read: plain words, nothing of the inside.
    """

    name: str
    status: int
    fault: Fault
    retry: Retry = Retry.NEVER
    text: str = ""
    log_name: bytes = field(init=False)

    @log_name.default
    def _log_name(self) -> bytes:
        return self.name.encode("ascii")


REASONS: dict[str, Reason] = {}


def _row(
    name: str, status: int, fault: Fault, text: str = "", retry: Retry = Retry.NEVER
) -> Reason:
    reason = Reason(name, status, fault, retry, text)
    if name in REASONS:
        raise ValueError(f"two reasons named {name}")
    REASONS[name] = reason
    return reason


_N, _C, _P, _B = Fault.NONE, Fault.CLIENT, Fault.PROXY, Fault.BACKEND

# Ends that are no failure.
OK = _row("ok", 0, _N)
UPGRADED = _row("upgraded", 0, _N)
REDIRECTED = _row("redirected", 0, _N)
RESPONDED = _row("responded", 0, _N)
PREFLIGHT = _row("preflight", 0, _N)
AUTH_DENIED = _row("auth_denied", 0, _C)
RESOURCE = _row("resource", 0, _N)

# The request itself is not acceptable: answered once, then the connection closes.
BAD_REQUEST_LINE = _row("bad_request_line", 400, _C, "The request line is malformed.")
BAD_METHOD = _row("bad_method", 400, _C, "The method is not a valid token.")
BAD_TARGET = _row("bad_target", 400, _C, "The request target is malformed.")
TARGET_ABOVE_ROOT = _row("target_above_root", 400, _C, "The path climbs above the root.")
BAD_VERSION = _row("bad_version", 400, _C, "The protocol version is malformed.")
VERSION_UNSUPPORTED = _row(
    "version_unsupported", 505, _C, "This server speaks HTTP/1.0 and HTTP/1.1."
)
BAD_FIELD = _row("bad_field", 400, _C, "A header field is malformed.")
BAD_HOST = _row("bad_host", 400, _C, "Exactly one valid Host field is required.")
MISDIRECTED = _row(
    "misdirected", 421, _C, "This host asks for a client certificate on a connection of its own."
)
HOST_MISMATCH = _row("host_mismatch", 400, _C, "The target and the Host field disagree.")
BAD_CONTENT_LENGTH = _row("bad_content_length", 400, _C, "Content-Length is invalid.")
BAD_TRANSFER_ENCODING = _row("bad_transfer_encoding", 400, _C, "Transfer-Encoding is invalid.")
LENGTH_AND_ENCODING = _row(
    "length_and_encoding", 400, _C, "Content-Length and Transfer-Encoding exclude each other."
)
CODING_UNSUPPORTED = _row(
    "coding_unsupported", 501, _C, "Only the chunked transfer coding is supported."
)
BAD_CHUNK = _row("bad_chunk", 400, _C, "The chunked body is malformed.")
BAD_FORM = _row("bad_form", 400, _C, "The form is malformed.")
BAD_EXPECTATION = _row("bad_expectation", 417, _C, "Only 100-continue can be expected.")
TARGET_TOO_LONG = _row("target_too_long", 414, _C, "The request target is too long.")
HEAD_TOO_LARGE = _row("head_too_large", 431, _C, "The request head is too large.")
TOO_MANY_FIELDS = _row("too_many_fields", 431, _C, "The request has too many header fields.")
METHOD_NOT_ALLOWED = _row("method_not_allowed", 405, _C, "This method is not offered here.")
BODY_TOO_LARGE = _row("body_too_large", 413, _C, "The request body is too large.")
BAD_PROXY_HEADER = _row("bad_proxy_header", 0, _C)
CLIENT_TLS_FAILED = _row("client_tls_failed", 0, _C)
PLAIN_HTTP = _row("plain_http", 400, _C, "This port speaks HTTPS.")

# A policy does not let it pass.
FORBIDDEN = _row("forbidden", 403, _C, "Access from this address is not allowed.")
CORS_REFUSED = _row("cors_refused", 403, _C, "This origin may not send such a request.")
UNAUTHORIZED = _row("unauthorized", 401, _C, "Authentication is required.")
RATE_LIMITED = _row("rate_limited", 429, _C, "Too many requests. Try again later.")
TOO_MANY_CONNECTIONS = _row(
    "too_many_connections", 429, _C, "Too many requests at the same time. Try again later."
)
WAF_BLOCKED = _row("waf_blocked", 403, _C, "This request looks like an attack, and was refused.")

# The client kept us waiting, or went away.
HEAD_TIMEOUT = _row("head_timeout", 408, _C, "The request head took too long to arrive.")
BODY_TIMEOUT = _row("body_timeout", 408, _C, "The request body stopped arriving.")
CLIENT_TLS_TIMEOUT = _row("client_tls_timeout", 0, _C)
WRITE_TIMEOUT = _row("write_timeout", 0, _C)
CLIENT_ABORTED = _row("client_aborted", 0, _C)

# The proxy's own answers.
NO_ROUTE = _row("no_route", 404, _P, "Nothing is served at this address.")
NO_BACKEND = _row("no_backend", 503, _P, "No server is available for this request.")
ONLY_IF_CACHED = _row("only_if_cached", 504, _C, "This is not in the cache.")
QUEUE_FULL = _row("queue_full", 503, _P, "Too many requests are waiting. Try again shortly.")
QUEUE_TIMEOUT = _row("queue_timeout", 503, _P, "The request waited too long for a free server.")
NO_SOCKET = _row("no_socket", 503, _P, "This server has too much to do. Try again shortly.")
AUTH_BUSY = _row("auth_busy", 503, _P, "Too many people are signing in. Try again shortly.")
AUTH_UNAVAILABLE = _row(
    "auth_unavailable", 503, _P, "Who you are can not be checked right now. Try again shortly."
)
WAF_UNAVAILABLE = _row(
    "waf_unavailable", 503, _P, "This request can not be checked right now. Try again shortly."
)
DEADLINE = _row("deadline", 504, _B, "The servers behind this proxy took too long to answer.")
INTERNAL = _row("internal", 500, _P, "The proxy failed to handle this request.")
RESOURCE_FAILED = _row("resource_failed", 500, _P, "The application failed.")

# The backend failed before a response began: a 502 or 504 tells the client.
CONNECT_REFUSED = _row(
    "connect_refused", 502, _B, "The server behind this proxy is not reachable.", Retry.CONNECT
)
CONNECT_TIMEOUT = _row(
    "connect_timeout", 504, _B, "The server behind this proxy is not reachable.", Retry.CONNECT
)
TLS_HANDSHAKE_FAILED = _row(
    "tls_handshake_failed", 502, _B, "The server behind this proxy is not reachable.", Retry.CONNECT
)
TLS_VERIFY_FAILED = _row(
    "tls_verify_failed", 502, _B, "The server behind this proxy is not trusted.", Retry.CONNECT
)
RESET = _row("reset", 502, _B, "The server behind this proxy closed the connection.", Retry.RESET)
BAD_RESPONSE = _row(
    "bad_response", 502, _B, "The server behind this proxy sent a bad response.", Retry.RESET
)
RESPONSE_HEAD_TOO_LARGE = _row(
    "response_head_too_large", 502, _B, "The server behind this proxy sent a bad response."
)
WAF_REFUSED_RESPONSE = _row(
    "waf_refused_response", 502, _B, "The server behind this proxy sent a bad response."
)
FIRST_BYTE_TIMEOUT = _row(
    "first_byte_timeout",
    504,
    _B,
    "The server behind this proxy took too long to answer.",
    Retry.TIMEOUT,
)
BACKEND_WRITE_TIMEOUT = _row(
    "backend_write_timeout",
    504,
    _B,
    "The server behind this proxy stopped reading.",
    Retry.TIMEOUT,
)

# It failed in the middle of one: the client's connection is closed so that it can tell.
TRUNCATED = _row("truncated", 0, _B)
BAD_RESPONSE_BODY = _row("bad_response_body", 0, _B)
UPSTREAM_IDLE_TIMEOUT = _row("upstream_idle_timeout", 0, _B)

# The end of a tunnel that nobody used.
TUNNEL_IDLE = _row("tunnel_idle", 0, _N)

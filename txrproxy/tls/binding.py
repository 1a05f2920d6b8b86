"""What pyOpenSSL does not offer, done through the binding below it.

pyOpenSSL's own server name callback can refuse a name only by raising, which prints a traceback;
its ALPN callback can not send the alert that RFC 7301 asks for; groups and signature algorithms it
does not know at all. The names used here belong to ``cryptography``'s OpenSSL binding and are its
private matter: this module alone relies on them, and its tests fail loudly when they change.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

_binding = Binding()
_lib: Any = _binding.lib
_ffi: Any = _binding.ffi

# Alerts of RFC 8446 section 6.
HANDSHAKE_FAILURE: Final = 40
ILLEGAL_PARAMETER: Final = 47
PROTOCOL_VERSION: Final = 70
INTERNAL_ERROR: Final = 80
UNRECOGNIZED_NAME: Final = 112

_OK, _ALERT_FATAL = 0, 2  # SSL_TLSEXT_ERR_*

#: Chooses by the name a client asks for; returns the alert to refuse with, 0 to go on.
NameCallback = Callable[[SSL.Connection], int]


def on_server_name(context: SSL.Context, choose: NameCallback) -> None:
    """Call ``choose`` in the middle of each handshake on ``context``, with a name or without.

    ``connection.get_servername()`` has the name. When a session of TLS 1.2 is resumed it is the
    name of that session, whatever the client says now.
    """

    def called(ssl: Any, alert: Any, _: Any) -> int:
        refused = choose(SSL.Connection._reverse_mapping[ssl])
        if refused:
            alert[0] = refused
            return _ALERT_FATAL
        return _OK

    callback = _ffi.callback("int (*)(SSL *, int *, void *)", called, error=_ALERT_FATAL)
    _lib.SSL_CTX_set_tlsext_servername_callback(context._context, callback)
    _keep(context, callback)


def on_protocols(context: SSL.Context, protocols: Sequence[bytes]) -> None:
    """Answer ALPN with the first of ``protocols`` that the client offers.

    A client that offers none of them is refused with ``no_application_protocol`` (RFC 7301 section
    3.2); one that does not speak ALPN is not asked.
    """
    answers = [(bytes([len(name)]) + name, _ffi.new("unsigned char[]", name)) for name in protocols]

    def called(_: Any, out: Any, length: Any, offered: Any, size: int, __: Any) -> int:
        names = set(_split(_ffi.buffer(offered, size)[:]))
        for name, held in answers:
            if name in names:
                out[0], length[0] = held, len(name) - 1
                return _OK
        return _ALERT_FATAL

    callback = _ffi.callback(
        "int (*)(SSL *, unsigned char **, unsigned char *,"
        " const unsigned char *, unsigned int, void *)",
        called,
        error=_ALERT_FATAL,
    )
    _lib.SSL_CTX_set_alpn_select_cb(context._context, callback, _ffi.NULL)
    _keep(context, (callback, answers))


def _split(offered: bytes) -> Iterator[bytes]:
    """The length-prefixed names of an ALPN list, prefixes included; OpenSSL has checked it."""
    at = 0
    while at < len(offered):
        end = at + 1 + offered[at]
        yield offered[at:end]
        at = end


def set_groups(context: SSL.Context, groups: Sequence[str]) -> tuple[str, ...]:
    """Allow these key exchange groups, in this order; returns those that OpenSSL knows."""
    known = tuple(group for group in groups if _lists_groups(context, (group,)))
    if not known or not _lists_groups(context, known):
        raise ValueError(f"OpenSSL knows none of the groups {', '.join(groups)}")
    return known


def _lists_groups(context: SSL.Context, groups: Sequence[str]) -> bool:
    done = _lib.SSL_CTX_set1_curves_list(context._context, ":".join(groups).encode("ascii"))
    if done != 1:
        _lib.ERR_clear_error()
    return bool(done == 1)


def set_signature_algorithms(context: SSL.Context, algorithms: Sequence[str]) -> None:
    """Allow these signatures in handshakes, from either side."""
    names = ":".join(algorithms).encode("ascii")
    if _lib.SSL_CTX_set1_sigalgs_list(context._context, names) != 1:
        _lib.ERR_clear_error()
        raise ValueError(f"OpenSSL does not know all of {names!r}")


def set_options(context: SSL.Context, *names: str) -> None:
    """Switch on ``SSL_OP_*`` options by name."""
    for name in names:
        context.set_options(getattr(_lib, f"SSL_OP_{name}"))


def release_buffers(context: SSL.Context) -> None:
    """Let go of a connection's record buffers while it is idle: 34 KiB each."""
    context.set_mode(_lib.SSL_MODE_RELEASE_BUFFERS)


def is_resumed(connection: SSL.Connection) -> bool:
    """Whether the handshake, finished or not, goes on with an earlier session."""
    return bool(_lib.SSL_session_reused(connection._ssl))


def use_chain(context: SSL.Context, pem: bytes) -> None:
    """Add a certificate with a chain of its own. Raises :class:`OpenSSL.SSL.Error`.

    pyOpenSSL can add chain certificates only for all certificates of a context at once; OpenSSL's
    call for one takes a file. It gets what was checked, never the file it was read from.
    """
    with _as_file(pem) as name:
        context.use_certificate_chain_file(name)


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("chain"), "w+b") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as named:
            named.write(content)
            named.flush()
            yield named.name


def reason(error: SSL.Error) -> str:
    """OpenSSL's own words for an error."""
    queue = error.args[0] if error.args else ()
    if isinstance(queue, list | tuple) and queue:
        return str(queue[-1][-1]) or "unknown"
    return "unknown"


def _keep(context: Any, callback: object) -> None:
    """OpenSSL holds bare pointers: what they point to lives as long as the context."""
    context.__dict__.setdefault("_txrproxy_kept", []).append(callback)

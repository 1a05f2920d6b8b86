"""Listening sockets, bound before there is anything to serve on them.

They are plain sockets, which the reactor adopts later: binding happens while the process still has
its privileges, and closing a port leaves the socket alone, so that processes can share it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

from txrproxy.config.values import Bind


class CannotListen(Exception):
    """An address is not to be had; the text says why and what to do."""


def listen(address: Bind, backlog: int) -> socket.socket:
    """A socket that listens on ``address``; the path of a Unix one is absolute.

    Raises :class:`CannotListen`.
    """
    try:
        bound = _unix(address.name) if address.kind == "unix" else _tcp(address)
        try:
            bound.setblocking(False)
            bound.listen(backlog)
        except OSError:
            bound.close()
            raise
    except (OSError, CannotListen) as error:
        raise CannotListen(f"cannot listen on {address}: {_explain(error)}") from error
    return bound


def _tcp(address: Bind) -> socket.socket:
    found = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, name = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # A restart need not wait for the connections of the process before to time out.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(name)
    except OSError:
        bound.close()
        raise
    return bound


def _unix(path: str) -> socket.socket:
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_stale(path: str) -> None:
    """Take away a socket that nobody listens on any more, and nothing else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen("the path exists and is no socket; remove it or choose another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
    raise CannotListen("another process listens there; stop it or choose another path")


_ADVICE = {
    errno.EADDRINUSE: "; stop the other process or choose another port",
    errno.EADDRNOTAVAIL: "; this machine does not have the address",
}


def _explain(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        return f"{(error.strerror or str(error)).lower()}{_ADVICE.get(error.errno or 0, '')}"
    return str(error)

"""Listening sockets, bound before there is anything to serve on them.

They are plain sockets: binding happens while the process still has its privileges, and workers are
given them as descriptors. The main process holds all of them open, so that a worker may end and
another take its place without a connection being lost that waits in a backlog.

A TCP address has one socket for each worker (``SO_REUSEPORT``): the kernel spreads connections over
them, and none wakes more than one process. A Unix socket, and one that systemd made, is shared.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import Factory, define, evolve
from twisted.internet import endpoints
from twisted.logger import Logger

from txrproxy.config.schema import Config
from txrproxy.config.values import Bind
from txrproxy.transport.channel import MAX_FDS, Body

_logger = Logger()


class CannotListen(Exception):
    """An address is not to be had; the text says why and what to do."""


def listen(
    address: Bind, backlog: int | None, beside: socket.socket | None = None
) -> socket.socket:
    """A socket that listens on ``address``; the path of a Unix one is absolute.

    ``beside`` is one that listens there already, and that it is to share connections with. Without
    a ``backlog`` it only has the address yet. Raises :class:`CannotListen`.
    """
    try:
        bound = _unix(address.name) if address.kind == "unix" else _tcp(address, beside)
        try:
            bound.setblocking(False)
            if backlog is not None:
                bound.listen(backlog)
        except OSError:
            bound.close()
            raise
    except (OSError, CannotListen) as error:
        raise CannotListen(f"cannot listen on {address}: {_explain(error)}") from error
    return bound


@define(eq=False)
class Group:
    """The sockets of one address. Of a shared one every worker accepts, else each of its own."""

    address: Bind
    sockets: list[socket.socket] = Factory(list)

    @property
    def shared(self) -> bool:
        return self.address.kind != "tcp" or len(self.sockets) == 1

    @property
    def where(self) -> str:
        """The address, with the port number that the system chose for 0."""
        if self.address.kind == "tcp":
            return str(evolve(self.address, port=self.sockets[0].getsockname()[1]))
        return str(self.address)


def addresses(config: Config) -> Iterator[tuple[str, Bind]]:
    """Every address of a configuration under a key, in the order of the file.

    Two that are alike (on port 0) have different keys. The path of a Unix one is absolute.
    """
    seen: dict[str, int] = {}
    for listener in config.listeners.values():
        for written in listener.bind:
            address = absolute(config, written)
            count = seen[str(address)] = seen.get(str(address), 0) + 1
            yield (str(address) if count == 1 else f"{address}#{count}"), address


def absolute(config: Config, address: Bind) -> Bind:
    """An address of a configuration, wherever the process is; of a Unix socket, the whole path."""
    if address.kind == "unix":
        return evolve(address, name=str(config.resolve(address.name)))
    return address


class Listeners:
    """All listening sockets of the main process. ``passed`` are those of :func:`systemd`."""

    def __init__(self, passed: Mapping[str, list[socket.socket]] | None = None) -> None:
        self.groups: dict[str, Group] = {}
        self._passed = passed or {}
        self._borrowed: set[str] = set()  # paths whose files are those of another process

    def borrow(self, groups: dict[str, Group]) -> None:
        """Begin with the sockets of a process that goes on with them until :meth:`own`.

        The files of its Unix sockets stay, whatever becomes of this one.
        """
        self.groups = groups
        self._borrowed = {g.address.name for g in groups.values() if g.address.kind == "unix"}

    def own(self) -> None:
        """The other process has given them up."""
        borrowed, self._borrowed = self._borrowed, set()
        for path in borrowed - {group.address.name for group in self.groups.values()}:
            self._unlink(Bind("unix", name=path))

    def prepare(self, config: Config, copies: int) -> dict[str, Group]:
        """The sockets of a configuration: those that are open, and new ones for the rest.

        A TCP address has at least ``copies``. Nothing changes until :meth:`take`, and what is new
        goes by :meth:`forget`. Raises :class:`CannotListen`.
        """
        groups: dict[str, Group] = {}
        try:
            for key, address in addresses(config):
                open_now = self.groups.get(key)
                group = groups[key] = Group(address, list(open_now.sockets if open_now else ()))
                self._fill(group, config.server.backlog, copies)
        except CannotListen:
            self.forget(groups)
            raise
        return groups

    def _fill(self, group: Group, backlog: int, copies: int) -> None:
        address, sockets = group.address, group.sockets
        if address.kind == "fd":
            if not sockets:
                sockets += self._of_systemd(address)
        else:
            fresh = not sockets
            while len(sockets) < (copies if address.kind == "tcp" else 1):
                beside = sockets[0] if sockets else None
                # One that joins others gets its part of the connections as soon as it listens.
                sockets.append(listen(address, backlog if fresh else None, beside))
            if fresh and address.kind == "unix":
                # As a TCP port is: who may enter its folder may connect, whatever the umask.
                os.chmod(address.name, 0o666)

    def _of_systemd(self, address: Bind) -> list[socket.socket]:
        passed = self._passed.get(address.name)
        if not passed:
            names = ", ".join(sorted(self._passed)) or "none"
            raise CannotListen(
                f"cannot listen on {address}: systemd passed no socket of that name; "
                f"those there are: {names}"
            )
        return [each.dup() for each in passed]

    def take(self, groups: dict[str, Group], backlog: int = 0) -> None:
        """These are the ones from now on; others close."""
        kept = set(_sockets(groups))
        for group in self.groups.values():
            for each in group.sockets:
                if each not in kept:
                    each.close()
        for key, group in self.groups.items():
            if key not in groups:
                self._unlink(group.address)
        self.groups = groups
        for each in _sockets(groups):
            each.listen(backlog)

    def forget(self, groups: dict[str, Group]) -> None:
        """Close what :meth:`prepare` opened."""
        kept = set(_sockets(self.groups))
        for key, group in groups.items():
            for each in group.sockets:
                if each not in kept:
                    each.close()
            if key not in self.groups and group.sockets:
                self._unlink(group.address)

    def close(self) -> None:
        """Close all."""
        self.take({})

    def hand_over(self) -> None:
        """Close our copies: another process has these sockets now, and the files of Unix ones."""
        for each in _sockets(self.groups):
            each.close()
        self.groups = {}

    def _unlink(self, address: Bind) -> None:
        """The file of a Unix socket goes with it."""
        if address.kind == "unix" and address.name not in self._borrowed:
            try:
                os.unlink(address.name)
            except OSError as error:
                # It may be gone, or in a folder that is no longer ours to change.
                _logger.warn("{path}: {why}", path=address.name, why=error.strerror)


def _sockets(groups: Mapping[str, Group]) -> Iterable[socket.socket]:
    return (each for group in groups.values() for each in group.sockets)


def systemd() -> dict[str, list[socket.socket]]:
    """The sockets that systemd passed to this process, by name (sd_listen_fds(3)); asked once."""
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[socket.socket]] = {}
    for index, fd in enumerate(_passed()):
        name = names[index] if index < len(names) and names[index] else "unknown"
        try:
            passed = socket.socket(fileno=fd)
        except OSError:
            continue  # not a socket
        passed.set_inheritable(False)
        passed.setblocking(False)
        found.setdefault(name, []).append(passed)
    return found


def _passed() -> Iterable[int]:
    """The descriptors, in order."""
    pid = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    if pid == str(os.getpid()) and count.isdigit():
        return range(3, 3 + int(count))
    # Twisted takes the variables away as soon as its endpoints are imported, for its own use.
    parser: Any = getattr(endpoints, "_SystemdParser", None)
    daemon = getattr(parser, "_sddaemon", None)
    return daemon.inheritedDescriptors() if daemon is not None else ()


def _tcp(address: Bind, beside: socket.socket | None = None) -> socket.socket:
    found = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, name = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # A restart need not wait for the connections of the process before to time out.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # On Linux accepted connections have it from here, which saves a call for each.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if beside is not None:
            # Set on the first only when there is a second: whoever binds first then learns that
            # somebody else, another proxy started by mistake for one, has the address.
            beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            name = beside.getsockname()
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


def messages(groups: Mapping[str, Group]) -> Iterator[Body]:
    """All sockets for another process, in as many messages as their descriptors need."""
    rows = [
        (key, index, group.shared, each.fileno())
        for key, group in groups.items()
        for index, each in enumerate(group.sockets)
    ]
    for start in range(0, len(rows), MAX_FDS):
        keys, indices, shared, fds = zip(*rows[start : start + MAX_FDS], strict=True)
        yield {"keys": keys, "indices": indices, "shared": shared, "fds": list(fds)}

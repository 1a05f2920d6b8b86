"""The admin server's socket and site: bound with the listeners, changed by a reload, closed last.

It changes in two steps, as all else does: :meth:`AdminServer.prepare` binds and reads the token,
and can fail; :meth:`AdminServer.commit` puts that in place. On stop it goes on answering until the
workers have drained, so that a load balancer can be told; after an upgrade the socket is the next
process's.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.logger import Logger

from txrproxy.config.schema import Config
from txrproxy.config.values import Bind, Secret
from txrproxy.service.sockets import Group, absolute, listen
from txrproxy.transport.channel import Refused
from txrproxy.transport.listening import Listening

if TYPE_CHECKING:
    from txrproxy.admin.guard import Guard
    from txrproxy.service.steward import Proxy

_BACKLOG = 64

_logger = Logger()


@define(eq=False)
class Prepared:
    """What a configuration asks for; ``fresh`` says that the socket was opened for it."""

    address: Bind
    sock: socket.socket
    guard: Guard
    fresh: bool


class AdminServer:
    """Of a proxy; nothing where its configuration has no admin server."""

    def __init__(self, proxy: Proxy, reactor: Any) -> None:
        self.steward: Any = None  # from the first configuration on that has an admin server
        self._proxy = proxy
        self._reactor = reactor
        self._now: Prepared | None = None
        self._site: Any = None
        self._port: Any = None

    @property
    def where(self) -> str:
        """The address, with the port number that the system chose for 0; empty without one."""
        return self.group.where if self._now is not None else ""

    @property
    def group(self) -> Group:
        """The socket, to be handed on."""
        assert self._now is not None
        return Group(self._now.address, [self._now.sock])

    @property
    def exists(self) -> bool:
        return self._now is not None

    def prepare(self, config: Config, passed: socket.socket | None = None) -> Prepared | None:
        """Bind, or keep what is bound. Raises :class:`Refused` and ``CannotListen``.

        ``passed`` is the socket of the process before.
        """
        if config.admin is None:
            if passed is not None:
                passed.close()
            return None
        from txrproxy.admin.guard import Guard

        token = b""
        if config.admin.token is not None:
            token = _secret(config, config.admin.token)
        address = absolute(config, config.admin.listen)
        local = address.is_local
        if not token and not local:
            raise Refused(f"admin.token: missing, as others can connect to {address}")
        hosts = frozenset(map(str, config.admin.hosts))
        if address.kind == "tcp":
            hosts |= {address.host.lower()}
        guard = Guard(token, hosts, any_host=address.kind == "unix")
        if self._now is not None and self._now.address == address:
            return Prepared(address, self._now.sock, guard, False)
        if passed is not None:
            passed.setblocking(False)
            return Prepared(address, passed, guard, True)
        sock = listen(address, _BACKLOG)
        if address.kind == "unix" and not token:
            os.chmod(address.name, 0o600)
        return Prepared(address, sock, guard, True)

    def discard(self, prepared: Prepared | None) -> None:
        """It is not to be."""
        if prepared is not None and prepared.fresh:
            _close(prepared)

    def commit(self, prepared: Prepared | None) -> None:
        """Serve it from now on."""
        before, self._now = self._now, prepared
        if before is not None and (prepared is None or prepared.fresh):
            self._stop()
            _close(before)
        if prepared is None:
            return
        if self.steward is None:
            from txrproxy.service.steward import Overseer

            self.steward = Overseer(self._proxy, self._reactor)
        if self._site is not None:
            self._site.guard = prepared.guard
        if prepared.fresh and self._proxy.running:
            self.start()

    def start(self) -> None:
        """Begin to answer."""
        from txrproxy.admin.site import AdminSite

        if self._now is None or self._port is not None:
            return
        self._site = AdminSite(self.steward, self._now.guard, self._reactor)
        self._port = Listening(self._now.sock, self._site, self._reactor)
        self._port.start()
        _logger.info("admin server on {address}", address=self.where)

    def reloaded(self, ok: bool) -> None:
        """How a reload went."""
        if self.steward is not None:
            self.steward.reloaded(ok)

    def _stop(self) -> None:
        port, site, self._port, self._site = self._port, self._site, None, None
        if port is not None:
            port.close()
            site.close_connections()

    def close(self, handed_over: bool = False) -> None:
        """Answer no more. What was handed over is another's."""
        self._stop()
        now, self._now = self._now, None
        if now is not None:
            _close(now, unlink=not handed_over)


def _close(prepared: Prepared, unlink: bool = True) -> None:
    prepared.sock.close()
    if unlink and prepared.address.kind == "unix":
        try:
            os.unlink(prepared.address.name)
        except OSError:
            pass  # it is gone, or in a folder that is no longer ours to change


def _secret(config: Config, secret: Secret) -> bytes:
    """Raises :class:`Refused` for one that is not there, or empty."""
    if secret.kind == "env":
        value = os.environb.get(os.fsencode(secret.name), b"")
    else:
        try:
            value = Path(config.resolve(secret.name)).read_bytes()
        except OSError as error:
            raise Refused(f"admin.token: {secret.name}: {error.strerror}") from error
    value = value.strip()
    if not value:
        raise Refused(f"admin.token: {secret.kind}:{secret.name} is empty or not set")
    return value

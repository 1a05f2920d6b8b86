"""A listening socket that this process accepts from, as long as nothing speaks against it.

Twisted's own port, when descriptors run out, accepts and closes; and while nothing can be accepted
at all it is called again in each turn of the loop. Here the listening socket is left alone for a
moment: who waits in its backlog is served when there is room.

Reasons not to accept come and go apart from each other: the bound on connections, a share that
belongs to another process, descriptors. A port accepts while there is none.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from txrproxy.transport.direct import DirectServer, DirectUnixServer, available
from txrproxy.transport.shortage import ERRORS, Shortage

_logger = Logger()

A_TURN = 64  # connections accepted in one turn of the loop from a socket of our own
A_SHARED_TURN = 2  # from one that other processes accept from as well: they are to have some, too
PAUSE = 0.1  # seconds without accepting after descriptors ran out

# Reasons not to accept.
FULL = "full"
ELSEWHERE = "elsewhere"  # another process does
EXHAUSTED = "exhausted"
UNREADY = "unready"  # nothing is known of the backends yet


@implementer(IReadDescriptor)
class Listening:
    """``sock`` listens already, and stays open after :meth:`close`, for it may be shared.

    ``factory`` may be changed at any time.
    """

    _realPortNumber: int | None = None  # by which the stock transports name themselves

    def __init__(self, sock: socket.socket, factory: Any, reactor: Any) -> None:
        self.factory = factory
        self.connected = False
        self.reactor = reactor
        self.shared = False
        self._against: set[str] = set()
        self._accepted = 0
        self._resume: Any = None
        self._shortage = Shortage(_logger, "accepting pauses")
        self._socket = sock
        self._unix = sock.family == socket.AF_UNIX
        self.fileno = sock.fileno
        self._accept: Any = _accepting(sock)
        #: Whether accepted connections are without Nagle's algorithm already.
        self.no_delay = sys.platform == "linux" and not self._unix and _has_no_delay(sock)
        self._transport: Any = (
            (DirectUnixServer if self._unix else DirectServer)
            if available()
            else (unix.Server if self._unix else tcp.Server)
        )

    def __repr__(self) -> str:
        against = ", ".join(sorted(self._against)) or "nothing"
        return f"<Listening on {self._socket.getsockname()!r}, against it: {against}>"

    def start(self) -> None:
        """Begin to accept."""
        self.connected = True
        if not self._against:
            self.reactor.addReader(self)

    def close(self) -> None:
        """Accept no more."""
        self.connected = False
        self.reactor.removeReader(self)
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    def hold(self, why: str) -> None:
        """A reason not to accept."""
        if not self._against and self.connected:
            self.reactor.removeReader(self)
        self._against.add(why)

    def release(self, why: str) -> None:
        """It is gone."""
        if why in self._against:
            self._against.remove(why)
            if not self._against and self.connected:
                self.reactor.addReader(self)

    def stopReading(self) -> None:
        """There are as many connections as may be (:mod:`txrproxy.transport.limit`)."""
        self.hold(FULL)

    def startReading(self) -> None:
        """There is room again."""
        self.release(FULL)

    def getHost(self) -> IPv4Address | IPv6Address | UNIXAddress:
        """The address, as Twisted's ports say it."""
        name = self._socket.getsockname()
        if self._unix:
            return UNIXAddress(name)
        kind = IPv6Address if self._socket.family == socket.AF_INET6 else IPv4Address
        return kind("TCP", *name)

    # What the reactor calls.

    def doRead(self) -> None:
        """Connections wait."""
        for _ in range(A_SHARED_TURN if self.shared else A_TURN):
            if self._against or not self.connected:
                return
            try:
                link, name = self._accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in ERRORS:
                    self._exhausted(error)
                    return
                continue  # the client is gone already: ECONNABORTED, or an error of its network
            try:
                self._begin(link, name)
            except Exception:
                # One connection that can not be served is not to keep others from being accepted.
                _logger.failure("a connection could not be begun")
                link.close()

    def _begin(self, link: socket.socket, name: Any) -> None:
        address: IPv4Address | IPv6Address | UNIXAddress
        if self._unix:
            address = UNIXAddress(name or None)
            name = name or None
        elif len(name) == 4:
            if name[3]:  # link-local: which link belongs to the address
                numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
                name = (socket.getnameinfo(name, numeric)[0], *name[1:])
            address = IPv6Address("TCP", *name)
        else:
            address = IPv4Address("TCP", *name)
        protocol = self.factory.buildProtocol(address)
        if protocol is None:
            link.close()
            return
        self._accepted += 1
        transport = self._transport(link, protocol, name, self, self._accepted, self.reactor)
        protocol.makeConnection(transport)

    def _exhausted(self, error: OSError) -> None:
        self._shortage.met(self.reactor.seconds(), error.strerror or str(error))
        self.hold(EXHAUSTED)
        self._resume = self.reactor.callLater(PAUSE, self._try_again)

    def _try_again(self) -> None:
        self._resume = None
        self.release(EXHAUSTED)

    def connectionLost(self, reason: Any) -> None:
        """The reactor could not poll the socket, or ends."""
        self.close()

    def logPrefix(self) -> str:
        return "Listening"


def _has_no_delay(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def _accepting(sock: socket.socket) -> Callable[[], tuple[socket.socket, Any]]:
    """``sock.accept`` for one that does not block, if this Python has what that is made of.

    Asking the socket what it is, each time, takes as long as accepting.
    """
    accept = getattr(sock, "_accept", None)
    if accept is None:
        return sock.accept
    made, kind = type(sock), (int(sock.family), int(sock.type), sock.proto)

    def accepted() -> tuple[socket.socket, Any]:
        number, name = accept()
        return made(*kind, fileno=number), name

    return accepted

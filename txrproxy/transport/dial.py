"""Opens connections to a backend: TCP by address, and unix sockets.

Names are not looked up here: :mod:`txrproxy.names` makes their addresses backends.

Where this process can have no socket, no backend is to blame, and none is to be left out for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.errors import CONNECT_REFUSED, CONNECT_TIMEOUT, NO_SOCKET, Reason
from txrproxy.transport.direct import connect_tcp, connect_unix
from txrproxy.transport.shortage import ERRORS, Shortage

Make = Callable[[], Any]
Connected = Callable[[Any], None]
Failed = Callable[[Reason], None]

_logger = Logger()


_shortage = Shortage(_logger, "no connection to a backend can be opened")


class UnixDialer:
    """Connects to a unix socket."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path

    def __call__(self, make: Make, timeout: float, connected: Connected, failed: Failed) -> None:
        factory = _Factory(self._reactor, make, connected, failed)
        try:
            connect_unix(self._reactor, self._path, factory, timeout)
        except OSError as problem:
            # Twisted tells of a socket that it can not make in one way for TCP, and raises here.
            why = Failure(error.getConnectError(problem))
            self._reactor.callLater(0, factory.clientConnectionFailed, None, why)


class TcpDialer:
    """Connects to an IP address and port."""

    def __init__(self, reactor: Any, address: str, port: int) -> None:
        self._reactor = reactor
        self._address = address
        self._port = port

    def __call__(self, make: Make, timeout: float, connected: Connected, failed: Failed) -> None:
        factory = _Factory(self._reactor, make, connected, failed)
        connect_tcp(self._reactor, self._address, self._port, factory, timeout)


class LocalDialer:
    """Connects to this machine, by IPv4 or by IPv6: what "localhost" means (RFC 6761 section 6.3).

    The one that worked last is tried first, the other if it does not, within one deadline.
    """

    def __init__(self, reactor: Any, port: int) -> None:
        self._reactor = reactor
        self._dialers = [TcpDialer(reactor, address, port) for address in ("127.0.0.1", "::1")]

    def __call__(self, make: Make, timeout: float, connected: Connected, failed: Failed) -> None:
        until = self._reactor.seconds() + timeout
        first, second = self._dialers

        def other(reason: Reason) -> None:
            left = until - self._reactor.seconds()
            if left > 0:
                second(make, left, swapped, failed)
            else:
                failed(reason)

        def swapped(protocol: Any) -> None:
            self._dialers = [second, first]
            connected(protocol)

        first(make, timeout, connected, other)


class _Factory(ClientFactory):
    """Carries one connection attempt of Twisted's to its two ends."""

    noisy = False

    def __init__(self, reactor: Any, make: Make, connected: Connected, failed: Failed) -> None:
        self._reactor = reactor
        self._make = make
        self._connected = connected
        self._failed = failed

    def buildProtocol(self, addr: Any) -> Any:
        # makeConnection follows at once; the exchange gets the connection when it is whole.
        return Handover(self._make(), self._connected)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        number = getattr(reason.value, "osError", None)
        if number in ERRORS:
            _shortage.met(self._reactor.seconds(), os.strerror(number))
            self._failed(NO_SOCKET)
            return
        timed_out = reason.check(error.TimeoutError, error.TCPTimedOutError) is not None
        self._failed(CONNECT_TIMEOUT if timed_out else CONNECT_REFUSED)


class Handover:
    """Takes the transport for the real protocol and puts that in its place."""

    def __init__(self, protocol: Any, connected: Connected) -> None:
        self._protocol = protocol
        self._connected = connected

    def makeConnection(self, transport: Any) -> None:
        transport.protocol = self._protocol
        self._protocol.makeConnection(transport)
        self._connected(self._protocol)

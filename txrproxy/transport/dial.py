"""Opens connections to a backend: TCP by address or by name, and unix sockets.

A name is looked up without blocking the loop, and all its addresses are kept for ``resolve``
seconds. When they are older, the next connection still uses them while they are looked up again;
a look-up that fails keeps the last good answer. The addresses of a name are tried in turn, each
connection starting with the next one, within one deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.errors import CONNECT_REFUSED, CONNECT_TIMEOUT, NAME_UNRESOLVED, Reason
from txrproxy.transport.direct import connect_tcp, connect_unix

Make = Callable[[], Any]
Connected = Callable[[Any], None]
Failed = Callable[[Reason], None]


class UnixDialer:
    """Connects to a unix socket."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path

    def __call__(self, make: Make, timeout: float, connected: Connected, failed: Failed) -> None:
        connect_unix(self._reactor, self._path, _Factory(make, connected, failed), timeout)


class TcpDialer:
    """Connects to an IP address and port."""

    def __init__(self, reactor: Any, address: str, port: int) -> None:
        self._reactor = reactor
        self._address = address
        self._port = port

    def __call__(self, make: Make, timeout: float, connected: Connected, failed: Failed) -> None:
        factory = _Factory(make, connected, failed)
        connect_tcp(self._reactor, self._address, self._port, factory, timeout)


class NameDialer:
    """Connects to one of the addresses of a name, looked up again after ``resolve`` seconds."""

    def __init__(self, reactor: Any, name: str, port: int, resolve: float) -> None:
        self._reactor = reactor
        self._name = name
        self._port = port
        self._resolve = resolve
        self._addresses: list[str] = []
        self._stale_at = 0.0
        self._look_up: _LookUp | None = None
        self._turn = 0

    def __call__(self, make: Make, timeout: float, connected: Connected, failed: Failed) -> None:
        attempt = _Attempt(self._reactor, self._port, make, connected, failed)
        now = self._reactor.seconds()
        attempt.until = now + timeout
        if now >= self._stale_at and self._look_up is None:
            self._look_up = _LookUp(self._resolved)
            self._reactor.nameResolver.resolveHostName(self._look_up, self._name, self._port)
        if self._addresses:
            self._begin(attempt)
        elif self._look_up is None:
            attempt.fail(NAME_UNRESOLVED)
        else:
            attempt.wait(timeout)
            self._look_up.waiting.append(attempt)

    def _begin(self, attempt: _Attempt) -> None:
        addresses = self._addresses
        self._turn = turn = (self._turn + 1) % len(addresses)
        attempt.begin(addresses[turn:] + addresses[:turn])

    def _resolved(self, addresses: list[str], waiting: list[_Attempt]) -> None:
        self._look_up = None
        # What failed is asked again with the next connection, but no more than once a second.
        self._stale_at = self._reactor.seconds() + (self._resolve if addresses else 1.0)
        if addresses:
            self._addresses = addresses
        for attempt in waiting:
            if self._addresses:
                self._begin(attempt)
            else:
                attempt.fail(NAME_UNRESOLVED)


@implementer(IResolutionReceiver)
class _LookUp:
    """One look-up of a name, and the attempts that wait for it."""

    def __init__(self, done: Callable[[list[str], list[_Attempt]], None]) -> None:
        self._done = done
        self._addresses: list[str] = []
        self.waiting: list[_Attempt] = []

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """The look-up is not cancelled: it serves the next connection too."""

    def addressResolved(self, address: Any) -> None:
        if address.host not in self._addresses:
            self._addresses.append(address.host)

    def resolutionComplete(self) -> None:
        self._done(self._addresses, self.waiting)


class _Attempt:
    """One connection to a name: its addresses in turn, within one deadline."""

    def __init__(
        self, reactor: Any, port: int, make: Make, connected: Connected, failed: Failed
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._make = make
        self._connected = connected
        self._failed = failed
        self._addresses: list[str] = []
        self._timer: Any = None
        self._over = False
        self.until = 0.0

    def wait(self, timeout: float) -> None:
        """Give up when the name is not looked up in time."""
        self._timer = self._reactor.callLater(timeout, self._waited_too_long)

    def _waited_too_long(self) -> None:
        self._timer = None
        self.fail(CONNECT_TIMEOUT)

    def begin(self, addresses: list[str]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._addresses = addresses
        if not self._over:
            self._next(CONNECT_TIMEOUT)

    def fail(self, reason: Reason) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._over:
            self._over = True
            self._failed(reason)

    def _next(self, reason: Reason) -> None:
        left = self.until - self._reactor.seconds()
        if not self._addresses or left <= 0:
            self.fail(reason)
            return
        address = self._addresses[0]
        self._addresses = self._addresses[1:]
        factory = _Factory(self._make, self._connected, self._next)
        # An address that does not answer leaves half of the time to the others.
        share = left / 2 if self._addresses else left
        connect_tcp(self._reactor, address, self._port, factory, share)


class _Factory(ClientFactory):
    """Carries one connection attempt of Twisted's to its two ends."""

    noisy = False

    def __init__(self, make: Make, connected: Connected, failed: Failed) -> None:
        self._make = make
        self._connected = connected
        self._failed = failed

    def buildProtocol(self, addr: Any) -> Any:
        # makeConnection follows at once; the exchange gets the connection when it is whole.
        return Handover(self._make(), self._connected)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
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

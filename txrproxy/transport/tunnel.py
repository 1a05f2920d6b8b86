"""After 101 a connection is a pipe: bytes both ways, until both ends have closed.

Each end is the protocol of one transport and pushes into the other's. Reading stops where writing
does; one side may close its half while the other goes on; a tunnel in which nothing moves for its
idle time is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.errors import OK, TUNNEL_IDLE, Reason
from txrproxy.transport.deadlines import Queue


class Tunnel:
    """Two transports joined. ``on_end(reason, received, sent)`` is called once, when both are gone.

    ``received`` and ``sent`` count bytes from and to the ``client`` side.
    """

    def __init__(
        self,
        client: Any,
        backend: Any,
        idle: Queue[Tunnel],
        seconds: Callable[[], float],
        on_end: Callable[[Reason, int, int], None],
    ) -> None:
        self.client = TunnelEnd(self, client)
        self.backend = TunnelEnd(self, backend)
        self.client.other = self.backend
        self.backend.other = self.client
        self.pool: Any = None  # whose backend it leads to
        self._idle = idle
        self._seconds = seconds
        self._on_end = on_end
        self._open = 2
        self._reason = OK

    def start(self, from_client: bytes = b"", from_backend: bytes = b"") -> None:
        """Join the two, beginning with what either side has sent already."""
        self._idle.start(self, self._seconds())
        for end in (self.client, self.backend):
            end.attach()
        if from_client:
            self.client.dataReceived(from_client)
        if from_backend:
            self.backend.dataReceived(from_backend)
        # Either may have been paused while the change of protocols was under way.
        for end in (self.client, self.backend):
            if not end.other.blocked:
                end.transport.resumeProducing()

    def moved(self) -> None:
        """Bytes went through."""
        if self._open:
            self._idle.start(self, self._seconds())

    def expire(self) -> None:
        """Nothing moved for the idle time."""
        self._reason = TUNNEL_IDLE
        self.close()

    def close(self) -> None:
        """End both sides."""
        self.client.transport.abortConnection()
        self.backend.transport.abortConnection()

    def ended(self) -> None:
        """One transport is gone."""
        self._open -= 1
        if self._open == 0:
            self._idle.stop(self)
            self._on_end(self._reason, self.client.count, self.backend.count)


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class TunnelEnd:
    """The protocol of one side; ``count`` is how many bytes came from it."""

    def __init__(self, tunnel: Tunnel, transport: Any) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.other: TunnelEnd = self
        self.count = 0
        self.blocked = False  # what is written to this side waits
        self._silent = False  # this side has closed its half

    def attach(self) -> None:
        """Take the place of the protocol that spoke HTTP here."""
        self.transport.unregisterProducer()
        self.transport.protocol = self
        self.transport.registerProducer(self, True)

    def makeConnection(self, transport: Any) -> None:
        """Required of a protocol; a tunnel begins in the middle of a connection."""

    def dataReceived(self, data: bytes) -> None:
        self.count += len(data)
        self.other.transport.write(data)
        self._tunnel.moved()

    def pauseProducing(self) -> None:
        self.blocked = True
        self.other.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.blocked = False
        self._tunnel.moved()
        self.other.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Required of a producer; ``connectionLost`` says the same."""

    def readConnectionLost(self) -> None:
        # A paused producer would keep the other transport from closing.
        self.other.transport.unregisterProducer()
        self._silent = True
        if self.other._silent:
            # Both halves are closed on both sides; no event will say so again.
            self.other.transport.loseConnection()
            self.transport.loseConnection()
        else:
            self.other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """The other side has closed its half, and this one knows."""

    def connectionLost(self, reason: Failure) -> None:
        self.other.transport.unregisterProducer()
        self.other.transport.loseConnection()
        self._tunnel.ended()

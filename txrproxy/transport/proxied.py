"""A connection that begins with a PROXY header: the header is read, then HTTP takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.transport.deadlines import Queue
from txrproxy.transport.proxyprotocol import BadProxyHeader, Mode, NeedMore, parse


@implementer(IProtocol)
class HeaderReader:
    """Reads the header of a connection from a trusted proxy.

    ``accepted(address)`` gives the protocol that goes on, for the client's address as IP text or
    None where the header names none. ``ended(refused)`` is called when there will be none.
    """

    __slots__ = ("_accepted", "_buffer", "_ended", "_mode", "_queue", "_seconds", "transport")

    def __init__(
        self,
        mode: Mode,
        queue: Queue[HeaderReader],
        seconds: Callable[[], float],
        accepted: Callable[[HeaderReader, str | None], Any],
        ended: Callable[[HeaderReader, bool], None],
    ) -> None:
        self.transport: Any = None
        self._mode = mode
        self._queue = queue
        self._seconds = seconds
        self._accepted = accepted
        self._ended = ended
        self._buffer = b""

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._queue.start(self, self._seconds())

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        try:
            parsed = parse(self._buffer, self._mode)
        except BadProxyHeader:
            self.expired()
            return
        if isinstance(parsed, NeedMore):
            return
        self._queue.stop(self)
        header, size = parsed
        protocol = self._accepted(self, header.source[0] if header.source else None)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        if len(self._buffer) > size:
            protocol.dataReceived(self._buffer[size:])

    def expired(self) -> None:
        """There is no header, or none in time: all such a connection deserves is to be closed."""
        self._queue.stop(self)
        self._ended(self, True)
        self._ended = _nothing
        self.transport.abortConnection()

    def close_when_idle(self) -> None:
        """Drain: nothing is in progress."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        self._queue.stop(self)
        self._ended(self, False)


def _nothing(reader: HeaderReader, refused: bool) -> None:
    """Said already."""

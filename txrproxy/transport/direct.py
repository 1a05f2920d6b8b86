"""Transports that send at once: the stock TCP and Unix transports minus one loop turn a write.

The stock ``write`` only queues; the bytes leave on the next loop turn, after an ``epoll_ctl`` to
ask for writability and another to stop asking. Here ``write`` tries ``send(2)`` first when nothing
is queued, which is nearly always, and hands what the kernel did not take to the stock queue.

The model: *a direct transport is a stock transport whose queue happens to be empty more often.*
So whatever is not the plain case goes the stock way:

- something queued already, closing, half-closed or aborted, TLS started in place: queued, in order;
- a pull producer registered: queued, for it is ``doWrite`` that asks such a producer for more;
- a partial send: the rest is queued, and a push producer is paused by the stock rule;
- a failed send: everything is queued. A protocol must not hear ``connectionLost`` inside its own
  ``write``, so the error is left for ``doWrite`` to find on the next loop turn (a broken socket
  fails again, with EPIPE at the latest), and the stock code reports it. But the kernel tells of a
  reset once: a ``recv`` in between sees a clean end of stream, so it has to be remembered that
  this one is not, or a response cut off by a reset would pass for a whole one.

Reading is the stock ``doRead`` in fewer calls, with ``read_size`` as an attribute that a protocol
may raise to :data:`BULK_READ` while a large body streams: half the CPU for each byte relayed
(``benchmarks/transport.py``). It is to be lowered again after the body, because malloc maps and
unmaps a buffer of that size for each read, which costs more than a small read itself.

All that the product knows of Twisted's private names is in this module and in ``reactor``.
:func:`available` compares it with what is installed; on a mismatch the helpers below leave the
stock transports in place, which work the same and cost more.
"""

from __future__ import annotations

import fcntl
import inspect
import os
import socket
import sys
import termios
from collections.abc import Callable, Iterable
from errno import ENOBUFS
from typing import Any, ClassVar, TypeVar

from twisted.internet import abstract, address, error, main, tcp, unix
from twisted.internet.interfaces import IConnector
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.failure import Failure

READ = 64 * 1024  # bytes asked of one recv
BULK_READ = 256 * 1024  # the same while a large body streams

Data = bytes | bytearray | memoryview
_DONE = Failure(main.CONNECTION_DONE)
_lost: Any = abstract.FileDescriptor.connectionLost
PortT = TypeVar("PortT")


def _untyped(kind: Any) -> Any:
    """Twisted annotates these constructors partly or not at all."""
    return kind


class _Direct(tcp.Connection):
    """The two fast paths, to be mixed in before a stock transport class."""

    read_size = READ  # bytes asked of each recv; an instance may change it at any time
    copies = True  # what has to be queued of a buffer
    bufferSize = 0  # a push producer is paused by the first byte queued, resumed when all are gone
    _end: error.ConnectionDone | error.ConnectionLost = main.CONNECTION_DONE  # what EOF means
    protocol: Any

    def write(self, data: Data) -> None:
        """Send ``data`` now as far as the kernel takes it, and queue the rest.

        A buffer other than ``bytes`` may be reused by the caller on return: what has to be queued
        is copied.
        """
        if (
            self._tempDataLen
            or self.dataBuffer
            or not self.connected
            or self.disconnecting
            or self._writeDisconnecting
            or self._aborting
            or self.TLS
            or (self.producer is not None and not self.streamingProducer)
        ):
            self._queue(data if type(data) is bytes else bytes(memoryview(data)))
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as failure:
            sent = 0
            if failure.errno != ENOBUFS:
                self._end = main.CONNECTION_LOST
        if sent != len(data):
            self._queue(bytes(memoryview(data)[sent:]))

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send from a file what the kernel takes now; the number of bytes, 0 if it takes none.

        None goes past what is queued: 0 then, too.
        """
        if (
            self._tempDataLen
            or self.dataBuffer
            or not self.connected
            or self.disconnecting
            or self._writeDisconnecting
            or self._aborting
            or self.TLS
        ):
            return 0
        try:
            return os.sendfile(self.socket.fileno(), fd, offset, count)
        except OSError:
            return 0  # a write finds out what it is

    _queue: ClassVar[Callable[[Any, bytes], None]] = tcp.Connection.write

    def writeSequence(self, iovec: Iterable[Data]) -> None:
        self.write(b"".join(iovec))

    def doRead(self) -> error.ConnectionLost | error.ConnectionDone | None:  # type: ignore[override]
        try:
            data = self.socket.recv(self.read_size)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return self._end
        self.protocol.dataReceived(data)
        return None


class _DirectUnix(_Direct):
    """Descriptors travel with bytes: while some wait to be passed, the stock queue keeps order.

    Receiving descriptors is not offered; the kernel closes those that a peer passes.
    """

    _sendmsgQueue: list[int]

    def write(self, data: Data) -> None:
        if self._sendmsgQueue:
            self._queue(bytes(memoryview(data)))
        else:
            super().write(data)


class DirectServer(_Direct, tcp.Server):
    """An accepted TCP connection; ``TCP_NODELAY`` is set, for each write is meant to leave.

    The stock constructor, but for the two strings that each instance is given to name it, and for
    the option where ``server`` says that what it accepts has it (``no_delay``).
    """

    logstr = "DirectServer"

    def __init__(
        self,
        sock: socket.socket,
        protocol: Any,
        client: tuple[Any, ...],
        server: tcp.Port,
        sessionno: int,
        reactor: Any,
    ) -> None:
        tcp.Connection.__init__(self, sock, protocol, reactor)
        if len(client) != 2:
            self._addressType = address.IPv6Address
        self.server = server
        self.client = client
        self.hostname = client[0]
        self.sessionno = sessionno
        inherited = getattr(server, "no_delay", None)  # other ports do not say
        if inherited is not True:
            self.setTcpNoDelay(True)
        reactor.addReader(self)
        self.connected = 1

    def connectionLost(self, reason: Failure) -> None:
        """The stock one, which asks the reason by name what it is."""
        if "socket" not in vars(self):  # called twice
            return
        _lost(self, reason)
        close: Any = self._closeSocket
        close(not isinstance(reason.value, error.ConnectionAborted))
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        protocol.connectionLost(reason)

    def __repr__(self) -> str:
        return f"<DirectServer #{self.sessionno} from {self.hostname}>"


class DirectUnixServer(_DirectUnix, unix.Server):
    """An accepted Unix connection."""


class DirectClient(_Direct, tcp.Client):
    """An outgoing TCP connection, ``TCP_NODELAY`` set."""

    def _connectDone(self) -> None:
        self.setTcpNoDelay(True)
        super()._connectDone()  # type: ignore[no-untyped-call]


class DirectUnixClient(_DirectUnix, unix.Client):
    """An outgoing Unix connection."""


class _Connector(tcp.Connector):
    def _makeTransport(self) -> tcp.Client:
        transport: tcp.Client = _untyped(DirectClient)(
            self.host, self.port, self.bindAddress, self, self.reactor
        )
        return transport


class _UnixConnector(unix.Connector):
    def _makeTransport(self) -> Any:
        return _untyped(DirectUnixClient)(self.address, self, self.reactor, self.checkPID)


def connect_tcp(
    reactor: Any,
    host: str,
    port: int,
    factory: Any,
    timeout: float | None,
    *,
    bindAddress: tuple[str, int] | None = None,
) -> IConnector:
    """``reactor.connectTCP`` with a direct transport; ``timeout`` in seconds."""
    connector: Any
    if _is_direct(reactor):
        connector = _untyped(_Connector)(host, port, factory, timeout, bindAddress, reactor)
        connector.connect()
    else:
        connector = reactor.connectTCP(host, port, factory, timeout, bindAddress)
    return connector  # type: ignore[no-any-return]


def connect_unix(reactor: Any, path: str, factory: Any, timeout: float | None) -> IConnector:
    """``reactor.connectUNIX`` with a direct transport; ``timeout`` in seconds."""
    connector: Any
    if _is_direct(reactor):
        connector = _untyped(_UnixConnector)(path, factory, timeout, reactor, 0)
        connector.connect()
    else:
        connector = reactor.connectUNIX(path, factory, timeout)
    return connector  # type: ignore[no-any-return]


def queued(transport: Any) -> int:
    """Bytes written that the kernel has not taken."""
    return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)


def unsent(transport: Any) -> int:
    """Bytes written that the peer has not acknowledged: the transport's queue and the kernel's.

    A layer above a transport answers by its own ``unsent()``.
    """
    layered = getattr(transport, "unsent", None)
    if layered is not None:
        return int(layered())
    waiting = queued(transport)
    try:
        packed = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return waiting
    return waiting + int.from_bytes(packed, sys.byteorder)


def close(transport: Any) -> None:
    """Close a connection whose peer has said that it is done, behind what is still to be sent.

    With nothing to send a direct transport is closed now, where ``loseConnection`` waits for
    another turn of the loop; ``connectionLost`` has been called then when this returns.
    """
    if (
        isinstance(transport, _Direct)
        and transport.connected
        and not transport.disconnecting
        and not queued(transport)
    ):
        # Nobody is told by a shutdown what the close says at once.
        transport._shouldShutdown = False
        transport.connectionLost(_DONE)
    else:
        transport.loseConnection()


def direct_port(port: PortT) -> PortT:
    """Make a listening port hand out direct transports from now on; returns the same port.

    Anything but a stock TCP or Unix port is left as it is.
    """
    if available():
        if type(port) is tcp.Port:
            vars(port)["transport"] = DirectServer
        elif type(port) is unix.Port:
            vars(port)["transport"] = DirectUnixServer
    return port


def _is_direct(reactor: Any) -> bool:
    return available() and isinstance(reactor, PosixReactorBase)


# What is relied upon, by class: names first, then the parameters of constructors.
_NAMES: tuple[tuple[type, str], ...] = (
    (
        abstract.FileDescriptor,
        "connected disconnected disconnecting dataBuffer offset bufferSize producer"
        " streamingProducer producerPaused _writeDisconnecting _writeDisconnected doWrite write"
        " startWriting stopWriting startReading stopReading",
    ),
    (
        tcp.Connection,
        "TLS _aborting _closeSocket _shouldShutdown logPrefix setTcpNoDelay doRead write"
        " writeSequence connectionLost",
    ),
    (tcp.Server, "_addressType getPeer getHost"),
    (tcp.Client, "_connectDone"),
    (tcp.Port, "transport"),
    (tcp.Connector, "_makeTransport"),
    (unix.Port, "transport"),
    (unix.Connector, "_makeTransport"),
)
_PARAMETERS: tuple[tuple[type, str], ...] = (
    (tcp.Server, "self sock protocol client server sessionno reactor"),
    (unix.Server, "self sock protocol client server sessionno reactor"),
    (tcp.Client, "self host port bindAddress connector reactor"),
    (unix.Client, "self filename connector reactor checkPID"),
    (tcp.Connector, "self host port factory timeout bindAddress reactor"),
    (unix.Connector, "self address factory timeout reactor checkPID"),
)


def mismatches() -> list[str]:
    """What the installed Twisted lacks of the internals relied upon; empty when all is well."""
    found = [
        f"{kind.__module__}.{kind.__name__} has no {name}"
        for kind, names in _NAMES
        for name in names.split()
        if not hasattr(kind, name)
    ]
    for kind, wanted in _PARAMETERS:
        actual = " ".join(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
        if actual != wanted:
            found.append(f"{kind.__module__}.{kind.__name__}({actual}), not ({wanted})")
    blank = vars(abstract.FileDescriptor(object()))  # type: ignore[arg-type]
    if blank.get("_tempDataBuffer") != [] or blank.get("_tempDataLen") != 0:
        found.append("abstract.FileDescriptor has no _tempDataBuffer and _tempDataLen")
    return found


_AVAILABLE = not mismatches()


def available() -> bool:
    """Whether the installed Twisted is one that the direct transports fit."""
    return _AVAILABLE

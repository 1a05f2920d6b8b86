"""What the transport tests share: a connected pair of sockets, and a reactor driven by hand."""

from __future__ import annotations

import socket
from typing import Any


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one loopback connection with small kernel buffers, so that they fill up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near = socket.create_connection(listener.getsockname())
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        far, _ = listener.accept()
    far.settimeout(5)
    return near, far


class HandReactor:
    """Records what a descriptor asks to be told about; nothing happens by itself."""

    def __init__(self) -> None:
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.later: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def callLater(self, delay: float, call: Any, *args: Any) -> None:
        self.later.append((call, args))


class Recorder:
    """A protocol with no base class, as lean as the product's own."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: list[Any] = []
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason)


class PushProducer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")

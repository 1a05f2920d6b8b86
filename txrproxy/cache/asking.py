"""A question to the owner of a cache's folder (:mod:`txrproxy.cache.control`), without waiting."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from txrproxy.cache.control import NAME, Answer, NoOwner

PATIENCE = 30.0  # seconds
MAX_ANSWER = 64 * 1024 * 1024


def ask_later(reactor: Any, folder: str, question: Answer, patience: float = PATIENCE) -> Any:
    """A Deferred of the answer; it fails with :class:`NoOwner`, or ValueError with what is wrong.

    The connection goes by a descriptor of the folder, as an address has little room for a path.
    """
    done: Deferred[Any] = Deferred()
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        done.errback(NoOwner(f"{folder}: {error.strerror}"))
        return done
    connector = reactor.connectUNIX(
        f"/proc/self/fd/{fd}/{NAME}", _Asking(question, done, folder), timeout=patience
    )
    done.addTimeout(patience, reactor, lambda *_: _late(folder))

    def close(result: Any) -> Any:
        os.close(fd)
        connector.disconnect()
        return result

    return done.addBoth(close)


def _late(folder: str) -> None:
    raise NoOwner(f"{folder}: who owns it does not answer")


class _Asking(ClientFactory):
    noisy = False

    def __init__(self, question: Answer, done: Deferred[Any], folder: str) -> None:
        self.question = question
        self.folder = folder
        self._done: Deferred[Any] | None = done

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Question(self)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.told(NoOwner(f"{self.folder}: no process owns it"))

    def told(self, result: Any) -> None:
        """The end, whichever it is."""
        done, self._done = self._done, None
        if done is not None and not done.called:
            done.errback(result) if isinstance(result, Exception) else done.callback(result)


class _Question(Protocol):
    def __init__(self, asking: _Asking) -> None:
        self._asking = asking
        self._data: list[bytes] = []
        self._size = 0

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(json.dumps(self._asking.question).encode("ascii") + b"\n")

    def dataReceived(self, data: bytes) -> None:
        self._data.append(data)
        self._size += len(data)
        if data.endswith(b"\n") or self._size > MAX_ANSWER:
            transport: Any = self.transport
            transport.loseConnection()
            self._asking.told(self._answer())

    def _answer(self) -> Any:
        try:
            said = json.loads(b"".join(self._data))
        except ValueError:
            return ValueError("the answer makes no sense, or is too long")
        return ValueError(said["error"]) if "error" in said else said["result"]

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._asking.told(NoOwner(f"{self._asking.folder}: the connection was closed"))

"""The control socket: how the ``txrproxy`` command talks to the proxy that runs.

It lies in ``server.state_dir`` and only its user can open it. What it speaks is the protocol
between processes (:mod:`txrproxy.transport.channel`), with the topics that are registered here.
A proxy that drains leaves the place to the next one, and goes on to answer beside it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.control import DRAINING, SOCKET
from txrproxy.transport.channel import Body, Channel, bind_to, connect_to

NAME = SOCKET
PID = "txrproxy.pid"

_BACKLOG = 16
_PAUSE = 0.1  # seconds without accepting after descriptors ran out
_logger = Logger()


class Taken(Exception):
    """Another proxy runs with this folder."""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Control:
    """Listens in ``folder``, which is made if need be. Raises :class:`Taken` and OSError.

    ``succeed`` takes the place of who answers there.
    """

    def __init__(self, folder: str, reactor: Any, succeed: bool = False) -> None:
        self.path = os.path.join(folder, NAME)
        self._pid_file = os.path.join(folder, PID)
        self._reactor = reactor
        self._topics: dict[str, Callable[[Body], Any]] = {}
        self._channels: set[Channel] = set()
        self._resume: Any = None
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not succeed and is_taken(folder):
            raise Taken
        if os.path.lexists(self.path):
            os.unlink(self.path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.setblocking(False)
            bind_to(self._socket, self.path)
            self._socket.listen(_BACKLOG)
            self._identity = _identity(self.path)
        except OSError:
            self._socket.close()
            raise
        self.fileno = self._socket.fileno

    def register(self, topic: str, callback: Callable[[Body], Any]) -> None:
        """Answer a topic, as :meth:`Channel.register`."""
        self._topics[topic] = callback

    def start(self) -> None:
        """Begin to answer; for scripts, a file beside the socket has our process id."""
        self._reactor.addReader(self)
        try:
            with open(self._pid_file, "w", encoding="utf-8", opener=_private) as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            _logger.warn("{path}: {why}", path=self._pid_file, why=error.strerror)

    def close(self) -> None:
        """Answer no more; answers that are on their way get there."""
        self._reactor.removeReader(self)
        if self._resume is not None and self._resume.active():
            self._resume.cancel()
        self._socket.close()
        try:
            if self._is_ours():
                os.unlink(self.path)
            with open(self._pid_file, encoding="utf-8") as file:
                ours = file.read() == f"{os.getpid()}\n"
            if ours:
                os.unlink(self._pid_file)
        except OSError:
            pass  # somebody was faster

    def retire(self) -> None:
        """The proxy drains: another one may take the place, and until the end we answer beside."""
        try:
            if self._is_ours():
                beside = os.path.join(os.path.dirname(self.path), DRAINING)
                os.rename(self.path, beside)
                self.path = beside
        except OSError as error:
            _logger.warn("{path}: {why}", path=self.path, why=error.strerror)

    def _is_ours(self) -> bool:
        """It may be that of who took our place."""
        return _identity(self.path) == self._identity

    def doRead(self) -> None:
        """Somebody connects."""
        try:
            link, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:
            # No descriptor is left: who waits would make the loop turn, and turn.
            self._reactor.removeReader(self)
            self._resume = self._reactor.callLater(_PAUSE, self._reactor.addReader, self)
            return
        channel = Channel(self._reactor, link, lambda: self._channels.discard(channel))
        self._channels.add(channel)
        for topic, callback in self._topics.items():
            channel.register(topic, callback)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""

    def logPrefix(self) -> str:
        return "Control"


def is_taken(folder: str) -> bool:
    """Whether a proxy answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.setblocking(False)
        try:
            connect_to(link, os.path.join(folder, NAME))
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
        return True


def was_left(folder: str) -> bool:
    """Whether a proxy ended there without an end: killed, with workers that still go."""
    return os.path.lexists(os.path.join(folder, NAME)) and not is_taken(folder)


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino

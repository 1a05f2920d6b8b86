"""Messages between the processes of one proxy: a topic, a body, and file descriptors.

A message is a topic, a dict of what JSON knows, and descriptors, which arrive as new ones under the
key ``fds`` of the body. Both ends are the same::

    channel.register("purge", callback)      callback(body) for each message of the topic
    channel.send("purge", {"key": "a"})      to the other end; nobody answers
    channel.call("status")                   the same, and a Deferred of what the callback returned

A callback may return None, a dict, or a Deferred of either; for ``call`` that is the answer, and
:class:`Refused`, raised or in the Deferred, is the answer that it can not be done.

The socket is a Unix one of type SEQPACKET: packets have ends, descriptors arrive with the packet
they were sent with, and the end of the other process is an end of file. A message larger than a
packet goes in pieces, each with a byte before it that says whether more follow. The other end is
one of our own processes, and JSON is all that it can make us read.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

Body = dict[str, Any]
Callback = Callable[[Body], Any]

PIECE = 32 * 1024  # bytes in a packet
MAX_MESSAGE = 64 * 1024 * 1024  # bytes of one message; one that is larger ends the channel
MAX_QUEUED = 64 * 1024 * 1024  # bytes that wait for an end that reads nothing
MAX_FDS = 250  # descriptors with one message; the kernel takes 253
_TURN = 64  # packets read in one turn of the loop

_MORE, _LAST = b"+", b"."
_ANCILLARY = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)

_logger = Logger()


class Refused(Exception):
    """The other end can not do what it was asked; the text says why, for a person."""


class Lost(Refused):
    """The other end is gone, or went before it answered."""


class Channel:
    """One end. ``lost()`` is called once, when the other is gone; not after :meth:`close`."""

    def __init__(
        self, reactor: Any, sock: socket.socket, lost: Callable[[], object] = lambda: None
    ) -> None:
        sock.setblocking(False)
        self.connected = True
        self.fileno = sock.fileno
        self._reactor = reactor
        self._socket = sock
        self._lost = lost
        self._callbacks: dict[str, Callback] = {}
        self._calls: dict[int, Deferred[Body]] = {}
        self._last_call = 0
        self._pieces: list[bytes] = []  # of a message that is arriving
        self._received = 0  # bytes in them
        self._fds: list[int] = []  # that came with them
        self._queue: deque[tuple[bytes, Sequence[int]]] = deque()
        self._queued = 0
        reactor.addReader(self)

    # What its users call.

    def register(self, topic: str, callback: Callback) -> None:
        """Call ``callback(body)`` for each message of a topic, in place of what was registered."""
        self._callbacks[topic] = callback

    def send(self, topic: str, body: Body | None = None, fds: Sequence[int] = ()) -> None:
        """Send a message; nothing happens when the other end is gone."""
        self._send([topic, body or {}], fds)

    def call(self, topic: str, body: Body | None = None, fds: Sequence[int] = ()) -> Deferred[Body]:
        """Send a message; fires with the answer, or :class:`Refused`."""
        if not self.connected:
            return fail(Lost("the other process is gone"))
        self._last_call = number = self._last_call + 1

        def cancelled(_: object) -> None:
            self._calls.pop(number, None)

        answer: Deferred[Body] = Deferred(cancelled)
        self._calls[number] = answer
        self._send([topic, body or {}, "?", number], fds)
        return answer

    def close(self) -> None:
        """End it. Calls that wait for an answer fail."""
        self._lost = lambda: None
        self.connectionLost(Failure(error.ConnectionDone()))

    # Sending.

    def _send(self, message: list[Any], fds: Sequence[int] = ()) -> None:
        if not self.connected:
            return
        data = json.dumps(message, separators=(",", ":")).encode()
        waits = bool(self._queue)
        while data:
            piece, data = data[:PIECE], data[PIECE:]
            packet = (_MORE if data else _LAST) + piece
            # The descriptors of the caller may be closed by the time that the packet leaves.
            self._queue.append((packet, [os.dup(fd) for fd in fds]))
            self._queued += len(packet)
            fds = ()
        if self._queued > MAX_QUEUED:
            _logger.error("a process reads nothing of what it is told; its channel is closed")
            self.connectionLost(Failure(error.ConnectionLost()))
        elif not waits:
            self.doWrite()
            if self._queue:
                self._reactor.addWriter(self)

    def doWrite(self) -> BaseException | None:
        """The other end has room."""
        while self._queue:
            packet, fds = self._queue[0]
            try:
                socket.send_fds(self._socket, [packet], fds)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError:
                # What the other end said last may still be there to be read.
                self._forget_queue()
                break
            self._queue.popleft()
            self._queued -= len(packet)
            _close(fds)
        self._reactor.removeWriter(self)
        return None

    def _forget_queue(self) -> None:
        for _, fds in self._queue:
            _close(fds)
        self._queue.clear()
        self._queued = 0

    # Receiving.

    def doRead(self) -> BaseException | None:
        """Packets are there, or the end."""
        for _ in range(_TURN):
            if not self.connected:
                return None
            try:
                packet, ancillary, flags, _ = self._socket.recvmsg(
                    PIECE + 1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, InterruptedError):
                return None
            except OSError:
                return error.ConnectionLost()
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                    self._fds += numbers
            if not packet:
                return error.ConnectionDone()
            self._pieces.append(packet[1:])
            self._received += len(packet)
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or self._received > MAX_MESSAGE:
                _logger.error("a message of another process can not be read; its channel is closed")
                return error.ConnectionLost()
            if packet[:1] == _LAST:
                data, fds = b"".join(self._pieces), self._fds
                self._pieces, self._received, self._fds = [], 0, []
                self._take(data, fds)
        return None

    def _take(self, data: bytes, fds: list[int]) -> None:
        try:
            topic, body, *rest = json.loads(data)
            kind, number = rest or ("", 0)
        except (ValueError, TypeError):
            _close(fds)
            _logger.error("a message of another process makes no sense")
            return
        if kind in {"=", "!"}:
            waiting = self._calls.pop(number, None)
            if waiting is None:
                _close(fds)
            elif kind == "=":
                waiting.callback({**body, "fds": fds} if fds else body)
            else:
                waiting.errback(Refused(body.get("error", "refused")))
            return
        callback = self._callbacks.get(topic)
        if callback is None:
            _close(fds)
            done: Deferred[Any] = fail(Refused(f"unknown topic {topic!r}"))
        else:
            done = maybeDeferred(callback, {**body, "fds": fds} if fds else body)
        if kind == "?":
            done.addCallback(lambda answer: self._send([topic, answer or {}, "=", number]))
            done.addErrback(self._refuse, topic, number)
        done.addErrback(self._failed, topic)

    def _refuse(self, failure: Failure, topic: str, number: int) -> None:
        if failure.check(Refused) is None:
            _logger.failure("{topic} failed", failure, topic=topic)
            text = "an internal error; the log tells more"
        else:
            text = str(failure.value)
        self._send([topic, {"error": text}, "!", number])

    def _failed(self, failure: Failure, topic: str) -> None:
        if failure.check(Refused):
            _logger.warn("{topic}: {why}", topic=topic, why=str(failure.value))
        else:
            _logger.failure("{topic} failed", failure, topic=topic)

    # What the reactor calls.

    def connectionLost(self, reason: Failure) -> None:
        """The other end is gone, or this one is closed."""
        if not self.connected:
            return
        self.connected = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._forget_queue()
        _close(self._fds)
        self._fds = []
        self._socket.close()
        calls, self._calls = self._calls, {}
        for waiting in calls.values():
            waiting.errback(Lost("the other process ended before it answered"))
        self._lost()

    def logPrefix(self) -> str:
        return "Channel"


class LocalChannel:
    """One end of a channel inside one process: :func:`local_pair`. Messages arrive at once.

    Bodies are handed over as they are; descriptors are not.
    """

    connected = True

    def __init__(self) -> None:
        self.other: LocalChannel
        self._callbacks: dict[str, Callback] = {}

    def register(self, topic: str, callback: Callback) -> None:
        """As :meth:`Channel.register`."""
        self._callbacks[topic] = callback

    def send(self, topic: str, body: Body | None = None, fds: Sequence[int] = ()) -> None:
        """As :meth:`Channel.send`."""
        callback = self.other._callbacks.get(topic)
        if callback is not None:
            done = maybeDeferred(callback, body or {})
            done.addErrback(lambda failure: _logger.failure("{topic} failed", failure, topic=topic))

    def call(self, topic: str, body: Body | None = None, fds: Sequence[int] = ()) -> Deferred[Body]:
        """As :meth:`Channel.call`."""
        callback = self.other._callbacks.get(topic)
        if callback is None:
            return fail(Refused(f"unknown topic {topic!r}"))
        done: Deferred[Any] = maybeDeferred(callback, body or {})
        return done.addCallback(lambda answer: answer or {})

    def close(self) -> None:
        """Nothing to let go of."""


AnyChannel = Channel | LocalChannel


def local_pair() -> tuple[LocalChannel, LocalChannel]:
    """Both ends of a channel inside this process."""
    one, other = LocalChannel(), LocalChannel()
    one.other, other.other = other, one
    return one, other


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a channel between two processes."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def wait(channels: Iterable[AnyChannel], done: Deferred[Any], timeout: float) -> Any:
    """Serve channels, and nothing else, until ``done`` fires; for before the reactor runs.

    The result, or what it failed with. Raises TimeoutError after ``timeout`` seconds.
    """
    results: list[Any] = []
    done.addBoth(results.append)
    deadline = time.monotonic() + timeout
    while not results:
        poll = select.poll()
        served = {c.fileno(): c for c in channels if isinstance(c, Channel) and c.connected}
        for fd, channel in served.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if channel._queue else 0))
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        for fd, event in poll.poll(left * 1000):
            channel = served[fd]
            if event & select.POLLOUT:
                channel.doWrite()
            if event & ~select.POLLOUT and (why := channel.doRead()):
                channel.connectionLost(Failure(why))
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def ask(path: str, topic: str, body: Body | None = None, timeout: float = 60.0) -> Body:
    """Call once over the socket at ``path``, and wait for the answer.

    Raises :class:`Refused`, OSError when nobody is there, TimeoutError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(timeout)
        connect_to(link, path)
        channel = Channel(NoReactor(), link.dup())
        try:
            answer: Body = wait([channel], channel.call(topic, body), timeout)
            return answer
        finally:
            channel.close()


class NoReactor:
    """For a process that has none, and only waits."""

    def addReader(self, reader: Any) -> None: ...

    def addWriter(self, writer: Any) -> None: ...

    removeReader = addReader
    removeWriter = addWriter


def connect_to(link: socket.socket, path: str) -> None:
    """Connect to a Unix socket, however long its path."""
    _by_folder(path, link.connect)


def bind_to(link: socket.socket, path: str) -> None:
    """Bind to a path that only this user may open, however long it is."""
    before = os.umask(0o177)
    try:
        _by_folder(path, link.bind)
    finally:
        os.umask(before)


def _by_folder(path: str, call: Callable[[str], object]) -> None:
    """An address has room for 107 bytes; what is long goes by a descriptor of its folder."""
    if len(os.fsencode(path)) < 108:
        call(path)
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def answered(value: Body | None = None) -> Deferred[Body]:
    """An answer that is there already."""
    return succeed(value or {})


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)

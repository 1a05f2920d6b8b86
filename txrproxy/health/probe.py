"""One check of one backend, on a connection of its own.

::

    dial ──connected──▶ no path: passed
      │                 GET ──▶ 1xx are skipped ──▶ status ──▶ no text wanted: passed
      │                                               │        body, until the text is found: passed
      └──────────── refused, timed out, broken, closed, another status, no such text: failed

It ends exactly once, by a call with whether it passed and why (None: the process has no socket for
it, which says nothing of the backend); it raises nothing. All of it has one timeout, so a backend
that trickles gains nothing by it. What it reads is bounded: a head as for any response, and no more
of a body than :data:`MAX_BODY`; then the connection is closed, whatever else the backend has to
say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from txrproxy.config import schema
from txrproxy.errors import NO_SOCKET, Reason
from txrproxy.http.connection import BODY, BROKEN, ResponseReader
from txrproxy.http.head import ResponseHead
from txrproxy.transport.dial import Connected, Failed, Make

MAX_BODY = 64 * 1024  # bytes in which a text is looked for

Dial = Callable[[Make, float, Connected, Failed], None]
Done = Callable[[bool | None, str], None]


class Check:
    """What the backends of a pool are asked, and what they should answer."""

    __slots__ = ("_host", "_path", "expect", "text", "timeout")

    def __init__(self, settings: schema.Health) -> None:
        self.timeout: float = settings.timeout
        self.expect = settings.expect
        self.text = settings.body.encode()
        self._path = (settings.path or "").encode()
        self._host = settings.host.encode()

    def request(self, authority: bytes) -> bytes:
        """For the backend with this authority; empty where a connection is all that is wanted."""
        if not self._path:
            return b""
        return (
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: txrproxy-health\r\nAccept: */*\r\n"
            b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
        ) % (self._path, self._host or authority)


@implementer(IProtocol)
class Probe(ResponseReader):
    """One run of a check. ``done(passed, text)`` is called once, unless it is cancelled."""

    __slots__ = ("_body", "_check", "_done", "_request", "_status", "_timer", "_transport")

    def __init__(self, check: Check, request: bytes, done: Done) -> None:
        super().__init__()
        self._check = check
        self._request = request
        self._done: Done | None = done
        self._timer: Any = None
        self._transport: Any = None
        self._status = 0
        self._body = bytearray()

    def start(self, reactor: Any, dial: Dial) -> None:
        """Begin; ``done`` may be called before this returns."""
        timeout = self._check.timeout
        self._timer = reactor.callLater(timeout, self._expired)
        try:
            dial(lambda: self, timeout, self._connected, self._refused)
        except Exception as error:
            self._end(False, f"the check could not begin: {error!r}")

    def cancel(self) -> None:
        """Forget it. A connection that is still being opened is closed as soon as it is there."""
        self._stop()
        self._close(abort=True)

    def _expired(self) -> None:
        self._timer = None
        self._end(False, f"timed out after {self._check.timeout:g} s", abort=True)

    def _end(self, passed: bool | None, text: str, *, abort: bool = False) -> None:
        done = self._done
        if done is not None:
            self._stop()
            self._close(abort=abort)
            done(passed, text)

    def _stop(self) -> None:
        self._done = None
        self.state = BROKEN  # nothing is read any more
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self, *, abort: bool) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            if abort:
                transport.abortConnection()
            else:
                transport.loseConnection()

    # What the dialer says.

    def _connected(self, _: Any) -> None:
        if self._done is None:
            return
        if self._request:
            self.expect(b"GET")
            self._transport.write(self._request)
        else:
            self._end(True, "connected")

    def _refused(self, reason: Reason) -> None:
        self._end(None if reason is NO_SOCKET else False, _words(reason))

    # What the transport says.

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport
        if self._done is None:
            self._close(abort=True)

    dataReceived = ResponseReader.receive

    def connectionLost(self, reason: Failure) -> None:
        self._transport = None
        if reason.check(ConnectionDone) and self.end_of_input():
            return
        where = "in the middle of its response" if self.state is BODY else "before it answered"
        self._end(False, f"it closed the connection {where}")

    # What the reader finds.

    def on_response(self, head: ResponseHead, length: int, content: bytes, ended: bool) -> None:
        self._status = status = head.status
        if status not in self._check.expect:
            self._end(False, f"status {status}, expected {self._check.expect}")
        elif self._check.text:
            self.on_body(content, ended)
        else:
            self._end(True, f"status {status}")

    def on_body(self, content: bytes, ended: bool) -> None:
        body, text = self._body, self._check.text
        searched = max(0, len(body) - len(text) + 1)
        room = MAX_BODY - len(body)
        body += content[:room]
        if body.find(text, searched) >= 0:
            self._end(True, f"status {self._status}, with the text")
        elif len(content) > room:
            self._end(False, f"the body lacks the text in its first {MAX_BODY // 1024} KiB")
        elif ended:
            self._end(False, "the body lacks the text")

    def on_informational(self, head: ResponseHead) -> None:
        """Not the answer yet."""

    def on_bad_response(self, reason: Reason) -> None:
        self._end(False, _words(reason))


def _words(reason: Reason) -> str:
    return reason.name.replace("_", " ")

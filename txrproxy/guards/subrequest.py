"""A request of the proxy's own: a GET over kept connections, its answer collected within a bound.

To the connections of a backend (:mod:`txrproxy.transport.connections`) a :class:`Subrequest` is
what an exchange is: it waits for one, sends a head, and is told what arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, frozen

from txrproxy.errors import BAD_RESPONSE, DEADLINE, INTERNAL, QUEUE_TIMEOUT, RESET, Reason
from txrproxy.http.fields import Fields
from txrproxy.http.head import ResponseHead
from txrproxy.transport.connections import Connections
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.upstream import Upstream

CONNECT = 2.0  # seconds, at most

# It is over: with a head and a body, or without, and why.
Done = Callable[["Answer | None", "Reason | None"], None]


@frozen(eq=False)
class Answer:
    """A response. ``whole``: its body was not larger than what is taken."""

    head: ResponseHead
    body: bytes
    whole: bool


@define(eq=False)
class Server:
    """Whom to ask, and how long to wait. To its connections it is what a plan is.

    ``target`` is the request target, ``host`` the Host field, ``limit`` bounds a body in bytes.
    """

    connections: Connections
    host: bytes
    target: bytes
    seconds: Callable[[], float]
    limit: int
    connect: float
    first_byte: Any
    idle: Any
    queue: Any
    total: Any


def server(
    connections: Connections,
    host: bytes,
    target: bytes,
    timeout: float,
    deadlines: Deadlines,
    seconds: Callable[[], float],
    limit: int = 64 * 1024,
) -> Server:
    """Whom to ask; ``timeout`` is for everything together, in seconds."""
    queue = deadlines.queue
    return Server(
        connections,
        host,
        target,
        seconds,
        limit,
        min(timeout, CONNECT),
        queue(timeout, Upstream.first_byte_expired),
        queue(timeout, Upstream.idle_expired),
        queue(timeout, Subrequest.queue_expired),
        queue(timeout, Subrequest.deadline_expired),
    )


class _Head:
    """What an upstream asks of the head of a request."""

    method = b"GET"


class Subrequest:
    """One request. ``done`` is called once, unless it is cancelled before."""

    head = _Head()
    upgrading = False

    def __init__(self, plan: Server, lines: bytes, done: Done) -> None:
        self.plan = plan
        self._data = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (plan.target, plan.host, lines)
        self._done: Done | None = done
        self._upstream: Upstream | None = None
        self._response: ResponseHead | None = None
        self._body: list[bytes] = []
        self._size = 0

    def __repr__(self) -> str:
        return f"<Subrequest to {self.plan.host!r}>"

    def start(self) -> None:
        """Ask."""
        self.plan.total.start(self, self.plan.seconds())
        self._attempt(False)

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._done = None
        self._end()

    def _attempt(self, fresh: bool) -> None:
        upstream = self.plan.connections.acquire(self, fresh)
        if upstream is not None:
            self.on_connected(upstream)

    def _end(self) -> None:
        self.plan.total.stop(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()
        else:
            self.plan.connections.leave(self)

    def _finish(self, answer: Answer | None, reason: Reason | None) -> None:
        done, self._done = self._done, None
        self._end()
        if done is not None:
            done(answer, reason)

    def deadline_expired(self) -> None:
        """It took too long."""
        self._finish(None, DEADLINE)

    def queue_expired(self) -> None:
        """No connection became free in time."""
        self._finish(None, QUEUE_TIMEOUT)

    # What connections say.

    def on_connected(self, upstream: Upstream) -> None:
        """A connection is there."""
        self._upstream = upstream
        upstream.start(self, self._data, 0, self.plan.seconds())

    def on_connect_failed(self, reason: Reason) -> None:
        """There is none."""
        self._finish(None, reason)

    def on_turned_away(self) -> None:
        """The line was dissolved, and there is no other server to ask."""
        self._finish(None, QUEUE_TIMEOUT)

    def on_fault(self) -> None:
        """The proxy itself failed."""
        self._finish(None, INTERNAL)

    # What an upstream says.

    def on_informational(self, head: ResponseHead) -> None:
        """1xx is of no interest."""

    def on_switch(self, upstream: Upstream, head: ResponseHead, rest: bytes) -> None:
        """Nothing was offered to change to."""
        upstream.abandon()
        self._upstream = None
        self._finish(None, BAD_RESPONSE)

    def on_response(self, head: ResponseHead, length: int, content: bytes, ended: bool) -> None:
        """The head, with the beginning of the body."""
        self._response = head
        self.on_response_body(content, ended)

    def on_response_body(self, content: bytes, ended: bool, trailers: Fields | None = None) -> None:
        """More of the body."""
        if ended:
            self._upstream = None  # it belongs to its connections again
        self._body.append(content)
        self._size += len(content)
        head = self._response
        assert head is not None
        if self._size > self.plan.limit:
            self._finish(Answer(head, b"", False), BAD_RESPONSE)
        elif ended:
            self._finish(Answer(head, b"".join(self._body), True), None)

    def on_upstream_failed(self, reason: Reason) -> None:
        """The connection is gone."""
        upstream, self._upstream = self._upstream, None
        again = reason is RESET and self._response is None
        if again and upstream is not None and upstream.stale:
            self._attempt(True)
        else:
            self._finish(None, reason)

    def pause_request(self) -> None:
        """A head that does not fit into the socket waits there."""

    def resume_request(self) -> None:
        """It was taken."""

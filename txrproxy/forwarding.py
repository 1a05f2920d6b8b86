"""The way of one request to a backend, and what is tried when it fails.

::

    forward ─▶ attempt ─▶ acquire ─▶ on_connected ─▶ send ─▶ on_response, by who is forwarding
                  ▲                       │            │
                  └─── another backend ◀──┴── failed ◀─┴─ a reset, a timeout, a bad status
                                               └─▶ fail(reason)

This half of an exchange knows nothing of a client: a subclass is told of the response
(``on_response``, ``on_response_body``) and of failure (``fail``, ``cut``), and says what to send.
A request body is kept up to :data:`REPLAY_LIMIT`, so that it can be sent again.
"""

from __future__ import annotations

from typing import Any

from txrproxy.balance.backend import Backend
from txrproxy.errors import (
    DEADLINE,
    NO_BACKEND,
    QUEUE_FULL,
    QUEUE_TIMEOUT,
    RESET,
    Fault,
    Reason,
)
from txrproxy.http.body import encode_chunk
from txrproxy.http.fields import EMPTY, Fields, Line
from txrproxy.http.forward import request_head
from txrproxy.http.head import IDEMPOTENT, RequestHead
from txrproxy.http.target import BadTarget
from txrproxy.routing.plan import Plan

REPLAY_LIMIT = 64 * 1024  # bytes of a request body kept so that it can be sent again
BAD_STATUSES = frozenset({502, 503, 504})  # what a backend says when it can not do its work


class Forwarding:
    """One request on its way to a pool.

    The class holds the defaults, so that a request which never leaves the plain path sets little.
    """

    site: Any
    downstream: Any  # who asks: its peer, and whether it may send more of the body
    head: RequestHead
    plan: Plan
    client: bytes
    request_id: bytes

    pool: Any = None
    backend: Backend | None = None
    upstream: Any = None
    upgrading = False
    status = 0  # of the response, once one has begun
    connect: float | None = None  # seconds, of the last attempt
    first_byte: float | None = None
    sent: tuple[Line, ...] = ()  # lines for the backend beside those of the request
    over = False
    _target: bytes | None = None  # what a rewrite made of the client's

    # What was tried and how that ended, what the request itself asks for.
    _tried: tuple[Backend, ...] = ()
    _tries: tuple[bytes, ...] = ()
    _key = b""
    _wanted: Backend | None = None
    _attempt_at = 0.0

    # The request body: what may have to be sent (again), and whether it has ended.
    _held: list[bytes] | None = None
    _held_size = 0
    _replayable = True
    _body_ended = False
    _trailers: Fields = EMPTY
    _waits_for_continue = False

    def forward(self) -> None:
        """Send the request to a backend of the plan's pool."""
        plan, head = self.plan, self.head
        if plan.rewrite is not None:
            try:
                self._target = plan.rewrite(head.target.origin)
            except BadTarget as error:
                self.fail(error.reason)
                return
        pool = plan.pool
        if pool is None:
            assert plan.split is not None
            pool = plan.split(self)
        self.pool = pool
        now = self.site.seconds()
        if pool.retry.budget is not None:
            pool.retry.budget.request(now)
        if plan.total is not None:
            plan.total.start(self, now)
        if pool.key is not None:
            self._key = pool.key(self.client, head)
        if pool.sticky is not None:
            self._wanted = pool.sticky.find(head.fields.all(b"cookie"))
        self._attempt(now)

    def _attempt(
        self,
        now: float,
        backend: Backend | None = None,
        fresh: bool = False,
        reason: Reason = NO_BACKEND,
    ) -> None:
        """One try: a connection to ``backend``, or to one that was not tried yet.

        ``fresh`` refuses a connection that was used. ``reason`` is how the exchange ends when no
        backend is left.
        """
        if backend is None:
            if self._wanted is None and not self.pool.due:
                backend = self.pool.select(self._tried, self._key, now)
            else:
                backend = self._choose(now)
            if backend is None:
                crowded = reason is NO_BACKEND and self.pool.crowded
                self.fail(QUEUE_FULL if crowded else reason)
                return
        self.backend = backend
        self._attempt_at = now
        upstream = backend.connections.acquire(self, fresh)
        if upstream is not None:
            self._send(upstream, now)
        elif self.backend is backend and not self._body_ended and not self.over:
            self.downstream.pause_body()

    def _choose(self, now: float) -> Backend | None:
        """The backend that the client's cookie asks for if it may be had, else any.

        One that is on trial only if the request survives it.
        """
        pool, wanted = self.pool, self._wanted
        if (
            wanted is not None
            and (wanted.available or (pool.panicking and wanted.usable))
            and not wanted.closed
            and wanted not in self._tried
        ):
            return wanted
        select = pool.select
        if pool.due and not (self._safe and 0 <= self.head.facts.body <= REPLAY_LIMIT):
            select = pool.select_safely
        backend: Backend | None = select(self._tried, self._key, now)
        return backend

    def on_connected(self, upstream: Any) -> None:
        """A connection was opened, or became free."""
        now = self.site.seconds()
        self.connect = now - self._attempt_at
        if not self._body_ended:
            self.downstream.resume_body()  # before the backend may say that it takes no more
        self._send(upstream, now)

    def on_connect_failed(self, reason: Reason) -> None:
        """No connection; ``reason`` says whether another backend may have one."""
        self._failed(reason, self.site.seconds())

    def on_turned_away(self) -> None:
        """The backend in whose line it was is used no more: to another."""
        if not self._body_ended:
            self.downstream.resume_body()
        self._attempt(self.site.seconds())

    def queue_expired(self) -> None:
        """No connection became free in time."""
        assert self.backend is not None
        self.backend.connections.leave(self)
        self.fail(QUEUE_TIMEOUT)

    def deadline_expired(self) -> None:
        """All tries together took too long."""
        total = self.plan.total
        assert total is not None
        now = self.site.seconds()
        # A backend that hangs would never be noticed where this is shorter than its own timeouts.
        # To blame is who had the whole request, and more than an even part of the time.
        waited = (now - self._attempt_at) * (len(self._tried) + 1)
        if self.upstream is not None and self._body_ended and waited >= total.seconds:
            self.pool.failed(self.backend, now, DEADLINE.log_name)
            self._note_try(DEADLINE.log_name)
        self._drop_upstream()
        self.fail(DEADLINE)

    def _send(self, upstream: Any, now: float) -> None:
        backend = self.backend
        assert backend is not None
        self.upstream = upstream
        plan, head, peer = self.plan, self.head, self.downstream.peer
        facts = head.facts
        rules = plan.trusted_rules if peer.trusted else plan.rules
        block = rules.block(head.fields, facts, head.authority)
        data = request_head(
            head.method,
            self._target or head.target.origin,
            backend.host_line if rules.backend_host else b"",
            block,
            peer,
            self.request_id,
        )
        if self.sent:
            data = b"%b%b\r\n" % (data[:-2], b"".join([line[2] for line in self.sent]))
        body = facts.body
        if body == 0:
            upstream.start(self, data, 0, now)
            return
        held = self._held
        assert held is not None
        if held:
            content = b"".join(held)
            data += encode_chunk(content) if body < 0 else content
        upstream.start(self, data, body, now)
        if self._body_ended:
            upstream.end(now, self._trailers)
        if self._held_size > REPLAY_LIMIT:
            self._give_up_replay()

    # The request body.

    def _pass_body(self, content: bytes, ended: bool) -> None:
        """Send on what has arrived of the request body, or keep it until there is a backend."""
        if ended:
            self._body_ended = True
        upstream = self.upstream
        if self._held is not None and content:
            self._held.append(content)
            self._held_size += len(content)
            if upstream is not None and self._held_size > REPLAY_LIMIT:
                self._give_up_replay()
        if upstream is None:
            return
        if content:
            upstream.send(content)
        if ended:
            upstream.end(self.site.seconds(), self._trailers)

    def _give_up_replay(self) -> None:
        """The body has grown too large to be kept: it can be sent only once."""
        self._held = None
        self._replayable = False

    def pause_request(self) -> None:
        """The backend does not take what is written to it."""
        self.downstream.pause_body()

    def resume_request(self) -> None:
        """It does again."""
        self.downstream.resume_body()

    # When something goes wrong.

    def on_upstream_failed(self, reason: Reason) -> None:
        """The connection is gone before the response was whole."""
        upstream, self.upstream = self.upstream, None
        now = self.site.seconds()
        if self.status:
            self.pool.failed(self.backend, now, reason.log_name)
            self.cut(reason)
            return
        # A kept connection may have been closed under the request: not the backend's failure, if
        # sending the request again is safe (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
        if reason is RESET and upstream is not None and upstream.stale and self._safe:
            backend = self.backend
            assert backend is not None
            self._tries = (*self._tries, b"%b stale_connection" % backend.name)
            stays = backend.usable and not backend.closed
            self._attempt(now, backend if stays else None, fresh=stays)
            return
        self._failed(reason, now)

    def _failed(self, reason: Reason, now: float) -> None:
        """An attempt failed: another backend, or the end."""
        pool = self.pool
        if reason.fault is Fault.BACKEND:
            pool.failed(self.backend, now, reason.log_name)
            self._note_try(reason.log_name)
            if self._replayable and pool.retry.allow(reason, len(self._tried), self._safe, now):
                self._attempt(now, reason=reason)
                return
        self.fail(reason)

    @property
    def _safe(self) -> bool:
        """Whether the request may be sent again though a backend may have acted on it."""
        return self._replayable and (
            self.head.method in IDEMPOTENT or self.pool.retry.non_idempotent
        )

    def _judge(self, status: int, seconds: float, now: float) -> bool:
        """Tell the pool what its backend made of the request; True: it goes to another one."""
        pool, backend = self.pool, self.backend
        assert backend is not None
        if status not in BAD_STATUSES:
            # A body that is still to come may be cut, and makes it no success then. But a trial is
            # decided: a stream without an end is an answer, too.
            if self.upstream is None or backend.ejected or status == 101:
                pool.succeeded(backend, now)
            if pool.observe is not None:
                pool.observe(backend, seconds, now)
            return False
        pool.failed(backend, now, b"%d" % status)
        if status not in pool.retry.statuses or not self._replayable:
            return False
        self._note_try(b"%d" % status)
        other = self._choose(now)
        safe = self.head.method in IDEMPOTENT
        if other is None or not pool.retry.allow_status(len(self._tried), safe, now):
            return False
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        self._attempt(now, other)
        return True

    def _completed(self) -> None:
        """A body has come to its end."""
        self.upstream = None
        pool = self.pool
        if pool.watched and self.status not in BAD_STATUSES:
            pool.succeeded(self.backend, self.site.seconds())

    def _note_try(self, outcome: bytes) -> None:
        backend = self.backend
        assert backend is not None
        self._tried = (*self._tried, backend)
        self._tries = (*self._tries, b"%b %b" % (backend.name, outcome))

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        elif self.backend is not None:
            self.backend.connections.leave(self)  # one may be on its way

    # Who is forwarding.

    def fail(self, reason: Reason) -> None:
        """There will be no response."""
        raise NotImplementedError

    def cut(self, reason: Reason) -> None:
        """The response that has begun can not be completed."""
        raise NotImplementedError

"""The life of one request, readable from top to bottom.

::

    begin ─▶ plan.serve ─▶ proxy ─▶ attempt ─▶ on_connected ─▶ on_response ─▶ … ─▶ finish
                 │                    ▲  backend.acquire            │
                 │                    └── it failed, another may do ┤
                 └─▶ reply (redirect, respond, error page) ─────────┴─ fail(reason), final

An exchange stands between one downstream and one upstream connection and owns neither: it is told
what arrives on each and hands it to the other, and it says once, in :meth:`Exchange.finish`, how it
ended. Memory is bounded by what the two transports hold, and by :data:`REPLAY_LIMIT` for a request
body that may have to be sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger

from txrproxy.errors import (
    BAD_RESPONSE,
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    FIRST_BYTE_TIMEOUT,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    MISDIRECTED,
    OK,
    RESET,
    RESPONDED,
    UPGRADED,
    Fault,
    Reason,
)
from txrproxy.forwarding import Forwarding
from txrproxy.http.errorpage import page
from txrproxy.http.fields import EMPTY, Fields, Line, make_line, split_list
from txrproxy.http.forward import ResponseBlock, ResponseRules
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.http.peer import ClientIdentity, believed_request_id, believed_scheme
from txrproxy.http.public import PublicAddress, public_lines
from txrproxy.http.status import status_line
from txrproxy.routing.plan import Plan
from txrproxy.routing.tree import Tree
from txrproxy.transport.tunnel import Tunnel

_logger = Logger()

# An error page is its own style and nothing else; a policy's default would take the style away.
_PAGE_POLICY = make_line(
    b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"
)
_NO_FIELDS = ResponseBlock([])
MAX_LOGGED = 2048  # bytes of what a client chooses freely, so that a line has a bound
HIT = b"hit"  # said of an exchange that a cache has answered
_HIT_NOTES = ((b"cache", HIT),)
CLIENT_CLOSED = 499  # what the log says where no status could be sent, as nginx does


class Exchange(Forwarding):
    """One request and its response. ``site`` is what all exchanges of a process share.

    The class holds the defaults, so that an exchange which never leaves the plain path sets little.
    """

    identity: ClientIdentity | None = None
    bytes_in = 0
    bytes_out = 0

    # What filters add: lines for the backend, lines for the client, and what to do at the end.
    added: tuple[Line, ...] = ()
    watch: Callable[[Exchange, ResponseHead], None] | None = None  # sees a backend's response
    cache = b""  # what a cache did, for the log
    user = b""  # who it is, where a policy has asked
    at_end: tuple[Callable[[Exchange], object], ...] = ()
    _public: PublicAddress | None = None
    _response_head: ResponseHead | None = None
    _length = 0  # framing of the response

    # What a filter asked for of the request body, and whether its client was told to send it.
    _collecting: tuple[int, Callable[[Exchange, bytes, bool], object]] | None = None
    continued = False
    withheld: Any = None  # keeps a response back until it has been looked at

    def __init__(self, site: Any, downstream: Any, head: RequestHead, now: float) -> None:
        self.site = site
        self.downstream = downstream
        self.head = head
        self.started = now

    def __repr__(self) -> str:
        return f"<Exchange {self.head.method!r} {self.head.target.origin!r}>"

    # 1: find the plan.

    def begin(self) -> None:
        """Settle whose request it is and which route takes it, and serve it."""
        site, head, peer = self.site, self.head, self.downstream.peer
        request_id = None
        if peer.trusted:
            request_id = believed_request_id(head.fields)
            self.client = site.client_address(peer.address, head.fields)
        else:
            self.client = peer.address
        self.request_id = request_id or site.request_id()
        self.plan = plan = site.nowhere
        if peer.admits is not None and not peer.admits(head.host):
            self.fail(MISDIRECTED)
            return
        self.identity = identity = peer.identity
        for conditions, candidate in site.tree.candidates(head.host, head.path):
            if conditions.unconditional or conditions.holds(
                head.method,
                head.fields.all,
                head.target.query,
                self.client.decode("ascii"),
                identity,
            ):
                self.plan = plan = candidate
                break
        if head.method in (b"CONNECT", b"TRACE") and not plan.takes_connect:
            # What follows may be meant for the tunnel: it is not to be read as requests.
            self.downstream.refuse_more()
            self.fail(METHOD_NOT_ALLOWED)
            return
        plan.serve(self)

    def take(self, tree: Tree[Plan]) -> None:
        """Serve by another tree than the site's."""
        head = self.head
        client = self.client.decode("ascii")
        asked = (head.host, head.path, head.method, head.fields.all, head.target.query, client)
        self.plan = tree.find(*asked, self.identity) or self.site.nowhere
        self.plan.serve(self)

    @property
    def secure(self) -> bool:
        """Whether the client speaks https: to us, or to a trusted proxy that says so."""
        peer = self.downstream.peer
        return peer.secure or (peer.trusted and believed_scheme(self.head.fields) == b"https")

    # What a filter asks for. A plan's `serve` is a chain of them, each of which calls the next,
    # at once or later, or answers itself.

    def hold(self) -> None:
        """A filter has to wait for something: the request body stays where it is meanwhile."""
        if self.head.facts.body and self._held is None:
            self._held = []
            self.downstream.pause_body()

    def collect(self, limit: int, done: Callable[[Exchange, bytes, bool], object]) -> None:
        """Gather the request body before anything is sent on, up to about ``limit`` bytes.

        ``done(exchange, content, whole)`` is called once, at once if there is no more to come:
        with ``limit`` bytes of the body at most, and whether that is all of it. The body then
        stays where it is until a filter goes on.
        """
        facts, limited = self.head.facts, self.plan.body_limit
        if limited is not None and facts.body > limited:
            self.fail(BODY_TOO_LARGE)
        elif not facts.body or self._body_ended or self._held_size >= limit:
            self._gathered(limit, done)
        else:
            self._collecting = (limit, done)
            if self._held is None:
                self._held = []
            else:
                self.downstream.resume_body()
            if facts.expects_continue and not self.continued:
                self.continued = True
                self.downstream.informational(status_line(100), _NO_FIELDS)

    def _gathered(self, limit: int, done: Callable[[Exchange, bytes, bool], object]) -> None:
        self._collecting = None
        if not self._body_ended:
            self.downstream.pause_body()
        content = b"".join(self._held or ())
        whole = len(content) <= limit and (self._body_ended or not self.head.facts.body)
        done(self, content[:limit], whole)

    def go_on(self, serve: Callable[[Exchange], None]) -> None:
        """What the filter waited for is there: on to the next, unless all is over."""
        if self.over:
            return
        try:
            serve(self)
        except Exception:
            _logger.failure("{exchange!r} failed", exchange=self)
            self.on_fault()

    def release(self) -> None:
        """Hand what was held of the request body to ``upstream``, with what follows."""
        held, self._held = self._held, None
        if held:
            self.upstream.send(b"".join(held))
        if held is None or self.upstream is None:
            return
        if self._body_ended:
            self.upstream.end(self.site.seconds(), self._trailers)
        else:
            self.downstream.resume_body()

    # 2: to a backend.

    def proxy(self) -> None:
        """Send the request to a backend of the plan's pool."""
        plan, head = self.plan, self.head
        facts = head.facts
        if facts.body:
            limit = plan.body_limit
            if limit is not None and facts.body > limit:
                self.fail(BODY_TOO_LARGE)
                return
            if self._held is None:
                self._held = []
            else:
                self.downstream.resume_body()
            self._waits_for_continue = facts.expects_continue and not self.continued
        else:
            self._body_ended = True
            self.upgrading = bool(facts.upgrade) and plan.websocket
        if head.method == b"OPTIONS" and _is_zero(head.fields.first(b"max-forwards")):
            self.reply(204, (), b"", RESPONDED)  # RFC 9110 section 7.6.2
            return
        self.forward()

    # 3: the request body.

    def on_request_body(self, content: bytes, ended: bool, trailers: Fields) -> None:
        """Content of the request body has arrived."""
        self.bytes_in += len(content)
        self._waits_for_continue = False
        limit = self.plan.body_limit
        if limit is not None and self.bytes_in > limit:
            self.downstream.refuse_body()
            self._drop_upstream()
            self.fail(BODY_TOO_LARGE)
            return
        if ended and trailers:
            plan, trusted = self.plan, self.downstream.peer.trusted
            rules = plan.trusted_rules if trusted else plan.rules
            self._trailers = rules.trailers(trailers, self.head.facts)
        self._pass_body(content, ended)
        collecting = self._collecting
        if collecting is not None and (ended or self._held_size >= collecting[0]):
            self._gathered(*collecting)

    def on_bad_body(self, reason: Reason) -> None:
        """The request body is broken, or stopped coming."""
        if reason is BODY_TIMEOUT and self._waits_for_continue and self.upstream is not None:
            reason = FIRST_BYTE_TIMEOUT  # it was the backend that did not say "continue"
        self._drop_upstream()
        self.fail(reason)

    def on_fault(self) -> None:
        """The proxy itself failed in the middle of its work."""
        self._drop_upstream()
        self.fail(INTERNAL)

    # 4: the response.

    @property
    def response_rules(self) -> ResponseRules:
        """What is done to the fields of a response to this client."""
        rules = self.plan.response_rules
        peer = self.downstream.peer
        return rules.secure if peer.secure or (peer.trusted and self.secure) else rules

    def on_informational(self, head: ResponseHead) -> None:
        """1xx: to a client that can read it (RFC 9110 section 15.2)."""
        if head.status == 100:
            self._waits_for_continue = False
            if self.continued:
                return  # the client was told already
        if self.head.facts.http_11:
            block = self.response_rules.block(head)
            if block.names_backend:
                block = ResponseBlock(public_lines(block.lines, self._public_address()))
            self.downstream.informational(head.status_line, block)

    def on_response(
        self,
        head: ResponseHead,
        length: int,
        content: bytes,
        ended: bool,
        judged: bool = False,
    ) -> None:
        """The final head has arrived, with the beginning of the body or all of it.

        ``judged`` says that the pool has heard of it already.
        """
        withheld = self.withheld
        if withheld is not None and withheld.takes(head, length, content, ended, judged):
            return
        now = self.site.seconds()
        self.first_byte = first_byte = now - self._attempt_at
        if ended:
            self.upstream = None
        status = head.status
        pool = self.pool
        if pool.watched and not judged and self._judge(status, first_byte, now):
            return
        self.status = status
        if self.watch is not None:
            self.watch(self, head)
        if self.plan.total is not None:
            self.plan.total.stop(self)
        rules = self.plan.response_rules
        peer = self.downstream.peer
        if peer.secure or (peer.trusted and self.secure):
            rules = rules.secure
        block = rules.block(head)
        if block.names_backend:
            block = ResponseBlock(public_lines(block.lines, self._public_address()))
        if pool.sticky is not None and self._wanted is not self.backend:
            self._stick()
        if self.added:
            block = ResponseBlock([*block.lines, *self.added])
        downstream = self.downstream
        if not self._body_ended and self._waits_for_continue:
            # The client may never send the body that it asked about.
            downstream.refuse_body()
        self._length = length
        self._response_head = head
        self._held = None
        self.bytes_out = downstream.respond(
            self.head, status, head.status_line, block, self.request_id, length, content, ended
        )
        if ended:
            self.finish(OK, now)

    def adopt(
        self, other: Forwarding, head: ResponseHead, length: int, content: bytes, ended: bool
    ) -> None:
        """Another forwarding of this request has got a response: go on with it as our own."""
        self.pool, self._wanted, self._attempt_at = other.pool, other._wanted, other._attempt_at
        self.learn(other)
        self.upstream, other.upstream = other.upstream, None
        if self.upstream is not None:
            self.upstream.exchange = self
        self.on_response(head, length, content, ended, judged=True)

    def learn(self, other: Forwarding) -> None:
        """Take over what another forwarding of this request has to tell of backends."""
        self.pool, self.backend = other.pool, other.backend
        self.connect, self.first_byte = other.connect, other.first_byte
        self._tries = other._tries

    def _stick(self) -> None:
        assert self.backend is not None
        cookie = self.pool.sticky.set_cookie(self.backend, self.downstream.peer.secure)
        self.added = (*self.added, cookie)

    def on_response_body(self, content: bytes, ended: bool, trailers: Fields) -> None:
        """More of the body."""
        if self.withheld is not None and self.withheld.more(content, ended, trailers):
            return
        if ended:
            self._completed()
            if trailers:
                head = self._response_head
                if head is not None and self.head.facts.trailers:
                    passing = self.response_rules.trailers(trailers, head)
                    trailers = Fields(public_lines(passing.lines, self._public_address()))
                else:
                    trailers = EMPTY
        self.bytes_out += self.downstream.body(content, ended, trailers)
        if ended:
            self.finish(OK, self.site.seconds())

    def on_upstream_failed(self, reason: Reason) -> None:
        if not self.status and not reason.status:
            reason = RESET  # in the middle of a response of which nothing has been sent yet
        super().on_upstream_failed(reason)

    def refuse_response(self, reason: Reason) -> None:
        """What the backend answers is not for the client."""
        self._drop_upstream()
        self.fail(reason)

    def pause(self) -> None:
        """The client does not take what is written to it."""
        # Before the response there are only a few 1xx, and who pauses for one may be handed the
        # whole response in the same piece, and be given back without ever being resumed.
        if self.upstream is not None and self.status:
            self.upstream.pause()

    def resume(self) -> None:
        """It does again."""
        if self.upstream is not None and self.status:
            self.upstream.resume()

    def _public_address(self) -> PublicAddress:
        head = self.head
        # What comes from a cache may have come from any of the route's pools.
        pools = (self.pool,) if self.pool is not None else self.plan.pools
        return PublicAddress(
            b"https" if self.secure else b"http",
            head.authority,
            head.host,
            frozenset().union(*(pool.own for pool in pools)),
            frozenset().union(*(pool.own_hosts for pool in pools)),
            self.plan.mount,
        )

    # 5: after 101.

    def on_switch(self, upstream: Any, head: ResponseHead, rest: bytes) -> None:
        """The backend changes to the protocol that the client offered."""
        now = self.site.seconds()
        self.first_byte = now - self._attempt_at
        offered = [p.lower() for p in split_list([self.head.facts.upgrade])]
        chosen = split_list(head.fields.all(b"upgrade"))
        if not chosen or any(protocol.lower() not in offered for protocol in chosen):
            upstream.abandon()
            self.upstream = None
            self.fail(BAD_RESPONSE)
            return
        pool = self.pool
        if pool.watched:
            self._judge(101, self.first_byte, now)
        if pool.sticky is not None and self._wanted is not self.backend:
            self._stick()
        self.status = 101
        lines = self.response_rules.block(head).lines
        block = ResponseBlock(
            [
                *public_lines(lines, self._public_address()),
                *self.added,
                make_line(b"Connection", b"upgrade"),
                make_line(b"Upgrade", b", ".join(chosen)),
                make_line(b"X-Request-Id", self.request_id),
            ]
        )
        downstream = self.downstream
        downstream.informational(head.status_line, block)
        from_client = downstream.take_over()
        tunnel = Tunnel(
            downstream.transport,
            upstream.transport,
            self.plan.tunnel_idle,
            self.site.seconds,
            lambda reason, received, sent: self._tunnel_ended(upstream, reason, received, sent),
        )
        tunnel.pool = self.pool
        self.site.tunnels.add(tunnel)
        self._tunnel = tunnel
        tunnel.start(from_client, rest)

    def _tunnel_ended(self, upstream: Any, reason: Reason, received: int, sent: int) -> None:
        self.site.tunnels.discard(self._tunnel)
        upstream.connections.discard(upstream)
        self.bytes_in, self.bytes_out = received, sent
        self.upstream = None
        self._log(UPGRADED if reason is OK else reason, self.site.seconds())
        self.downstream.service.lost(self.downstream)

    # 6: when something goes wrong.

    def on_client_lost(self, reason: Reason) -> None:
        """Nobody is left to answer: the backend is told by closing its connection."""
        self._drop_upstream()
        self.status = self.status or CLIENT_CLOSED
        self._log(reason, self.site.seconds())

    def fail(self, reason: Reason) -> None:
        """Answer with an error page, or cut a response that has begun."""
        if self.over:
            return
        if self.status:
            self.cut(reason)
            return
        accept = b", ".join(self.head.fields.all(b"accept")) or None
        content_type, body = page(reason.status, reason.text, self.request_id, accept)
        lines = [make_line(b"Content-Type", content_type), make_line(b"Cache-Control", b"no-store")]
        if content_type.startswith(b"text/html"):
            lines.append(_PAGE_POLICY)
        if reason.status == 503:
            lines.append(make_line(b"Retry-After", b"1"))
        if reason is METHOD_NOT_ALLOWED:
            lines.append(make_line(b"Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"))
        if reason.fault is Fault.CLIENT:
            self.downstream.refuse_body()
        self.reply(reason.status, lines, body, reason)

    def cut(self, reason: Reason) -> None:
        """End a response that has begun and can not be completed."""
        framed = self._length >= 0 or self.head.facts.http_11
        self.downstream.cut(abruptly=not framed)
        self._log(reason, self.site.seconds())

    # 7: the proxy's own responses, and the end.

    def reply(self, status: int, lines: Iterable[Line], body: bytes, reason: Reason) -> None:
        """Answer without a backend."""
        if self._waits_for_continue or (self.head.facts.expects_continue and not self._body_ended):
            self.downstream.refuse_body()
        own = [*lines, *self.added]
        if status != 204:
            own.append(make_line(b"Content-Length", b"%d" % len(body)))
        block = self.response_rules.own(own)
        self.status = status
        if self.head.method == b"HEAD":
            body = b""
        self.bytes_out = self.downstream.respond(
            self.head, status, status_line(status), block, self.request_id, len(body), body, True
        )
        self.finish(reason, self.site.seconds())

    def respond(
        self,
        head: ResponseHead,
        length: int,
        content: bytes,
        ended: bool = False,
        more: bytes = b"",
    ) -> None:
        """Begin a response that is made in this process; who makes it sends the rest and finishes.

        ``more`` are whole lines of its head. One that has ``ended`` is finished here.
        """
        self.status = status = head.status
        self._length = length
        block = self.response_rules.block(head)
        if block.names_backend:
            block = ResponseBlock(public_lines(block.lines, self._public_address()))
        if self.added:
            block = ResponseBlock([*block.lines, *self.added])
        self.bytes_out = self.downstream.respond(
            self.head,
            status,
            head.status_line,
            block,
            self.request_id,
            length,
            content,
            ended,
            more,
        )
        if ended:
            self.finish(OK, self.site.seconds())

    def replay(self, status: int, lines: bytes, content: bytes, now: float) -> None:
        """Answer with a head that is ready but for what is this client's own, and all of a body."""
        self.cache = HIT
        self.status = status
        self.bytes_out = self.downstream.replay(self.head, lines, self.request_id, content)
        self.finish(OK, now)

    def more(self, content: bytes) -> None:
        """More of such a response."""
        self.bytes_out += self.downstream.body(content, False)

    def more_of(self, fd: int, offset: int, count: int) -> int:
        """More of it from a file; how much that was, 0 if it has to go by :meth:`more`."""
        sent: int = self.downstream.send_file(fd, offset, count)
        self.bytes_out += sent
        return sent

    def end(self) -> None:
        """All of it was sent."""
        self.upstream = None
        self.bytes_out += self.downstream.body(b"", True)
        self.finish(OK, self.site.seconds())

    def finish(self, reason: Reason, now: float) -> None:
        """The response has been written whole."""
        self._log(reason, now)
        self.downstream.finish(now)

    def note(self, reason: Reason) -> None:
        """Log an end to which no response belongs."""
        self._log(reason, self.site.seconds())

    def _log(self, reason: Reason, now: float) -> None:
        self.over = True
        for end in self.at_end:
            end(self)
        if self.plan.total is not None:
            self.plan.total.stop(self)
        site, head = self.site, self.head
        log = site.log
        if log.enabled:
            fields = head.fields
            pool, backend = self.pool, self.backend
            identity = self.identity
            log.append(
                (
                    site.wall() - (now - self.started),
                    self.client,
                    head.method,
                    head.target.origin[:MAX_LOGGED],
                    b"1.1" if head.facts.http_11 else b"1.0",
                    head.authority,
                    self.status,
                    self.bytes_in,
                    self.bytes_out,
                    self.plan.name,
                    pool.name if pool is not None else b"",
                    backend.name if backend is not None else b"",
                    self.connect,
                    self.first_byte,
                    now - self.started,
                    reason.log_name,
                    self.request_id,
                    *(fields.derived.get("logged") or _logged(fields)),
                    self.downstream.peer.way,
                    self._notes()
                    if identity is not None or self._tries or self.cache or self.user
                    else (),
                )
            )

    def _notes(self) -> tuple[tuple[bytes, bytes], ...]:
        """What there is to log of few exchanges only."""
        notes: list[tuple[bytes, bytes]] = []
        if self.identity is None and self.cache is HIT and not self.user:
            return _HIT_NOTES
        if self.user:
            notes.append((b"user", self.user[:MAX_LOGGED]))
        if self.identity is not None:
            notes += self.identity.log_notes
        if self.cache:
            notes.append((b"cache", self.cache))
        if self._tries:
            notes.append((b"tries", b", ".join(self._tries)))
        return tuple(notes)


def _logged(fields: Fields) -> tuple[bytes, bytes]:
    """What the log says of a request's fields."""
    logged = fields.first(b"user-agent")[:MAX_LOGGED], fields.first(b"referer")[:MAX_LOGGED]
    fields.derived["logged"] = logged
    return logged


def _is_zero(digits: bytes) -> bool:
    return digits.isdigit() and not digits.strip(b"0")

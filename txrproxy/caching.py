"""A route whose responses are kept: does what the cache's policy decides.

::

    serve ─▶ find ─▶ a copy that may be used ──────────────────────────▶ hit
               │     stale, while it is renewed ─▶ hit, and a fetch in the background
               └─▶ none, or to be validated ─▶ wait for who fetches the same, or fetch:
                      304 ───────────────────▶ refresh ────────────────▶ hit
                      an error, stale allowed ─────────────────────────▶ hit
                      storable ──────────────▶ fill, and read along
                      else ──────────────────▶ the response as it comes

The decisions are :mod:`txrproxy.cache.policy`'s, the mechanism is :mod:`txrproxy.cache.store`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy as shallow
from functools import partial
from typing import Any

from txrproxy.cache.collapse import Flight, Flights
from txrproxy.cache.key import KeyMaker, absolute_url, variant
from txrproxy.cache.parts import Parts
from txrproxy.cache.policy import (
    PLAIN,
    REPLACED,
    STALE_ERRORS,
    Answer,
    Demand,
    Reuse,
    Rules,
    Verdict,
    after_head,
    answer,
    conditional_lines,
    for_request,
    forwarded,
    hit_lines,
    invalidated_by,
    is_for_all,
    not_modified,
    not_modified_head,
    part_key,
    reuse,
    satisfied,
    storable,
    storable_part,
    unanswered,
    validated,
)
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import PENDING, Store
from txrproxy.cache.stored import Stored
from txrproxy.cache.tier import Varied
from txrproxy.errors import ONLY_IF_CACHED, Reason
from txrproxy.exchange import Exchange
from txrproxy.fetching import Asked, Fetch
from txrproxy.http.date import http_date_line
from txrproxy.http.fields import Fields, Line, make_line
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.http.peer import believed_scheme
from txrproxy.playback import Following, Playback
from txrproxy.routing.plan import Serve
from txrproxy.waiting import MAX_ROUNDS, Leasing, Waiting
from txrproxy.withheld import withhold

MAX_COUNTED = 65536  # keys whose uses are counted, or whose responses are known to be for one only
UNSHARED = 10.0  # seconds for which requests for what was not storable do not wait for each other
# Why a response is not kept that says nothing of others' requests for the same.
_OF_REQUEST = frozenset({"authorization", "cookie", "fields", "partial"})


class Caching:
    """The cache of one route. ``serve`` is what its plan does; ``other`` is done without a cache.

    ``later(call)`` calls in the next turn of the loop. ``show_key`` puts the key into Cache-Status.
    ``min_uses`` is how often a thing is asked for before it is kept.
    """

    def __init__(
        self,
        store: Store,
        flights: Flights,
        rules: Rules,
        keys: KeyMaker,
        other: Serve,
        later: Callable[[Callable[[], None]], object],
        *,
        collapse: bool = True,
        min_uses: int = 1,
        show_key: bool = False,
    ) -> None:
        self._store = store
        self._recall = store.memory.get
        self._flights = flights
        self._rules = rules
        self._keys = keys
        self._other = other
        self._later = later
        self._collapse = collapse
        self._min_uses = min_uses
        self.show_key = show_key
        self._parts = Parts(self, store, rules, later)
        self._uses: dict[bytes, int] = {}
        self._unshared: dict[bytes, float] = {}  # key -> until when

    # 1: what is there for a request.

    def serve(self, exchange: Exchange) -> None:
        """Answer from the cache, or see to it that the answer comes into it."""
        head = exchange.head
        demand = for_request(head, self._rules)
        peer = exchange.downstream.peer
        scheme = peer.scheme
        if peer.trusted:
            scheme = believed_scheme(head.fields) or scheme
        target = head.target.origin
        if not demand.lookup:
            self._pass(exchange, demand, absolute_url(scheme, head.authority, target))
            return
        key = self._keys.key(scheme, head.authority, target, head.fields, peer.trusted)
        whole = head.method == b"GET" and (demand.plain or demand.whole)
        if whole:
            # The common case, in as few steps as may be.
            recalled = self._recall(key)
            if type(recalled) is Copy and self._replay(exchange, recalled, demand):
                return
        copy = self._store.find(key, head.fields, variant, partial(self._late, exchange, key))
        if copy is PENDING:
            return
        if whole and type(copy) is Copy and self._replay(exchange, copy, demand):
            return
        self._found(exchange, key, copy)  # type: ignore[arg-type]

    def _replay(self, exchange: Exchange, copy: Copy, demand: Demand) -> bool:
        """Send what is in memory, if it is fresh; its head is made once a second."""
        if not demand.plain:
            use = reuse(copy.stored, demand, exchange.site.wall(), self._rules)
            if use.verdict is not Verdict.FRESH:
                return False
        rules = exchange.response_rules
        stored = copy.stored
        hot = stored.hot
        instant = exchange.site.seconds()
        if hot is None or hot[0] <= instant or hot[1] is not rules or exchange.added:
            now = exchange.site.wall()
            use = reuse(stored, PLAIN, now, self._rules)
            block = rules.block(stored.head)
            # What is not fresh for a whole second more, or differs from client to client, takes the
            # long way.
            if use.verdict is not Verdict.FRESH or use.ttl < 1.0:
                return False
            if block.names_backend or exchange.added:
                return False
            lines = hit_lines(use.age, use.ttl, stored.key if self.show_key else b"")
            date = http_date_line(now) if block.needs_date else b""
            head = b"".join((stored.head.status_line, block.block, date, lines))
            until = instant + 1.0 - now % 1.0
            stored.hot = hot = (until, rules, stored.head.status, head)
            self._store.used(stored)
        assert copy.body is not None
        exchange.replay(hot[2], hot[3], copy.body, instant)
        return True

    def _late(self, exchange: Exchange, key: bytes, copy: Copy | None, rounds: int = 0) -> None:
        """What was stored had to be read from the disk."""
        if exchange.over:
            if copy is not None:
                copy.close()
        else:
            exchange.go_on(lambda exchange: self._found(exchange, key, copy, rounds))

    def _asked(self, exchange: Exchange, key: bytes) -> Asked:
        head, peer = exchange.head, exchange.downstream.peer
        scheme = (peer.trusted and believed_scheme(head.fields)) or peer.scheme
        url = absolute_url(scheme, head.authority, head.target.origin)
        demand = for_request(head, self._rules)
        if (exchange.sent or exchange.identity) and not demand.authorized:
            # A policy, or the proxy itself, tells the backend who it is, which may answer as if it
            # had seen credentials.
            demand = shallow(demand)
            demand.authorized = True
        return Asked(demand, key, url)

    def _found(
        self,
        exchange: Exchange,
        key: bytes,
        copy: Copy | None,
        rounds: int = 0,
        newest: bool = False,
        renewed: Stored | None = None,
        looked: float = 0.0,
    ) -> None:
        asked = self._asked(exchange, key)
        asked.rounds = rounds
        # What another process has stored since may not have been seen.
        asked.looked = looked or exchange.started
        if copy is not None and renewed is not None and _is_as_new(copy.stored, renewed):
            asked.demand = satisfied(asked.demand)
        demand = asked.demand
        if copy is not None:
            use = reuse(copy.stored, demand, exchange.site.wall(), self._rules)
            stale = use.verdict is not Verdict.FRESH
            if stale and not newest and copy.body is not None and self._store.shared:
                self._look_again(exchange, key, copy, rounds)
                return
            if use.verdict is not Verdict.VALIDATE:
                if use.verdict is Verdict.STALE_WHILE_REVALIDATE:
                    self._renew(exchange, asked, copy, use)
                self._hit(exchange, asked, copy, use, b"stale" if stale else b"hit")
                return
            asked.copy, asked.use, asked.fwd = copy, use, use.fwd
        else:
            asked.fwd = self._reason(key)
        if demand.only_if_cached:
            self.close(asked)
            value = unanswered(b"only-if-cached", key if self.show_key else b"")
            exchange.added = (*exchange.added, make_line(b"Cache-Status", value))
            exchange.fail(ONLY_IF_CACHED)
        else:
            self._miss(exchange, asked)

    def _look_again(self, exchange: Exchange, key: bytes, copy: Copy, rounds: int) -> None:
        """What is in memory here is stale; another process may have stored what is not."""

        def found(copy: Copy | None) -> None:
            if exchange.over:
                if copy is not None:
                    copy.close()
            else:
                exchange.go_on(lambda exchange: self._found(exchange, key, copy, rounds, True))

        again = self._store.find_again(copy, key, exchange.head.fields, variant, found)
        if again is not PENDING:
            self._found(exchange, key, again, rounds, True)  # type: ignore[arg-type]

    def _hit(self, exchange: Exchange, asked: Asked, copy: Copy, use: Reuse, note: bytes) -> None:
        key = copy.stored.key if self.show_key else b""
        self.play(exchange, asked, copy, note, hit_lines(use.age, use.ttl, key))

    def play(
        self,
        exchange: Exchange,
        asked: Asked,
        copy: Copy,
        note: bytes,
        more: bytes,
        made: Answer | None = None,
        otherwise: Callable[[Exchange], None] | None = None,
    ) -> None:
        """Send what a client asks for of a copy; ``made`` is that, where it is known.

        ``otherwise`` is what to do if the copy proves to be damaged before anything of it was sent;
        without it, that is a miss.
        """
        exchange.cache = note
        demand = asked.demand
        if made is None:
            boundary = os.urandom(12).hex().encode() if demand.ranged else b""
            made = answer(exchange.head, demand, copy.stored, boundary)
        if exchange.head.method == b"HEAD" or not made.length:
            copy.close()
            exchange.respond(made.head, 0, b"", True, more)
        elif copy.body is not None:
            content = b"".join(
                [
                    part.head + copy.body[part.start : part.start + part.length]
                    for part in made.parts
                ]
            )
            exchange.respond(made.head, made.length, content + made.tail, True, more)
        else:
            if otherwise is None:
                otherwise = partial(self._damaged, asked=asked, copy=copy)
            then = partial(self._checked, exchange, copy, more, made, otherwise)
            ready = copy.ready(made.parts[0].start, then)
            if ready:
                self._play_file(exchange, copy, more, made, ready)

    def _checked(
        self,
        exchange: Exchange,
        copy: Copy,
        more: bytes,
        made: Answer,
        otherwise: Callable[[Exchange], None],
        ready: int,
    ) -> None:
        """What is sent first of a copy had to be read from the disk; 0 if it is damaged."""
        if exchange.over:
            copy.close()
        elif ready:
            exchange.go_on(lambda exchange: self._play_file(exchange, copy, more, made, ready))
        else:
            exchange.go_on(otherwise)
            copy.close()

    def _damaged(self, exchange: Exchange, asked: Asked, copy: Copy) -> None:
        """A miss, unless something else has come in its place: others may have noticed before."""
        damaged, rounds = copy.file(), asked.rounds + 1
        if asked.copy is not None:
            # It was validated: what is in its place may be the same under a newer head.
            self.close(asked)
            self._found(exchange, asked.key, None, rounds)
            return

        def found(copy: Copy | None) -> None:
            if copy is not None and (rounds > MAX_ROUNDS or copy.file() == damaged):
                copy.close()
                copy = None
            self._late(exchange, asked.key, copy, rounds)

        again = self._store.find(asked.key, exchange.head.fields, variant, found)
        if again is not PENDING:
            found(again)  # type: ignore[arg-type]

    def _play_file(
        self, exchange: Exchange, copy: Copy, more: bytes, made: Answer, ready: int
    ) -> None:
        exchange.respond(made.head, made.length, b"", False, more)
        Playback(exchange, copy, made.parts, made.tail, ready, self._later).start()

    # 2: when a backend has to be asked.

    def _pass(self, exchange: Exchange, demand: Demand, url: bytes) -> None:
        """Not for the cache, but it may learn from it."""
        exchange.cache = b"bypass"
        value = forwarded(demand.fwd, detail=demand.detail)
        exchange.added = (*exchange.added, make_line(b"Cache-Status", value))
        if demand.invalidates and self._store.shared:
            # Who has got the response may ask another worker next, on another connection.
            withhold(exchange, partial(self._invalidate, demand, url))
        elif demand.invalidates:
            exchange.watch = lambda exchange, head: self._invalidate(demand, url, head, _nothing)
        self._other(exchange)

    def _invalidate(
        self, demand: Demand, url: bytes, head: ResponseHead, done: Callable[[], object]
    ) -> None:
        gone = invalidated_by(demand, url, head)
        left = len(gone)

        def purged(*_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                done()

        for each in gone:
            self._store.purge(Purge("url", each), purged)
        if not gone:
            done()

    def _miss(self, exchange: Exchange, asked: Asked) -> None:
        demand = asked.demand
        asked.mark = self._store.mark()
        if exchange.head.method == b"HEAD" and asked.copy is not None:
            self.fetch_part(exchange, asked)  # the head
            return
        if exchange.head.method == b"HEAD":
            self._alone(exchange, asked)
            return
        if demand.ranged and asked.copy is None:
            if demand.conditional:
                self._alone(exchange, asked)
            else:
                self._parts.serve(exchange, asked)
            return
        now = exchange.site.seconds()
        if (
            not self._collapse
            or asked.rounds >= MAX_ROUNDS
            or self._unshared.get(asked.group, 0.0) > now
            or (demand.conditional and asked.copy is None)  # its 304 would be of use to nobody else
        ):
            self._fetch(exchange, asked, self._flights.alone(asked.group))
            return
        # Who wants the origin's own word waits for what it has not asked for, too: all who do so
        # meanwhile can have the answer to one request then.
        under_way = self._flights.get(asked.group)
        if under_way is not None and (
            under_way.stored is None or self.accepts(exchange, asked, under_way, under_way.stored)
        ):
            exchange.upstream = waiting = Waiting(self, exchange, asked, under_way)
            under_way.attach(waiting, now)
            return
        flight = self._flights.lead(asked.group, asked.url)
        if self._collapse and self._store.shared:
            waiting_for = Leasing(self, exchange, asked, flight)
            exchange.upstream = waiting_for
            done = waiting_for.answered
            self._store.lease(asked.group, asked.looked, True, done, asked.url)
        else:
            self._fetch(exchange, asked, flight)

    def leased(self, exchange: Exchange, asked: Asked, flight: Flight) -> None:
        """No other process asks for the same, or that takes too long."""
        exchange.upstream = None
        asked.mark = self._store.mark()
        self._fetch(exchange, asked, flight)

    def fetch_part(self, exchange: Exchange, asked: Asked) -> None:
        """Ask for the range that the client asks for."""
        Fetch(self, exchange, asked, exchange.head, self._flights.alone(b""), False).start()

    def _alone(self, exchange: Exchange, asked: Asked) -> None:
        """Send the request on, and keep nothing of its response."""
        exchange.cache = b"miss"
        exchange.added = (*exchange.added, self._status(asked))
        self.close(asked)
        self._other(exchange)

    def _after_head(self, fetch: Fetch, head: ResponseHead, wall: float) -> None:
        asked = fetch.asked
        copy = asked.copy
        assert copy is not None
        renewal = after_head(copy.stored, head, self._rules, fetch.requested, wall)
        if renewal is not None and self._is_for_all(fetch, head):
            if renewal.keep:
                self._store.refresh(copy, renewal.stored, asked.mark)
            else:
                self._store.purge(Purge("key", asked.key), _ignore)
        self.close(asked)

    def _fetch(
        self, exchange: Exchange, asked: Asked, flight: Flight, condition: bool = True
    ) -> None:
        head = exchange.head
        lines = conditional_lines(asked.copy.stored) if asked.copy and condition else []
        if lines or asked.copy is not None:
            head = _asking(head, lines)
        Fetch(self, exchange, asked, head, flight, bool(lines)).start()

    def _renew(self, exchange: Exchange, asked: Asked, copy: Copy, use: Reuse) -> None:
        """Fetch a fresh copy for those who come later."""
        under_way = self._flights.get(asked.group)
        if under_way is not None and not under_way.over:
            return
        asked.mark = self._store.mark()
        # What the client reads is closed when it is done with; a body in memory needs no closing.
        asked.copy = copy if copy.body is not None else None
        asked.use, asked.fwd = use, b"stale"
        flight = self._flights.lead(asked.group, asked.url)
        lines = conditional_lines(copy.stored) if asked.copy is not None else []
        fetch = Fetch(self, exchange, asked, _asking(exchange.head, lines), flight, bool(lines))
        fetch.exchange = None
        if not self._collapse or not self._store.shared:
            fetch.start()
            return

        def leased(lease: int | None) -> None:
            if lease is None:
                self.close(asked)
                flight.refuse()  # another process renews it
            else:
                flight.lease = lease
                fetch.start()

        self._store.lease(asked.group, asked.looked, False, leased, asked.url)

    # 3: what comes of it.

    def on_response(
        self, fetch: Fetch, head: ResponseHead, length: int, content: bytes, ended: bool
    ) -> None:
        """A backend has answered a fetch."""
        asked, wall = fetch.asked, fetch.site.wall()
        if fetch.conditional and head.status == 304:
            fetch.drop()
            self._revalidated(fetch, head, wall)
            return
        use = asked.use
        if head.status in STALE_ERRORS and use is not None and wall < use.until:
            fetch.drop()
            fetch.flight.refuse(head.status)
            self._stale(fetch.leave(), asked, head.status)
            return
        if fetch.head.method == b"HEAD":
            self._after_head(fetch, head, wall)
            self._adopted(fetch, head, length, content, ended)
            return
        exchange = fetch.exchange
        decide = storable_part if b"range" in fetch.head.fields else storable
        decision = decide(fetch.head, asked.demand, head, self._rules, asked.url, wall)
        stored: Stored | None = None
        if decision and self._is_used_enough(asked.key):
            key = part_key(asked.key) if decision.partial else asked.key
            stored = decision.stored(key, asked.url, max(length, 0), fetch.requested)
            if length < 0:
                stored = stored.replaced(head=_without_length(stored.head))
        fill = None
        if stored is not None:
            expected = len(content) if ended else (length if length >= 0 else None)
            fill = self._store.fill(stored, expected, asked.mark)
        if fill is None or stored is None:
            if decision.reason not in _OF_REQUEST and head.status != 304:
                self._remember_unshared(asked.group, fetch.site.seconds())
            self.close(asked)
            self._adopted(fetch, head, length, content, ended)
            return
        if decision.partial and asked.part is not None:
            fetch.settled = self._parts.joining(asked)
        self.close(asked)
        self._unshared.pop(asked.group, None)
        fetch.stored = stored
        flight = fetch.flight
        if exchange is not None:
            self._begin(fetch, head, length, content, ended)
        flight.share(stored, fill, fetch.go_on)
        if exchange is not None and not exchange.over:
            follow = Following(exchange)
            follow.begin(flight)
        fetch.write(content, ended)

    def _begin(
        self, fetch: Fetch, head: ResponseHead, length: int, content: bytes, ended: bool
    ) -> None:
        """Answer the client whose request it was; the rest comes as it is filled in."""
        asked = fetch.asked
        exchange = fetch.leave()
        exchange.cache = b"miss"
        more = b"Cache-Status: %b\r\n" % forwarded(
            asked.fwd, stored=True, key=asked.key if self.show_key else b""
        )
        wall = exchange.site.wall()
        if (
            asked.demand.conditional
            and head.status == 200
            and not_modified(exchange.head.fields, head, wall)
        ):
            exchange.respond(not_modified_head(head), 0, b"", True, more)
        elif ended:
            exchange.respond(head, length if length >= 0 else -1, content, True, more)
        else:
            exchange.respond(head, length, b"", False, more)

    def _adopted(
        self, fetch: Fetch, head: ResponseHead, length: int, content: bytes, ended: bool
    ) -> None:
        """The response is for this client alone."""
        asked = fetch.asked
        exchange = fetch.exchange
        if exchange is None:
            fetch.drop()
        else:
            exchange.cache = b"miss"
            exchange.added = (*exchange.added, self._status(asked))
            fetch.over = True
            if (
                asked.demand.conditional
                and head.status == 200
                and not_modified(exchange.head.fields, head, exchange.site.wall())
            ):
                fetch.leave()
                fetch.drop()
                exchange.respond(not_modified_head(head), 0, b"", True)
            else:
                exchange.adopt(fetch, head, length, content, ended)
                fetch.exchange = None
        fetch.flight.refuse()

    def _revalidated(self, fetch: Fetch, head: ResponseHead, wall: float) -> None:
        asked = fetch.asked
        copy = asked.copy
        assert copy is not None
        renewed = validated([copy.stored], head, self._rules, fetch.requested, wall)
        if not renewed:
            self._ask_again(fetch)
            return
        stored, keep = renewed[0]
        if not self._is_for_all(fetch, head):
            pass  # the client that asked gets it, and what is stored for others stays as it is
        elif keep:
            fetch.flight.renewed = self._store.refresh(copy, stored, asked.mark)
        else:
            self._store.purge(Purge("key", asked.key), _ignore)
        exchange = fetch.leave()
        if exchange is None:
            copy.close()
        else:
            # A cookie that came with a 304 is not kept: it is for who asked.
            lines = stored.head.fields.lines
            for line in head.fields.lines:
                if line[0] == b"set-cookie" and line not in lines:
                    exchange.added = (*exchange.added, line)
            if copy.body is None:
                copy.stored = stored
            else:
                copy = Copy(stored, copy.body)
            use = reuse(stored, asked.demand, wall, self._rules)
            value = forwarded(asked.fwd, 304, key=asked.key if self.show_key else b"")
            more = b"Age: %d\r\nCache-Status: %b\r\n" % (use.age, value)
            self.play(exchange, asked, copy, b"revalidated", more)
        fetch.flight.refuse()

    def _is_for_all(self, fetch: Fetch, head: ResponseHead) -> bool:
        copy = fetch.asked.copy
        assert copy is not None
        return is_for_all(fetch.head, fetch.asked.demand, head, copy.stored.vary, self._rules)

    def _ask_again(self, fetch: Fetch) -> None:
        """A 304 that speaks of nothing that we have: ask without a condition."""
        asked, exchange = fetch.asked, fetch.leave()
        if exchange is None:
            self.close(asked)
            fetch.flight.refuse()
        else:
            self._fetch(exchange, asked, fetch.flight, condition=False)

    def on_failure(self, fetch: Fetch, reason: Reason) -> None:
        """No backend has answered a fetch."""
        asked, use = fetch.asked, fetch.asked.use
        fetch.flight.refuse(0)
        exchange = fetch.leave()
        if asked.copy is not None and use is not None and fetch.site.wall() < use.until:
            self._stale(exchange, asked, 0)
            return
        self.close(asked)
        if exchange is not None:
            exchange.cache = b"miss"
            exchange.added = (*exchange.added, self._status(asked))
            exchange.fail(reason)

    def _stale(self, exchange: Exchange | None, asked: Asked, status: int) -> None:
        """Better an old answer than none. ``status`` is what a backend has said, 0 for nothing."""
        copy = asked.copy
        if exchange is None or copy is None:
            self.close(asked)
            return
        wall = exchange.site.wall()
        now = reuse(copy.stored, asked.demand, wall, self._rules)
        value = forwarded(
            asked.fwd,
            status,
            ttl=now.ttl,
            key=asked.key if self.show_key else b"",
            detail=b"stale-if-error",
        )
        more = b"Age: %d\r\nCache-Status: %b\r\n" % (now.age, value)
        self.play(exchange, asked, copy, b"stale", more)

    # 4: those who wait for another's response.

    def accepts(self, exchange: Exchange, asked: Asked, flight: Flight, stored: Stored) -> bool:
        """Whether a response that is being filled answers this request, too."""
        if variant(stored.vary, exchange.head.fields) != stored.variant:
            return False
        demand = asked.demand
        if flight.began > exchange.started:
            demand = satisfied(demand)
        use = reuse(stored, demand, exchange.site.wall(), self._rules)
        return use.verdict is Verdict.FRESH and not (
            asked.demand.conditional or asked.demand.ranged
        )

    def shared(self, exchange: Exchange, asked: Asked, reader: Any) -> None:
        """It does."""
        self.close(asked)
        stored: Stored = reader.stored
        exchange.cache = b"collapsed"
        value = forwarded(asked.fwd, collapsed=True, key=asked.key if self.show_key else b"")
        more = b"Cache-Status: %b\r\n" % value
        head = stored.head
        known = head.status == 204 or b"content-length" in head.fields
        exchange.respond(head, stored.length if known else -1, b"", False, more)
        follow = Following(exchange)
        exchange.upstream = follow
        reader.listener = follow
        follow.read(reader)

    def again(
        self,
        exchange: Exchange,
        asked: Asked,
        failure: int | None,
        renewed: Stored | None = None,
    ) -> None:
        """Nothing came of it: look whether the other's response is there now.

        ``failure`` is what a backend said to the other, if that is a reason to use stale ones;
        ``renewed`` what it has validated since this request came.
        """
        exchange.upstream = None
        use = asked.use
        if failure is not None and use is not None and exchange.site.wall() < use.until:
            self._stale(exchange, asked, failure)
            return
        self.close(asked)
        looked, fields = exchange.site.seconds(), exchange.head.fields
        then = partial(
            self._found, key=asked.key, rounds=asked.rounds + 1, renewed=renewed, looked=looked
        )

        def found(copy: Copy | None) -> None:
            if exchange.over:
                if copy is not None:
                    copy.close()
            else:
                exchange.go_on(partial(then, copy=copy))

        copy = self._store.find(asked.key, fields, variant, found)
        if copy is not PENDING:
            then(exchange, copy=copy)  # type: ignore[arg-type]

    # Small things.

    def _reason(self, key: bytes) -> bytes:
        """Why nothing was found, as far as memory tells (RFC 9211 section 2.2)."""
        item = self._store.memory.peek(key)
        if type(item) is not Varied:
            return b"uri-miss"
        return b"vary-miss" if item.copies else b"miss"

    def _status(self, asked: Asked) -> Any:
        key = asked.key if self.show_key else b""
        return make_line(b"Cache-Status", forwarded(asked.fwd, key=key))

    @staticmethod
    def close(asked: Asked) -> None:
        for copy in (asked.copy, asked.part):
            if copy is not None:
                copy.close()
        asked.copy = asked.part = None

    def _is_used_enough(self, key: bytes) -> bool:
        if self._min_uses <= 1:
            return True
        uses = self._uses.pop(key, 0) + 1
        if uses >= self._min_uses:
            return True
        if len(self._uses) >= MAX_COUNTED:
            del self._uses[next(iter(self._uses))]  # the one that was asked for longest ago
        self._uses[key] = uses
        return False

    def _remember_unshared(self, key: bytes, now: float) -> None:
        self._unshared.pop(key, None)
        if len(self._unshared) >= MAX_COUNTED:
            del self._unshared[next(iter(self._unshared))]
        self._unshared[key] = now + UNSHARED


def _asking(head: RequestHead, lines: list[Line]) -> RequestHead:
    """The request for a whole response, with our preconditions in place of the client's."""
    fields = Fields([*(line for line in head.fields.lines if line[0] not in REPLACED), *lines])
    return RequestHead(
        b"GET",
        head.target,
        head.path,
        head.host,
        head.authority,
        fields,
        head.facts,
        head.size,
    )


def _is_as_new(stored: Stored, renewed: Stored) -> bool:
    """Whether it was validated when ``renewed`` was, or later."""
    same = stored.vary == renewed.vary and stored.variant == renewed.variant
    return same and stored.responded >= renewed.responded


def _without_length(head: ResponseHead) -> ResponseHead:
    lines = [line for line in head.fields.lines if line[0] != b"content-length"]
    return ResponseHead(head.status, head.status_line[13:-2], True, Fields(lines), head.size)


def _nothing() -> None:
    """What waits for nothing."""


def _ignore(result: Any, error: Any) -> None:
    """A purge that fails is logged by the store."""

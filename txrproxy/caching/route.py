"""What is done with a request, by what there is for it; see :mod:`txrproxy.caching`."""

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
    Answer,
    Demand,
    Reuse,
    Rules,
    Verdict,
    answer,
    conditional_lines,
    for_request,
    forwarded,
    hit_lines,
    invalidated_by,
    reuse,
    satisfied,
    unanswered,
)
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import PENDING, Store
from txrproxy.cache.stored import Stored
from txrproxy.cache.tier import Varied
from txrproxy.caching.fetching import Asked, Fetch
from txrproxy.caching.outcome import Outcome
from txrproxy.caching.playback import Following, play
from txrproxy.caching.waiting import MAX_ROUNDS, Leasing, Waiting
from txrproxy.errors import ONLY_IF_CACHED
from txrproxy.exchange import Exchange
from txrproxy.http.date import http_date_line
from txrproxy.http.fields import Fields, Line, make_line
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.http.peer import believed_scheme
from txrproxy.routing.plan import Serve
from txrproxy.withheld import withhold


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
        self.show_key = show_key
        self._parts = Parts(self, store, rules, later)
        self._outcome = Outcome(self, store, rules, self._parts, min_uses)

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
            asked.close()
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
        play(
            exchange,
            copy,
            made,
            more,
            otherwise or partial(self._damaged, asked=asked, copy=copy),
            self._later,
        )

    def _damaged(self, exchange: Exchange, asked: Asked, copy: Copy) -> None:
        """A miss, unless something else has come in its place: others may have noticed before."""
        damaged, rounds = copy.file(), asked.rounds + 1
        if asked.copy is not None:
            # It was validated: what is in its place may be the same under a newer head.
            asked.close()
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
            or self._outcome.is_for_one(asked.group, now)
            or (demand.conditional and asked.copy is None)  # its 304 would be of use to nobody else
        ):
            self.fetch(exchange, asked, self._flights.alone(asked.group))
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
            self.fetch(exchange, asked, flight)

    def leased(self, exchange: Exchange, asked: Asked, flight: Flight) -> None:
        """No other process asks for the same, or that takes too long."""
        exchange.upstream = None
        asked.mark = self._store.mark()
        self.fetch(exchange, asked, flight)

    def fetch_part(self, exchange: Exchange, asked: Asked) -> None:
        """Ask for the range that the client asks for."""
        Fetch(
            self._outcome, exchange, asked, exchange.head, self._flights.alone(b""), False
        ).start()

    def _alone(self, exchange: Exchange, asked: Asked) -> None:
        """Send the request on, and keep nothing of its response."""
        exchange.cache = b"miss"
        exchange.added = (*exchange.added, self.status(asked))
        asked.close()
        self._other(exchange)

    def fetch(
        self, exchange: Exchange, asked: Asked, flight: Flight, condition: bool = True
    ) -> None:
        """Ask for the whole; with a ``condition`` where there is something to be validated."""
        head = exchange.head
        lines = conditional_lines(asked.copy.stored) if asked.copy and condition else []
        if lines or asked.copy is not None:
            head = _asking(head, lines)
        Fetch(self._outcome, exchange, asked, head, flight, bool(lines)).start()

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
        fetch = Fetch(
            self._outcome, exchange, asked, _asking(exchange.head, lines), flight, bool(lines)
        )
        fetch.exchange = None
        if not self._collapse or not self._store.shared:
            fetch.start()
            return

        def leased(lease: int | None) -> None:
            if lease is None:
                asked.close()
                flight.refuse()  # another process renews it
            else:
                flight.lease = lease
                fetch.start()

        self._store.lease(asked.group, asked.looked, False, leased, asked.url)

    # 3: those who wait for another's response.

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
        asked.close()
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
            self._outcome.stale(exchange, asked, failure)
            return
        asked.close()
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

    def status(self, asked: Asked) -> Line:
        """The Cache-Status of what was sent on."""
        key = asked.key if self.show_key else b""
        return make_line(b"Cache-Status", forwarded(asked.fwd, key=key))


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


def _nothing() -> None:
    """What waits for nothing."""

"""What comes of a request to a backend for a route's cache; see :mod:`txrproxy.caching`."""

from __future__ import annotations

from typing import Any

from txrproxy.cache.parts import Parts
from txrproxy.cache.policy import (
    STALE_ERRORS,
    Rules,
    after_head,
    forwarded,
    is_for_all,
    not_modified,
    not_modified_head,
    part_key,
    reuse,
    storable,
    storable_part,
    validated,
)
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import Store
from txrproxy.cache.stored import Stored
from txrproxy.caching.fetching import Asked, Fetch
from txrproxy.caching.playback import Following
from txrproxy.errors import Reason
from txrproxy.exchange import Exchange
from txrproxy.http.fields import Fields
from txrproxy.http.head import ResponseHead

MAX_COUNTED = 65536  # keys whose uses are counted, or whose responses are known to be for one only
UNSHARED = 10.0  # seconds for which requests for what was not storable do not wait for each other
# Why a response is not kept that says nothing of others' requests for the same.
_OF_REQUEST = frozenset({"authorization", "cookie", "fields", "partial"})


class Outcome:
    """Of the fetches of one route. ``caching`` plays what is kept, and asks once more.

    ``min_uses`` is how often a thing is asked for before it is kept.
    """

    def __init__(
        self, caching: Any, store: Store, rules: Rules, parts: Parts, min_uses: int
    ) -> None:
        self._caching = caching
        self._store = store
        self._rules = rules
        self._parts = parts
        self._min_uses = min_uses
        self._uses: dict[bytes, int] = {}
        self._unshared: dict[bytes, float] = {}  # key -> until when

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
            self.stale(fetch.leave(), asked, head.status)
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
            asked.close()
            self._adopted(fetch, head, length, content, ended)
            return
        if decision.partial and asked.part is not None:
            fetch.settled = self._parts.joining(asked)
        asked.close()
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
            asked.fwd, stored=True, key=asked.key if self._caching.show_key else b""
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
            exchange.added = (*exchange.added, self._caching.status(asked))
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
            value = forwarded(asked.fwd, 304, key=asked.key if self._caching.show_key else b"")
            more = b"Age: %d\r\nCache-Status: %b\r\n" % (use.age, value)
            self._caching.play(exchange, asked, copy, b"revalidated", more)
        fetch.flight.refuse()

    def _is_for_all(self, fetch: Fetch, head: ResponseHead) -> bool:
        copy = fetch.asked.copy
        assert copy is not None
        return is_for_all(fetch.head, fetch.asked.demand, head, copy.stored.vary, self._rules)

    def _ask_again(self, fetch: Fetch) -> None:
        """A 304 that speaks of nothing that we have: ask without a condition."""
        asked, exchange = fetch.asked, fetch.leave()
        if exchange is None:
            asked.close()
            fetch.flight.refuse()
        else:
            self._caching.fetch(exchange, asked, fetch.flight, condition=False)

    def on_failure(self, fetch: Fetch, reason: Reason) -> None:
        """No backend has answered a fetch."""
        asked, use = fetch.asked, fetch.asked.use
        fetch.flight.refuse(0)
        exchange = fetch.leave()
        if asked.copy is not None and use is not None and fetch.site.wall() < use.until:
            self.stale(exchange, asked, 0)
            return
        asked.close()
        if exchange is not None:
            exchange.cache = b"miss"
            exchange.added = (*exchange.added, self._caching.status(asked))
            exchange.fail(reason)

    def stale(self, exchange: Exchange | None, asked: Asked, status: int) -> None:
        """Better an old answer than none. ``status`` is what a backend has said, 0 for nothing."""
        copy = asked.copy
        if exchange is None or copy is None:
            asked.close()
            return
        wall = exchange.site.wall()
        now = reuse(copy.stored, asked.demand, wall, self._rules)
        value = forwarded(
            asked.fwd,
            status,
            ttl=now.ttl,
            key=asked.key if self._caching.show_key else b"",
            detail=b"stale-if-error",
        )
        more = b"Age: %d\r\nCache-Status: %b\r\n" % (now.age, value)
        self._caching.play(exchange, asked, copy, b"stale", more)

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
        asked.close()

    # What is remembered of keys.

    def is_for_one(self, key: bytes, now: float) -> bool:
        """Whether what came for it lately was of use to nobody else."""
        return self._unshared.get(key, 0.0) > now

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


def _without_length(head: ResponseHead) -> ResponseHead:
    lines = [line for line in head.fields.lines if line[0] != b"content-length"]
    return ResponseHead(head.status, head.status_line[13:-2], True, Fields(lines), head.size)


def _ignore(result: Any, error: Any) -> None:
    """A purge that fails is logged by the store."""

"""Ranges of what is not kept whole: answered from a part that is kept, which grows by what comes.

::

    serve ─▶ a part that has it all, and is fresh ─▶ hit
               └─▶ else the backend is asked ─▶ a part ─▶ kept ─▶ joined with the one before it
                                               the whole ─▶ as any other response

What may be kept and joined is for :mod:`txrproxy.cache.policy.partial` to say. Joining is a copy,
made when the client has got its answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from txrproxy.cache.key import variant
from txrproxy.cache.policy import (
    Rules,
    Verdict,
    hit_lines,
    joined,
    part_answer,
    part_key,
    reuse,
    whole,
)
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import PENDING, Store
from txrproxy.cache.stored import Stored
from txrproxy.cache.writing import Fill
from txrproxy.http.fields import EMPTY

PIECE = 64 * 1024  # bytes copied at once
A_TURN = 4  # of them in one turn of the loop: others want their turn, too

_USABLE = frozenset({Verdict.FRESH, Verdict.STALE})


class Parts:
    """Those of one route's cache. ``caching`` sends answers and asks backends.

    An exchange is the client's, and what is asked is a :class:`txrproxy.caching.fetching.Asked`.
    """

    def __init__(
        self,
        caching: Any,
        store: Store,
        rules: Rules,
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._caching = caching
        self._store = store
        self._rules = rules
        self._later = later

    def serve(self, exchange: Any, asked: Any) -> None:
        """Answer a range of what is not there whole."""
        late = partial(self._late, exchange, asked)
        copy = self._store.find(part_key(asked.key), exchange.head.fields, variant, late)
        if copy is not PENDING:
            self._found(exchange, asked, copy)  # type: ignore[arg-type]

    def _late(self, exchange: Any, asked: Any, copy: Copy | None) -> None:
        if exchange.over:
            if copy is not None:
                copy.close()
        else:
            exchange.go_on(lambda exchange: self._found(exchange, asked, copy))

    def _found(self, exchange: Any, asked: Any, copy: Copy | None) -> None:
        complete = whole(copy.stored) if copy is not None else None
        if copy is not None and complete is not None:
            use = reuse(complete, asked.demand, exchange.site.wall(), self._rules)
            usable = use.verdict in _USABLE
            made = part_answer(exchange.head, copy.stored, os.urandom(12).hex().encode())
            if usable and made is not None:
                key = asked.key if self._caching.show_key else b""
                more = hit_lines(use.age, use.ttl, key)
                fetch = partial(self._caching.fetch_part, asked=asked)
                self._caching.play(exchange, asked, copy, b"hit", more, made, fetch)
                return
            asked.fwd = b"partial" if usable else use.fwd or b"stale"
        asked.part = copy
        self._caching.fetch_part(exchange, asked)

    def joining(self, asked: Any) -> Callable[[Stored | None], None]:
        """To be told when a new part is in its place: it is joined with the one from before."""
        old, asked.part = asked.part, None
        assert old is not None
        return partial(self._join, old, asked.mark)

    def _join(self, old: Copy, mark: int, new: Stored | None) -> None:
        made = joined(old.stored, new) if new is not None else None
        if made is None or new is None:
            old.close()
            return
        stored, pieces = made

        def found(copy: Copy | None) -> None:
            fill = None
            if copy is not None and copy.stored.same(new):
                fill = self._store.fill(stored, stored.length, mark)
            copies = (old, copy)
            if fill is None:
                _close(copies)
                return
            todo = [(copies[piece.new], piece.start, piece.end) for piece in pieces]
            _Joining(fill, todo, self._later, partial(self._joined, copies, stored)).go_on()

        copy = self._store.find(new.key, EMPTY, lambda *_: new.variant, found)
        if copy is not PENDING:
            found(copy)  # type: ignore[arg-type]

    def _joined(self, copies: tuple[Copy | None, ...], stored: Stored, whole: bool) -> None:
        _close(copies)
        if whole and stored.head.status == 200:
            self._store.purge(Purge("key", part_key(stored.key)), lambda *_: None)


def _close(copies: tuple[Copy | None, ...]) -> None:
    for copy in copies:
        if copy is not None:
            copy.close()


class _Joining:
    """Copies bytes of what is kept into what is to be kept; tells ``done`` if that went well."""

    def __init__(
        self,
        fill: Fill,
        todo: list[tuple[Copy | None, int, int]],
        later: Callable[[Callable[[], None]], object],
        done: Callable[[bool], None],
    ) -> None:
        self._fill = fill
        self._todo = todo
        self._later = later
        self._done = done

    def go_on(self) -> None:
        for _ in range(A_TURN):
            if not self._todo:
                self._done(self._fill.commit() is not None)
                return
            copy, start, end = self._todo[0]
            assert copy is not None
            data = copy.read(start, min(end - start, PIECE), self._read)
            if data is None:
                return  # a thread is asked; it calls back
            if not self._take(data):
                return
        self._later(self.go_on)

    def _read(self, data: bytes) -> None:
        if self._take(data):
            self.go_on()

    def _take(self, data: bytes) -> bool:
        copy, start, end = self._todo[0]
        start += len(data)
        if not data or not self._fill.write(data):
            self._fill.abort()
            self._done(False)
            return False
        if start < end:
            self._todo[0] = copy, start, end
        else:
            del self._todo[0]
        return True

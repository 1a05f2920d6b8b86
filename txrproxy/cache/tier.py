"""What of a store is in memory: small responses, by key and variant, and by URL for purges.

A key without Vary leads to its :class:`~txrproxy.cache.reading.Copy`, one with to a
:class:`Varied`. Beside them is a map from URLs to keys, so that dropping a URL, as each unsafe
request does, costs what is stored for that URL and not what is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from txrproxy.cache.entry import Vary
from txrproxy.cache.memory import Memory, _Node
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy, Variant
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import Fields

_VARIANTS = 64  # of one key


class Varied:
    """In the place of a key whose responses have Vary: its lists, and some of them."""

    __slots__ = ("copies", "lists", "weight")

    def __init__(self, key: bytes, lists: tuple[Vary, ...]) -> None:
        self.lists = lists
        self.copies: dict[tuple[Vary, bytes], Copy] = {}
        self.weight = 1024 + len(key)


Item = Copy | Varied


def weight_of(copy: Copy) -> int:
    """Bytes that a copy counts for: a head is kept as text, parsed, and as what is made of it."""
    return copy.length + 4 * copy.stored.head.size + 1024


def _copies(item: Item) -> list[Copy]:
    return [*item.copies.values()] if isinstance(item, Varied) else [item]


class Tier(Memory[bytes, Item]):
    """Copies by key, ``limit`` bytes of them by :func:`weight_of`."""

    __slots__ = ("_keys",)

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._keys: dict[bytes, bytes | list[bytes]] = {}  # by URL; once for each copy

    # Copies.

    def select(self, item: Varied, fields: Fields, variant: Variant) -> Copy | None:
        """The copy of a key with Vary that a request selects."""
        for vary in item.lists:
            copy = item.copies.get((vary, variant(vary, fields)))
            if copy is not None:
                return copy
        return None

    def recalled(self, stored: Stored) -> Copy | None:
        """What is in the place of this response."""
        item = self.peek(stored.key)
        if type(item) is Varied:
            return item.copies.get((stored.vary, stored.variant))
        return item if type(item) is Copy and not stored.vary else None

    def keep(self, copy: Copy) -> None:
        """Put a copy in the place of the one that it replaces."""
        stored = copy.stored
        key = stored.key
        item = self.peek(key)
        if type(item) is Varied:
            self._add(item, copy)
            self._weigh(key, item)
        elif stored.vary:
            self.remove(key)
            item = Varied(key, (stored.vary,))
            self._add(item, copy)
            self._weigh(key, item)
        else:
            if type(item) is Copy:
                self._unlist(item.stored)
            if self.put(key, copy, weight_of(copy)):
                self._list(stored)

    def put_lists(self, key: bytes, lists: tuple[Vary, ...]) -> None:
        """The responses of a key are selected by these lists of names, the newest first."""
        item = self.peek(key)
        if type(item) is not Varied:
            varied = Varied(key, lists)
            if type(item) is Copy and () in lists:
                self.remove(key)
                self._add(varied, item)
            else:
                self.remove(key)
            item = varied
        item.lists = lists
        self._weigh(key, item)

    def lists(self, key: bytes) -> tuple[Vary, ...]:
        item = self.peek(key)
        return item.lists if type(item) is Varied else ()

    def forget(self, stored: Stored) -> None:
        """Drop what is in the place of this response."""
        item = self.peek(stored.key)
        if type(item) is Varied:
            self._drop(item, stored)
            self._weigh(stored.key, item)
        elif item is not None:
            self.remove(stored.key)

    def purge(self, purge: Purge) -> None:
        """Drop what matches, or mark it."""
        if purge.kind == "all" and not purge.soft:
            self.clear()
            return
        for item in self._touched_by(purge):
            for copy in _copies(item):
                stored = copy.stored
                if not purge.matches(stored):
                    continue
                if purge.soft:
                    self.keep(Copy(stored.replaced(invalidated=True), copy.body))
                else:
                    self.forget(stored)

    def _touched_by(self, purge: Purge) -> list[Item]:
        """What has to be looked at."""
        if purge.kind == "key":
            keys: Iterable[bytes] = (purge.value,)
        elif purge.kind == "url":
            keys = self.keys_of(purge.value)
        else:
            return list(self.values())
        return [item for key in keys if (item := self.peek(key)) is not None]

    def _add(self, item: Varied, copy: Copy) -> None:
        stored = copy.stored
        self._drop(item, stored)
        while len(item.copies) >= _VARIANTS:
            self._drop(item, next(iter(item.copies.values())).stored)
        item.copies[stored.vary, stored.variant] = copy
        item.weight += weight_of(copy)
        self._list(stored)

    def _drop(self, item: Varied, stored: Stored) -> None:
        copy = item.copies.pop((stored.vary, stored.variant), None)
        if copy is not None:
            item.weight -= weight_of(copy)
            self._unlist(copy.stored)

    def _weigh(self, key: bytes, item: Varied) -> None:
        if not self.put(key, item, item.weight):
            self._gone(item)

    # URLs.

    def keys_of(self, url: bytes) -> frozenset[bytes]:
        """The keys of which a copy answers this URL."""
        found = self._keys.get(url, [])
        return frozenset([found] if isinstance(found, bytes) else found)

    def _list(self, stored: Stored) -> None:
        known = self._keys.get(stored.url)
        if known is None:
            self._keys[stored.url] = stored.key
        elif isinstance(known, bytes):
            self._keys[stored.url] = [known, stored.key]
        else:
            known.append(stored.key)

    def _unlist(self, stored: Stored) -> None:
        """Once; nothing if it is not there."""
        known = self._keys.get(stored.url)
        if isinstance(known, list):
            if stored.key in known:
                known.remove(stored.key)
                if not known:
                    del self._keys[stored.url]
        elif known == stored.key:
            del self._keys[stored.url]

    def _gone(self, item: Item) -> None:
        for copy in _copies(item):
            self._unlist(copy.stored)

    # As any memory.

    def clear(self) -> None:
        super().clear()
        self._keys.clear()

    def _unlink(self, node: _Node[bytes, Item]) -> None:
        super()._unlink(node)
        self._gone(node.value)

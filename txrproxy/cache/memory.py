"""The tier in memory: small and hot objects, within a bound in bytes, by SIEVE.

SIEVE (Zhang and others, NSDI 2024) is a queue with a hand. A hit sets a mark and moves nothing. To
evict, the hand walks from the oldest towards the newest: what has a mark loses it and stays, the
first without one goes. New objects enter at the young end, so one-time requests are passed over
quickly and a scan does not push out what is hot, as it does with LRU; see
``docs/decisions/0006-cache-store.md`` for the measurement.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Node(Generic[K, T]):
    __slots__ = ("key", "marked", "newer", "older", "value", "weight")

    def __init__(self, key: K, value: T, weight: int) -> None:
        self.key = key
        self.value = value
        self.weight = weight
        self.marked = False
        self.newer: _Node[K, T] | None = None
        self.older: _Node[K, T] | None = None


class Memory(Generic[K, T]):
    """Objects by key, ``limit`` bytes of them by the weights they are put in with."""

    __slots__ = ("_hand", "_newest", "_nodes", "_oldest", "evicted", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.evicted = 0
        self._nodes: dict[K, _Node[K, T]] = {}
        self._newest: _Node[K, T] | None = None
        self._oldest: _Node[K, T] | None = None
        self._hand: _Node[K, T] | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, key: K) -> bool:
        return key in self._nodes

    def get(self, key: K) -> T | None:
        """The object, which counts as a use of it."""
        node = self._nodes.get(key)
        if node is None:
            return None
        node.marked = True
        return node.value

    def peek(self, key: K) -> T | None:
        """The object, which does not count as a use."""
        node = self._nodes.get(key)
        return None if node is None else node.value

    def put(self, key: K, value: T, weight: int) -> bool:
        """Keep ``value`` in place of what the key had; False if it is larger than the bound."""
        if weight > self.limit:
            self.remove(key)
            return False
        nodes = self._nodes
        node = nodes.get(key)
        if node is not None:
            self.size += weight - node.weight
            node.value = value
            node.weight = weight
        else:
            nodes[key] = node = _Node(key, value, weight)
            self.size += weight
            node.older = newest = self._newest
            if newest is None:
                self._oldest = node
            else:
                newest.newer = node
            self._newest = node
        if self.size > self.limit:
            self._evict(node)
        return True

    def remove(self, key: K) -> None:
        """Forget the key, if it is here."""
        node = self._nodes.get(key)
        if node is not None:
            self._unlink(node)

    def values(self) -> Iterator[T]:
        for node in self._nodes.values():
            yield node.value

    def clear(self) -> None:
        self._nodes.clear()
        self._newest = self._oldest = self._hand = None
        self.size = 0

    def _evict(self, spared: _Node[K, T]) -> None:
        while self.size > self.limit:
            node = self._hand or self._oldest
            assert node is not None
            while node.marked or node is spared:
                node.marked = False
                node = node.newer or self._oldest
                assert node is not None
            self._hand = node.newer
            self._unlink(node)
            self.evicted += 1

    def _unlink(self, node: _Node[K, T]) -> None:
        del self._nodes[node.key]
        self.size -= node.weight
        if self._hand is node:
            self._hand = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        node.newer = node.older = None

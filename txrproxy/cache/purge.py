"""What is to be taken out of a cache: exact URLs, prefixes, tags, keys, or all; hard or soft.

A purge is a predicate on stored responses. It also has to reach what is on its way in: a response
that was asked of the origin before a purge and arrives after it is as old as what was purged. So
the purges of late are kept in order (:class:`Purges`), and who began something long remembers the
number at which it began.
"""

from __future__ import annotations

from collections import deque

from attrs import frozen

from txrproxy.cache.stored import Stored

KINDS = ("key", "url", "prefix", "tag", "all")


@frozen
class Purge:
    """Which responses: ``kind`` is one of :data:`KINDS`; ``soft`` marks them stale instead.

    A soft purge keeps a response, which has to be validated before it is used again.
    """

    kind: str
    value: bytes = b""
    soft: bool = False

    def __attrs_post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no kind of purge: {self.kind}")

    def matches(self, stored: Stored) -> bool:
        kind = self.kind
        if kind == "key":
            return stored.key == self.value
        if kind == "url":
            return stored.url == self.value
        if kind == "prefix":
            return stored.url.startswith(self.value)
        return kind == "all" or self.value in stored.tags

    def may_match(self, key: bytes, url: bytes) -> bool:
        """Whether it may take a response that is not there yet: nobody knows its tags."""
        kind = self.kind
        if kind == "key":
            return key.startswith(self.value)  # what is asked with credentials has more at the end
        if kind == "url":
            return url == self.value
        return kind != "prefix" or url.startswith(self.value)


@frozen
class Purged:
    """How much a purge took, or would take: responses, and bytes on disk."""

    count: int
    size: int


class Purges:
    """The purges of late, numbered from 1. ``number`` is that of the last."""

    __slots__ = ("_kept", "number")

    def __init__(self, keep: int = 1024) -> None:
        self.number = 0
        self._kept: deque[Purge] = deque(maxlen=keep)

    def add(self, purge: Purge) -> None:
        self.number += 1
        self._kept.append(purge)

    def since(self, number: int, stored: Stored) -> Stored | None:
        """What the purges after ``number`` leave of a response: all, a stale one, or nothing."""
        missed = self.number - number
        if not missed:
            return stored
        if missed > len(self._kept):
            return None  # nobody remembers what they were
        for place in range(len(self._kept) - missed, len(self._kept)):
            purge = self._kept[place]
            if purge.matches(stored):
                if not purge.soft:
                    return None
                stored = stored.replaced(invalidated=True)
        return stored

    def may_touch(self, number: int, key: bytes, url: bytes) -> bool:
        """Whether one of those after ``number`` may take what is on its way for a key and URL."""
        missed = self.number - number
        if missed > len(self._kept):
            return True
        kept = self._kept
        return any(kept[at].may_match(key, url) for at in range(len(kept) - missed, len(kept)))

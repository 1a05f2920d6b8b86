"""What was newly said of stored bodies, and is not in their files yet.

A validation takes effect when it arrives, for whoever asks next. The owner writes it into the file
some time later, and until then what a reader finds there is older than what is known: this is where
it is brought up to date.
"""

from __future__ import annotations

from txrproxy.cache.entry import Vary
from txrproxy.cache.stored import Stored


class Renewal:
    """``new`` is said of the body that had ``old`` said of it, as of the purge ``mark``."""

    __slots__ = ("mark", "new", "old")

    def __init__(self, old: Stored, new: Stored, mark: int) -> None:
        self.old = old
        self.new = new
        self.mark = mark


class Renewals:
    """Those under way, in the order in which they began."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way: dict[tuple[bytes, Vary, bytes], list[Renewal]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.under_way.values()))

    def begin(self, old: Stored, new: Stored, mark: int) -> Renewal:
        renewal = Renewal(old, new, mark)
        self.under_way.setdefault(_place(old), []).append(renewal)
        return renewal

    def end(self, renewal: Renewal) -> None:
        """It is in the file, or never will be."""
        place = _place(renewal.old)
        there = self.under_way[place]
        there.remove(renewal)
        if not there:
            del self.under_way[place]

    def last_of(self, stored: Stored) -> Renewal | None:
        """The last one of what was read from a file; None if it is as it should be."""
        found = None
        for renewal in self.under_way.get(_place(stored), ()):
            if renewal.old.same(stored):
                found = renewal
                stored = renewal.new
        return found


def _place(stored: Stored) -> tuple[bytes, Vary, bytes]:
    return stored.key, stored.vary, stored.variant

"""From host and path to the routes that may take the request, at a cost that does not grow with
their number.

Routes match in the order of the file, over the whole file. Patterns are therefore not ranked by
how specific they are; they are only *found* by hash: the table of the exact host, one for each
wildcard suffix of it, and the one for any host; in each, the exact path, and its prefixes of those
lengths that occur. The numbers found are sorted, and cut after the first route that asks nothing
more. So a look-up costs labels of the host times distinct prefix lengths, never the routes.

A bounded memo stands in front, because traffic repeats its addresses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from txrproxy.http.peer import ClientIdentity
from txrproxy.routing.match import Conditions, FieldValues, Pattern, Refusal

T = TypeVar("T")

# What the memo may hold on to: with 4096 entries, some MiB at the very worst.
_MEMO_PATH = 512  # bytes of path
_MEMO_CANDIDATES = 64  # routes


class Tree(Generic[T]):
    """An immutable routing table; ``memo`` bounds how many addresses are remembered."""

    __slots__ = ("_generation", "_index", "_old", "_young", "routes")

    def __init__(self, routes: Sequence[tuple[Conditions, T]], *, memo: int = 4096) -> None:
        self.routes = tuple(routes)
        self._index = _Index()
        for number, (conditions, _) in enumerate(self.routes):
            self._index.add(number, conditions)
        # Two generations approximate "least recently used" at the price of one dict hit: when the
        # young one is full it becomes the old one, and what is asked for again moves back.
        self._generation = max(1, memo // 2)
        self._young: dict[tuple[bytes, bytes], tuple[tuple[Conditions, T], ...]] = {}
        self._old: dict[tuple[bytes, bytes], tuple[tuple[Conditions, T], ...]] = {}

    @classmethod
    def grow(cls, routes: Iterable[tuple[Conditions, T]]) -> Generator[None, None, Tree[T]]:
        """Make a tree of many routes a step at a time, each of one route, and return it."""
        tree = cls(())
        known = []
        for number, route in enumerate(routes):
            known.append(route)
            tree._index.add(number, route[0])
            yield
        tree.routes = tuple(known)
        return tree

    def find(
        self,
        host: bytes,
        path: bytes,
        method: bytes,
        field: FieldValues,
        query: bytes | None,
        client: str,
        identity: ClientIdentity | None = None,
    ) -> T | None:
        """The value of the first route that takes the request.

        ``host`` is as :func:`~txrproxy.http.target.split_authority` gives it, ``path`` normalised,
        ``client`` the text of an IP address, ``identity`` who the client is by its certificate.
        """
        for conditions, value in self.candidates(host, path):
            if conditions.unconditional or conditions.holds(method, field, query, client, identity):
                return value
        return None

    def candidates(self, host: bytes, path: bytes) -> tuple[tuple[Conditions, T], ...]:
        """The routes whose host and path conditions hold, in order, up to the first that is
        unconditional."""
        key = (host, path)
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                found = self._search(host, path)
                if len(path) > _MEMO_PATH or len(found) > _MEMO_CANDIDATES:
                    return found
            if len(self._young) >= self._generation:
                self._old = self._young
                self._young = {}
            self._young[key] = found
        return found

    def _search(self, host: bytes, path: bytes) -> tuple[tuple[Conditions, T], ...]:
        numbers: set[int] = set()
        for bucket in self._index.buckets(Pattern(host, False), Pattern(path, False)):
            numbers.update(bucket)
        found = []
        for number in sorted(numbers):
            route = self.routes[number]
            conditions = route[0]
            if conditions.path_regex is None or conditions.path_regex.search(path) is not None:
                found.append(route)
                if conditions.unconditional:
                    break
        return tuple(found)

    def reasons(
        self,
        host: bytes,
        path: bytes,
        method: bytes,
        field: FieldValues,
        query: bytes | None,
        client: str,
        identity: ClientIdentity | None = None,
    ) -> Iterator[tuple[T, Refusal | None]]:
        """Each route with why it does not take a request, up to the one that does, with None.

        For people: it asks every route, one after the other. :meth:`find` gives the same route.
        """
        for conditions, value in self.routes:
            refusal = conditions.why_not(host, path, method, field, query, client, identity)
            yield value, refusal
            if refusal is None:
                return

    def unreachable(self) -> list[tuple[int, int]]:
        """Routes that can never match, each with the route that takes the last of what it could.

        A route counts when every pair of its host and path patterns lies within a pattern pair of
        an earlier route that asks nothing more.
        """
        found = []
        earlier = _Index()
        for number, (conditions, _) in enumerate(self.routes):
            takers = [
                min((bucket[0] for bucket in earlier.buckets(host, path)), default=number)
                for host in conditions.hosts
                for path in conditions.paths
            ]
            if max(takers) < number:
                found.append((number, max(takers)))
            elif conditions.takes_all:
                earlier.add(number, conditions)
        return found


class _Paths:
    """The routes of one host pattern, by path pattern. A bucket is an ascending list of numbers."""

    __slots__ = ("exact", "lengths", "prefixes")

    def __init__(self) -> None:
        self.exact: dict[bytes, list[int]] = {}
        self.prefixes: dict[bytes, list[int]] = {}
        self.lengths: list[int] = []  # distinct lengths of prefixes, ascending

    def bucket(self, pattern: Pattern) -> list[int]:
        if not pattern.wild:
            return self.exact.setdefault(pattern.text, [])
        if pattern.text not in self.prefixes:
            self.prefixes[pattern.text] = []
            at = bisect_left(self.lengths, len(pattern.text))
            if self.lengths[at : at + 1] != [len(pattern.text)]:
                self.lengths.insert(at, len(pattern.text))
        return self.prefixes[pattern.text]

    def buckets(self, pattern: Pattern) -> Iterator[list[int]]:
        text = pattern.text
        if not pattern.wild and text in self.exact:
            yield self.exact[text]
        prefixes = self.prefixes
        longest = len(text)
        for length in self.lengths:
            if length > longest:
                break
            bucket = prefixes.get(text[:length])
            if bucket is not None:
                yield bucket


class _Index:
    """Route numbers by host pattern, then by path pattern."""

    __slots__ = ("_exact", "_suffixes", "_takes_all")

    def __init__(self) -> None:
        self._exact: dict[bytes, _Paths] = {}
        self._suffixes: dict[bytes, _Paths] = {}  # ".example.com"; b"" is any host
        self._takes_all: set[int] = set()

    def add(self, number: int, conditions: Conditions) -> None:
        """Enter a route; numbers must ascend."""
        if conditions.takes_all:
            self._takes_all.add(number)
        for host in conditions.hosts:
            hosts = self._suffixes if host.wild else self._exact
            paths = hosts.setdefault(host.text, _Paths())
            for path in conditions.paths:
                bucket = paths.bucket(path)
                # Nothing gets past a route that takes all the bucket stands for.
                if not bucket or bucket[-1] not in self._takes_all:
                    bucket.append(number)

    def buckets(self, host: Pattern, path: Pattern) -> Iterator[list[int]]:
        """The buckets whose patterns cover all that two patterns (or literals) can match."""
        text = host.text
        if not host.wild and text in self._exact:
            yield from self._exact[text].buckets(path)
        if not self._suffixes:
            return
        dot = text.find(b".")
        while dot >= 0:
            paths = self._suffixes.get(text[dot:])
            if paths is not None:
                yield from paths.buckets(path)
            dot = text.find(b".", dot + 1)
        paths = self._suffixes.get(b"")
        if paths is not None:
            yield from paths.buckets(path)

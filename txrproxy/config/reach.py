"""Which routes can never match, because one before them takes all that they would.

A condition covers another when everything that fulfils the second fulfils the first. The answer
errs to one side: a route that several others cover only together is not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from txrproxy.config.schema import Match
from txrproxy.config.values import Cidr, FieldName, FieldValue

# Beyond these a warning is not worth the time: routes that share one host and path and differ in
# other conditions, and the combinations of one route's lists.
_SIBLINGS = 64
_COMBINATIONS = 1024

_Key = tuple[str | None, str | None]


def unreachable(matches: Sequence[Match]) -> Iterator[tuple[int, int]]:
    """Pairs: a route that never matches, and the earlier one that covers it."""
    # A covering route has a host pattern and a path pattern that cover the first host and the
    # first path of the covered one (or has none): those are few, so they are looked up.
    earlier: dict[_Key, list[int]] = {}
    for index, match in enumerate(matches):
        hosts = list(_wider_hosts(match.host[0])) if match.host else []
        paths = list(_wider_paths(match.path[0])) if match.path else []
        candidates = (
            candidate
            for host in (None, *hosts)
            for path in (None, *paths)
            for candidate in earlier.get((host, path), ())
        )
        first = next((c for c in candidates if covers(matches[c], match)), None)
        if first is not None:
            yield index, first
        elif len(match.host or "1") * len(match.path or "1") <= _COMBINATIONS:
            for host in match.host or (None,):
                for path in match.path or (None,):
                    siblings = earlier.setdefault((host, path), [])
                    if len(siblings) < _SIBLINGS:
                        siblings.append(index)


def covers(broad: Match, narrow: Match) -> bool:
    """Whether ``broad`` takes every request that ``narrow`` takes."""
    return (
        _all_covered(broad.host, narrow.host, _wider_hosts)
        and _all_covered(broad.path, narrow.path, _wider_paths)
        and broad.path_regex in {None, narrow.path_regex}
        and _all_covered(broad.method, narrow.method, _itself)
        and _values_covered(_lower(broad.header), _lower(narrow.header))
        and _values_covered(broad.query, narrow.query)
        and _clients_covered(broad.client, narrow.client)
        and broad.client_cert in {None, narrow.client_cert}
    )


def _all_covered(
    broad: Sequence[str], narrow: Sequence[str], wider: Callable[[str], Iterable[str]]
) -> bool:
    """Without values a condition takes everything."""
    if not broad:
        return True
    taken = frozenset(broad)
    return bool(narrow) and not any(taken.isdisjoint(wider(value)) for value in narrow)


def _itself(value: str) -> Iterable[str]:
    return (value,)


def _wider_hosts(host: str) -> Iterator[str]:
    """The host patterns that take all that ``host`` takes."""
    yield host
    rest = host.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"


def _wider_paths(path: str) -> Iterator[str]:
    """The path patterns that take all that ``path`` takes."""
    yield path
    stem = path.removesuffix("*")
    for length in range(len(stem), 0, -1):
        yield f"{stem[:length]}*"


def _lower(fields: Mapping[FieldName, tuple[FieldValue, ...]]) -> dict[str, Any]:
    return {name.lower(): values for name, values in fields.items()}


def _values_covered(broad: Mapping[Any, Any], narrow: Mapping[Any, Any]) -> bool:
    return all(
        name in narrow and set(narrow[name]) <= set(values) for name, values in broad.items()
    )


def _clients_covered(broad: tuple[Cidr, ...], narrow: tuple[Cidr, ...]) -> bool:
    return not broad or (bool(narrow) and all(any(_inside(n, b) for b in broad) for n in narrow))


def _inside(narrow: Cidr, broad: Cidr) -> bool:
    return (
        narrow.version == broad.version
        and narrow.prefixlen >= broad.prefixlen
        and narrow.network_address in broad
    )

"""What a route look-up costs with 10 and with 10,000 routes: ``python benchmarks/routing.py``.

Prints µs of CPU a look-up, best of several runs, with the memo out of the way (cold: every address
is asked for once) and warm, and the ratio between the two table sizes. The routes are of three
shapes: one host each; one prefix each on one host, of many lengths; and wildcards of both.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from txrproxy.http.target import normalise_path, parse_target, split_authority
from txrproxy.routing.match import Conditions
from txrproxy.routing.tree import Tree

LOOKUPS = 20_000
RUNS = 5

Address = tuple[bytes, bytes]


def no_field(name: bytes) -> Sequence[bytes]:
    return ()


def hosts(count: int) -> tuple[list[Conditions], Callable[[int], Address]]:
    routes = [Conditions([b"site%d.example.com" % n], [b"/*"]) for n in range(count)]
    return routes, lambda n: (b"site%d.example.com" % (n % count), b"/page/%d" % n)


def prefixes(count: int) -> tuple[list[Conditions], Callable[[int], Address]]:
    words = [bytes([97 + n % 26]) * (1 + n % 9) for n in range(count)]
    routes = [Conditions(paths=[b"/api/%b/%d/*" % (words[n], n)]) for n in range(count)]
    return routes, lambda n: (
        b"example.com",
        b"/api/%b/%d/item/%d" % (words[n % count], n % count, n),
    )


def wildcards(count: int) -> tuple[list[Conditions], Callable[[int], Address]]:
    routes = [Conditions([b"*.t%d.example.com" % n], [b"/app%d/*" % n]) for n in range(count)]
    return routes, lambda n: (
        b"www.t%d.example.com" % (n % count),
        b"/app%d/item/%d" % (n % count, n),
    )


def cost(tree: Tree[int], addresses: Sequence[Address]) -> float:
    """µs of CPU for each address, once through."""
    find = tree.find
    start = time.process_time()
    for host, path in addresses:
        find(host, path, b"GET", no_field, None, "192.0.2.1")
    return (time.process_time() - start) / len(addresses) * 1e6


def each(function: Callable[..., object], *arguments: bytes) -> float:
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        for _ in range(LOOKUPS):
            function(*arguments)
        best = min(best, (time.process_time() - start) / LOOKUPS * 1e6)
    return best


def main() -> None:
    shuffle = random.Random(1).shuffle
    print(f"{'routes':12}{'memo':8}{'10':>10}{'10,000':>10}{'growth':>10}")
    for shape in (hosts, prefixes, wildcards):
        cold, warm = [], []
        for count in (10, 10_000):
            routes, address = shape(count)
            numbered = [(conditions, number) for number, conditions in enumerate(routes)]
            addresses = [address(number) for number in range(LOOKUPS)]
            shuffle(addresses)
            tree = Tree(numbered)
            cold.append(min(cost(tree, addresses) for _ in range(RUNS)))
            few = addresses[:1000] * (LOOKUPS // 1000)
            warm.append(min(cost(tree, few) for _ in range(RUNS)))
        for memo, (small, large) in (("cold", cold), ("warm", warm)):
            print(f"{shape.__name__:12}{memo:8}{small:10.2f}{large:10.2f}{large / small:10.2f}")
    print()
    for name, function, arguments in (
        ("normalise, plain", normalise_path, (b"/static/assets/app.3f2a9c.js",)),
        ("normalise, dots", normalise_path, (b"/a/%2e%2e/admin",)),
        ("parse_target", parse_target, (b"GET", b"/static/assets/app.3f2a9c.js?v=12")),
        ("split_authority", split_authority, (b"www.example.com:8080",)),
    ):
        print(f"{name:20}{each(function, *arguments):10.2f}")


if __name__ == "__main__":
    main()

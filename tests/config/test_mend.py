"""One run reports what does not fit and what else is wrong, and no echoes."""

from __future__ import annotations

import copy
import datetime
import tomllib
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import CONTRACT, MINIMAL, problems, with_route
from txrproxy.config import mend
from txrproxy.config.check import errors, warnings
from txrproxy.config.mend import mended
from txrproxy.config.structure import structure


class AllAtOnce(SynchronousTestCase):
    def check(self, text: str, *expected: str) -> None:
        found = [line.split(": found ")[0].split("; ")[0] for line in problems(text)]
        self.assertEqual(found, list(expected))

    def test_wrong_values_and_wrong_names(self) -> None:
        self.check(
            with_route('name = "b"\npool = "ap"\nwebsocket = 1\nuse = ["p"]'),
            ':11: routes[1].pool: unknown pool "ap"',
            ":12: routes[1].websocket",
            ':13: routes[1].use[0]: unknown policy "p"',
        )

    def test_misspelt_target(self) -> None:
        self.check(with_route('name = "b"\npol = "app"'), ":11: routes[1].pol: unknown key")

    def test_a_name_missing_twice_is_not_a_name_twice(self) -> None:
        text = 'match = { path = "/x" }\npool = "app"\n'
        self.check(
            with_route(f"{text}[[routes]]\n{text}[[routes]]\nname='static'\npool='app'"),
            ":9: routes[1].name: missing",
            ":12: routes[2].name: missing",
        )

    def test_a_pool_that_does_not_fit_is_there(self) -> None:
        for pool in ("5", "{ backends = 5 }", "{}", '{ backends = ["x"] }'):
            found = problems(with_route(f'name = "b"\npool = "x"\n[pools]\nx = {pool}\n'))
            self.assertEqual(len(found), 1, found)
            self.assertIn("pools.x", found[0])

    def test_no_pools_table(self) -> None:
        self.check(
            "pools = 5\n" + MINIMAL.replace('[pools.app]\nbackends = ["', '# "'), ":1: pools"
        )

    def test_a_list_of_strings_with_a_number(self) -> None:
        self.check(
            with_route('name = "b"\npool = "app"\nmatch = { host = ["a", 5], path = ["/", "x"] }'),
            ":12: routes[1].match.host[1]",
            ":12: routes[1].match.path[1]",
        )

    def test_a_route_that_is_no_table(self) -> None:
        self.check(
            "routes = [5, { name = 'a', pool = 'ap' }]\n" + MINIMAL.partition("[[routes]]")[0],
            ":1: routes[0]",
            ':1: routes[1].pool: unknown pool "ap"',
        )


ODD: list[Any] = [5, -1.5, True, "", "x", [], ["x"], [5, "/"], {}, {"x": 5}, datetime.date.min]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a tree where something else could stand."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        yield (*path, name)
        if isinstance(item, dict | list):
            yield from places(item, (*path, name))


class Anything(SynchronousTestCase):
    def test_any_value_at_any_place(self) -> None:
        """Whatever stands where, all the rest is still checked."""
        contract = tomllib.loads(CONTRACT)
        for path in places(contract):
            for odd in ODD:
                tree = copy.deepcopy(contract)
                holder: Any = tree
                for name in path[:-1]:
                    holder = holder[name]
                holder[path[-1]] = copy.deepcopy(odd)
                config, unfit = structure(tree)
                if config is None:
                    self.assertTrue(unfit)
                    config = mended(tree, unfit)
                assert config is not None, (path, odd)
                list(errors(config))
                list(warnings(config))

    def test_giving_up(self) -> None:
        """Should it take too long, the problems so far are all there is."""
        self.patch(mend, "_ROUNDS", 0)
        self.assertEqual(len(problems("version = 2")), 1)

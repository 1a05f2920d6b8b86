"""One run reports what does not fit and what else is wrong, and no echoes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL, problems, with_route


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

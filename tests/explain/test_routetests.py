"""Tests in the file: those that hold, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.explain.samples import EDGE, edge
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load_with_warnings
from txrproxy.explain.routetests import failures


def test(url: str, expect: str, more: str = "") -> str:
    return f'[[tests]]\nrequest = {{ url = "{url}"{more} }}\nexpect = {{ {expect} }}\n'


INSIDE = ', listener = "inside"'
OFFICE = f'{INSIDE}, client = "10.1.0.1"'
HOLD = (
    test("https://example.com/static/a", 'route = "static", pool = "app", cacheable = true'),
    test("https://example.com/static/a", "cacheable = false", ', method = "PUT"'),
    test("http://example.com/static/a", 'status = 308, location = "https://example.com/static/a"'),
    test("http://a/office/x", 'route = "office", policy = "office", status = 403', INSIDE),
    test("http://a/office/x", 'pool = "app", cacheable = false', OFFICE),
    test("http://a/guarded/x", 'pool = "app", policy = "guarded"', OFFICE),
    test("http://a/api/x", 'route = "canary", pool = "next"', ', headers = { x-beta = "1" }'
         + INSIDE),
    test("http://a/api/x", 'route = "canary", pool = "app"', ', headers = { x-beta = "1" }'
         + INSIDE),
    test("http://a/old/x", 'route = "moved", location = "https://example.com/new/x"', INSIDE),
    test("http://a/", "status = 404, cacheable = false", INSIDE),
    test("https://example.com/static/a", 'cacheable = true, status = 504',
         ', headers = { cache-control = "only-if-cached" }'),
    test("http://a/", ""),
)  # fmt: skip


class RouteTestsTests(SynchronousTestCase):
    maxDiff = None

    def failing(self, *tests: str) -> list[str]:
        return [
            f"{finding.path[1]} {finding.path[-1]}: {finding.message}"
            for finding in failures(edge("".join(tests)))
        ]

    def test_no_tests(self) -> None:
        self.assertEqual(self.failing(), [])

    def test_hold(self) -> None:
        self.assertEqual(self.failing(*HOLD, *HOLD), [])

    def test_do_not_hold(self) -> None:
        office = "GET http://a/office/x: "
        self.assertEqual(
            self.failing(
                test("http://a/office/x", 'route = "static", status = 200', OFFICE),
                test("http://a/office/x", 'pool = "app"', INSIDE),
                test("http://a/office/x", 'location = "/", policy = "guarded"', OFFICE),
                test("http://a/old/x", 'location = "/", policy = "guarded"', INSIDE),
                test("http://a/office/x", "cacheable = true", OFFICE),
                test("http://a/office/x", "cacheable = true", INSIDE),
                test("http://a/q", 'route = "next", cacheable = true', INSIDE),
                test("https://example.com/static/a", "cacheable = false"),
                test("https://example.com/static/a", "cacheable = true", ', method = "PUT"'),
            ),
            [
                f'0 route: {office}route "office", expected "static"',
                f'0 status: {office}it is sent to pool "app", expected 200',
                f'1 pool: {office}status 403 (forbidden), expected "app"',
                f'2 location: {office}it is sent to pool "app", expected "/"',
                f'2 policy: {office}the route uses "office", expected "guarded"',
                '3 location: GET http://a/old/x: location "https://example.com/new/x", expected '
                '"/"',
                '3 policy: GET http://a/old/x: the route uses no policy, expected "guarded"',
                f"4 cacheable: {office}the route has no cache, expected true",
                f"5 cacheable: {office}status 403 (forbidden), expected true",
                '6 route: GET http://a/q: no route: status 404 (no_route), expected "next"',
                "6 cacheable: GET http://a/q: no route takes it, expected true",
                '7 cacheable: GET https://example.com/static/a: cache "main" is asked, expected '
                "false",
                "8 cacheable: PUT https://example.com/static/a: the cache is passed by: method, "
                "expected true",
            ],
        )

    def test_split(self) -> None:
        """Either pool of it may have been the one."""
        (found,) = self.failing(
            test("http://a/api/x", 'pool = "mine"', ', headers = { x-beta = "1" }' + INSIDE)
        )
        self.assertRegex(found, 'is sent to pool "(app|next)", expected "mine"')

    def test_located(self) -> None:
        """A failure is a problem of the file as any other, with its line."""
        file = Path(self.mktemp())
        file.write_text(EDGE + test("http://a/", 'route = "next"'))
        line = EDGE.count("\n") + 3
        with self.assertRaises(ConfigErrors) as caught:
            load_with_warnings(file, further=failures)
        (problem,) = caught.exception.problems
        self.assertEqual((problem.file, problem.line), (str(file), line))
        self.assertEqual(problem.key, "tests[0].expect.route")

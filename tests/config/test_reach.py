from __future__ import annotations

import tomllib
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.reach import covers, unreachable
from txrproxy.config.schema import Match
from txrproxy.config.structure import structure


def match(keys: str) -> Match:

    tree = tomllib.loads(f'version = 1\nroutes = [{{ name = "a", match = {{ {keys} }} }}]')
    config, unfit = structure(tree)
    assert config is not None, unfit
    return config.routes[0].match


COVERED = [
    ("", ""),
    ("", 'host = "a", path = "/x", method = "GET", client = "::1", path_regex = "x"'),
    ('host = "a.b"', 'host = "A.B"'),
    ('host = "*.b"', 'host = "a.b"'),
    ('host = "*.b"', 'host = ["x.a.b", "*.a.b"]'),
    ('host = ["x", "*.b"]', 'host = ["a.b", "x"]'),
    ('path = "/*"', 'path = "/a"'),
    ('path = "/a/*"', 'path = ["/a/b/*", "/a/*", "/a/"]'),
    ('path = "/a*"', 'path = "/ab", host = "x"'),
    ('path_regex = "x"', 'path_regex = "x"'),
    ('method = ["GET", "HEAD"]', 'method = "GET"'),
    ('header = { A = ["1", "2"] }', 'header = { a = "1", b = "2" }'),
    ('query = { a = "1" }', 'query = { a = "1" }'),
    ('client = "10.0.0.0/8"', 'client = ["10.1.0.0/16", "10.2.2.2"]'),
]

NOT_COVERED = [
    ('host = "a"', ""),
    ('host = "*.b"', 'host = "b"'),
    ('host = "*.a.b"', 'host = "*.b"'),
    ('host = "a.b"', 'host = "*.b"'),
    ('host = "*.b"', 'host = "ab"'),
    ('path = "/a/*"', 'path = "/a"'),
    ('path = "/a"', 'path = "/a*"'),
    ('path = "/a"', 'path = ["/a", "/b"]'),
    ('path_regex = "x"', ""),
    ('path_regex = "x"', 'path_regex = "y"'),
    ('method = "GET"', ""),
    ('method = "GET"', 'method = ["GET", "POST"]'),
    ('header = { a = "1" }', ""),
    ('header = { a = "1" }', 'header = { a = ["1", "2"] }'),
    ('query = { a = "1" }', 'query = { A = "1" }'),
    ('client = "10.0.0.0/8"', ""),
    ('client = "10.0.0.0/8"', 'client = "0.0.0.0/0"'),
    ('client = "::/0"', 'client = "10.0.0.0/8"'),
]


class Covers(SynchronousTestCase):
    def test_covered(self) -> None:
        for broad, narrow in COVERED:
            self.assertTrue(covers(match(broad), match(narrow)), (broad, narrow))

    def test_not_covered(self) -> None:
        for broad, narrow in NOT_COVERED:
            self.assertFalse(covers(match(broad), match(narrow)), (broad, narrow))


class Unreachable(SynchronousTestCase):
    def test_every_cover_is_found(self) -> None:
        """The lookup finds what the comparison of all with all would."""
        for broad, narrow in COVERED:
            self.assertEqual(list(unreachable([match(broad), match(narrow)])), [(1, 0)])
        for broad, narrow in NOT_COVERED:
            self.assertEqual(list(unreachable([match(broad), match(narrow)])), [])

    def test_the_earliest_is_named_and_the_unreachable_hide_nothing(self) -> None:
        routes = ['path = "/a"', 'path = "/a*"', 'path = "/ab"', 'path = "/abc"', ""]
        self.assertEqual(list(unreachable([*map(match, routes)])), [(2, 1), (3, 1)])

    def test_many_siblings_are_bounded(self) -> None:
        routes = [
            Match(path=match('path = "/*"').path, client=(ip_network(f"10.0.{i >> 8}.{i & 255}"),))
            for i in range(5000)
        ]
        self.assertEqual(list(unreachable(routes)), [])

    def test_long_lists_are_left_out(self) -> None:
        hosts = ", ".join(f'"h{i}"' for i in range(40))
        paths = ", ".join(f'"/{i}"' for i in range(40))
        broad = match(f"host = [{hosts}], path = [{paths}]")
        self.assertEqual(list(unreachable([broad, broad])), [])

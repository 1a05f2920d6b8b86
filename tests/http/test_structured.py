"""Dictionaries of RFC 9651: whole, or nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.structured import MAX_LENGTH, Token, parse_dictionary


class DictionaryTests(SynchronousTestCase):
    def test_table(self) -> None:
        for text, members in (
            (b"", {}),
            (b"  ", {}),
            (b"a", {b"a": True}),
            (b"a=?0, b=?1", {b"a": False, b"b": True}),
            (b"a=1,\tb=-2 ,c=1.5", {b"a": 1, b"b": -2, b"c": 1.5}),
            (b"a=1, a=2", {b"a": 2}),
            (b'a="x, \\"y\\\\"', {b"a": b'x, "y\\'}),
            (b"a=tok/en:x, b=*", {b"a": b"tok/en:x", b"b": b"*"}),
            (b"a=:aGk=:", {b"a": b"aGk="}),
            (b"a=@-5", {b"a": -5}),
            (b'a=%"f%c3%bc"', {b"a": b"f%c3%bc"}),
            (b'a=( 1  "b";x c );y, d=()', {b"a": (1, b"b", b"c"), b"d": ()}),
            (b"a;x;y=1; z=tok, b=1;q=?1", {b"a": True, b"b": 1}),
            (b"*a-_.9=1", {b"*a-_.9": 1}),
        ):
            self.assertEqual(parse_dictionary([text]), members, text)
        self.assertIsInstance((parse_dictionary([b"a=b"]) or {})[b"a"], Token)

    def test_lines_are_one_field(self) -> None:
        self.assertEqual(parse_dictionary([b"a=1", b"b"]), {b"a": 1, b"b": True})
        self.assertEqual(parse_dictionary([]), {})

    def test_malformed(self) -> None:
        for text in (
            b",",
            b"a,",
            b"a, ",
            b"a,,b",
            b"A=1",
            b"a =1",
            b"a= 1",
            b"a=",
            b"a b",
            b"a=1 b",
            b"a=1.",
            b"a=1.2345",
            b"a=1234567890123456",
            b"a=--1",
            b"a=?2",
            b'a="x',
            b'a="\\x"',
            b'a="\xff"',
            b"a=:a b:",
            b"a=@1.5",
            b'a=%"%C3"',
            b"a=&",
            b"a=(1",
            b"a=(1,2)",
            b'a=("a""b")',
            b"a;",
            b"a;X",
            b"a;x=",
            b"1",
        ):
            self.assertIsNone(parse_dictionary([text]), text)

    def test_is_bounded(self) -> None:
        self.assertIsNotNone(parse_dictionary([b"a" * MAX_LENGTH]))
        self.assertIsNone(parse_dictionary([b"a" * (MAX_LENGTH + 1)]))

    @given(st.binary(max_size=40))
    def test_any_bytes(self, text: bytes) -> None:
        parse_dictionary([text])

"""Values and the shapes they are to have."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.admin.schemas import Invalid, boolean, check, integer, one_of, read, table, text

BODY = table(
    {"word": one_of("a", "b", "c"), "number": integer(0, 9), "flag": boolean(), "text": text(5)},
    ("word",),
)


class Check(SynchronousTestCase):
    def said(self, value: Any, schema: Any = BODY) -> str:
        return str(self.assertRaises(Invalid, check, value, schema))

    def test_good(self) -> None:
        for value in (
            {"word": "a"},
            {"word": "b", "number": 0, "flag": False, "text": ""},
            {"word": "b", "number": 9.0, "text": "12345"},
        ):
            check(value, BODY)

    def test_bad(self) -> None:
        for value, said in (
            ([], "the body: expected an object"),
            (None, "the body: expected an object"),
            ({}, "the body: word is missing; expected a, b or c"),
            ({"word": "d"}, "word: expected a, b or c"),
            ({"word": 1}, "word: expected a, b or c"),
            ({"word": "a", "number": 10}, "number: expected a whole number from 0 to 9"),
            ({"word": "a", "number": -1}, "number: expected a whole number from 0 to 9"),
            ({"word": "a", "number": 1.5}, "number: expected a whole number from 0 to 9"),
            ({"word": "a", "number": True}, "number: expected a whole number from 0 to 9"),
            ({"word": "a", "flag": 0}, "flag: expected true or false"),
            ({"word": "a", "text": "123456"}, "text: expected a string of at most 5 characters"),
            (
                {"word": "a", "x": 1},
                "the body: unknown key 'x'; allowed: word, number, flag, text",
            ),
        ):
            self.assertEqual(self.said(value), said)

    def test_true_alone(self) -> None:
        schema = table({"all": boolean(enum=[True])})
        check({"all": True}, schema)
        self.assertEqual(self.said({"all": False}, schema), "all: expected true")

    def test_at_least_one(self) -> None:
        schema = table({"a": boolean(), "b": boolean()}, minProperties=1)
        self.assertEqual(self.said({}, schema), "the body: expected at least one of a, b")

    def test_no_keys(self) -> None:
        said = self.said({"a": 1}, table({}))
        self.assertEqual(said, "the body: unknown key 'a'; allowed: none")


class Read(SynchronousTestCase):
    query = {"prefix": text(default=""), "limit": integer(1, 100, default=10)}

    def test_defaults(self) -> None:
        self.assertEqual(read({}, self.query), {"prefix": "", "limit": 10})

    def test_given(self) -> None:
        found = read({"prefix": "7", "limit": "100"}, self.query)
        self.assertEqual(found, {"prefix": "7", "limit": 100})

    def test_bad(self) -> None:
        for words, said in (
            ({"x": "1"}, "unknown parameter 'x'; allowed: prefix, limit"),
            ({"limit": "0"}, "limit: expected a whole number from 1 to 100"),
            ({"limit": "ten"}, "limit: expected a whole number from 1 to 100"),
            ({"limit": "9" * 99}, "limit: expected a whole number from 1 to 100"),
            ({"limit": ""}, "limit: expected a whole number from 1 to 100"),
        ):
            self.assertEqual(str(self.assertRaises(Invalid, read, words, self.query)), said)
        said = str(self.assertRaises(Invalid, read, {"x": "1"}, {}))
        self.assertEqual(said, "unknown parameter 'x'; allowed: none")

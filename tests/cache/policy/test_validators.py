"""Validators, as they come and as they are compared."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import START, date, response
from txrproxy.cache.policy.validators import (
    entity_tag,
    has_validator,
    is_strong,
    listed_tags,
    opaque,
)


class ValidatorTests(SynchronousTestCase):
    def test_lists(self) -> None:
        self.assertEqual(
            listed_tags([b'"a", W/"b,c" ,x', b'*, "', b""]), [b'"a"', b'W/"b,c"', b"x", b"*"]
        )
        self.assertEqual(len(listed_tags([b"a," * 9999])), 64)

    def test_strength(self) -> None:
        self.assertEqual(
            [opaque(t) for t in (b'"a"', b'W/"a"', b'w/"a"')], [b'"a"', b'"a"', b'w/"a"']
        )
        self.assertEqual([is_strong(t) for t in (b'"a"', b'W/"a"', b"a")], [True, False, False])

    def test_has_validator(self) -> None:
        for lines, has in (
            ((), False),
            ((b'ETag: "a"',), True),
            ((b"ETag: *",), False),
            ((b"Last-Modified: " + date(),), True),
            ((b"Last-Modified: 0",), False),
        ):
            self.assertEqual(has_validator(response(*lines).fields, START), has, lines)
        self.assertEqual(entity_tag(response(b"ETag: *").fields), b"")

"""Cache directives as they are written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.policy.directives import delta, parse_directives, response_directives
from txrproxy.http.fields import EMPTY


class DirectiveTests(SynchronousTestCase):
    def test_table(self) -> None:
        for values, directives in (
            ([], {}),
            ([b""], {}),
            ([b" , ,"], {}),
            ([b"no-cache"], {b"no-cache": [None]}),
            ([b"NO-CACHE , Max-Age=5"], {b"no-cache": [None], b"max-age": [b"5"]}),
            ([b"a=1", b"a=2, b"], {b"a": [b"1", b"2"], b"b": [None]}),
            ([b'a="x, y"'], {b"a": [b"x, y"]}),
            ([b'a="x\\"y"'], {b"a": [b'x"y']}),
            ([b'a=""'], {b"a": [b""]}),
            ([b'a="'], {b"a": [b'"']}),
            ([b"a="], {b"a": [b""]}),
            ([b"a b"], {b"a": [b""]}),
            ([b"a =1"], {b"a": [b""]}),
            ([b"@a"], {}),
            ([b'"a", b'], {b"b": [None]}),
            ([b'a="x, b'], {b"a": [b'"x'], b"b": [None]}),
        ):
            self.assertEqual(parse_directives(values), directives, values)

    def test_delta(self) -> None:
        for argument, seconds in (
            (None, None),
            (b"", None),
            (b"-1", None),
            (b"0", 0.0),
            (b"000", 0.0),
            (b"5", 5.0),
            (b"4294967296", 2.0**31),
            (b"1" * 11, 2.0**31),
        ):
            self.assertEqual(delta(argument), seconds, argument)

    def test_nothing_said(self) -> None:
        said = response_directives(EMPTY, (b"cdn-cache-control",))
        self.assertFalse(
            said.no_store or said.no_cache or said.private or said.shared or said.targeted
        )
        self.assertIsNone(said.lifetime)

    @given(st.lists(st.binary(max_size=30), max_size=3))
    def test_any_bytes(self, values: list[bytes]) -> None:
        for name in parse_directives(values):
            self.assertEqual(name, name.lower())

    def test_long_ones_take_no_time(self) -> None:
        for value in (b'"\\' * 16000, b'a="' * 10000, b'",' * 16000, b"," * 32000):
            parse_directives([value])

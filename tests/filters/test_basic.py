from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.basic import LONGEST, challenge, credentials


def field(pair: bytes, scheme: bytes = b"Basic ") -> bytes:
    return scheme + base64.b64encode(pair)


class BasicTests(SynchronousTestCase):
    def test_taken(self) -> None:
        for value, pair in (
            (field(b"a:b"), (b"a", b"b")),
            (field(b"a:b:c"), (b"a", b"b:c")),
            (field(b"a:"), (b"a", b"")),
            (field(b"a:b", b"bAsIc   "), (b"a", b"b")),
            (field("é:ü".encode()), ("é".encode(), "ü".encode())),
        ):
            self.assertEqual(credentials([value]), pair)

    def test_not_taken(self) -> None:
        good = field(b"a:b")
        for values in (
            [],
            [good, good],
            [b""],
            [b"Basic"],
            [b"Basic YQ"],
            [b"Basic YTpi="],
            [b"Basic YTo=="],
            [b"Basic YTp="],  # bits to spare that are not 0
            [b"Basic !!!!"],
            [field(b"ab")],
            [field(b":b")],
            [field(b"a:b\n")],
            [field(b"a\tb:c")],
            [field(b"a:\0")],
            [field(b"a:b", b"Bearer ")],
            [field(b"a:" + b"x" * LONGEST)],
        ):
            self.assertIsNone(credentials(values), values)

    @given(st.binary(max_size=100))
    def test_anything(self, value: bytes) -> None:
        credentials([value])
        credentials([b"Basic " + value])

    def test_challenge(self) -> None:
        self.assertEqual(
            challenge('a "b" \\').__getitem__(2),
            b'WWW-Authenticate: Basic realm="a \\"b\\" \\\\", charset="UTF-8"\r\n',
        )

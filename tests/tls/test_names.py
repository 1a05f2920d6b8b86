from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.tls.names import find, normalise, wildcard


class NormaliseTests(SynchronousTestCase):
    def test_spellings(self) -> None:
        for written, expected in {
            "a.example": "a.example",
            "A.Example.": "a.example",
            b"A.EXAMPLE": "a.example",
            "bücher.example": "xn--bcher-kva.example",
            "XN--BCHER-KVA.example": "xn--bcher-kva.example",
            "*.A.example": "*.a.example",
            "my_host-1": "my_host-1",
            "127.0.0.1": "127.0.0.1",
            "::0001": "::1",
            "[::1]": "::1",
            "a" * 63 + ".b": "a" * 63 + ".b",
        }.items():
            self.assertEqual(normalise(written), expected, written)

    def test_no_names(self) -> None:
        for written in (
            "",
            ".",
            "a..b",
            ".a",
            "a.example..",
            "a b",
            "a/b",
            "a\0b",
            "*",
            "a.*.b",
            "*a.example",
            "a" * 64,
            ".".join(["a" * 60] * 5),
            "a" * 100_000,
            b"\xff.example",
            "b\ufeffü" + "ü" * 100,
        ):
            self.assertIsNone(normalise(written), written)

    @given(st.text() | st.binary())
    def test_never_fails_and_is_stable(self, written: str | bytes) -> None:
        name = normalise(written)
        if name is not None:
            self.assertEqual(normalise(name), name)


class FindTests(SynchronousTestCase):
    def test_wildcards_take_one_label(self) -> None:
        self.assertEqual(wildcard("www.a.example"), "*.a.example")
        for name in ("localhost", "127.0.0.1", "::1", "*.a.example"):
            self.assertEqual(wildcard(name), "", name)

    def test_exact_before_wildcard(self) -> None:
        table = {"www.a.example": 1, "*.a.example": 2, "a.example": 3, "127.0.0.1": 4}
        for name, expected in {
            "www.a.example": 1,
            "x.a.example": 2,
            "a.example": 3,
            "x.y.a.example": None,
            "127.0.0.1": 4,
            "b.example": None,
        }.items():
            self.assertEqual(find(table, name), expected, name)

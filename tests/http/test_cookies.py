"""Cookies of a request by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.cookies import MAX_PAIRS, cookie_values


class CookieTests(SynchronousTestCase):
    def test_values(self) -> None:
        for lines, values in (
            ([], []),
            ([b""], []),
            ([b"txr=a"], [b"a"]),
            ([b"other=b; txr=a"], [b"a"]),
            ([b"txr=a;x=1;txr=b", b"txr=c"], [b"a", b"b", b"c"]),
            ([b" txr = a ;\ttxr=\tb\t"], [b"a", b"b"]),
            ([b"txr=a=b=="], [b"a=b=="]),
            ([b'txr="a"'], [b'"a"']),
            ([b"txr="], [b""]),
            ([b"txr"], []),
            ([b"TXR=a; xtxr=b; txrx=c; x=txr=d; $txr=e"], []),
            ([b"a=1,txr=b"], []),
            ([b"=txr; =; ;;"], []),
        ):
            self.assertEqual(cookie_values(lines, b"txr"), values, lines)

    def test_bound(self) -> None:
        line = b"a=b;" * (MAX_PAIRS - 1) + b"txr=1;txr=2" + b";" * 30_000
        self.assertEqual(cookie_values([line], b"txr"), [b"1"])

    @given(st.lists(st.tuples(st.sampled_from([b"txr", b"a", b"xtxr"]), st.binary(max_size=4))))
    def test_any(self, pairs: list[tuple[bytes, bytes]]) -> None:
        clean = [(name, value.translate(None, b"; \t")) for name, value in pairs]
        line = b"; ".join(b"%b=%b" % pair for pair in clean)
        expected = [value for name, value in clean if name == b"txr"]
        self.assertEqual(cookie_values([line], b"txr"), expected)

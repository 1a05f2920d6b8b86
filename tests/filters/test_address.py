from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.address import number


class NumberTests(SynchronousTestCase):
    def test_table(self) -> None:
        for text, expected in (
            (b"0.0.0.0", (0, False)),
            (b"192.0.2.255", (0xC00002FF, False)),
            (b"::", (0, True)),
            (b"::1", (1, True)),
            (b"1::", (1 << 112, True)),
            (b"2001:DB8::1", (0x20010DB8 << 96 | 1, True)),
            (b"1:2:3:4:5:6:7:8", (0x00010002000300040005000600070008, True)),
            (b"1:2:3:4:5:6:7::", (0x00010002000300040005000600070000, True)),
            (b"::ffff:192.0.2.1", (0xC0000201, False)),
            (b"::ffff:c000:201", (0xC0000201, False)),
            (b"fe80::1%eth0", (0xFE80 << 112 | 1, True)),
        ):
            for _ in range(2):
                self.assertEqual(number(text), expected, text)

    def test_none(self) -> None:
        for text in (
            b"",
            b"unknown",
            b"1.2.3",
            b"1.2.3.4.5",
            b"1.2.3.256",
            b"1.2.3.04",
            b"1.2.3.+4",
            b"1.2.3. 4",
            b":",
            b":::",
            b"1:2:3:4:5:6:7",
            b"1:2:3:4:5:6:7:8:9",
            b"1:2:3:4:5:6:7:8::",
            b"1::2::3",
            b"1:::2",
            b"::12345",
            b"::1 2:3",
            b"::  12:3",
            b"::+123:4",
            b"::1_23:4",
            b"::g",
            b"::\xff",
            b"fe80::1.2.3",
            b"::1\0",
        ):
            with self.assertRaises(ValueError, msg=text):
                number(text)

    @given(st.integers(0, 2**128 - 1) | st.integers(0, 2**64), st.booleans())
    def test_as_ipaddress_has_it(self, value: int, exploded: bool) -> None:
        address = IPv6Address(value)
        text = address.exploded if exploded else address.compressed
        mapped = address.ipv4_mapped
        expected = (value, True) if mapped is None else (int(mapped), False)
        self.assertEqual(number(text.encode()), expected)

    @given(st.text("0123456789abcdef:.", max_size=20).filter(lambda text: "%" not in text))
    def test_nothing_that_ipaddress_refuses(self, text: str) -> None:
        try:
            expected = int(ip_address(text))
        except ValueError:
            self.assertRaises(ValueError, number, text.encode())
        else:
            found, v6 = number(text.encode())
            self.assertEqual(found, expected if v6 == (":" in text) else expected & 0xFFFFFFFF)

"""PROXY headers: whole, byte by byte, with trailing data; and everything that is none."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.transport.proxyprotocol import (
    CRC32C,
    NEED_MORE,
    V2_MAX,
    BadProxyHeader,
    Header,
    Mode,
    NeedMore,
    crc32c,
    parse,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
A4, B4 = ("192.0.2.1", 56324), ("198.51.100.1", 443)
A6, B6 = ("2001:db8::1", 1), ("2001:db8::2", 65535)


def packed(*addresses: tuple[str, int]) -> bytes:
    return b"".join(ipaddress.ip_address(host).packed for host, _ in addresses) + b"".join(
        port.to_bytes(2) for _, port in addresses
    )


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2) + value


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body


def with_checksum(addresses: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    blank = v2(addresses + before + tlv(CRC32C, bytes(4)) + after)
    return v2(addresses + before + tlv(CRC32C, crc32c(blank).to_bytes(4)) + after)


GOOD: dict[str, tuple[bytes, Header]] = {
    "v1 tcp4": (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Header(A4, B4)),
    "v1 tcp6": (b"PROXY TCP6 2001:DB8:0::1 2001:db8::2 1 65535\r\n", Header(A6, B6)),
    "v1 port 0": (
        b"PROXY TCP4 0.0.0.0 255.255.255.255 0 0\r\n",
        Header(("0.0.0.0", 0), ("255.255.255.255", 0)),
    ),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", Header()),
    "v1 unknown with addresses": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Header()),
    "v1 longest": (
        b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        b" ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        Header(),
    ),
    "v2 tcp4": (v2(packed(A4, B4)), Header(A4, B4)),
    "v2 tcp6": (v2(packed(A6, B6), family=0x21), Header(A6, B6)),
    "v2 unix": (v2(bytes(216), family=0x31), Header()),
    "v2 unspec": (v2(b"", family=0x00), Header()),
    "v2 unspec with anything": (v2(b"\xff" * 7, family=0x00), Header()),
    "v2 local": (v2(b"", command=0x20, family=0x00), Header(local=True)),
    "v2 local with anything": (v2(b"\xff" * 300, command=0x20, family=0xFF), Header(local=True)),
    "v2 tlvs": (
        v2(packed(A4, B4) + tlv(0x02, b"example.com") + tlv(0x04, b"") + tlv(0x20, b"\x01raw")),
        Header(A4, B4, tlvs={0x02: b"example.com", 0x04: b"", 0x20: b"\x01raw"}),
    ),
    "v2 tlv twice": (
        v2(packed(A4, B4) + tlv(0x04, b"x") + tlv(0x04, b"y")),
        Header(A4, B4, tlvs={0x04: b"y"}),
    ),
    "v2 longest": (
        v2(packed(A4, B4) + tlv(0x04, bytes(V2_MAX - 12 - 3))),
        Header(A4, B4, tlvs={0x04: bytes(V2_MAX - 12 - 3)}),
    ),
}

CHECKED = with_checksum(packed(A4, B4), tlv(0x01, b"h2"), tlv(0x02, b"example.com"))

BAD: dict[str, bytes] = {
    "http": b"GET / HTTP/1.1\r\n",
    "tls": b"\x16\x03\x01",
    "lower case": b"proxy TCP4",
    "no space": b"PROXY\r\n",
    "no protocol": b"PROXY \r\n",
    "protocol": b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "protocol case": b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
    "field missing": b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    "field too many": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    "two spaces": b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
    "trailing space": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    "tab": b"PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
    "address range": b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    "address short": b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
    "address leading zero": b"PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n",
    "address name": b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
    "address not ascii": b"PROXY TCP4 192.0.2.\xb9 192.0.2.2 1 2\r\n",
    "family 6 in 4": b"PROXY TCP4 ::1 ::2 1 2\r\n",
    "family 4 in 6": b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    "zone": b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
    "port range": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    "port long": b"PROXY TCP4 192.0.2.1 192.0.2.2 000001 2\r\n",
    "port leading zero": b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    "port sign": b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
    "port negative": b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
    "port empty": b"PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
    "port unicode digit": "PROXY TCP4 192.0.2.1 192.0.2.2 \u0661 2\r\n".encode(),
    "bare lf": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\nx",
    "bare cr": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx",
    "lf inside": b"PROXY UNKNOWN \n\r\n",
    "cr inside": b"PROXY UNKNOWN \r \r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * 93,
    "one too long": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "signature": SIGNATURE[:-1] + b"x",
    "version 1 in binary": SIGNATURE + b"\x11",
    "version 3": SIGNATURE + b"\x31",
    "command": SIGNATURE + b"\x22",
    "family 4": v2(bytes(12), family=0x41),
    "transport unspec": v2(packed(A4, B4), family=0x10),
    "transport datagram": v2(packed(A4, B4), family=0x12),
    "unspec stream": v2(b"", family=0x01),
    "too short for v4": v2(bytes(11)),
    "too short for v6": v2(bytes(35), family=0x21),
    "too short for unix": v2(bytes(215), family=0x31),
    "too long": v2(bytes(V2_MAX + 1))[:16],
    "local too long": v2(bytes(V2_MAX + 1), command=0x20)[:16],
    "tlv cut in its head": v2(packed(A4, B4) + b"\x04\x00"),
    "tlv past the end": v2(packed(A4, B4) + b"\x04\x00\x02x"),
    "checksum": v2(packed(A4, B4) + tlv(CRC32C, b"abcd")),
    "checksum length": v2(packed(A4, B4) + tlv(CRC32C, b"abc")),
    "checksum twice": with_checksum(packed(A4, B4), after=tlv(CRC32C, b"abcd")),
    "checksum of other bytes": CHECKED[:-1] + b"M",
}


def byte_by_byte(data: bytes, mode: Mode = "any") -> NeedMore | tuple[Header, int]:
    """What ``parse`` says of the shortest beginning that decides."""
    for size in range(len(data) + 1):
        result = parse(data[:size], mode)
        if not isinstance(result, NeedMore):
            return result
    return NEED_MORE


class ParseTests(SynchronousTestCase):
    def test_whole(self) -> None:
        for name, (data, header) in GOOD.items():
            self.assertEqual(parse(data), (header, len(data)), name)

    def test_byte_by_byte(self) -> None:
        for name, (data, header) in GOOD.items():
            if len(data) < 1000:
                self.assertEqual(byte_by_byte(data), (header, len(data)), name)

    def test_with_trailing_data(self) -> None:
        for name, (data, header) in GOOD.items():
            for rest in (b"GET / HTTP/1.1\r\n\r\n", b"\r\n", data):
                self.assertEqual(parse(data + rest), (header, len(data)), name)

    def test_modes(self) -> None:
        for name, (data, header) in GOOD.items():
            allowed: Mode = "v1" if name.startswith("v1") else "v2"
            other: Mode = "v2" if allowed == "v1" else "v1"
            self.assertEqual(parse(data, allowed), (header, len(data)), name)
            for size in range(1, len(data)) if len(data) < 1000 else ():
                with self.assertRaises(BadProxyHeader):
                    parse(data[:size], other)

    def test_nothing_yet(self) -> None:
        for mode in ("v1", "v2", "any"):
            self.assertIs(parse(b"", mode), NEED_MORE)
        self.assertEqual(repr(NEED_MORE), "NEED_MORE")

    def test_bad(self) -> None:
        for name, data in BAD.items():
            with self.assertRaises(BadProxyHeader, msg=name):
                parse(data)
            with self.assertRaises(BadProxyHeader, msg=name):
                parse(data + b"trailing data")
            with self.assertRaises(BadProxyHeader, msg=name):
                byte_by_byte(data)

    def test_checksum(self) -> None:
        parsed = parse(CHECKED + b"more")
        assert not isinstance(parsed, NeedMore)
        header, consumed = parsed
        self.assertEqual(consumed, len(CHECKED))
        self.assertEqual(set(header.tlvs), {0x01, 0x02, CRC32C})
        for index in range(16, len(CHECKED)):
            damaged = CHECKED[:index] + bytes([CHECKED[index] ^ 1]) + CHECKED[index + 1 :]
            if damaged[28] == CHECKED[28] and damaged[33] == CHECKED[33]:  # the types of TLVs
                with self.assertRaises(BadProxyHeader, msg=str(index)):
                    parse(damaged)

    def test_the_castagnoli_polynomial(self) -> None:
        """RFC 3720 appendix B.4."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(bytes(32)), 0x8A9136AA)
        self.assertEqual(crc32c(b"\xff" * 32), 0x62A8AB43)
        self.assertEqual(crc32c(bytes(range(32))), 0x46DD794E)

    @settings(deadline=None)
    @given(st.binary(max_size=200), st.sampled_from(["v1", "v2", "any"]))
    def test_anything_else_is_refused(self, data: bytes, mode: Mode) -> None:
        try:
            result = parse(data, mode)
        except BadProxyHeader:
            return
        self.assertTrue(
            isinstance(result, NeedMore) or data.startswith((b"PROXY ", SIGNATURE)), data
        )

    @settings(deadline=None)
    @given(
        st.one_of(
            st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
            st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
        ),
        st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
        st.binary(max_size=20),
    )
    def test_what_is_written_is_read(
        self,
        hosts: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
        ports: tuple[int, int],
        rest: bytes,
    ) -> None:
        source, destination = zip(map(str, hosts), ports, strict=True)
        version = hosts[0].version
        line = f"PROXY TCP{version} {hosts[0]} {hosts[1]} {ports[0]} {ports[1]}\r\n".encode()
        binary = v2(packed(source, destination), family=0x11 if version == 4 else 0x21)
        for data in (line, binary):
            self.assertEqual(parse(data + rest), (Header(source, destination), len(data)))

    @settings(deadline=None)
    @given(st.sampled_from(sorted(GOOD)), st.data())
    def test_damage_never_goes_unnoticed_or_breaks_the_parser(
        self, name: str, data: st.DataObject
    ) -> None:
        good, _ = GOOD[name]
        index = data.draw(st.integers(0, len(good) - 1))
        damaged = good[:index] + bytes([data.draw(st.integers(0, 255))]) + good[index + 1 :]
        try:
            result = parse(damaged)
        except BadProxyHeader:
            return
        self.assertTrue(isinstance(result, NeedMore) or result[1] <= len(damaged))

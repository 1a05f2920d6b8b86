"""Messages survive any split, and nothing broken gets through."""

from __future__ import annotations

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.waf.wire import MAX_MESSAGE, BadMessage, Messages, pack, read, unpack


class WireTests(SynchronousTestCase):
    @given(st.lists(st.lists(st.binary(max_size=50)), max_size=5), st.integers(1, 40))
    def test_any_split(self, messages: list[list[bytes]], size: int) -> None:
        data = b"".join(map(pack, messages))
        reader = Messages()
        found = []
        for at in range(0, len(data), size):
            found += reader.feed(data[at : at + size])
        self.assertEqual(found, messages)

    @given(st.binary(max_size=60))
    def test_noise(self, data: bytes) -> None:
        try:
            parts = unpack(data)
        except BadMessage:
            return
        self.assertEqual(pack(parts)[4:], data)

    def test_reads(self) -> None:
        stream = BytesIO(pack([b"a", b""]) + pack([]) + b"\0\0\0\x09\0\0")
        self.assertEqual(read(stream), [b"a", b""])
        self.assertEqual(read(stream), [])
        self.assertIsNone(read(stream))
        self.assertIsNone(read(stream))

    def test_bound(self) -> None:
        huge = (MAX_MESSAGE + 1).to_bytes(4, "big")
        self.assertRaises(BadMessage, read, BytesIO(huge))
        self.assertRaises(BadMessage, list, Messages().feed(huge))

    def test_cut(self) -> None:
        for data in (b"\0\0\0", b"\0\0\0\x01"):
            self.assertRaises(BadMessage, unpack, data)

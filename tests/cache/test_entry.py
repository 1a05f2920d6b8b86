"""The form of a stored response on disk: what goes in comes out, and nothing else does."""

from __future__ import annotations

import struct
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.entry import (
    BLOCK,
    MAX_HEAD,
    Corrupt,
    Entry,
    body_checksum,
    body_offset,
    decode_head,
    decode_marker,
    decode_table,
    encode_head,
    encode_marker,
    encode_slot,
    encode_table,
    head_size,
    is_marker,
    name_of,
    primary_name,
    slot_place,
    slot_size,
    table_size,
    variant_name,
)
from txrproxy.cache.stored import Stored
from txrproxy.http.head import parse_response_head

HEAD = parse_response_head(b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Type: text/plain')


def response(**given: object) -> Stored:
    values = {"key": b"key", "url": b"http://example.com/", "head": HEAD, "length": 5}
    values |= {"requested": 10.5, "responded": 11.25}
    return Stored(**values | given)  # type: ignore[arg-type]


def facts(stored: Stored) -> tuple[object, ...]:
    head = stored.head
    rest = [getattr(stored, name) for name in Stored.__slots__ if name != "head"]
    return (*rest, head.status, head.status_line, head.http_11, head.fields.block)


class HeadTests(SynchronousTestCase):
    def assert_kept(self, stored: Stored, checksum: int = 7) -> Entry:
        data = encode_head(stored, checksum)
        self.assertEqual(len(data), body_offset(slot_size(stored)))
        entry = decode_head(data)
        self.assertEqual(facts(entry.stored), facts(stored))
        self.assertEqual((entry.checksum, entry.offset, entry.sequence), (checksum, len(data), 1))
        return entry

    def test_kept(self) -> None:
        entry = self.assert_kept(response())
        self.assertEqual(entry.size, entry.offset + 5)

    def test_kept_whole(self) -> None:
        self.assert_kept(
            response(
                head=parse_response_head(b"HTTP/1.0 404 "),
                length=5 * BLOCK,
                vary=[b"accept", b"accept-language"],
                variant=b"text/html\0de",
                tags=[b"one", b"", b"two"],
                invalidated=True,
            )
        )

    @given(st.binary(), st.binary(), st.lists(st.binary(max_size=300)), st.integers(0, 2**63))
    @settings(max_examples=50, deadline=None)
    def test_any(self, key: bytes, variant: bytes, tags: list[bytes], length: int) -> None:
        self.assert_kept(response(key=key, url=key, variant=variant, tags=tags, length=length))

    def test_every_flipped_bit_is_found(self) -> None:
        stored = response(vary=[b"accept"], variant=b"v", tags=[b"t"])
        whole = encode_head(stored, 7)
        used = len(whole) - slot_size(stored)
        used = len(whole[:used].rstrip(b"\0"))  # what follows is room, and says nothing
        for place in range(used):
            for bit in range(8):
                data = bytearray(whole)
                data[place] ^= 1 << bit
                self.assertRaises(Corrupt, decode_head, data)

    def test_every_cut_is_found(self) -> None:
        whole = encode_head(response(), 7)
        for size in range(len(whole)):
            self.assertRaises(Corrupt, decode_head, whole[:size])

    def test_not_ours(self) -> None:
        for data in (b"", b"PNG", bytes(4096), b"<html>" * 1000):
            self.assertRaises(Corrupt, decode_head, data)

    def test_sizes_out_of_bounds(self) -> None:
        magic = encode_head(response(), 7)[:8]
        for slot in (0, 11, MAX_HEAD, 2**32 - 1):
            self.assertRaises(Corrupt, head_size, magic + struct.pack("<I", slot))

    def test_too_large(self) -> None:
        for much in (
            {"key": bytes(MAX_HEAD)},
            {"tags": [b"t"] * 70_000},
            {"tags": [bytes(70_000)]},
            {"vary": [b"v"] * 70_000},
        ):
            self.assertRaises(ValueError, slot_size, response(**much))

    def test_a_place_for_the_body(self) -> None:
        """A head that has grown since may take all of its slot, and no more."""
        offset = body_offset(slot_size(response()))
        for size in (60, 64, 500):
            grown = response(url=b"http://example.com/key" + b"x" * size)
            if size > 64 + 255:
                self.assertRaises(ValueError, encode_head, grown, 7, offset)
                continue
            data = encode_head(grown, 7, offset)
            self.assertEqual((len(data), decode_head(data).stored.url), (offset, grown.url))

    def sealed(self, record: bytes) -> bytes:
        """A file whose checksums hold, whatever it says."""
        prefix = encode_head(response(), 7)[:8] + struct.pack("<I", 512)
        rest = struct.pack("<II", 1, len(record)) + record
        slot = struct.pack("<I", crc32(rest, crc32(prefix))) + rest
        return prefix + slot.ljust(512, b"\0") + bytes(512)

    def test_records_that_make_no_sense(self) -> None:
        stored = response()
        whole = encode_head(stored, 7)
        record = whole[24:].rstrip(b"\0")
        self.assertEqual(facts(decode_head(self.sealed(record)).stored), facts(stored))
        for bad in (
            b"",
            record[:20],
            record + b"more",
            record[:-1],
            record.replace(b"HTTP/1.1 200", b"HTTP/1.1 2x0"),
            record.replace(b"ETag:", b"ETa\x00:"),
        ):
            self.assertRaises(Corrupt, decode_head, self.sealed(bad))


class SlotTests(SynchronousTestCase):
    def test_written_in_turns(self) -> None:
        """Each slot goes over the one that is not in force, and the newest counts."""
        data = bytearray(encode_head(response(), 7))
        for sequence in range(2, 6):
            entry = decode_head(data)
            place, size = slot_place(entry)
            slot = encode_slot(response(responded=float(sequence)), 7, size, sequence)
            assert slot is not None
            data[place : place + size] = slot
            entry = decode_head(data)
            self.assertEqual((entry.sequence, entry.stored.responded), (sequence, sequence))

    def test_torn(self) -> None:
        """A slot that was cut short leaves the other one in force."""
        whole = encode_head(response(), 7)
        entry = decode_head(whole)
        place, size = slot_place(entry)
        slot = encode_slot(response(responded=99.0), 7, size, 2)
        assert slot is not None
        needed = len(slot.rstrip(b"\0"))
        for written in range(size):
            data = whole[:place] + slot[:written] + whole[place + written :]
            found = decode_head(data).stored.responded
            self.assertEqual(found, 99.0 if written >= needed else 11.25, written)

    def test_no_room(self) -> None:
        entry = decode_head(encode_head(response(), 7))
        _, size = slot_place(entry)
        self.assertIsNone(encode_slot(response(tags=[bytes(size)]), 7, size, 2))

    def test_some_room(self) -> None:
        """A head may grow a little."""
        entry = decode_head(encode_head(response(), 7))
        _, size = slot_place(entry)
        self.assertIsNotNone(encode_slot(response(tags=[bytes(50)]), 7, size, 2))


class TableTests(SynchronousTestCase):
    def test_one_block(self) -> None:
        self.assertEqual(encode_table([9]), b"")
        self.assertEqual(body_checksum([9]), 9)
        self.assertEqual(table_size(BLOCK), 0)
        self.assertEqual(decode_table(b"", Entry(response(), 9, 0, 1)), (9,))

    def test_no_body(self) -> None:
        self.assertEqual(encode_table([]), b"")
        self.assertEqual(body_checksum([]), 0)
        self.assertEqual(decode_table(b"", Entry(response(length=0), 0, 0, 1)), ())

    def test_blocks(self) -> None:
        table = encode_table([1, 2, 3])
        stored = response(length=2 * BLOCK + 1)
        entry = Entry(stored, body_checksum([1, 2, 3]), 100, 1)
        self.assertEqual(table_size(stored.length), len(table))
        self.assertEqual(entry.size, 100 + stored.length + 12)
        self.assertEqual(decode_table(table, entry), (1, 2, 3))
        for bad in (b"", table[:-1], table[:-1] + b"\1"):
            self.assertRaises(Corrupt, decode_table, bad, entry)


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        name = primary_name(b"key")
        self.assertRegex(name, r"^[0-9a-f]/[0-9a-f]/[0-9a-f]{30}$")
        self.assertNotEqual(name, primary_name(b"other"))
        one = variant_name(name, (b"accept",), b"a")
        self.assertRegex(one, rf"^{name}\.[0-9a-f]{{16}}$")
        self.assertNotEqual(one, variant_name(name, (b"accept",), b"b"))
        self.assertNotEqual(one, variant_name(name, (b"cookie",), b"a"))

    def test_of_a_response(self) -> None:
        stored = response()
        self.assertEqual(name_of(stored, False), primary_name(b"key"))
        self.assertEqual(name_of(stored, True), variant_name(primary_name(b"key"), (), b""))


class MarkerTests(SynchronousTestCase):
    def test_kept(self) -> None:
        for varies in (
            ((b"accept",),),
            ((), (b"accept", b"cookie")),
            ((b"a",), ()),
            ((),),
        ):
            data = encode_marker(b"key\n,", varies)
            self.assertTrue(is_marker(data))
            self.assertEqual(decode_marker(data), (b"key\n,", varies))
            self.assertRaises(Corrupt, decode_head, data)
        self.assertFalse(is_marker(encode_head(response(), 7)))

    def test_damaged(self) -> None:
        data = encode_marker(b"key", [(b"accept",), ()])
        for place in range(len(data)):
            self.assertRaises(Corrupt, decode_marker, data[:place])
            flipped = bytearray(data)
            flipped[place] ^= 4
            self.assertRaises(Corrupt, decode_marker, bytes(flipped))

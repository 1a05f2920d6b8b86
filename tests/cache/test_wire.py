"""Values between processes."""

from __future__ import annotations

import errno
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import response
from txrproxy.cache.entry import Corrupt, encode_record
from txrproxy.cache.index import Record
from txrproxy.cache.owner import NoRoom, NotReady
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.stored import Stored
from txrproxy.cache.wire import pack, pack_error, unpack, unpack_error


def through(value: Any) -> Any:
    return unpack(json.loads(json.dumps(pack(value))))


class WireTests(SynchronousTestCase):
    def test_values(self) -> None:
        every = bytes(range(256))
        for value in (
            None,
            5,
            "text",
            every,
            (),
            ((b"a", b"b"), (b"c",)),
            [b"x", 1.5, [True]],
            {"size": 3, "inner": {"b": b"x"}},
            Purge("tag", every, True),
            Purged(3, 4),
            Record("a/b", b"key", None, 7, tags=(b"t",)),
        ):
            self.assertEqual(through(value), value)
            self.assertIs(type(through(value)), type(value))

    def test_responses(self) -> None:
        stored = response(b"\xff\0", vary=[b"accept"], variant=b"\x80", tags=[b"t"], length=9)
        (again,) = through([stored])
        self.assertIsInstance(again, Stored)
        self.assertEqual(encode_record(again, 0), encode_record(stored, 0))

    def test_a_broken_response(self) -> None:
        self.assertRaises(Corrupt, unpack, {"Stored": "no record"})

    def test_errors(self) -> None:
        for error in (NoRoom(), NotReady()):
            self.assertIs(type(unpack_error(pack_error(error))), type(error))
        full = unpack_error(pack_error(OSError(errno.ENOSPC, "No space left on device")))
        assert isinstance(full, OSError)
        self.assertEqual((full.errno, full.strerror), (errno.ENOSPC, "No space left on device"))
        bad = unpack_error(pack_error(Corrupt("size")))
        self.assertEqual((type(bad), str(bad)), (Corrupt, "size"))
        other = unpack_error(pack_error(KeyError("x")))
        self.assertEqual((type(other), str(other)), (OSError, "'x'"))

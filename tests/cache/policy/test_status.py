"""RFC 9211, and Age."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.policy.status import forwarded, hit, hit_lines, unanswered
from txrproxy.http.fields import is_field_value


class StatusTests(SynchronousTestCase):
    def test_hit(self) -> None:
        self.assertEqual(hit(376.9), b"txrproxy; hit; ttl=376")
        self.assertEqual(hit(-0.5), b"txrproxy; hit; ttl=-1")
        self.assertEqual(hit(1, b"k", b"memory"), b'txrproxy; hit; ttl=1; key="k"; detail=memory')

    def test_lines(self) -> None:
        self.assertEqual(hit_lines(9.9, 50.1), b"Age: 9\r\nCache-Status: txrproxy; hit; ttl=50\r\n")
        self.assertEqual(
            hit_lines(1e12, -1e12, b"k"),
            b'Age: 2147483648\r\nCache-Status: txrproxy; hit; ttl=-1000000000000; key="k"\r\n',
        )
        self.assertIn(b"; detail=disk\r\n", hit_lines(0, 1, detail=b"disk"))

    def test_forwarded(self) -> None:
        self.assertEqual(forwarded(b"uri-miss"), b"txrproxy; fwd=uri-miss")
        self.assertEqual(
            forwarded(b"miss", stored=True, collapsed=True),
            b"txrproxy; fwd=miss; stored; collapsed",
        )
        self.assertEqual(
            forwarded(b"stale", 304, ttl=-2.5, key=b"k", detail=b"d"),
            b'txrproxy; fwd=stale; fwd-status=304; ttl=-3; key="k"; detail=d',
        )

    def test_unanswered(self) -> None:
        self.assertEqual(unanswered(b"d"), b"txrproxy; detail=d")
        self.assertEqual(unanswered(b"d", b"k"), b'txrproxy; key="k"; detail=d')

    def test_any_key_is_a_string(self) -> None:
        value = hit(1, b'r host,path\nhttp://h/"\\\xff\x00\r' + b"x" * 9999)
        self.assertTrue(is_field_value(value))
        self.assertIn(b'key="r host,path http://h/\\"\\\\...xxx', value)
        self.assertLess(len(value), 600)

"""Keys of requests for hashing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.keys import compile_key
from txrproxy.config.forms.words import request_key
from txrproxy.http.head import parse_request_head

HEAD = parse_request_head(
    b"GET /a/../B%20c?d=e HTTP/1.1\r\nHost: x\r\nX-User: anna\r\nx-user: ben\r\n"
    b"Cookie: a=1; sid=first; Sid=third\r\nCookie: sid=second"
)
BARE = parse_request_head(b"GET / HTTP/1.1\r\nHost: x\r\nX-User:\r\nCookie: sid=")


class KeyTests(SynchronousTestCase):
    def test_keys(self) -> None:
        for written, full, bare in (
            ("client_ip", b"192.0.2.1", b"192.0.2.1"),
            ("path", b"/B%20c", b"/"),
            ("uri", b"/a/../B%20c?d=e", b"/"),
            ("header:X-USER", b"anna, ben", b"192.0.2.1"),
            ("header:x-none", b"192.0.2.1", b"192.0.2.1"),
            ("cookie:sid", b"first", b"192.0.2.1"),
            ("cookie:Sid", b"third", b"192.0.2.1"),
            ("cookie:none", b"192.0.2.1", b"192.0.2.1"),
        ):
            key = compile_key(request_key(written))
            self.assertEqual(key(b"192.0.2.1", HEAD), full, written)
            self.assertEqual(key(b"192.0.2.1", BARE), bare, written)

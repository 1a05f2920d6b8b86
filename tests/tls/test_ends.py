from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.tls.ends import HandshakeFailed, HandshakeTimeout, HungUp, PlainHttp, Truncated


class EndTests(SynchronousTestCase):
    def test_text(self) -> None:
        for kind in (HandshakeFailed, HandshakeTimeout, HungUp, PlainHttp):
            error = kind("no shared cipher")
            self.assertIsInstance(error, ConnectionLost)
            self.assertIsInstance(error, HandshakeFailed)
            self.assertEqual(str(error), "no shared cipher")

    def test_truncated(self) -> None:
        self.assertIn("without close_notify", str(Truncated()))

"""Both pipes do the same, and what the fast one relies upon is there."""

from __future__ import annotations

import os
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls import pki
from txrproxy.tls import openssl
from txrproxy.tls.openssl import FastPipe, PlainPipe, TlsFailure

HUGE = os.urandom(1 << 20)


class BindingContract(SynchronousTestCase):
    def test_all_there(self) -> None:
        self.assertEqual(openssl.mismatches(), [])
        self.assertTrue(openssl.available())
        self.assertIs(type(openssl.make_pipe(connection(True))), FastPipe)

    def test_differences_are_named(self) -> None:
        class Binding:
            SSL_read = openssl._lib.SSL_write
            SSL_write = openssl._lib.BIO_read

        self.patch(openssl, "_lib", Binding)
        found = openssl.mismatches()
        self.assertIn("SSL_write is int(*)(BIO *, void *, int), not", " ".join(found))
        self.assertIn("BIO_read is missing", " ".join(found))
        self.assertIn("the binding has no SSL_MODE_RELEASE_BUFFERS", found)
        self.patch(openssl, "_lib", None)
        self.assertEqual(openssl.mismatches(), ["OpenSSL._util has no lib and ffi"])

    def test_fallback(self) -> None:
        self.patch(openssl, "_AVAILABLE", False)
        self.assertIs(type(openssl.make_pipe(connection(True))), PlainPipe)
        self.assertEqual(openssl.verify_error(connection(True)), "")
        self.assertFalse(openssl.session_reused(connection(True)))


def connection(server: bool, version: int | None = None) -> SSL.Connection:
    made = SSL.Connection(pki.server_context() if server else pki.client_context(version), None)
    (made.set_accept_state if server else made.set_connect_state)()
    return made


class PipeTests(SynchronousTestCase):
    kind: Any = FastPipe

    def setUp(self) -> None:
        self.pair(None)

    def pair(self, version: int | None) -> None:
        self.here = self.kind(connection(True))
        self.there = self.kind(connection(False, version))
        done = set()
        for _ in range(3):
            for near, far in ((self.there, self.here), (self.here, self.there)):
                if near.handshake():
                    done.add(near)
                far.feed(bytes(near.outgoing()))
        self.assertEqual(len(done), 2)
        self.assertEqual(self.there.decrypt(), b"")  # tickets

    def test_small(self) -> None:
        for data in (b"x", b"bytes", bytearray(b"bytearray"), memoryview(b"view")):
            self.assertEqual(self.here.decrypt(bytes(self.there.encrypt(data))), data)
            self.assertFalse(self.here.more)
        self.assertEqual(bytes(self.there.encrypt(b"")), b"")
        self.assertEqual(bytes(self.there.outgoing()), b"")
        self.assertEqual(self.here.decrypt(b""), b"")

    def test_several_records_at_once(self) -> None:
        sent = b"".join(bytes(self.there.encrypt(b"%d " % number)) for number in range(100))
        self.assertEqual(self.here.decrypt(sent).split(), [b"%d" % n for n in range(100)])

    def test_cut_anywhere(self) -> None:
        sent = bytes(self.there.encrypt(b"first")) + bytes(self.there.encrypt(b"second"))
        got = b"".join(self.here.decrypt(sent[at : at + 1]) for at in range(len(sent)))
        self.assertEqual(got, b"firstsecond")

    def test_large(self) -> None:
        for size in (
            openssl.RECORD,
            openssl.PIECE,
            openssl.PIECE + 1,
            openssl.GATHER - 1,
            openssl.GATHER,
            openssl.GATHER + 1,
            len(HUGE),
        ):
            data = HUGE[:size]
            for given in (data, memoryview(data)):
                sent = bytes(self.there.encrypt(given))
                got = self.here.decrypt(sent)
                while self.here.more:
                    self.assertGreaterEqual(len(got), openssl.GATHER)
                    self.assertLessEqual(len(got), openssl.GATHER + 3 * len(HUGE))
                    more = self.here.decrypt()
                    self.assertLessEqual(len(more), openssl.GATHER + openssl.RECORD)
                    got += more
                self.assertEqual(got, data)

    def test_records_are_full(self) -> None:
        sent = bytes(self.there.encrypt(HUGE))
        self.assertLess(len(sent) - len(HUGE), 64 * 32)

    def test_what_waits_goes_with_data(self) -> None:
        self.here = self.kind(connection(True))
        self.there = self.kind(connection(False))
        for near, far in (
            (self.there, self.here),
            (self.here, self.there),
            (self.there, self.here),
        ):
            near.handshake()
            far.feed(bytes(near.outgoing()))
        self.assertTrue(self.here.handshake())
        sent = bytes(self.here.encrypt(b"data"))
        self.assertGreater(len(sent), 100)  # with tickets
        self.assertEqual(bytes(self.here.outgoing()), b"")
        self.assertEqual(self.there.decrypt(sent), b"data")

    def test_close(self) -> None:
        last = bytes(self.there.encrypt(b"last"))
        self.there.close()
        got = self.here.decrypt(last + bytes(self.there.outgoing()) + b"ignored")
        self.assertEqual(got, b"last")
        if self.here.more:
            self.assertEqual(self.here.decrypt(), b"")
        self.assertTrue(self.here.ended)
        with self.assertRaises(TlsFailure):
            self.there.encrypt(b"too late")
        with self.assertRaises(TlsFailure):
            self.there.encrypt(HUGE)
        self.there.close()

    def test_broken(self) -> None:
        good = bytes(self.there.encrypt(b"good"))
        bad = bytearray(self.there.encrypt(b"bad"))
        bad[-1] ^= 1
        self.assertEqual(self.here.decrypt(good + bytes(bad)), b"good")
        self.assertTrue(self.here.more)
        for _ in range(2):
            with self.assertRaises(TlsFailure) as caught:
                self.here.decrypt()
            self.assertIn("bad record mac", str(caught.exception))
        self.assertTrue(bytes(self.here.outgoing()))  # the alert
        with self.assertRaises(TlsFailure):
            self.here.decrypt(good)

    def test_broken_at_once(self) -> None:
        with self.assertRaises(TlsFailure):
            self.here.decrypt(b"GET / HTTP/1.1\r\n\r\n")

    def test_a_failed_handshake(self) -> None:
        pipe = self.kind(connection(True))
        self.assertFalse(pipe.handshake())
        pipe.feed(b"GET / HTTP/1.1\r\n\r\n")
        with self.assertRaises(TlsFailure) as caught:
            pipe.handshake()
        self.assertEqual(str(caught.exception), "http request")
        pipe.close()


class PlainPipeTests(PipeTests):
    kind = PlainPipe


class Explained(SynchronousTestCase):
    def test_reasons(self) -> None:
        queue = [("lib", "f", "inner"), ("lib", "f", ""), ("lib", "f", "inner"), ("l", "f", "last")]
        self.assertEqual(openssl.explain(SSL.Error(queue)), "inner; last")
        self.assertEqual(openssl.explain(SSL.SysCallError(-1, "Unexpected EOF")), "unexpected eof")
        self.assertEqual(openssl.explain(SSL.ZeroReturnError()), "ZeroReturnError")

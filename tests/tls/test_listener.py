from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import NOW, Issued, authority
from tests.tls.handshake import client_context, shake
from tests.tls.responder import names_responder, respond
from txrproxy.tls import selfsigned
from txrproxy.tls.listener import ListenerTls
from txrproxy.tls.selfsigned import self_signed

ROOT = authority(now=NOW)
DAY = 86400.0
CLIENTS = authority("clients")
ALICE = CLIENTS.issue(subject="alice", client=True)


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.ca = self.folder / "clients.pem"
        self.ca.write_bytes(CLIENTS.pem)
        self.clock = Clock()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace") == "txrproxy.tls.listener":
            self.logged.append(event["log_format"].format(**event))

    def wall(self) -> float:
        return NOW + self.clock.seconds()

    def ask(self, url: str, question: bytes) -> Deferred[bytes]:
        self.answer = respond(self.leaf, ROOT, self.wall())
        return succeed(self.answer)

    def listener(self, *sources: Any, **more: Any) -> ListenerTls:
        return ListenerTls(
            sources,
            Path,
            self.clock,
            self.wall,
            ask=self.ask,
            in_thread=maybeDeferred,
            **more,
        )

    def issue(self, *names: str, **how: Any) -> Issued:
        return ROOT.issue(*names, now=NOW, **how)

    def test_follows_files_and_staples(self) -> None:
        self.leaf = self.issue("a.example", extensions=(names_responder("http://o"),))
        tls = self.listener(self.leaf.write(self.folder))
        tls.start()
        got: list[bytes] = []
        context = client_context()
        context.set_ocsp_client_callback(lambda *said: got.append(said[1]) or True)
        shake(tls.contexts, context=context, staple=True)
        self.assertEqual(got, [self.answer])
        self.leaf = self.issue("a.example")
        self.leaf.write(self.folder)
        self.clock.advance(10)
        self.assertEqual(shake(tls.contexts).certificate, self.leaf.certificate)
        tls.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.logged, [])

    def test_self_signed_is_renewed_while_it_is_served(self) -> None:
        def own() -> Any:
            return self_signed(self.folder / "state", self.wall(), "box.example")

        tls = self.listener(own(), renew=own, reload=DAY)
        tls.start()
        first = shake(tls.contexts, b"localhost").certificate
        self.clock.pump([DAY] * 366)
        self.assertEqual(shake(tls.contexts, b"localhost").certificate, first)
        self.clock.pump([DAY] * 3)
        second = shake(tls.contexts, b"localhost").certificate
        assert first is not None
        assert second is not None
        self.assertGreater(second.not_valid_after_utc, first.not_valid_after_utc)
        tls.stop()

    def test_self_signed_that_can_not_be_renewed(self) -> None:
        def own() -> Any:
            return self_signed(self.folder / "state", self.wall(), "box.example")

        def fails(*_: object) -> None:
            raise OSError(30, "Read-only file system")

        tls = self.listener(own(), renew=own, reload=DAY)
        self.patch(selfsigned.os, "replace", fails)
        tls.start()
        self.clock.pump([DAY] * 375)
        (said,) = [line for line in self.logged if "can not be kept here" in line]
        self.assertIn("Read-only", said)
        tls.stop()

    def test_faults_are_logged(self) -> None:
        self.listener(self.issue("a.example", days=10).write(self.folder)).start()
        self.assertIn("expires on", self.logged[0])

    def test_broken_file_is_an_error(self) -> None:
        source = self.issue("a.example").write(self.folder)
        tls = self.listener(source)
        tls.start()
        source.cert.write_bytes(b"")
        self.clock.pump([10, 10, 10])
        self.assertEqual(len(self.logged), 1)
        self.assertIn(str(source.cert), self.logged[0])

    def peer(self, tls: ListenerTls, *how: Any) -> Any:
        outcome = shake(tls.contexts, *how)
        self.assertEqual(outcome.alert, "")
        return tls.peer(outcome.server, b"192.0.2.1", False)

    def test_peer_like_any_other(self) -> None:
        tls = self.listener(self.issue("a.example").write(self.folder))
        self.assertIsNone(self.peer(tls))

    def test_peer_with_a_certificate(self) -> None:
        source = self.issue("a.example").write(
            self.folder, client_auth="optional", client_ca=self.ca
        )
        tls = self.listener(source)
        peer = self.peer(tls, b"a.example", client_context(certificate=ALICE))
        self.assertEqual(peer.identity.subject, "CN=alice")
        self.assertTrue(peer.tail.endswith(peer.identity.lines))
        self.assertTrue(peer.short_tail.endswith(peer.identity.lines))
        self.assertIn(b"X-Forwarded-Proto: https\r\n", peer.tail)
        self.assertIsNone(peer.admits)
        peer = self.peer(tls)
        self.assertIsNone(peer.identity)
        self.assertTrue(peer.tail.endswith(b"X-Client-Cert-Verify: NONE\r\n"))

    def test_peer_of_one_name_among_others(self) -> None:
        tls = self.listener(
            self.issue("a.example").write(self.folder, "a"),
            self.issue("b.example").write(
                self.folder, "b", client_auth="required", client_ca=self.ca
            ),
        )
        peer = self.peer(tls)
        self.assertIsNone(peer.identity)
        self.assertNotIn(b"Client-Cert", peer.tail)
        self.assertFalse(peer.admits(b"b.example"))
        self.assertTrue(peer.admits(b"a.example"))
        peer = self.peer(tls, b"b.example", client_context(certificate=ALICE))
        self.assertTrue(peer.admits(b"b.example"))

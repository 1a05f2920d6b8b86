from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import authority
from tests.tls.handshake import client_context, shake
from txrproxy.tls.contexts import ServerContexts
from txrproxy.tls.negotiated import Negotiated
from txrproxy.tls.store import CertificateStore

ROOT = authority()
LEAF = ROOT.issue("a.example")


class NegotiatedTests(SynchronousTestCase):
    def test_both_sides(self) -> None:
        store = CertificateStore([LEAF.write(self.mktemp())], Path)
        contexts = ServerContexts(store, ["http/1.1"])
        for version in ("1.2", "1.3"):
            outcome = shake(contexts, b"a.example", client_context(version), alpn=(b"http/1.1",))
            server, client = Negotiated(outcome.server), Negotiated(outcome.client)
            for side in (server, client):
                self.assertEqual(side.version, f"TLSv{version}")
                self.assertEqual(side.alpn, b"http/1.1")
                self.assertFalse(side.resumed)
                self.assertIn("AES", side.cipher or "")
            self.assertEqual(server.server_name, b"a.example")
            self.assertIsNone(server.peer_certificate)
            self.assertEqual(server.peer_chain, [])
            self.assertEqual(client.peer_certificate, LEAF.certificate)
            self.assertEqual(client.peer_chain, [LEAF.certificate, ROOT.certificate])

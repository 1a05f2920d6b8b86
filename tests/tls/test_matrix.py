"""Names, protocols, client certificates and versions, all with all, against Python's own ``ssl``.

Another OpenSSL than the server's, and one that verifies chain and name as browsers do.
"""

from __future__ import annotations

import itertools
import ssl
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import authority
from txrproxy.tls.certificates import der
from txrproxy.tls.contexts import ServerContexts
from txrproxy.tls.store import CertificateStore

ROOT = authority()
MIDDLE = ROOT.issue(subject="middle", ca=True)
CLIENTS = authority("clients")
OPEN = MIDDLE.issue(
    "127.0.0.1", "open.example", "*.w.example", "xn--bcher-kva.example", "*.xn--bcher-kva.example"
)
OPEN_RSA = MIDDLE.issue("open.example", kind="RSA")
CLOSED = MIDDLE.issue("closed.example")
NEW = MIDDLE.issue("new.example")
MAYBE = MIDDLE.issue("maybe.example")
ALICE = CLIENTS.issue("alice.example", subject="alice", client=True)

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class MatrixTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        ca = self.folder / "clients.pem"
        ca.write_bytes(CLIENTS.pem)
        (self.folder / "root.pem").write_bytes(ROOT.pem)
        sources = [
            OPEN.write(self.folder, "open"),
            OPEN_RSA.write(self.folder, "rsa"),
            CLOSED.write(self.folder, "closed", client_auth="required", client_ca=ca),
            MAYBE.write(self.folder, "maybe", client_auth="optional", client_ca=ca),
            NEW.write(self.folder, "new", min_version="1.3"),
        ]
        ALICE.write(self.folder, "alice")
        store = CertificateStore(sources, Path)
        self.contexts = ServerContexts(store, ["h2", "http/1.1"])

    def client(self, version: str, alpn: tuple[str, ...], certificate: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "root.pem"))
        context.minimum_version = context.maximum_version = VERSIONS[version]
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if certificate:
            context.load_cert_chain(self.folder / "alice.pem", self.folder / "alice.key")
        return context

    def shake(self, context: ssl.SSLContext, name: str) -> tuple[bool, Any, SSL.Connection]:
        """Whether both sides are content; the client, the server."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=name)
        server = self.contexts.connection()
        content = [False, False]
        for _ in range(6):
            try:
                client.do_handshake()
                content[0] = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False, client, server
            if sent := outgoing.read():
                server.bio_write(sent)
            try:
                server.do_handshake()
                content[1] = True
            except SSL.WantReadError:
                pass
            except SSL.Error:
                content[1] = False
            try:
                incoming.write(server.bio_read(1 << 20))
            except SSL.WantReadError:
                pass
        return all(content), client, server

    def test_matrix(self) -> None:
        names = ("open.example", "closed.example", "maybe.example", "new.example")
        offers = ((), ("http/1.1",), ("h2", "http/1.1"), ("h2",))
        for name, alpn, certificate, version in itertools.product(
            names, offers, (False, True), ("1.2", "1.3")
        ):
            case = (name, alpn, certificate, version)
            fine, client, server = self.shake(self.client(version, alpn, certificate), name)
            expected = (
                alpn != ("h2",)
                and (certificate or name != "closed.example")
                and (version == "1.3" or name != "new.example")
            )
            self.assertEqual(fine, expected, case)
            if not fine:
                continue
            self.assertEqual(client.version(), f"TLSv{version}", case)
            self.assertEqual(client.selected_alpn_protocol(), "http/1.1" if alpn else None, case)
            identity = self.contexts.identity(server)
            known = certificate and name in ("closed.example", "maybe.example")
            self.assertEqual(identity is not None, known, case)

    def test_names(self) -> None:
        for name, fine in {
            "a.w.example": True,
            "a.b.w.example": False,  # the default certificate, and the client says no
            "127.0.0.1": True,
            "bücher.example": True,
            "ä.bücher.example": True,
            "OPEN.example": True,
            "open.example.": False,  # served, and refused by this client, which keeps the dot
            "unknown.example": False,
        }.items():
            for version in VERSIONS:
                done, _, server = self.shake(self.client(version, (), False), name)
                self.assertEqual(done, fine, (name, version))
                entry = server.get_context().get_app_data()
                self.assertEqual(entry.certificates[0].leaf, OPEN.certificate)

    def test_rotated_again_and_again(self) -> None:
        for _ in range(50):
            newer = MIDDLE.issue("maybe.example")
            newer.write(self.folder, "maybe")
            self.assertTrue(self.contexts.store.refresh())
            self.contexts.update()
            fine, client, _ = self.shake(self.client("1.3", (), False), "maybe.example")
            self.assertTrue(fine)
            served = client.getpeercert(binary_form=True)
            self.assertEqual(served, der(newer.certificate))

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import Issued, authority, pem
from tests.tls.handshake import client_context, shake
from tests.tls.responder import respond
from txrproxy.tls import contexts as contexts_module
from txrproxy.tls.contexts import ServerContexts
from txrproxy.tls.opening import Unreadable
from txrproxy.tls.store import CertificateStore

ROOT = authority()
CLIENTS = authority("client root")
OTHERS = authority("other clients' root")
ALICE = CLIENTS.issue("alice.example", subject="alice", client=True)
MALLORY = OTHERS.issue("alice.example", subject="alice", client=True)
A = ROOT.issue("a.example", "*.w.example", "127.0.0.1")
A_RSA = ROOT.issue("a.example", kind="RSA")
B = ROOT.issue("b.example", "xn--bcher-kva.example")
C = ROOT.issue("c.example")


def unreadable(data: bytes) -> bytes | None:
    raise Unreadable


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.ca = self.folder / "clients.pem"
        self.ca.write_bytes(CLIENTS.pem)
        self.other_ca = self.folder / "others.pem"
        self.other_ca.write_bytes(OTHERS.pem)
        self.errors: list[str] = []

    def write(self, issued: Issued, name: str, **rules: Any) -> Any:
        return issued.write(self.folder, name, **rules)

    def serve(
        self, *sources: Any, strict: bool = False, protocols: Any = (), **more: Any
    ) -> ServerContexts:
        store = CertificateStore(sources, Path, strict=strict, report=self.errors.append)
        return ServerContexts(store, protocols or ("h2", "http/1.1"), **more)


class NameTests(Case):
    def test_certificate_by_name(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b"))
        for name, expected in (
            (b"a.example", A),
            (b"A.Example", A),
            (b"a.example.", A),
            (b"x.w.example", A),
            (b"b.example", B),
            (b"xn--bcher-kva.example", B),
            (b"x.y.w.example", A),  # no name of ours: the default
            (b"unknown.example", A),
            (b"127.0.0.1", A),
            (b"\xff\xfe", A),
            (None, A),
        ):
            for version in ("1.2", "1.3"):
                outcome = shake(contexts, name, client_context(version))
                self.assertEqual(outcome.alert, "", (name, version))
                self.assertEqual(outcome.certificate, expected.certificate, (name, version))

    def test_strict(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b"), strict=True)
        for version in ("1.2", "1.3"):
            self.assertEqual(shake(contexts, b"b.example").certificate, B.certificate)
            for name in (b"unknown.example", None, b"x.y.w.example", b"\xff"):
                outcome = shake(contexts, name, client_context(version))
                self.assertIn("unrecognized name", outcome.alert, name)

    def test_kind_of_key_by_what_the_client_offers(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(A_RSA, "r"))
        for ciphers, expected in (
            (b"ECDHE-ECDSA-AES128-GCM-SHA256", A),
            (b"ECDHE-RSA-AES128-GCM-SHA256", A_RSA),
        ):
            outcome = shake(contexts, b"a.example", client_context("1.2", ciphers=ciphers))
            self.assertEqual(outcome.certificate, expected.certificate)
            chain = outcome.client.get_peer_cert_chain(as_cryptography=True)
            self.assertEqual(chain, [expected.certificate, ROOT.certificate])

    def test_one_kind_of_key_only(self) -> None:
        contexts = self.serve(self.write(A_RSA, "r"))
        context = client_context("1.2", ciphers=b"ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertIn("handshake failure", shake(contexts, b"a.example", context).alert)

    def test_eddsa(self) -> None:
        issued = ROOT.issue("e.example", kind="EdDSA")
        outcome = shake(self.serve(self.write(issued, "e")), b"e.example")
        self.assertEqual(outcome.certificate, issued.certificate)


class VersionTests(Case):
    def test_minimum_by_name(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b", min_version="1.3"))
        self.assertEqual(shake(contexts, b"a.example", client_context("1.2")).alert, "")
        self.assertEqual(shake(contexts, b"b.example", client_context("1.3")).alert, "")
        outcome = shake(contexts, b"b.example", client_context("1.2"))
        self.assertIn("protocol version", outcome.alert)

    def test_minimum_of_the_default(self) -> None:
        contexts = self.serve(self.write(A, "a", min_version="1.3"), self.write(B, "b"))
        self.assertIn("protocol version", shake(contexts, None, client_context("1.2")).alert)
        self.assertEqual(shake(contexts, b"b.example", client_context("1.2")).alert, "")

    def test_modern(self) -> None:
        contexts = self.serve(self.write(A, "a"), profile="modern")
        self.assertIn("protocol version", shake(contexts, context=client_context("1.2")).alert)
        self.assertEqual(shake(contexts, context=client_context("1.3")).alert, "")


class ProtocolTests(Case):
    def test_only_what_is_implemented(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b"))
        for name in (b"a.example", b"b.example"):
            outcome = shake(contexts, name, alpn=(b"h2", b"http/1.1"))
            self.assertEqual(outcome.client.get_alpn_proto_negotiated(), b"http/1.1")

    def test_no_overlap(self) -> None:
        contexts = self.serve(self.write(A, "a"))
        outcome = shake(contexts, alpn=(b"h2",))
        self.assertIn("no application protocol", outcome.alert)

    def test_without_alpn(self) -> None:
        outcome = shake(self.serve(self.write(A, "a")))
        self.assertEqual(outcome.alert, "")
        self.assertEqual(outcome.client.get_alpn_proto_negotiated(), b"")


class ClientTests(Case):
    def rules(self, how: str) -> dict[str, Any]:
        return {"client_auth": how, "client_ca": self.ca}

    def test_required(self) -> None:
        contexts = self.serve(self.write(A, "a", **self.rules("required")))
        for version in ("1.2", "1.3"):
            outcome = shake(contexts, context=client_context(version, certificate=ALICE))
            self.assertEqual(outcome.alert, "")
            identity = contexts.identity(outcome.server)
            assert identity is not None
            self.assertEqual(identity.subject, "CN=alice")
            outcome = shake(contexts, context=client_context(version))
            self.assertNotEqual(outcome.refusal, "")
            self.assertRegex(outcome.alert, "certificate required|handshake failure")
            outcome = shake(contexts, context=client_context(version, certificate=MALLORY))
            self.assertIn("unknown ca", outcome.alert)

    def test_optional(self) -> None:
        contexts = self.serve(self.write(A, "a", **self.rules("optional")))
        self.assertTrue(contexts.asks)
        outcome = shake(contexts)
        self.assertEqual(outcome.alert, "")
        self.assertIsNone(contexts.identity(outcome.server))
        outcome = shake(contexts, context=client_context(certificate=ALICE))
        self.assertIsNotNone(contexts.identity(outcome.server))
        outcome = shake(contexts, context=client_context(certificate=MALLORY))
        self.assertIn("unknown ca", outcome.alert)

    def test_off_asks_for_nothing(self) -> None:
        contexts = self.serve(self.write(A, "a"))
        self.assertFalse(contexts.asks)
        outcome = shake(contexts, context=client_context(certificate=MALLORY))
        self.assertEqual(outcome.alert, "")
        self.assertIsNone(contexts.identity(outcome.server))

    def test_server_certificate_is_none_for_clients(self) -> None:
        contexts = self.serve(self.write(A, "a", **self.rules("required")))
        server = CLIENTS.issue("alice.example")
        outcome = shake(contexts, context=client_context(certificate=server))
        self.assertIn("certificate", outcome.alert)

    def test_expired(self) -> None:
        contexts = self.serve(self.write(A, "a", **self.rules("required")))
        late = CLIENTS.issue("alice.example", client=True, days=-1)
        outcome = shake(contexts, context=client_context(certificate=late))
        self.assertIn("certificate expired", outcome.alert)

    def test_intermediate_authority(self) -> None:
        department = CLIENTS.issue(subject="department", ca=True)
        self.ca.write_bytes(pem(department.certificate))
        contexts = self.serve(self.write(A, "a", **self.rules("required")))
        bob = department.issue("bob.example", client=True)
        self.assertEqual(shake(contexts, context=client_context(certificate=bob)).alert, "")
        outcome = shake(contexts, context=client_context(certificate=ALICE))
        self.assertNotEqual(outcome.alert, "")

    def test_authorities_are_told(self) -> None:
        contexts = self.serve(self.write(B, "b"), self.write(A, "a", **self.rules("required")))
        outcome = shake(contexts, context=client_context("1.2", certificate=ALICE))
        names = outcome.client.get_client_ca_list(as_cryptography=True)
        self.assertEqual(names, [CLIENTS.certificate.subject])

    def test_per_name(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b", **self.rules("required")))
        self.assertTrue(contexts.mixed)
        for version in ("1.2", "1.3"):
            plain = client_context(version)
            self.assertEqual(shake(contexts, b"a.example", plain).alert, "")
            self.assertNotEqual(shake(contexts, b"b.example", plain).refusal, "")
            mine = client_context(version, certificate=ALICE)
            self.assertEqual(shake(contexts, b"b.example", mine).alert, "")

    def test_request_for_another_name(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b", **self.rules("required")))
        for_a = shake(contexts, b"a.example").server
        self.assertTrue(contexts.admits(for_a, b"a.example"))
        self.assertTrue(contexts.admits(for_a, b"unknown.example"))
        self.assertFalse(contexts.admits(for_a, b"b.example"))
        self.assertFalse(contexts.admits(for_a, b"B.Example."))
        mine = client_context(certificate=ALICE)
        for_b = shake(contexts, b"b.example", mine).server
        self.assertTrue(contexts.admits(for_b, b"b.example"))
        self.assertTrue(contexts.admits(for_b, b"a.example"))

    def test_all_names_alike_admit_each_other(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b"))
        self.assertFalse(contexts.mixed)
        self.assertTrue(contexts.admits(shake(contexts).server, b"b.example"))


class ResumptionTests(Case):
    def again(
        self, contexts: ServerContexts, context: SSL.Context, first: bytes, second: bytes
    ) -> Any:
        outcome = shake(contexts, first, context)
        self.assertEqual(outcome.alert, "")
        return shake(contexts, second, context, session=outcome.session)

    def test_resumed(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b"))
        for version in ("1.2", "1.3"):
            for name in (b"a.example", b"b.example"):
                outcome = self.again(contexts, client_context(version), name, name)
                self.assertTrue(outcome.resumed, (version, name))

    def test_without_tickets(self) -> None:
        contexts = self.serve(self.write(A, "a"), session_tickets=False)
        for version in ("1.2", "1.3"):
            outcome = self.again(contexts, client_context(version), b"a.example", b"a.example")
            self.assertEqual(outcome.alert, "")
            self.assertFalse(outcome.resumed)

    def test_client_certificate_survives(self) -> None:
        rules = {"client_auth": "required", "client_ca": self.ca}
        contexts = self.serve(self.write(A, "a", **rules), self.write(B, "b", **rules))
        for version in ("1.2", "1.3"):
            context = client_context(version, certificate=ALICE)
            for second in (b"a.example", b"b.example"):
                outcome = self.again(contexts, context, b"a.example", second)
                self.assertTrue(outcome.resumed)
                identity = contexts.identity(outcome.server)
                assert identity is not None
                self.assertEqual(identity.subject, "CN=alice")

    def test_no_way_around_a_client_certificate(self) -> None:
        contexts = self.serve(
            self.write(A, "a"),
            self.write(B, "b", client_auth="required", client_ca=self.ca),
        )
        for version in ("1.2", "1.3"):
            for split in (0, 1, 100):
                # A full handshake, in which the certificate is asked for.
                mine = client_context(version, certificate=ALICE)
                first = shake(contexts, b"a.example", mine)
                outcome = shake(contexts, b"b.example", mine, session=first.session, split=split)
                self.assertEqual(outcome.alert, "")
                self.assertFalse(outcome.resumed)
                identity = contexts.identity(outcome.server)
                assert identity is not None
                self.assertEqual(identity.subject, "CN=alice")
                nobody = client_context(version)
                first = shake(contexts, b"a.example", nobody)
                outcome = shake(contexts, b"b.example", nobody, session=first.session, split=split)
                self.assertNotEqual(outcome.alert, "")

    def test_names_that_ask_alike_share_sessions_among_others(self) -> None:
        rules = {"client_auth": "required", "client_ca": self.ca}
        contexts = self.serve(
            self.write(A, "a"), self.write(B, "b", **rules), self.write(C, "c", **rules)
        )
        for version in ("1.2", "1.3"):
            context = client_context(version, certificate=ALICE)
            for first, second, resumed in (
                (b"a.example", b"a.example", True),
                (b"a.example", b"unknown.example", True),
                (b"b.example", b"c.example", True),
                (b"b.example", b"a.example", False),
            ):
                outcome = self.again(contexts, context, first, second)
                self.assertEqual(outcome.alert, "")
                self.assertIs(outcome.resumed, resumed, (version, first, second))
                identity = contexts.identity(outcome.server)
                self.assertIs(identity is not None, second in (b"b.example", b"c.example"))
                self.assertTrue(contexts.admits(outcome.server, second))

    def test_session_of_other_authorities_is_none(self) -> None:
        contexts = self.serve(
            self.write(A, "a", client_auth="optional", client_ca=self.other_ca),
            self.write(B, "b", client_auth="optional", client_ca=self.ca),
        )
        for version in ("1.2", "1.3"):
            outcome = self.again(contexts, client_context(version), b"a.example", b"b.example")
            self.assertEqual(outcome.alert, "")
            self.assertFalse(outcome.resumed)

    def test_name_that_could_not_be_read_ahead(self) -> None:
        contexts = self.serve(
            self.write(A, "a"),
            self.write(B, "b", client_auth="optional", client_ca=self.ca),
        )
        for version in ("1.2", "1.3"):
            context = client_context(version)
            known = shake(contexts, b"a.example", context).session
            for name in (b"a.example", b"b.example"):
                self.patch(contexts_module, "server_name", unreadable)
                outcome = shake(contexts, name, context, session=known)
                self.assertEqual(outcome.alert, "")
                self.assertFalse(outcome.resumed)
                outcome = shake(contexts, name, context, session=outcome.session)
                self.assertFalse(outcome.resumed)

    def test_two_names_in_one_handshake(self) -> None:
        contexts = self.serve(
            self.write(A, "a"),
            self.write(B, "b", client_auth="required", client_ca=self.ca),
        )
        for read, asked in ((b"a.example", b"b.example"), (b"b.example", b"a.example")):
            self.patch(contexts_module, "server_name", lambda data, read=read: read)
            for version in ("1.2", "1.3"):
                outcome = shake(contexts, asked, client_context(version, certificate=ALICE))
                self.assertIn("illegal parameter", outcome.alert)
                self.assertEqual(outcome.server.get_app_data(), "two names in one handshake")

    def test_sessions_of_an_authority_that_is_no_more(self) -> None:
        contexts = self.serve(
            self.write(A, "a"),
            self.write(B, "b", client_auth="required", client_ca=self.ca),
        )
        for version in ("1.2", "1.3"):
            self.ca.write_bytes(CLIENTS.pem)
            contexts.store.refresh()
            contexts.update()
            context = client_context(version, certificate=ALICE)
            of_a = shake(contexts, b"a.example", context).session
            of_b = shake(contexts, b"b.example", context).session
            self.ca.write_bytes(OTHERS.pem)
            self.assertTrue(contexts.store.refresh())
            contexts.update()
            self.assertTrue(shake(contexts, b"a.example", context, session=of_a).resumed)
            outcome = shake(contexts, b"b.example", context, session=of_b)
            self.assertIn("unknown ca", outcome.alert)

    def test_no_way_with_the_certificate_of_another_authority(self) -> None:
        contexts = self.serve(
            self.write(A, "a", client_auth="required", client_ca=self.other_ca),
            self.write(B, "b", client_auth="required", client_ca=self.ca),
        )
        for version in ("1.2", "1.3"):
            context = client_context(version, certificate=MALLORY)
            outcome = self.again(contexts, context, b"a.example", b"b.example")
            self.assertNotEqual(outcome.alert, "")
            self.assertFalse(outcome.resumed)

    def test_sessions_outlive_certificates(self) -> None:
        source = self.write(A, "a")
        for version in ("1.2", "1.3"):
            contexts = self.serve(source)
            context = client_context(version)
            outcome = shake(contexts, b"a.example", context)
            ROOT.issue("a.example").write(source.cert.parent, "a")
            self.assertTrue(contexts.store.refresh())
            contexts.update()
            outcome = shake(contexts, b"a.example", context, session=outcome.session)
            self.assertEqual(outcome.alert, "")
            self.assertTrue(outcome.resumed, version)

    def test_new_authorities_end_old_sessions(self) -> None:
        contexts = self.serve(self.write(A, "a", client_auth="required", client_ca=self.ca))
        for version in ("1.2", "1.3"):
            self.ca.write_bytes(CLIENTS.pem)
            contexts.store.refresh()
            contexts.update()
            context = client_context(version, certificate=ALICE)
            outcome = shake(contexts, b"a.example", context)
            self.assertEqual(outcome.alert, "")
            self.ca.write_bytes(OTHERS.pem)
            self.assertTrue(contexts.store.refresh())
            contexts.update()
            outcome = shake(contexts, b"a.example", context, session=outcome.session)
            self.assertIn("unknown ca", outcome.alert)


class BeginTests(Case):
    """Which context a connection has before its name is known."""

    def test_the_default_where_all_names_ask_the_same(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b"))
        default = contexts._served.contexts[contexts.store.table.names["a.example"]]
        self.assertIs(contexts.connection().get_context(), default)
        for name, same in ((b"a.example", True), (b"b.example", False), (None, True)):
            context = shake(contexts, name).server.get_context()
            self.assertEqual(context is default, same)

    def test_that_of_no_name_where_they_differ(self) -> None:
        contexts = self.serve(
            self.write(A, "a"), self.write(B, "b", client_auth="required", client_ca=self.ca)
        )
        self.assertIs(contexts.connection().get_context(), contexts._served.first)

    def test_the_default_is_shown_to_nobody_who_is_refused(self) -> None:
        contexts = self.serve(self.write(A, "a"), strict=True)
        for version in ("1.2", "1.3"):
            outcome = shake(contexts, b"other.example", client_context(version))
            self.assertIn("unrecognized name", outcome.alert)
            self.assertIsNone(outcome.certificate)


class UpdateTests(Case):
    def test_new_connections_get_the_new_certificate(self) -> None:
        contexts = self.serve(self.write(A, "a"), self.write(B, "b"))
        before = contexts._served
        running = shake(contexts, b"a.example")
        newer = ROOT.issue("a.example")
        self.write(newer, "a")
        self.assertTrue(contexts.store.refresh())
        contexts.update()
        self.assertIs(contexts._served.first, before.first)
        entry = contexts.store.table.names["b.example"]
        self.assertIs(contexts._served.contexts[entry], before.contexts[entry])
        self.assertEqual(shake(contexts, b"a.example").certificate, newer.certificate)
        self.assertEqual(shake(contexts, b"b.example").certificate, B.certificate)
        self.assertEqual(running.certificate, A.certificate)
        self.assertIsNone(contexts.identity(running.server))

    def test_in_the_middle_of_a_handshake(self) -> None:
        contexts = self.serve(self.write(A, "a"))
        connection = contexts.connection()
        newer = ROOT.issue("a.example")
        self.write(newer, "a")
        contexts.store.refresh()
        contexts.update()

        class Early:
            @staticmethod
            def connection() -> SSL.Connection:
                return connection

        self.assertEqual(shake(Early).certificate, newer.certificate)

    def test_key_before_certificate_and_after(self) -> None:
        contexts = self.serve(self.write(A, "a"))
        newer = ROOT.issue("a.example")
        (self.folder / "a.pem").write_bytes(newer.pem)
        self.assertFalse(contexts.store.refresh())
        self.assertEqual(len(self.errors), 1)
        self.assertIn("a.pem", self.errors[0])
        self.assertFalse(contexts.store.refresh())
        self.assertEqual(len(self.errors), 1)
        self.assertEqual(shake(contexts).certificate, A.certificate)
        (self.folder / "a.key").write_bytes(newer.key_pem)
        self.assertTrue(contexts.store.refresh())
        contexts.update()
        self.assertEqual(shake(contexts).certificate, newer.certificate)


class StapleTests(Case):
    def test_response_of_the_certificate_in_use(self) -> None:
        answers = {}

        def staple(certificate: Any) -> bytes:
            return answers.get(certificate.leaf, b"")

        contexts = self.serve(self.write(A, "a"), self.write(A_RSA, "r"), staple=staple)
        got: list[bytes] = []

        def check(connection: SSL.Connection, response: bytes, data: object) -> bool:
            got.append(response)
            return True

        # OpenSSL parses what it staples.
        expected = [respond(one, ROOT, time.time()) for one in (A, A_RSA)]
        answers[A.certificate], answers[A_RSA.certificate] = expected
        for ciphers in (b"ECDHE-ECDSA-AES128-GCM-SHA256", b"ECDHE-RSA-AES128-GCM-SHA256"):
            context = client_context("1.2", ciphers=ciphers)
            context.set_ocsp_client_callback(check)
            self.assertEqual(shake(contexts, context=context, staple=True).alert, "")
        self.assertEqual(got, expected)
        del answers[A.certificate]
        context = client_context("1.2", ciphers=b"ECDHE-ECDSA-AES128-GCM-SHA256")
        context.set_ocsp_client_callback(check)
        self.assertEqual(shake(contexts, context=context, staple=True).alert, "")
        self.assertEqual(got[2:], [b""])

    def test_one_certificate(self) -> None:
        response = respond(A, ROOT, time.time())
        contexts = self.serve(self.write(A, "a"), staple=lambda certificate: response)
        got: list[bytes] = []
        for version in ("1.2", "1.3"):
            context = client_context(version)
            context.set_ocsp_client_callback(lambda *said: got.append(said[1]) or True)
            self.assertEqual(shake(contexts, context=context, staple=True).alert, "")
        self.assertEqual(got, [response, response])

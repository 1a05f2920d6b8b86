"""What the profiles allow, asked of OpenSSL's own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

import tests.tls.authority
from tests.tls.authority import authority
from tests.tls.handshake import client_context, shake
from txrproxy.tls.binding import set_groups, set_options
from txrproxy.tls.certificates import load
from txrproxy.tls.pem import BadPem
from txrproxy.tls.profiles import PROFILES, ProfileName, new_context, stricter, use

ROOT = authority()
LEAF = ROOT.issue("a.example")
RSA = ROOT.issue("a.example", kind="RSA")


class Server:
    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def connection(self) -> SSL.Connection:
        connection = SSL.Connection(self.context)
        connection.set_accept_state()
        return connection


class ProfileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def server(self, profile: ProfileName = "intermediate", issued: Any = LEAF) -> Server:
        context = new_context(profile)
        use(context, load(issued.write(self.folder), Path))
        return Server(context)

    def test_versions(self) -> None:
        for profile, version, accepted in (
            ("intermediate", "1.2", True),
            ("intermediate", "1.3", True),
            ("modern", "1.2", False),
            ("modern", "1.3", True),
        ):
            outcome = shake(self.server(profile), context=client_context(version))
            self.assertEqual(outcome.alert == "", accepted, (profile, version))

    def test_old_versions(self) -> None:
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            outcome = shake(self.server(), context=context)
            self.assertIn("protocol version", outcome.alert)

    def test_ciphers(self) -> None:
        for name in PROFILES["intermediate"].ciphers:
            issued = RSA if "RSA" in name.split("-")[1] and "ECDSA" not in name else LEAF
            context = client_context("1.2", ciphers=name.encode())
            outcome = shake(self.server(issued=issued), context=context)
            self.assertEqual(outcome.client.get_cipher_name(), name)
        for name in (b"AES128-GCM-SHA256", b"ECDHE-RSA-AES128-SHA", b"DHE-RSA-AES128-GCM-SHA256"):
            context = client_context("1.2", ciphers=name)
            outcome = shake(self.server(issued=RSA), context=context)
            self.assertIn("handshake failure", outcome.alert)

    def test_client_chooses_the_cipher(self) -> None:
        for first in (b"ECDHE-ECDSA-CHACHA20-POLY1305", b"ECDHE-ECDSA-AES256-GCM-SHA384"):
            context = client_context("1.2", ciphers=first + b":ECDHE-ECDSA-AES128-GCM-SHA256")
            outcome = shake(self.server(), context=context)
            self.assertEqual(outcome.client.get_cipher_name(), first.decode())

    def test_groups(self) -> None:
        for group, name in (
            ("X25519", "x25519"),
            ("prime256v1", "secp256r1"),
            ("secp384r1", "secp384r1"),
        ):
            context = client_context("1.3")
            set_groups(context, [group])
            outcome = shake(self.server(), context=context)
            self.assertEqual(outcome.client.get_group_name(), name)
        context = client_context("1.3")
        set_groups(context, ["secp521r1"])
        self.assertIn("handshake failure", shake(self.server(), context=context).alert)

    def test_hybrid_group_first(self) -> None:
        context = client_context("1.3")
        known = set_groups(context, ["X25519MLKEM768", "X25519"])
        outcome = shake(self.server(), context=context)
        self.assertEqual(outcome.client.get_group_name(), known[0])

    def test_no_renegotiation(self) -> None:
        outcome = shake(self.server(), context=client_context("1.2"))
        outcome.client.set_shutdown(0)
        outcome.server.set_shutdown(0)
        self.assertTrue(outcome.client.renegotiate())
        with self.assertRaises(SSL.WantReadError):
            outcome.client.do_handshake()
        outcome.server.bio_write(outcome.client.bio_read(65536))
        with self.assertRaises(SSL.WantReadError):
            outcome.server.recv(1)
        outcome.client.bio_write(outcome.server.bio_read(65536))
        with self.assertRaises(SSL.Error) as raised:
            outcome.client.do_handshake()
        self.assertIn("no renegotiation", str(raised.exception))

    def test_certificate_that_openssl_refuses(self) -> None:
        weak = load(ROOT.issue("a.example", kind="RSA", bits=1024).write(self.folder), Path)
        error = self.assertRaises(BadPem, use, new_context("intermediate"), weak)
        self.assertIn("too weak to be served: a.example has an RSA key", str(error))
        self.assertIn("server.pem", str(error))

    def test_key_that_no_client_takes(self) -> None:
        for key in (
            ec.generate_private_key(ec.SECP224R1()),
            ec.generate_private_key(ec.SECP256K1()),
            ed448.Ed448PrivateKey.generate(),
        ):
            self.patch(tests.tls.authority, "new_key", lambda *_, key=key: key)
            strange = load(ROOT.issue("a.example").write(self.folder), Path)
            error = self.assertRaises(BadPem, use, new_context("intermediate"), strange)
            self.assertIn("server.pem: its key is of a kind that no client takes", str(error))

    def test_keys_that_clients_take(self) -> None:
        for key in (
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP521R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            self.patch(tests.tls.authority, "new_key", lambda *_, key=key: key)
            context = new_context("intermediate")
            use(context, load(ROOT.issue("a.example").write(self.folder), Path))
            for version in ("1.2", "1.3"):
                outcome = shake(Server(context), context=client_context(version))
                self.assertEqual((outcome.alert, outcome.refusal), ("", ""))

    def test_tickets_off(self) -> None:
        self.assertIsNotNone(new_context("modern", session_tickets=False))

    def test_stricter(self) -> None:
        self.assertEqual(stricter("1.2", "1.3"), "1.3")
        self.assertEqual(stricter("1.2", "1.2"), "1.2")


class OptionTests(SynchronousTestCase):
    def test_unknown(self) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.assertRaises(AttributeError, set_options, context, "NO_SUCH_THING")

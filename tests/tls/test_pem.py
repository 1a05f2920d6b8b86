from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import SHA1_CHAIN, authority, new_key, pem
from txrproxy.config.values import Secret
from txrproxy.tls.pem import (
    MAX_CHAIN,
    MAX_FILE,
    BadPem,
    belongs,
    issued,
    name_of,
    parse_authorities,
    parse_chain,
    parse_key,
    read_file,
    read_secret,
)

ROOT = authority()
MIDDLE = ROOT.issue(subject="middle", ca=True)
LEAF = MIDDLE.issue("a.example")


class Case(SynchronousTestCase):
    def refused(self, why: str, call: object, *args: object) -> None:
        error = self.assertRaises(BadPem, call, *args)
        self.assertIn(why, str(error))


class ReadTests(Case):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_file(self) -> None:
        self.path.write_bytes(b"x")
        self.assertEqual(read_file(self.path), b"x")
        self.assertEqual(read_secret(Secret("file", str(self.path)), Path), b"x")

    def test_missing(self) -> None:
        self.refused(f"{self.path}: can not be read: No such file", read_file, self.path)

    def test_folder(self) -> None:
        self.path.mkdir()
        self.refused("a folder; expected a file", read_file, self.path)

    def test_pipe_does_not_block(self) -> None:
        os.mkfifo(self.path)
        self.refused("not a regular file", read_file, self.path)

    def test_too_large(self) -> None:
        self.path.write_bytes(b"x" * (MAX_FILE + 1))
        self.refused("larger than", read_file, self.path)

    def test_environment(self) -> None:
        self.patch(os, "environb", {b"KEY": b"value"})
        self.assertEqual(read_secret(Secret("env", "KEY"), Path), b"value")
        missing = Secret("env", "OTHER")
        self.refused("environment variable OTHER: is not set", read_secret, missing, Path)


class ChainTests(Case):
    def test_in_order(self) -> None:
        for certificates in (
            (LEAF.certificate,),
            (LEAF.certificate, MIDDLE.certificate),
            (LEAF.certificate, MIDDLE.certificate, ROOT.certificate),
        ):
            self.assertEqual(parse_chain(pem(*certificates), "f"), certificates)

    def test_text_around(self) -> None:
        self.assertEqual(len(parse_chain(b"subject=x\n" + pem(LEAF.certificate), "f")), 1)

    def test_out_of_order(self) -> None:
        for certificates, number in (
            ((LEAF, ROOT), 2),
            ((MIDDLE, LEAF), 2),
            ((LEAF, MIDDLE, LEAF), 3),
        ):
            content = pem(*(one.certificate for one in certificates))
            self.refused(f"f: certificate {number} (", parse_chain, content, "f")

    def test_signature_that_is_not_verified_any_more(self) -> None:
        self.assertEqual(len(parse_chain(SHA1_CHAIN, "f")), 2)
        leaf = SHA1_CHAIN.partition(b"-----END CERTIFICATE-----\n")
        content = b"".join(leaf[:2]) + b"\n" + pem(ROOT.certificate)
        self.refused("f: certificate 2 (", parse_chain, content, "f")

    def test_too_long(self) -> None:
        content = pem(*[ROOT.certificate] * (MAX_CHAIN + 1))
        self.refused("at most", parse_chain, content, "f")

    def test_none(self) -> None:
        self.refused("no certificate in PEM form", parse_chain, b"", "f")
        self.refused("holds a private key", parse_chain, LEAF.key_pem, "f")

    def test_broken(self) -> None:
        content = pem(LEAF.certificate)
        for broken in (content[:-40], content.replace(b"MII", b"AAA", 1), content[:40]):
            self.refused("not a valid certificate", parse_chain, broken, "f")

    def test_authorities_in_any_order(self) -> None:
        content = pem(MIDDLE.certificate, ROOT.certificate, MIDDLE.certificate)
        expected = (MIDDLE.certificate, ROOT.certificate)
        self.assertEqual(parse_authorities(content, "f"), expected)


class KeyTests(Case):
    def test_kinds(self) -> None:
        for kind in ("ECDSA", "RSA", "EdDSA"):
            issued_ = ROOT.issue(kind=kind)
            key = parse_key(issued_.key_pem, "f")
            self.assertTrue(belongs(key, issued_.certificate))
            self.assertFalse(belongs(key, LEAF.certificate))

    def test_other_kinds(self) -> None:
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for key in (x25519.X25519PrivateKey.generate(), dsa.generate_private_key(1024)):
            self.refused("expected ECDSA, RSA or Ed25519", parse_key, key.private_bytes(*form), "f")

    def test_encrypted(self) -> None:
        content = new_key().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
        )
        self.refused("is encrypted", parse_key, content, "f")

    def test_none_and_broken(self) -> None:
        self.refused("no private key", parse_key, pem(LEAF.certificate), "f")
        self.refused("not a valid private key", parse_key, LEAF.key_pem[:60], "f")

    def test_is_never_shown(self) -> None:
        error = self.assertRaises(BadPem, parse_key, LEAF.key_pem[:100], "f")
        self.assertNotIn(LEAF.key_pem[40:60].decode(), str(error))


class IssuedTests(Case):
    def test_issued(self) -> None:
        self.assertTrue(issued(LEAF.certificate, MIDDLE.certificate))
        self.assertFalse(issued(LEAF.certificate, ROOT.certificate))
        impostor = authority("middle")  # the name is right, the key is not
        self.assertFalse(issued(LEAF.certificate, impostor.certificate))

    def test_name(self) -> None:
        self.assertEqual(name_of(LEAF.certificate), "CN=leaf")

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

import tests.tls.authority
from tests.tls.authority import NOW, SHA1_CHAIN, Issued, authority, pem
from tests.tls.responder import names_responder
from txrproxy.config.values import Secret
from txrproxy.tls.certificates import (
    SOON,
    Certificate,
    Source,
    faults,
    kind_of,
    load,
    must_staple,
    names_in,
    responder,
)
from txrproxy.tls.pem import BadPem, parse_chain

ROOT = authority(now=NOW)
DAY = 86400.0
_ISSUER = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier("http://a.example/issuer"),
        )
    ]
)
_SMALL = ec.generate_private_key(ec.SECP224R1())


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def found(self, issued: Issued, now: float = NOW) -> list[str]:
        return list(faults(load(issued.write(self.folder), Path), now, Path))


class LoadTests(Case):
    def test_whole(self) -> None:
        source = ROOT.issue("A.example", "*.a.example", "10.0.0.1", "a.example").write(self.folder)
        loaded = load(source, Path)
        self.assertEqual(loaded.names, ("a.example", "*.a.example", "10.0.0.1"))
        self.assertEqual((loaded.kind, len(loaded.chain)), ("ECDSA", 2))
        self.assertEqual(loaded.issuer, ROOT.certificate)
        self.assertNotIn("PRIVATE", repr(loaded))

    def test_equal_when_the_same_was_read(self) -> None:
        issued = ROOT.issue("a.example")
        first = load(issued.write(self.folder), Path)
        self.assertEqual(load(issued.write(self.folder), Path), first)
        self.assertNotEqual(load(ROOT.issue("a.example").write(self.folder), Path), first)

    def test_kinds(self) -> None:
        for kind in ("RSA", "ECDSA", "EdDSA"):
            issued = ROOT.issue(kind=kind)
            self.assertEqual(kind_of(issued.key), kind)
            self.assertEqual(kind_of(issued.key.public_key()), kind)

    def test_other_key(self) -> None:
        source = ROOT.issue("a.example").write(self.folder)
        other = ROOT.issue("b.example")
        Path(source.key.name).write_bytes(other.key_pem)
        error = self.assertRaises(BadPem, load, source, Path)
        self.assertEqual(
            str(error),
            f"{source.cert}: for a.example: not of the private key in {source.key.name}",
        )

    def test_leaf_last(self) -> None:
        leaf = ROOT.issue("a.example")
        source = leaf.write(self.folder)
        source.cert.write_bytes(pem(ROOT.certificate, leaf.certificate))
        self.assertIn("expected the leaf first", str(self.assertRaises(BadPem, load, source, Path)))

    def test_key_of_the_issuer(self) -> None:
        source = ROOT.issue("a.example").write(self.folder)
        Path(source.key.name).write_bytes(ROOT.key_pem)
        error = self.assertRaises(BadPem, load, source, Path)
        self.assertIn("the certificate of the key is number 2", str(error))

    def test_missing_files(self) -> None:
        source = ROOT.issue("a.example").write(self.folder)
        for missing in (source.cert, Path(source.key.name)):
            missing.unlink()
            self.assertIn(str(missing), str(self.assertRaises(BadPem, load, source, Path)))
            missing.touch()

    def test_without_alternative_names(self) -> None:
        self.assertEqual(names_in(ROOT.issue(subject="a.example").certificate), ())

    def test_secret_is_resolved(self) -> None:
        source = ROOT.issue("a.example").write(self.folder)
        relative = Source(source.cert, Secret("file", "server.key"))
        self.assertEqual(load(relative, lambda name: self.folder / name).names, ("a.example",))


class FaultTests(Case):
    def test_none(self) -> None:
        self.assertEqual(self.found(ROOT.issue("a.example", now=NOW)), [])

    def test_expiry(self) -> None:
        issued = ROOT.issue("a.example", now=NOW, days=90)
        self.assertEqual(self.found(issued, NOW + 90 * DAY - SOON - 1), [])
        (soon,) = self.found(issued, NOW + 90 * DAY - SOON + 1)
        self.assertIn("server.pem (a.example) expires on ", soon)
        self.assertIn("in 29 days", soon)
        self.assertIn("in 1 day", self.found(issued, NOW + 88.5 * DAY)[0])
        (late,) = self.found(issued, NOW + 90 * DAY)
        self.assertIn("(a.example) EXPIRED on ", late)

    def test_not_valid_yet(self) -> None:
        (early,) = self.found(ROOT.issue("a.example", now=NOW), NOW - 2 * 3600)
        self.assertIn("is not valid before", early)

    def test_names(self) -> None:
        self.assertIn("no subject alternative name", self.found(ROOT.issue(now=NOW))[0])
        many = ROOT.issue(*(f"{i}.example" for i in range(7)), now=NOW, days=1)
        self.assertIn("4.example and 2 more", self.found(many)[0])

    def test_weak_key(self) -> None:
        (fault,) = self.found(ROOT.issue("a.example", kind="RSA", bits=1024, now=NOW))
        self.assertIn("is weak: an RSA key of 1024 bits", fault)
        self.patch(tests.tls.authority, "new_key", lambda *_: _SMALL)
        (fault,) = self.found(ROOT.issue("a.example", now=NOW))
        self.assertIn("elliptic curve of 224 bits", fault)

    def test_weak_signature(self) -> None:
        chain = parse_chain(SHA1_CHAIN, "old.pem")
        source = Source(Path("old.pem"), Secret("env", "KEY"))
        old = Certificate(source, chain, ROOT.key, ("old.example",), "ECDSA", b"")
        (fault,) = faults(old, NOW, Path)
        self.assertEqual(fault, "old.pem (old.example) is weak: a signature by SHA-1")

    def test_of_the_chain(self) -> None:
        middle = ROOT.issue(subject="middle", ca=True, kind="RSA", bits=1024, now=NOW, days=10)
        found = self.found(middle.issue("a.example", now=NOW), NOW + 11 * DAY)
        self.assertEqual(len(found), 2)
        self.assertIn("CN=middle, is weak: an RSA key", found[0])
        self.assertIn("certificate 2 of the chain (CN=middle) EXPIRED", found[1])

    def test_not_for_servers(self) -> None:
        server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
        whole = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
        for usages in ([server], [client, server], [whole]):
            extensions = (x509.ExtendedKeyUsage(usages),)
            self.assertEqual(
                self.found(ROOT.issue("a.example", now=NOW, extensions=extensions)), []
            )
        extensions = (x509.ExtendedKeyUsage([client]),)
        (fault,) = self.found(ROOT.issue("a.example", now=NOW, extensions=extensions))
        self.assertIn("(a.example) is not for servers", fault)

    def test_without_its_issuer(self) -> None:
        issued = ROOT.issue("a.example", now=NOW, extensions=(_ISSUER,))
        self.assertEqual(self.found(issued), [])
        issued.above = ()
        (fault,) = self.found(issued)
        self.assertIn("(a.example) comes without its issuer (CN=", fault)
        issued = ROOT.issue("a.example", now=NOW)  # may be issued by a root
        issued.above = ()
        self.assertEqual(self.found(issued), [])

    def test_readable_key(self) -> None:
        source = ROOT.issue("a.example", now=NOW).write(self.folder)
        Path(source.key.name).chmod(0o644)
        (fault,) = faults(load(source, Path), NOW, Path)
        self.assertIn("can be read by every user", fault)

    def test_key_that_went_away(self) -> None:
        source = ROOT.issue("a.example", now=NOW).write(self.folder)
        loaded = load(source, Path)
        Path(source.key.name).unlink()
        self.assertEqual(list(faults(loaded, NOW, Path)), [])


class ResponderTests(Case):
    def test_named(self) -> None:
        staple = x509.TLSFeature([x509.TLSFeatureType.status_request])
        issued = ROOT.issue(
            "a.example", now=NOW, extensions=(names_responder("http://o.example/"), staple)
        )
        self.assertEqual(load_one(self, issued), "http://o.example/")
        self.assertTrue(must_staple(issued.certificate))
        self.assertEqual(self.found(issued), [])

    def test_not_over_http(self) -> None:
        issued = ROOT.issue("a.example", extensions=(names_responder("ldap://o.example/"),))
        self.assertIsNone(load_one(self, issued))

    def test_without_issuer(self) -> None:
        issued = ROOT.issue("a.example", extensions=(names_responder("http://o.example/"),))
        issued.above = ()
        self.assertIsNone(load_one(self, issued))

    def test_must_staple_without(self) -> None:
        staple = x509.TLSFeature([x509.TLSFeatureType.status_request])
        issued = ROOT.issue("a.example", now=NOW, extensions=(staple,))
        self.assertIn("must be stapled", self.found(issued)[0])
        self.assertFalse(must_staple(ROOT.certificate))


def load_one(case: Case, issued: Issued) -> str | None:
    return responder(load(issued.write(case.folder), Path))

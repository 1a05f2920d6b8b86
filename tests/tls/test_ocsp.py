from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import NOW, Issued, authority
from tests.tls.responder import respond
from txrproxy.tls.ocsp import SKEW, WITHOUT_END, BadResponse, Stapled, judge, request

ROOT = authority(now=NOW)
LEAF = ROOT.issue("a.example", now=NOW)
OTHER = ROOT.issue("b.example", now=NOW)
SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


class JudgeTests(SynchronousTestCase):
    def judged(self, content: bytes, now: float = NOW, root: Issued = ROOT) -> Stapled:
        return judge(content, LEAF.certificate, root.certificate, now)

    def refused(self, why: str, content: bytes, now: float = NOW) -> None:
        error = self.assertRaises(BadResponse, self.judged, content, now)
        self.assertIn(why, str(error))

    def test_good(self) -> None:
        content = respond(LEAF, ROOT, NOW)
        stapled = self.judged(content)
        self.assertEqual(stapled, Stapled(content, NOW - 3600, NOW + 3600))
        self.assertEqual(stapled.refresh, NOW)
        self.assertTrue(stapled.valid(NOW + 3599))
        self.assertFalse(stapled.valid(NOW + 3600))

    def test_without_end(self) -> None:
        stapled = self.judged(respond(LEAF, ROOT, NOW, ends=None))
        self.assertEqual(stapled.ends, NOW - 3600 + WITHOUT_END)

    def test_revoked_and_unknown(self) -> None:
        for status in (ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN):
            content = respond(LEAF, ROOT, NOW, status=status)
            self.refused(f"the certificate is {status.name.lower()}", content)

    def test_another_certificate(self) -> None:
        self.refused("another certificate", respond(OTHER, ROOT, NOW))
        impostor = authority(now=NOW)
        self.refused("another certificate", respond(LEAF, impostor, NOW))

    def test_time(self) -> None:
        self.refused("out of date", respond(LEAF, ROOT, NOW), NOW + 3600)
        early = respond(LEAF, ROOT, NOW, begins=SKEW + 1)
        self.refused("from the future", early)
        self.judged(respond(LEAF, ROOT, NOW, begins=SKEW - 1))

    def test_signed_by_nobody(self) -> None:
        self.refused("not signed by", respond(LEAF, ROOT, NOW, signer=OTHER))

    def test_delegated(self) -> None:
        for kind in ("ECDSA", "RSA"):
            signer = ROOT.issue(kind=kind, now=NOW, extensions=(SIGNING,))
            enclosed = (signer.certificate,)
            self.judged(respond(LEAF, ROOT, NOW, signer=signer, enclosed=enclosed))

    def test_delegated_to_the_wrong_one(self) -> None:
        stranger = authority(now=NOW)
        for signer in (
            OTHER,  # issued, and not for this
            ROOT.issue(now=NOW, days=-10, extensions=(SIGNING,)),  # expired
            stranger.issue(now=NOW, extensions=(SIGNING,)),
        ):
            content = respond(LEAF, ROOT, NOW, signer=signer, enclosed=(signer.certificate,))
            self.refused("not signed by", content)
        right = ROOT.issue(now=NOW, extensions=(SIGNING,))
        content = respond(LEAF, ROOT, NOW, signer=OTHER, enclosed=(right.certificate,))
        self.refused("not signed by", content)

    def test_unsuccessful(self) -> None:
        response = ocsp.OCSPResponseBuilder.build_unsuccessful(
            ocsp.OCSPResponseStatus.TRY_LATER
        ).public_bytes(Encoding.DER)
        self.refused("the responder says try_later", response)

    def test_garbage(self) -> None:
        whole = respond(LEAF, ROOT, NOW)
        for content in (b"", b"\x30", b"<html>", whole[:-20], b"\0" * 70000):
            self.refused("not an OCSP response", content)


class RequestTests(SynchronousTestCase):
    def test_names_the_certificate(self) -> None:
        made = ocsp.load_der_ocsp_request(request(LEAF.certificate, ROOT.certificate))
        self.assertEqual(made.serial_number, LEAF.certificate.serial_number)
        self.assertIsInstance(made.hash_algorithm, hashes.SHA1)

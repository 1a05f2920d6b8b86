from __future__ import annotations

import base64
import hashlib
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import authority
from txrproxy.http.fields import is_field_value
from txrproxy.tls.certificates import der
from txrproxy.tls.identity import NO_CERTIFICATE, identify

ROOT = authority()


def fields(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines.decode("ascii").split("\r\n")[:-1])


class ChainTests(SynchronousTestCase):
    def test_what_was_sent_with_it(self) -> None:
        root = authority()
        middle = root.issue(subject="middle", ca=True)
        alice = middle.issue(subject="alice", client=True)
        lines = identify(alice.certificate, (middle.certificate, root.certificate)).lines
        (line,) = [one for one in lines.split(b"\r\n") if one.startswith(b"Client-Cert-Chain")]
        self.assertEqual(
            line,
            b"Client-Cert-Chain: "
            + b", ".join(
                b":%b:" % base64.b64encode(der(one.certificate)) for one in (middle, root)
            ),
        )
        self.assertNotIn(b"Chain", identify(alice.certificate).lines)

    def test_too_long_is_left_out(self) -> None:
        root = authority()
        chain = [root.issue(subject=f"{number}", ca=True).certificate for number in range(20)]
        self.assertNotIn(b"Chain", identify(root.certificate, chain).lines)


class IdentityTests(SynchronousTestCase):
    def test_fields(self) -> None:
        names = ("alice.example", "spiffe://b/c", "a@d.example", "10.0.0.1")
        issued = ROOT.issue(*names, subject="alice", client=True)
        identity = identify(issued.certificate)
        content = issued.certificate.public_bytes(Encoding.DER)
        self.assertEqual(
            fields(identity.lines),
            {
                "X-Client-Cert-Verify": "SUCCESS",
                "X-Client-Cert-Subject": "CN=alice",
                "X-Client-Cert-San": "DNS:alice.example, URI:spiffe://b/c, email:a@d.example, "
                "IP:10.0.0.1",
                "X-Client-Cert-Fingerprint": hashlib.sha256(content).hexdigest(),
                "X-Client-Cert-Serial": f"{issued.certificate.serial_number:x}",
                "Client-Cert": f":{base64.b64encode(content).decode()}:",
            },
        )
        self.assertEqual(der(issued.certificate), content)
        self.assertEqual(
            identity.log_notes,
            (
                (b"client_cert", b"CN=alice"),
                (b"client_cert_san", fields(identity.lines)["X-Client-Cert-San"].encode()),
                (b"client_cert_fingerprint", identity.fingerprint.encode()),
            ),
        )

    def test_values(self) -> None:
        issued = ROOT.issue("alice.example", subject="alice", client=True)
        identity = identify(issued.certificate)
        self.assertEqual(identity.values("subject"), {"CN=alice"})
        self.assertEqual(identity.values("san"), {"DNS:alice.example"})
        self.assertEqual(identity.values("fingerprint"), {identity.fingerprint})

    def test_without_names(self) -> None:
        identity = identify(ROOT.issue(subject=x509.Name([]), client=True).certificate)
        self.assertNotIn("X-Client-Cert-San", fields(identity.lines))
        self.assertNotIn("X-Client-Cert-Subject", fields(identity.lines))
        self.assertEqual(identity.log_notes[0], (b"client_cert", b""))

    def test_other_kinds_of_names_are_left_out(self) -> None:
        names = [x509.DirectoryName(x509.Name([])), x509.DNSName("a.example")]
        extension = x509.SubjectAlternativeName(names)
        identity = identify(ROOT.issue(client=True, extensions=(extension,)).certificate)
        self.assertEqual(identity.names, {"DNS:a.example"})

    def test_names_of_a_list_stay_apart(self) -> None:
        identity = identify(ROOT.issue("spiffe://a/x, DNS:b.example", client=True).certificate)
        self.assertEqual(identity.names, {"URI:spiffe://a/x%2C%20DNS:b.example"})

    @settings(max_examples=50, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
    def test_any_subject_is_one_safe_line(self, text: str) -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])
        identity = identify(ROOT.issue(subject=subject, client=True).certificate)
        for value in fields(identity.lines).values():
            self.assertTrue(is_field_value(value.encode("ascii")), value)
        expected = subject.rfc4514_string()
        self.assertEqual(unquote(fields(identity.lines)["X-Client-Cert-Subject"]), expected)

    def test_no_certificate(self) -> None:
        self.assertEqual(fields(NO_CERTIFICATE), {"X-Client-Cert-Verify": "NONE"})

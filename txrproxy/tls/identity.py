"""Who a client is, by the certificate that it proved to hold: for backends, routes and logs.

The fields that tell a backend are rendered once for a connection. They are ASCII whatever the
certificate says: every byte of UTF-8 outside of printable ASCII, and ``%`` itself, is
percent-encoded (RFC 3986 section 2.1), so that the value can be decoded and can not break out of
its line. In the list of alternative names the comma and the space are encoded too.

==========================  =================================================================
``X-Client-Cert-Verify``    ``SUCCESS``, or ``NONE``: the client has shown no certificate
``X-Client-Cert-Subject``   the distinguished name (RFC 4514)
``X-Client-Cert-San``       ``DNS:a.example, URI:spiffe://b/c, IP:10.0.0.1, email:d@e.example``
``X-Client-Cert-Fingerprint``  SHA-256 of the certificate, 64 lower-case hexadecimal digits
``X-Client-Cert-Serial``    its serial number, hexadecimal
``Client-Cert``             the certificate itself (RFC 9440)
``Client-Cert-Chain``       the others that the client sent with it (RFC 9440)
==========================  =================================================================

The chain is left out where it is longer than a backend may be asked to read, and is not known for
a resumed session: tickets do not hold it.

Whatever a client sends under one of these names is dropped: see :mod:`txrproxy.http.forward`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_IN_LIST = _PRINTABLE.replace(",", "").replace(" ", "")

MAX_CHAIN = 8 * 1024  # characters of Client-Cert-Chain; servers take heads of 8 to 64 KiB

MAX_LOGGED = 2048  # bytes of each value in the access log

#: The lines for a client that could have shown a certificate and did not.
NO_CERTIFICATE = b"X-Client-Cert-Verify: NONE\r\n"


@frozen(eq=False)
class Identity:
    """The holder of a verified certificate. ``lines`` are header lines with their CRLF.

    ``log_notes`` are what the access log says of it, names with values.
    """

    subject: str
    names: frozenset[str]
    fingerprint: str
    serial: str
    lines: bytes = field(repr=False)
    log_notes: tuple[tuple[bytes, bytes], ...] = field(repr=False)

    def values(self, kind: str) -> frozenset[str]:
        """What a route's ``match.client_cert`` compares: of "subject", "san", "fingerprint"."""
        if kind == "san":
            return self.names
        return frozenset((self.subject if kind == "subject" else self.fingerprint,))


def identify(certificate: x509.Certificate, above: Sequence[x509.Certificate] = ()) -> Identity:
    """The identity in a certificate that TLS has verified; ``above`` are those sent with it."""
    der = certificate.public_bytes(Encoding.DER)
    fingerprint = hashlib.sha256(der).hexdigest()
    serial = f"{certificate.serial_number:x}"
    try:
        subject = quote(certificate.subject.rfc4514_string(), _PRINTABLE)
    except ValueError:  # what a certificate authority should not have signed matches nothing
        subject = ""
    try:
        names = tuple(_names(certificate))
    except ValueError:
        names = ()
    listed = ", ".join(names)
    lines = [
        ("X-Client-Cert-Verify", "SUCCESS"),
        ("X-Client-Cert-Subject", subject),
        ("X-Client-Cert-San", listed),
        ("X-Client-Cert-Fingerprint", fingerprint),
        ("X-Client-Cert-Serial", serial),
        ("Client-Cert", _item(der)),
        ("Client-Cert-Chain", _chain(above)),
    ]
    return Identity(
        subject,
        frozenset(names),
        fingerprint,
        serial,
        "".join(f"{name}: {value}\r\n" for name, value in lines if value).encode("ascii"),
        tuple(
            (name, value.encode("ascii")[:MAX_LOGGED])
            for name, value in (
                (b"client_cert", subject),
                (b"client_cert_san", listed),
                (b"client_cert_fingerprint", fingerprint),
            )
        ),
    )


def _item(der: bytes) -> str:
    """A byte sequence (RFC 9651 section 3.3.5)."""
    return f":{base64.b64encode(der).decode('ascii')}:"


def _chain(above: Sequence[x509.Certificate]) -> str:
    value = ", ".join(_item(one.public_bytes(Encoding.DER)) for one in above)
    return value if len(value) <= MAX_CHAIN else ""


def _names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return
    for name in alternatives:
        kind = _KINDS.get(type(name))
        if kind is not None:
            yield f"{kind}:{quote(str(name.value), _IN_LIST)}"


_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
    x509.UniformResourceIdentifier: "URI",
    x509.RFC822Name: "email",
}

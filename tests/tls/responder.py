"""OCSP responses for tests."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.tls.authority import Issued


def names_responder(url: str) -> x509.AuthorityInformationAccess:
    """The extension that names a responder."""
    return x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://i")
            ),
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url)
            ),
        ]
    )


def respond(
    subject: Issued,
    issuer: Issued,
    now: float,
    *,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    signer: Issued | None = None,
    begins: float = -3600.0,
    ends: float | None = 3600.0,
    about: Issued | None = None,
    enclosed: tuple[x509.Certificate, ...] = (),
    digest: Any = None,
) -> bytes:
    """A signed response; ``begins`` and ``ends`` are seconds from ``now``."""

    def at(offset: float) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(now + offset, datetime.UTC).replace(tzinfo=None)

    by = signer or issuer
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=(about or subject).certificate,
            issuer=issuer.certificate,
            algorithm=hashes.SHA1(),
            cert_status=status,
            this_update=at(begins),
            next_update=None if ends is None else at(ends),
            revocation_time=at(-7200) if revoked else None,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate)
    )
    if enclosed:
        builder = builder.certificates(list(enclosed))
    return builder.sign(by.key, digest or hashes.SHA256()).public_bytes(Encoding.DER)

"""What to ask an OCSP responder, and whether to believe its answer (RFC 6960). No I/O, no clock.

A response is stapled only when it is one that a client would accept: signed by the issuer or by a
responder the issuer delegated to, for exactly this certificate, ``good``, and within its time.
"""

from __future__ import annotations

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from txrproxy.tls.certificates import extension
from txrproxy.tls.pem import issued

MAX_RESPONSE = 64 * 1024  # bytes
SKEW = 300.0  # seconds by which a responder's clock may be ahead of ours
WITHOUT_END = 86400.0  # seconds that a response without nextUpdate is used


class BadResponse(Exception):
    """A response that is not to be stapled; the text says why."""


@frozen
class Stapled:
    """A response to staple. Times are unix time; it is refreshed at ``refresh``."""

    response: bytes
    begins: float
    ends: float

    @property
    def refresh(self) -> float:
        """Half of its life."""
        return (self.begins + self.ends) / 2

    def valid(self, now: float) -> bool:
        """Whether a client accepts it at this time."""
        return now < self.ends


def request(leaf: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """The request for the state of a certificate, DER.

    Certificates are named by SHA-1 hashes, the one form that every responder takes
    (RFC 5019 section 2.1.1); nothing depends on their strength.
    """
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1())
    return builder.build().public_bytes(Encoding.DER)


def judge(content: bytes, leaf: x509.Certificate, issuer: x509.Certificate, now: float) -> Stapled:
    """Make sure of a response. Raises :class:`BadResponse`."""
    try:
        response = ocsp.load_der_ocsp_response(content)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise BadResponse(f"the responder says {response.response_status.name.lower()}")
        singles = list(response.responses)
    except (ValueError, UnsupportedAlgorithm):
        raise BadResponse("not an OCSP response") from None
    if len(singles) != 1:
        raise BadResponse(f"{len(singles)} answers to one question")
    single = singles[0]
    if not _is_about(single, leaf, issuer):
        raise BadResponse("the answer is about another certificate")
    if not _is_signed(response, issuer, now):
        raise BadResponse("not signed by the issuer, nor by a responder of its choice")
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise BadResponse(f"the certificate is {single.certificate_status.name.lower()}")
    begins = single.this_update_utc.timestamp()
    ends = begins + WITHOUT_END
    if single.next_update_utc is not None:
        ends = single.next_update_utc.timestamp()
    if begins > now + SKEW:
        raise BadResponse("the answer is from the future")
    if ends <= now:
        raise BadResponse("the answer is out of date")
    return Stapled(content, begins, ends)


def _is_about(
    single: ocsp.OCSPSingleResponse, leaf: x509.Certificate, issuer: x509.Certificate
) -> bool:
    if single.serial_number != leaf.serial_number:
        return False
    builder = ocsp.OCSPRequestBuilder()
    try:
        mine = builder.add_certificate(leaf, issuer, single.hash_algorithm).build()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return (
        mine.issuer_key_hash == single.issuer_key_hash
        and mine.issuer_name_hash == single.issuer_name_hash
    )


def _is_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: float) -> bool:
    if _verifies(response, issuer):
        return True
    return any(
        _is_delegated(signer, issuer, now) and _verifies(response, signer)
        for signer in response.certificates
    )


def _is_delegated(signer: x509.Certificate, issuer: x509.Certificate, now: float) -> bool:
    """RFC 6960 section 4.2.2.2."""
    try:
        usages = extension(signer, x509.ExtendedKeyUsage)
    except ValueError:
        return False
    return (
        usages is not None
        and ExtendedKeyUsageOID.OCSP_SIGNING in usages
        and signer.not_valid_before_utc.timestamp() <= now < signer.not_valid_after_utc.timestamp()
        and issued(signer, issuer)
    )


def _verifies(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    try:
        key = signer.public_key()
        algorithm = response.signature_hash_algorithm
        signed = response.tbs_response_bytes
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(response.signature, signed)
        elif algorithm is None or algorithm.name in ("md5", "sha1"):
            return False
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(response.signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(response.signature, signed, ec.ECDSA(algorithm))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True

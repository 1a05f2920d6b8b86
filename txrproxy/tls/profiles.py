"""Mozilla's "Server Side TLS" recommendations, version 6.0, as contexts.

https://ssl-config.mozilla.org/guidelines/6.0.json (from May 2025 on; it dropped the ``old`` profile
and key exchange by DHE, and put the hybrid X25519MLKEM768 first). Both profiles leave the choice of
a cipher to the client: all that are offered are good, and a telephone without AES instructions
knows best. What goes beyond Mozilla: no renegotiation, and record buffers that idle connections do
not hold.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from txrproxy.tls.binding import (
    reason,
    release_buffers,
    set_groups,
    set_options,
    set_signature_algorithms,
    use_chain,
)
from txrproxy.tls.certificates import Certificate, too_weak
from txrproxy.tls.pem import BadPem, PrivateKey

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
#: As OpenSSL names them: asking it for the name of each connection costs more.
VERSION_NAMES = {SSL.TLS1_2_VERSION: b"TLSv1.2", SSL.TLS1_3_VERSION: b"TLSv1.3"}

ProfileName = Literal["intermediate", "modern"]


@frozen
class Profile:
    """``min_version`` is of TLS; ``ciphers`` are those of TLS 1.2, ``suites`` of TLS 1.3."""

    min_version: Literal["1.2", "1.3"]
    ciphers: tuple[str, ...]
    suites: tuple[str, ...] = (
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    )
    groups: tuple[str, ...] = ("X25519MLKEM768", "X25519", "prime256v1", "secp384r1")
    # With PKCS #1: TLS 1.3 allows it inside of certificates, and a client certificate may have it.
    signatures: tuple[str, ...] = (
        "ecdsa_secp256r1_sha256",
        "ecdsa_secp384r1_sha384",
        "ecdsa_secp521r1_sha512",
        "ed25519",
        "rsa_pss_rsae_sha256",
        "rsa_pss_rsae_sha384",
        "rsa_pss_rsae_sha512",
        "rsa_pss_pss_sha256",
        "rsa_pss_pss_sha384",
        "rsa_pss_pss_sha512",
        "rsa_pkcs1_sha256",
        "rsa_pkcs1_sha384",
        "rsa_pkcs1_sha512",
    )


PROFILES: dict[str, Profile] = {
    "intermediate": Profile(
        "1.2",
        (
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ),
    ),
    "modern": Profile("1.3", ()),
}

#: Keys that those signatures are made with: OpenSSL serves others too, and every handshake fails.
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_KEYS = "RSA, Ed25519, or ECDSA on P-256, P-384 or P-521"


def stricter(*versions: str) -> Literal["1.2", "1.3"]:
    """The highest of TLS versions."""
    return "1.3" if "1.3" in versions else "1.2"


def new_context(
    profile: ProfileName, min_version: str = "1.2", *, session_tickets: bool = True
) -> SSL.Context:
    """A server context by a profile, without certificates."""
    chosen = PROFILES[profile]
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(VERSIONS[stricter(min_version, chosen.min_version)])
    set_options(context, "NO_COMPRESSION", "NO_RENEGOTIATION")
    if not session_tickets:
        set_options(context, "NO_TICKET")
    # Sessions live in the tickets that clients hold: a store of our own would be bounded memory
    # spent on what other workers could not see.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if chosen.ciphers:
        context.set_cipher_list(":".join(chosen.ciphers).encode("ascii"))
    context.set_tls13_ciphersuites(":".join(chosen.suites).encode("ascii"))
    set_groups(context, chosen.groups)
    set_signature_algorithms(context, chosen.signatures)
    release_buffers(context)
    return context


def use(context: SSL.Context, certificate: Certificate) -> None:
    """Serve a certificate.

    Raises :class:`~txrproxy.tls.pem.BadPem` when OpenSSL will not, or no client would take it.
    """
    file = str(certificate.source.cert)
    if not _signs(certificate.key):
        raise BadPem(file, f"its key is of a kind that no client takes; expected {_KEYS}")
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in certificate.chain)
    try:
        use_chain(context, pem)
        context.use_privatekey(certificate.key)
        context.check_privatekey()
    except SSL.Error as error:
        why = too_weak(certificate) or f"OpenSSL does not serve it: {reason(error)}"
        raise BadPem(file, why) from None


def _signs(key: PrivateKey) -> bool:
    """Whether one of the profiles' signatures can be made with the key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.curve.name in _CURVES
    return not isinstance(key, ed448.Ed448PrivateKey)

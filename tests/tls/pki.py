"""Certificates for the tests, made with ``cryptography`` and kept for the run."""

from __future__ import annotations

import datetime
import functools
import ipaddress

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@frozen(eq=False)
class Identity:
    """A certificate with its key, and both as PEM; ``chain`` is what a peer is shown."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: bytes
    key_pem: bytes

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def authority(name: str = "Test CA") -> Identity:
    return _authority(name)


@functools.cache
def _authority(name: str) -> Identity:
    return _make(name, None, (), -1, True)


@functools.cache
def leaf(
    *names: str, issuer: str | None = "Test CA", ends: int = 30, days_old: int = 1
) -> Identity:
    """A certificate for DNS names and IP addresses; ``issuer`` None is self-signed."""
    return _make(names[0], authority(issuer) if issuer else None, names, ends, False, days_old)


def _make(
    name: str,
    issuer: Identity | None,
    names: tuple[str, ...],
    ends: int,
    is_authority: bool,
    days_old: int = 100,
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY * days_old)
        .not_valid_after(NOW + DAY * (1000 if is_authority else ends))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
        )
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return Identity(
        certificate,
        key,
        pem + (issuer.pem if issuer else b""),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def accepting(context: SSL.Context) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    connection.set_options(SSL.OP_NO_RENEGOTIATION)
    return connection


def server_context(identity: Identity | None = None, version: int | None = None) -> SSL.Context:
    """TLS 1.2 and 1.3, or ``version`` alone, with tickets."""
    identity = identity or leaf("localhost", "127.0.0.1")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(version or SSL.TLS1_2_VERSION)
    context.set_max_proto_version(version or SSL.TLS1_3_VERSION)
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.key)
    context.set_session_id(b"tests")
    return context


def client_context(version: int | None = None) -> SSL.Context:
    """A client that believes anything."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    return context

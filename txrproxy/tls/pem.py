"""PEM files: certificate chains, private keys, authorities; read within bounds, judged in words.

Every failure is a :class:`BadPem` whose text names the file (or the variable) and says what to do,
and never repeats what was found in it.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from txrproxy.config.values import Secret

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
Resolve = Callable[[str], Path]

WEAK_HASHES = frozenset({"md5", "sha1"})  # signatures that are not verified any more
MAX_FILE = 1024 * 1024  # bytes; a bundle of all public authorities has a quarter of it
MAX_CHAIN = 16  # certificates that a client would have to take


class BadPem(Exception):
    """A file that can not serve its purpose; ``source`` names it, the text says why."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: {why}")
        self.source = source
        self.why = why


def read_file(path: Path, limit: int = MAX_FILE) -> bytes:
    """A regular file, whole, of ``limit`` bytes at most. Raises :class:`BadPem`."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadPem(str(path), "not a regular file")
            content = file.read(limit + 1)
    except IsADirectoryError:
        raise BadPem(str(path), "a folder; expected a file") from None
    except OSError as error:
        raise BadPem(str(path), f"can not be read: {error.strerror or error}") from None
    if len(content) > limit:
        raise BadPem(str(path), f"larger than {limit // 1024} KiB")
    return content


def source_of(secret: Secret, resolve: Resolve) -> str:
    """Where a secret is, for messages."""
    if secret.kind == "file":
        return str(resolve(secret.name))
    return f"environment variable {secret.name}"


def read_secret(secret: Secret, resolve: Resolve, limit: int = MAX_FILE) -> bytes:
    """The content of a secret. Raises :class:`BadPem`."""
    if secret.kind == "file":
        return read_file(resolve(secret.name), limit)
    value = os.environb.get(os.fsencode(secret.name))
    if value is None:
        raise BadPem(source_of(secret, resolve), "is not set")
    return value


def parse_chain(content: bytes, source: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a chain, leaf first, each issued by the next. Raises :class:`BadPem`."""
    chain = _certificates(content, source)
    if len(chain) > MAX_CHAIN:
        raise BadPem(source, f"{len(chain)} certificates; a chain has at most {MAX_CHAIN}")
    for number, (subject, issuer) in enumerate(itertools.pairwise(chain), 1):
        if not (issued(subject, issuer) or _is_unverifiable(subject, issuer)):
            raise BadPem(
                source,
                f"certificate {number + 1} ({name_of(issuer)}) did not issue certificate {number} "
                f"({name_of(subject)}); expected the leaf first, then the issuer of each",
            )
    return chain


def parse_authorities(content: bytes, source: str) -> tuple[x509.Certificate, ...]:
    """Certificates of authorities, in any order, each once. Raises :class:`BadPem`."""
    return tuple(dict.fromkeys(_certificates(content, source)))


def _certificates(content: bytes, source: str) -> tuple[x509.Certificate, ...]:
    if b"-----BEGIN CERTIFICATE-----" not in content:
        hint = " (it holds a private key)" if b"PRIVATE KEY-----" in content else ""
        raise BadPem(source, f"no certificate in PEM form{hint}")
    try:
        return tuple(x509.load_pem_x509_certificates(content))
    except ValueError:
        raise BadPem(source, "not a valid certificate in PEM form") from None


def parse_key(content: bytes, source: str) -> PrivateKey:
    """A private key that TLS can use. Raises :class:`BadPem`."""
    if b"PRIVATE KEY-----" not in content:
        raise BadPem(source, "no private key in PEM form")
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise BadPem(
            source, "the private key is encrypted; expected one without a pass phrase"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadPem(source, "not a valid private key in PEM form") from None
    if not isinstance(key, PrivateKey):
        raise BadPem(source, "not a kind of key that TLS uses; expected ECDSA, RSA or Ed25519")
    return key


def belongs(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Whether the key is that of the certificate."""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        return False


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` signed ``certificate``."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_unverifiable(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether nothing but the names can be compared: the signature is by SHA-1 or the like."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return False
    weak = algorithm is not None and algorithm.name in WEAK_HASHES
    return weak and certificate.issuer == issuer.subject


def name_of(certificate: x509.Certificate) -> str:
    """A certificate's subject for a person to read."""
    return _spelled(certificate, "subject")


def issuer_of(certificate: x509.Certificate) -> str:
    """The name of a certificate's issuer for a person to read."""
    return _spelled(certificate, "issuer")


def _spelled(certificate: x509.Certificate, whose: Literal["subject", "issuer"]) -> str:
    try:
        name: x509.Name = getattr(certificate, whose)
        return name.rfc4514_string() or f"no {whose}"
    except ValueError:
        return f"unreadable {whose}"

"""A certificate for development, made once and kept: ``self_signed = true``.

Nobody vouches for it; browsers ask once and remember it, which is why it is kept and not made at
every start. It is valid for 397 days, as long as browsers allow; in the last 30 of them a new one
is made, at a start or while it is served.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from txrproxy.config.values import Secret
from txrproxy.tls.certificates import SOON, Source, load
from txrproxy.tls.names import normalise
from txrproxy.tls.pem import BadPem

VALID = datetime.timedelta(days=397)
CERT_FILE = "self-signed.pem"
KEY_FILE = "self-signed.key"


def self_signed(state_dir: Path, now: float, hostname: str | None = None) -> Source:
    """The certificate kept in a folder, made there if there is none that will do.

    ``now`` is unix time. Raises :class:`~txrproxy.tls.pem.BadPem` when the folder takes no files.
    """
    source = Source(state_dir / CERT_FILE, Secret("file", str(state_dir / KEY_FILE)))
    if _is_good(source, now):
        return source
    try:
        state_dir.mkdir(0o700, parents=True, exist_ok=True)
        with _alone(state_dir):
            if not _is_good(source, now):  # by now
                name = socket.gethostname() if hostname is None else hostname
                certificate, key = make(now, name)
                # A stop in between leaves a pair that does not match, and is made anew.
                _write(state_dir / KEY_FILE, key)
                _write(state_dir / CERT_FILE, certificate)
    except OSError as error:
        raise BadPem(
            str(state_dir), f"the self-signed certificate can not be kept here: {error.strerror}"
        ) from None
    return source


def _is_good(source: Source, now: float) -> bool:
    try:
        kept = load(source, Path)
    except BadPem:
        return False
    return kept.leaf.not_valid_before_utc.timestamp() <= now < kept.expires - SOON


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of all processes that share the folder, and all threads."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make(now: float, hostname: str) -> tuple[bytes, bytes]:
    """A new certificate and its key, PEM, for this machine's names."""
    key = ec.generate_private_key(ec.SECP256R1())
    begins = datetime.datetime.fromtimestamp(int(now), datetime.UTC) - datetime.timedelta(hours=1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "txrproxy self-signed")])
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("*.localhost")]
    own = normalise(hostname)
    if own not in (None, "localhost") and not _is_address(own):
        names.append(x509.DNSName(own))
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    """All or nothing, and never readable by others."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise

"""Certificates for tests: authorities and what they issue, made in memory and written to files."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from txrproxy.config.values import Secret
from txrproxy.tls.certificates import Source

NOW = 1_900_000_000.0  # the time of tests that bring their own

_rsa_keys: dict[int, Any] = {}


def new_key(kind: str = "ECDSA", bits: int = 2048) -> Any:
    """A private key; those of RSA are made once and shared, as making one takes long."""
    if kind == "RSA":
        if bits not in _rsa_keys:
            _rsa_keys[bits] = rsa.generate_private_key(65537, bits)
        return _rsa_keys[bits]
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def alternatives(names: tuple[str, ...]) -> list[x509.GeneralName]:
    made: list[x509.GeneralName] = []
    for name in names:
        try:
            made.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            kinds = {":": x509.UniformResourceIdentifier, "@": x509.RFC822Name}
            kind = next((kinds[sign] for sign in kinds if sign in name), x509.DNSName)
            made.append(kind(name))
    return made


class Issued:
    """A certificate, its key, and the chain above it."""

    def __init__(self, certificate: x509.Certificate, key: Any, above: tuple[Any, ...] = ()):
        self.certificate = certificate
        self.key = key
        self.above = above

    @property
    def pem(self) -> bytes:
        return pem(self.certificate, *self.above)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: str | Path, name: str = "server", **rules: Any) -> Source:
        """Put both into files; the source that names them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        cert.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        key.chmod(0o600)
        return Source(cert, Secret("file", str(key)), **rules)

    def issue(
        self,
        *names: str,
        kind: str = "ECDSA",
        bits: int = 2048,
        subject: x509.Name | str = "leaf",
        days: float = 90,
        now: float | None = None,
        digest: Any = None,
        ca: bool = False,
        client: bool = False,
        extensions: tuple[x509.ExtensionType, ...] = (),
    ) -> Issued:
        """A certificate signed by this one; its life began an hour before ``now``."""
        key = new_key(kind, bits)
        return Issued(
            _sign(
                self.certificate.subject,
                self.key,
                subject,
                key,
                names,
                days,
                now,
                digest,
                ca,
                client,
                extensions,
            ),
            key,
            (self.certificate, *self.above) if self.above else (self.certificate,),
        )


def authority(name: str = "test root", *, now: float | None = None, days: float = 3650) -> Issued:
    key = new_key()
    subject = named(name)
    return Issued(_sign(subject, key, subject, key, (), days, now, None, True, False, ()), key)


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _sign(
    issuer: x509.Name,
    signer: Any,
    subject: x509.Name | str,
    key: Any,
    names: tuple[str, ...],
    days: float,
    now: float | None,
    digest: Any,
    ca: bool,
    client: bool,
    extensions: tuple[x509.ExtensionType, ...],
) -> x509.Certificate:
    at = (
        datetime.datetime.now(datetime.UTC)
        if now is None
        else datetime.datetime.fromtimestamp(now, datetime.UTC)
    )
    begins = at - datetime.timedelta(hours=1)
    ends = max(at + datetime.timedelta(days=days), begins + datetime.timedelta(seconds=1))
    if days < 0:
        begins = ends - datetime.timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject) if isinstance(subject, str) else subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins if days >= 0 else at + datetime.timedelta(days=days - 1))
        .not_valid_after(ends if days >= 0 else at + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(alternatives(names)), critical=False
        )
    if not ca:
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        if not any(isinstance(one, x509.ExtendedKeyUsage) for one in extensions):
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    if digest is None and not isinstance(signer, ed25519.Ed25519PrivateKey):
        digest = hashes.SHA256()
    return builder.sign(signer, digest)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


# Signed with SHA-1, which libraries do not do any more; and its issuer.
SHA1_CHAIN = b"""\
-----BEGIN CERTIFICATE-----
MIIBfTCCASSgAwIBAgIULvEg2DC2hVwPgXtAXs98rcvkrlAwCQYHKoZIzj0EATAT
MREwDwYDVQQDDAhvbGQgcm9vdDAgFw0yNjExMjExMTE3MzVaGA8yMTI2MDcyMDEx
MTczNVowDjEMMAoGA1UEAwwDb2xkMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
ExpAkx0qj/tKIYPNKl5/MgmtSKquhQulZiNlDs+h9yk7VfEq4Wbo+DPTYD8Ifsro
wqIibFBXT1nx66YF4bN27KNaMFgwFgYDVR0RBA8wDYILb2xkLmV4YW1wbGUwHQYD
VR0OBBYEFPYq59aHCZbtSHgUtLOhg8JfWApMMB8GA1UdIwQYMBaAFCSfwXYI0JRJ
6S/mb2r504cRYEQCMAkGByqGSM49BAEDSAAwRQIhAKQNLu/Qee4lTPbl/cwB3C/u
IYi3r9UclGEOf0lkywt8AiA/+zh+SJlYasm6kpIshcvv66sqp2Hv/RMLTuq8XY+Z
pw==
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBfDCCASOgAwIBAgIUe+CFTQQztBDj027/GrjyZhTBa74wCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIb2xkIHJvb3QwIBcNMjYxMTIxMTExNzM1WhgPMjEyNjEwMjgx
MTE3MzVaMBMxETAPBgNVBAMMCG9sZCByb290MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEaQHZO1wN95WGjNdWtmeVWHD17LXSMWkLaTtia0v/4bwiI5sf44MxRyny
RgYNa6h9ImI9v3HmtlhKQQUlNX2V+aNTMFEwHQYDVR0OBBYEFCSfwXYI0JRJ6S/m
b2r504cRYEQCMB8GA1UdIwQYMBaAFCSfwXYI0JRJ6S/mb2r504cRYEQCMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgYYUelaWX6PnU1RUObFTT6lxg
lWL+dz77JhjpM0lgltkCIGFBFFca+h85Z4Stq5kaH4Oah9uEkZV/oKhcCm3YHOFV
-----END CERTIFICATE-----
"""

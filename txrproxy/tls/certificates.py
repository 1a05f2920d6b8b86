"""One certificate to serve: a chain, its key, the names it stands for, and what is wrong with it.

:func:`load` refuses what can not work (unreadable, mismatched, out of order). :func:`faults` tells
of what works and should not stay: expired, about to expire, weak.
"""

from __future__ import annotations

import datetime
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from txrproxy.config.values import Secret
from txrproxy.tls.names import normalise
from txrproxy.tls.pem import (
    WEAK_HASHES,
    BadPem,
    PrivateKey,
    Resolve,
    belongs,
    issuer_of,
    name_of,
    parse_chain,
    parse_key,
    read_file,
    read_secret,
    source_of,
)

E = TypeVar("E", bound=x509.ExtensionType)
ClientAuth = Literal["off", "optional", "required"]

SOON = 30 * 86400.0  # seconds before its end in which a certificate is reported
_FOR_SERVERS = frozenset(
    {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)
_STATUS_REQUEST = 5  # of the TLS feature extension, RFC 7633


@frozen
class Source:
    """Where a certificate comes from, and the rules for the names in it.

    ``min_version`` is of TLS; ``client_ca`` a PEM file.
    """

    cert: Path
    key: Secret
    min_version: Literal["1.2", "1.3"] = "1.2"
    client_auth: ClientAuth = "off"
    client_ca: Path | None = None


@frozen
class Certificate:
    """A certificate that can be served. ``names`` are normalised; ``kind`` is that of its key.

    Two are equal when the same was read from the same place.
    """

    source: Source
    chain: tuple[x509.Certificate, ...] = field(eq=False)
    key: PrivateKey = field(eq=False, repr=False)
    names: tuple[str, ...] = field(eq=False)
    kind: str = field(eq=False)
    digest: bytes = field(repr=False)  # of all that was read

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def issuer(self) -> x509.Certificate | None:
        """The certificate of its issuer, where the chain has it."""
        return self.chain[1] if len(self.chain) > 1 else None

    @property
    def expires(self) -> float:
        """Unix time."""
        return self.leaf.not_valid_after_utc.timestamp()


def load(source: Source, resolve: Resolve) -> Certificate:
    """Read and check. Raises :class:`~txrproxy.tls.pem.BadPem`."""
    text = read_file(source.cert)
    secret = read_secret(source.key, resolve)
    file = str(source.cert)
    key = parse_key(secret, source_of(source.key, resolve))
    chain = parse_chain(text, file)
    leaf = chain[0]
    try:
        names = names_in(leaf)
    except ValueError:
        raise BadPem(file, "the certificate has an extension that can not be read") from None
    if not belongs(key, leaf):
        for number, other in enumerate(chain[1:], 2):
            if belongs(key, other):
                raise BadPem(
                    file, f"the certificate of the key is number {number}; expected it to be first"
                )
        where = source_of(source.key, resolve)
        raise BadPem(file, f"for {_listed(names)}: not of the private key in {where}")
    digest = hashlib.sha256(b"%d:%b%b" % (len(text), text, secret)).digest()
    return Certificate(source, chain, key, names, kind_of(key), digest)


def kind_of(key: object) -> str:
    """``"RSA"``, ``"ECDSA"`` or ``"EdDSA"``; of one kind, a name has one certificate."""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return "RSA"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return "ECDSA"
    return "EdDSA"


def names_in(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and IP addresses of the subject alternative name, each once, normalised.

    Raises ValueError for extensions that can not be read.
    """
    found = extension(leaf, x509.SubjectAlternativeName)
    if found is None:
        return ()
    spelled = [
        *found.get_values_for_type(x509.DNSName),
        *map(str, found.get_values_for_type(x509.IPAddress)),
    ]
    return tuple(dict.fromkeys(filter(None, map(normalise, spelled))))


def extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """An extension's value, None without it."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def responder(certificate: Certificate) -> str | None:
    """The URL of the OCSP responder that the certificate names, where stapling can ask it."""
    if certificate.issuer is None:
        return None
    access = extension(certificate.leaf, x509.AuthorityInformationAccess)
    for description in access or ():
        location = description.access_location
        if (
            description.access_method == AuthorityInformationAccessOID.OCSP
            and isinstance(location, x509.UniformResourceIdentifier)
            and location.value.lower().startswith("http://")
        ):
            return location.value
    return None


def must_staple(certificate: x509.Certificate) -> bool:
    """Whether clients insist on a stapled OCSP response (RFC 7633)."""
    features = extension(certificate, x509.TLSFeature)
    return features is not None and any(feature.value == _STATUS_REQUEST for feature in features)


def faults(certificate: Certificate, now: float, resolve: Resolve) -> Iterator[str]:
    """What should be mended, in words that name the file and its names. ``now`` is unix time."""
    leaf = certificate.leaf
    what = f"{certificate.source.cert} ({_listed(certificate.names)})"
    yield from out_of_time(what, leaf, now, "clients")
    if not certificate.names:
        yield f"{what} has no subject alternative name: clients refuse it, and SNI never picks it"
    usages = extension(leaf, x509.ExtendedKeyUsage)
    if usages is not None and not _FOR_SERVERS.intersection(usages):
        yield f"{what} is not for servers, says its extended key usage: clients refuse it"
    if _lacks_issuer(certificate):
        yield (
            f"{what} comes without its issuer ({issuer_of(leaf)}): clients that do not know "
            "that one refuse it; append its certificate to the file unless it is a root"
        )
    for number, one in enumerate(certificate.chain, 1):
        for weakness in _weaknesses(one):
            which = what if number == 1 else f"{certificate.source.cert}, {name_of(one)},"
            yield f"{which} is weak: {weakness}"
    for number, one in enumerate(certificate.chain[1:], 2):
        if now >= one.not_valid_after_utc.timestamp():
            yield (
                f"{certificate.source.cert}: certificate {number} of the chain ({name_of(one)}) "
                f"EXPIRED on {_day(one.not_valid_after_utc)}"
            )
    if must_staple(leaf) and responder(certificate) is None:
        yield f"{what} must be stapled, but its OCSP responder or its issuer is not known"
    key = certificate.source.key
    if key.kind == "file" and _others_read(resolve(key.name)):
        yield f"{resolve(key.name)} can be read by every user of this machine; chmod 600 it"


def out_of_time(what: str, certificate: x509.Certificate, now: float, others: str) -> Iterator[str]:
    """Whether it is out of its time, or soon will be; ``others`` are who it is shown to."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    left = ends.timestamp() - now
    if left <= 0:
        yield f"{what} EXPIRED on {_day(ends)}: {others} refuse it"
    elif left < SOON:
        days = int(left // 86400)
        yield f"{what} expires on {_day(ends)}, in {days} day{'' if days == 1 else 's'}"
    if now < begins.timestamp():
        yield f"{what} is not valid before {_day(begins)}: {others} refuse it until then"


def _lacks_issuer(certificate: Certificate) -> bool:
    """Whether an intermediate is missing, as far as can be told: the certificates of public
    authorities say where their issuer's is to be had, and none is issued by a root."""
    access = extension(certificate.leaf, x509.AuthorityInformationAccess)
    return certificate.issuer is None and any(
        one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in access or ()
    )


def too_weak(certificate: Certificate) -> str | None:
    """Why OpenSSL, which has refused it, did so, if it is for what it calls weak."""
    for number, one in enumerate(certificate.chain, 1):
        for weakness in _weaknesses(one):
            which = _listed(certificate.names) if number == 1 else f"{name_of(one)} in the chain"
            return (
                f"too weak to be served: {which} has {weakness}; "
                "make a new key, and have a certificate issued for it"
            )
    return None


def _weaknesses(certificate: x509.Certificate) -> Iterator[str]:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        yield "a key that can not be read"
        return
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        yield f"an RSA key of {key.key_size} bits, expected 2048 or more"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 256:
        yield f"an elliptic curve of {key.key_size} bits, expected 256 or more"
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return
    # What a certificate says of itself is not believed for its own signature.
    own = certificate.subject == certificate.issuer
    if algorithm is not None and algorithm.name in WEAK_HASHES and not own:
        yield f"a signature by {algorithm.name.upper().replace('SHA1', 'SHA-1')}"


def _others_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5]) or "no names"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _day(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%d")


def der(certificate: x509.Certificate) -> bytes:
    """The certificate, DER."""
    return certificate.public_bytes(Encoding.DER)

"""The certificates of one listener by name, and how they follow their files.

A :class:`Table` is immutable: which certificates answer to which name, and the rules for it. A
:class:`CertificateStore` holds the current one and the state of each file behind it. A refresh has
two halves, so that the first can run in a thread: :meth:`~CertificateStore.read` looks at the files
and parses what has changed, :meth:`~CertificateStore.take` makes a new table of it, if need be.

A file counts as changed when its real path, inode, time or size is another: a new file under the
old name, and a symbolic link turned elsewhere anywhere on the way (as ACME clients and Kubernetes
do it). What can not be used is reported once and the old certificate kept, until the file changes
again; a certificate and its key may so be replaced one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from attrs import define, field, frozen
from cryptography import x509

from txrproxy.tls.certificates import Certificate, ClientAuth, Source, load
from txrproxy.tls.names import find, normalise
from txrproxy.tls.pem import BadPem, Resolve, parse_authorities, read_file
from txrproxy.tls.profiles import new_context, use

Authorities = tuple[x509.Certificate, ...]
Stamp = tuple[object, ...]

_KEPT = "what was read before is still served"


@frozen
class Policy:
    """What is asked of clients of a name."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    client_auth: ClientAuth = "off"
    authorities: Authorities = ()

    @property
    def asks(self) -> bool:
        """Whether clients are asked for a certificate."""
        return self.client_auth != "off"

    def asks_as(self, other: Policy) -> bool:
        """Whether clients have to show the same for both."""
        return self.client_auth == other.client_auth and self.authorities == other.authorities


@frozen(cache_hash=True)
class Entry:
    """What answers to a name: a certificate for each kind of key, the client's offer decides."""

    certificates: tuple[Certificate, ...]
    policy: Policy


class Disagreement(Exception):
    """Certificates that serve one name have different rules."""


@frozen(eq=False)
class Table:
    """Certificates by name. ``strict`` refuses names, and clients without one, that none is for."""

    names: Mapping[str, Entry]
    default: Entry
    strict: bool = False

    def select(self, name: str | bytes | None) -> Entry | None:
        """The entry for a server name: exact, else by wildcard, else the default; None: refuse."""
        if isinstance(name, bytes):
            name = name.decode("ascii", "replace")  # no name has the replacement character
        # Most clients spell a name as the table does.
        found = self.names.get(name) if name else None
        if found is None and name:
            spelled = normalise(name)
            found = find(self.names, spelled) if spelled is not None else None
        if found is None and not self.strict:
            return self.default
        return found

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Each entry once, the default first."""
        return tuple(dict.fromkeys((self.default, *self.names.values())))


def tabulate(
    certificates: Sequence[Certificate],
    authorities: Mapping[Path, Authorities],
    *,
    strict: bool = False,
) -> Table:
    """The table of certificates in order of precedence; there must be one.

    Raises :class:`Disagreement`.
    """
    by_name: dict[str, list[Certificate]] = {}
    for certificate in certificates:
        for name in certificate.names:
            sharing = by_name.setdefault(name, [])
            if all(other.kind != certificate.kind for other in sharing):
                sharing.append(certificate)
    entries: dict[tuple[Certificate, ...], Entry] = {}

    def entry(sharing: Iterable[Certificate], name: str) -> Entry:
        key = tuple(sharing)
        if key not in entries:
            policies = [_policy(one, authorities) for one in key]
            for certificate, policy in zip(key, policies, strict=True):
                if policy != policies[0]:
                    raise Disagreement(
                        f"{certificate.source.cert} and {key[0].source.cert} both serve {name}, "
                        "and differ in min_version, client_auth or client_ca"
                    )
            entries[key] = Entry(key, policies[0])
        return entries[key]

    names = {name: entry(sharing, name) for name, sharing in by_name.items()}
    first = certificates[0]
    mine = (names[name] for name in first.names if first in names[name].certificates)
    default = next(mine, None) or entry((first,), "")
    return Table(names, default, strict)


def _policy(certificate: Certificate, authorities: Mapping[Path, Authorities]) -> Policy:
    source = certificate.source
    if source.client_auth == "off" or source.client_ca is None:
        return Policy(source.min_version)
    return Policy(source.min_version, source.client_auth, authorities[source.client_ca])


def load_usable(source: Source, resolve: Resolve) -> Certificate:
    """A certificate that OpenSSL serves as well. Raises :class:`~txrproxy.tls.pem.BadPem`."""
    certificate = load(source, resolve)
    use(new_context("intermediate"), certificate)
    return certificate


def load_authorities(path: Path) -> Authorities:
    """A file of authorities for client certificates. Raises :class:`~txrproxy.tls.pem.BadPem`."""
    return parse_authorities(read_file(path), str(path))


@define
class _Watched:
    """What was made of some files, and their state at the time."""

    value: object
    stamp: Stamp


@define
class Changes:
    """What reading has found: new values, and what could not be used."""

    values: dict[int | Path, object] = field(factory=dict)
    stamps: dict[int | Path, Stamp] = field(factory=dict)
    errors: list[str] = field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.stamps)


class CertificateStore:
    """The current table of certificates from files.

    ``resolve`` finds the files of secrets. Raises :class:`~txrproxy.tls.pem.BadPem` or
    :class:`Disagreement` when the files can not be used to begin with. ``report`` takes errors of
    later refreshes.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        resolve: Resolve,
        *,
        strict: bool = False,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._sources = tuple(sources)
        self._resolve = resolve
        self._strict = strict
        self._report = report
        self._watched: dict[int | Path, _Watched] = {}
        for key in self._keys():
            stamp = self._stamp(key)
            self._watched[key] = _Watched(self._load(key), stamp)
        self.table = self._tabulate({})

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """In order of precedence."""
        return self._collect({})[0]

    def select(self, server_name: str | bytes | None) -> Entry | None:
        """See :meth:`Table.select`."""
        return self.table.select(server_name)

    def file(self, key: int | Path) -> str:
        """The file behind a key of :class:`Changes`, for messages."""
        return str(self._sources[key].cert if isinstance(key, int) else key)

    def refresh(self) -> bool:
        """Look at the files, and take what has changed; whether there is a new table."""
        return self.take(self.read())

    def read(self) -> Changes:
        """Look at the files and read those that have changed. Touches nothing: fit for a thread."""
        changes = Changes()
        for key, watched in self._watched.items():
            stamp = self._stamp(key)
            if stamp == watched.stamp:
                continue
            changes.stamps[key] = stamp
            try:
                value = self._load(key)
            except BadPem as error:
                changes.errors.append(f"{error}; {_KEPT}")
                continue
            if value != watched.value:
                changes.values[key] = value
        return changes

    def take(self, changes: Changes) -> bool:
        """Make what was read the current state; whether there is a new table."""
        for key, stamp in changes.stamps.items():
            self._watched[key].stamp = stamp
        for error in changes.errors:
            self._report(error)
        taken = False
        # One at a time: what can not be served together with the rest holds back itself alone.
        for key, value in changes.values.items():
            try:
                self.table = self._tabulate({key: value})
            except Disagreement as error:
                self._report(f"{error}; {_KEPT}")
            else:
                self._watched[key].value = value
                taken = True
        return taken

    def _keys(self) -> Iterable[int | Path]:
        yield from range(len(self._sources))
        used = (source.client_ca for source in self._sources if source.client_auth != "off")
        yield from dict.fromkeys(path for path in used if path is not None)

    def _load(self, key: int | Path) -> object:
        if isinstance(key, int):
            return load_usable(self._sources[key], self._resolve)
        return load_authorities(key)

    def _stamp(self, key: int | Path) -> Stamp:
        if isinstance(key, Path):
            return _stamp(key)
        source = self._sources[key]
        secret = source.key
        return (
            *_stamp(source.cert),
            *(_stamp(self._resolve(secret.name)) if secret.kind == "file" else ()),
        )

    def _collect(
        self, newer: Mapping[int | Path, object]
    ) -> tuple[tuple[Certificate, ...], dict[Path, Authorities]]:
        certificates: list[Certificate] = []
        authorities: dict[Path, Authorities] = {}
        for key, watched in self._watched.items():
            value = newer.get(key, watched.value)
            if isinstance(key, Path):
                assert isinstance(value, tuple)
                authorities[key] = value
            else:
                assert isinstance(value, Certificate)
                certificates.append(value)
        return tuple(certificates), authorities

    def _tabulate(self, newer: Mapping[int | Path, object]) -> Table:
        return tabulate(*self._collect(newer), strict=self._strict)


def _stamp(path: Path) -> Stamp:
    """The state of a file; that of a missing one is a state too."""
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError as error:
        return (real, error.errno)
    return (real, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

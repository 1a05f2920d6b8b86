"""Certificates as the configuration names them: where they are, and what is wrong with the files.

``config/check.py`` judges what is written; here the files behind it are opened, as ``txrproxy
check`` and the start of the server do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from txrproxy.config.problems import Finding, KeyPath
from txrproxy.config.schema import BackendTls, Certificate, Config, Tls
from txrproxy.tls.certificates import Certificate as Loaded
from txrproxy.tls.certificates import Source, faults, load, out_of_time
from txrproxy.tls.pem import (
    BadPem,
    Resolve,
    name_of,
    parse_authorities,
    read_file,
    source_of,
)
from txrproxy.tls.store import Disagreement, load_authorities, load_usable, tabulate


def sources(tls: Tls, resolve: Resolve) -> list[Source]:
    """The certificates of a listener, each with its own rules or the listener's."""
    return [
        Source(resolve(one.cert), one.key, **rules_of(tls, resolve, one))
        for one in tls.certificates
    ]


def rules_of(tls: Tls, resolve: Resolve, own: Certificate | None = None) -> dict[str, Any]:
    """The rules of a :class:`Source`: a certificate's ``own`` where it has them."""
    authorities = (own and own.client_ca) or tls.client_ca
    return {
        "min_version": (own and own.min_version) or tls.min_version,
        "client_auth": (own and own.client_auth) or tls.client_auth,
        "client_ca": resolve(authorities) if authorities else None,
    }


def served_names(tls: Tls, resolve: Resolve) -> list[str]:
    """The names in the certificates of a listener, each once; a bad file has none."""
    names: dict[str, None] = {}
    for source in sources(tls, resolve):
        try:
            names.update(dict.fromkeys(load(source, resolve).names))
        except BadPem:
            continue
    return list(names)


def file_errors(config: Config) -> Iterator[Finding]:
    """Files for which a configuration is refused."""
    for name, listener in config.listeners.items():
        if listener.tls is not None:
            yield from _Listener(config, ("listeners", name, "tls"), listener.tls).errors()
    for name, pool in config.pools.items():
        yield from _backend(config, ("pools", name, "tls"), pool.tls)


def file_warnings(config: Config, now: float) -> Iterator[Finding]:
    """What works and should not stay. ``now`` is unix time."""
    for name, listener in config.listeners.items():
        if listener.tls is not None:
            yield from _Listener(config, ("listeners", name, "tls"), listener.tls).warnings(now)
    for name, pool in config.pools.items():
        yield from _shown(config, ("pools", name, "tls", "cert"), pool.tls, now)


class _Listener:
    def __init__(self, config: Config, path: KeyPath, tls: Tls) -> None:
        self._resolve = config.resolve
        self._path = path
        self._tls = tls
        self._loaded: dict[int, Loaded] = {}

    def errors(self) -> Iterator[Finding]:
        for index, source in enumerate(sources(self._tls, self._resolve)):
            path = (*self._path, "certificates", index)
            try:
                self._loaded[index] = load_usable(source, self._resolve)
            except BadPem as error:
                yield _pair(path, source, self._resolve, error)
        authorities = {}
        for path, file in self._authorities():
            resolved = self._resolve(file)
            if resolved in authorities:
                continue
            try:
                authorities[resolved] = load_authorities(resolved)
            except BadPem as error:
                yield Finding(path, str(error))
                authorities[resolved] = ()
        if self._loaded and all(self._has_rules(one) for one in self._loaded.values()):
            try:
                tabulate(list(self._loaded.values()), authorities)
            except Disagreement as error:
                yield Finding((*self._path, "certificates"), str(error))

    def warnings(self, now: float) -> Iterator[Finding]:
        served: dict[tuple[str, str], str] = {}
        for index, source in enumerate(sources(self._tls, self._resolve)):
            path = (*self._path, "certificates", index, "cert")
            try:
                loaded = load(source, self._resolve)
            except BadPem:
                continue  # an error, and reported as one
            for fault in faults(loaded, now, self._resolve):
                yield Finding(path, fault)
            for name in loaded.names:
                first = served.setdefault((name, loaded.kind), str(source.cert))
                if first != str(source.cert):
                    yield Finding(path, f"{name} is served by {first} before it")

    def _authorities(self) -> Iterator[tuple[KeyPath, str]]:
        if self._tls.client_ca is not None:
            yield (*self._path, "client_ca"), self._tls.client_ca
        for index, certificate in enumerate(self._tls.certificates):
            if certificate.client_ca is not None:
                path = (*self._path, "certificates", index, "client_ca")
                yield path, certificate.client_ca

    @staticmethod
    def _has_rules(loaded: Loaded) -> bool:
        return loaded.source.client_auth == "off" or loaded.source.client_ca is not None


def _backend(config: Config, path: KeyPath, tls: BackendTls) -> Iterator[Finding]:
    if tls.ca != "system":
        file = config.resolve(tls.ca)
        try:
            parse_authorities(read_file(file), str(file))
        except BadPem as error:
            yield Finding((*path, "ca"), str(error))
    if tls.cert and tls.key:
        source = Source(config.resolve(tls.cert), tls.key)
        try:
            load(source, config.resolve)
        except BadPem as error:
            yield _pair(path, source, config.resolve, error)


def _shown(config: Config, path: KeyPath, tls: BackendTls, now: float) -> Iterator[Finding]:
    """What should be mended of the certificate that backends are shown."""
    if tls.cert and tls.key:
        source = Source(config.resolve(tls.cert), tls.key)
        try:
            loaded = load(source, config.resolve)
        except BadPem:
            return  # an error, and reported as one
        what = f"{source.cert} ({name_of(loaded.leaf)})"
        for fault in out_of_time(what, loaded.leaf, now, "backends"):
            yield Finding(path, fault)


def _pair(path: KeyPath, source: Source, resolve: Resolve, error: BadPem) -> Finding:
    """What is wrong with a certificate and its key, at the one of the two that is to blame."""
    key = error.source == source_of(source.key, resolve) != str(source.cert)
    first, second = ("key", "cert") if key else ("cert", "key")
    return Finding((*path, first), str(error), also=((*path, second),))

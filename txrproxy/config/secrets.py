"""The files of users, keys and places that policies name, and secrets: what is wrong with them.

As ``config/certificates.py`` does for TLS: the files are opened, by ``txrproxy check`` and before
the server starts. Who may write them is the business of ``config/permissions.py``.
"""

from __future__ import annotations

import importlib.util
import stat
from collections.abc import Iterator

from txrproxy.config.problems import Finding, KeyPath, quote
from txrproxy.config.schema import Config, Geo
from txrproxy.config.values import Secret
from txrproxy.filters.htpasswd import BadUsers, libraries
from txrproxy.filters.htpasswd import parse as parse_users
from txrproxy.filters.places import UNKNOWN
from txrproxy.filters.tokens import BadKeys, parse_keys
from txrproxy.guards.geo import COUNTRIES, MAX_DATABASE, NETWORKS, BadDatabase, Database
from txrproxy.tls.pem import BadPem, parse_authorities, read_file, read_secret, source_of
from txrproxy.wiring import MIN_SECRET


def secret_errors(config: Config) -> Iterator[Finding]:
    """Files and variables for which a configuration is refused."""
    if config.admin is not None and config.admin.token is not None:
        yield from _secret(config, ("admin", "token"), config.admin.token, 1)
    for name, pool in config.pools.items():
        if pool.sticky is not None and pool.sticky.secret:
            place = ("pools", name, "sticky", "secret")
            yield from _secret(config, place, pool.sticky.secret, MIN_SECRET)
    for name, policy in config.policies.items():
        if policy.geo is not None:
            yield from _databases(config, ("policies", name, "geo"), policy.geo)
        for key in ("forward_auth", "jwt"):
            asked = getattr(policy, key)
            if asked is not None and asked.ca != "system":
                file = config.resolve(asked.ca)
                try:
                    parse_authorities(read_file(file), str(file))
                except BadPem as error:
                    yield Finding(("policies", name, key, "ca"), str(error))
        if policy.basic_auth is not None:
            path: KeyPath = ("policies", name, "basic_auth", "users")
            secret = policy.basic_auth.users
            try:
                users = parse_users(read_secret(secret, config.resolve))
            except BadPem as error:
                yield Finding(path, str(error))
            except BadUsers as error:
                yield Finding(path, f"{source_of(secret, config.resolve)}: {error}")
            else:
                for module in libraries(users):
                    yield from _needs(path, module)
        if policy.jwt is not None:
            path = ("policies", name, "jwt", "keys")
            missing = list(_needs(path, "jwt"))
            yield from missing
            keys = policy.jwt.keys
            if isinstance(keys, Secret) and not missing:
                try:
                    parse_keys(read_secret(keys, config.resolve))
                except BadPem as error:
                    yield Finding(path, str(error))
                except BadKeys as error:
                    yield Finding(path, f"{source_of(keys, config.resolve)}: {error}")


def _secret(config: Config, path: KeyPath, secret: Secret, least: int) -> Iterator[Finding]:
    """One of ``least`` bytes, without white space around it."""
    try:
        length = len(read_secret(secret, config.resolve).strip())
    except BadPem as error:
        yield Finding(path, str(error))
        return
    if length < least:
        why = f"is shorter than {least} bytes" if length else "is empty"
        yield Finding(path, f"{source_of(secret, config.resolve)}: {why}")


def _databases(config: Config, path: KeyPath, geo: Geo) -> Iterator[Finding]:
    missing = list(_needs((*path, "files"), "maxminddb", "geo"))
    if missing:
        yield from missing
        return
    kinds: set[str] = set()
    for index, name in enumerate(geo.files):
        file = config.resolve(name)
        try:
            kinds |= Database(read_file(file, MAX_DATABASE)).kinds
        except BadPem as error:
            yield Finding((*path, "files", index), str(error))
            return
        except BadDatabase as error:
            yield Finding((*path, "files", index), f"{file}: {error}")
            return
    for key in ("allow", "deny"):
        for index, place in enumerate(getattr(geo, key)):
            wanted = NETWORKS if place.startswith("AS") and place != "AS" else COUNTRIES
            if place != UNKNOWN and wanted not in kinds:
                message = f"found {quote(place)}, but no database of geo.files has {wanted}"
                yield Finding((*path, key, index), message)


def secret_warnings(config: Config) -> Iterator[Finding]:
    """What works and should not stay: secrets that everybody may read.

    Private keys of listeners are judged with their certificates.
    """
    if config.admin is not None and config.admin.token is not None:
        yield from _readable(config, ("admin", "token"), config.admin.token)
    for name, pool in config.pools.items():
        if pool.sticky is not None and pool.sticky.secret:
            yield from _readable(config, ("pools", name, "sticky", "secret"), pool.sticky.secret)
        if pool.tls.key:
            yield from _readable(config, ("pools", name, "tls", "key"), pool.tls.key)
    for name, policy in config.policies.items():
        if policy.basic_auth is not None:
            path = ("policies", name, "basic_auth", "users")
            yield from _readable(config, path, policy.basic_auth.users)


def _readable(config: Config, path: KeyPath, secret: Secret) -> Iterator[Finding]:
    if secret.kind != "file":
        return
    file = config.resolve(secret.name)
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # an error, and reported as one
    if mode & stat.S_IROTH:
        mode = stat.S_IMODE(mode)
        yield Finding(path, f"{file} has mode {mode:04o}, so everybody can read it; chmod o-r it")


def _needs(path: KeyPath, module: str, extra: str = "auth") -> Iterator[Finding]:
    if importlib.util.find_spec(module) is None:
        yield Finding(path, f"needs {module}; install the extra: pip install 'txrproxy[{extra}]'")

"""The files of logs: whether they can be written.

As ``config/certificates.py`` does for TLS: the world is looked at, by ``txrproxy check`` and before
the server starts. Nothing is opened or made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from txrproxy.config.problems import Finding, KeyPath
from txrproxy.config.schema import Config


def log_errors(config: Config) -> Iterator[Finding]:
    """Logs for which a configuration is refused."""
    for path, name in _named(config):
        file = config.resolve(name)
        if why := _fault(file):
            yield Finding(path, f"{file} can not be written: {why}")


def _named(config: Config) -> Iterator[tuple[KeyPath, str]]:
    access, error = config.log.access, config.log.error
    if access.path != "-" and access.format != "off":
        yield ("log", "access", "path"), access.path
    if error.path != "-":
        yield ("log", "error", "path"), error.path
    audit = config.waf.audit.path
    if audit and any(policy.waf is not None for policy in config.policies.values()):
        yield ("waf", "audit", "path"), audit


def _fault(file: Path) -> str:
    if file.is_dir():
        return "it is a folder"
    if os.path.lexists(file):
        return "" if os.access(file, os.W_OK) else "permission denied"
    folder = file.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"permission denied in {folder}"

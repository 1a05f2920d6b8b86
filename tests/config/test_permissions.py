"""Files that everybody may write are refused, wherever the configuration names one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests import twistd
from tests.config.samples import MINIMAL
from txrproxy.config import schema
from txrproxy.config.permissions import _PATHS, _WRITTEN, permission_errors, permission_warnings
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load, load_with_warnings, loads

# Every key that names a file to be read: NAME stands for it.
NAMED = """
[admin]
listen = "unix:admin.sock"
token = "file:NAME-token"
[listeners.https]
bind = ["127.0.0.1:8443"]
[listeners.https.tls]
client_ca = "NAME-client-ca"
certificates = [{ cert = "NAME-cert", key = "file:NAME-key", client_ca = "NAME-own-ca" }]
[pools.files]
backends = ["https://127.0.0.1:1"]
sticky = { cookie = "c", secret = "file:NAME-sticky" }
tls = { ca = "NAME-ca", cert = "NAME-backend-cert", key = "file:NAME-backend-key" }
[policies.files]
basic_auth = { users = "file:NAME-users" }
jwt = { keys = "file:NAME-jwks", ca = "NAME-jwt-ca" }
forward_auth = { url = "https://a/", ca = "NAME-forward-ca" }
waf = { rules = ["crs", "NAME-rules"] }
geo = { files = ["NAME-geo"], allow = ["CH"] }
[waf]
crs = "NAME-crs"
"""


class PermissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(mode=0o755)
        self.file = self.folder / "edge.toml"
        self.file.write_text(MINIMAL)

    def problems(self) -> list[str]:
        try:
            load(self.file, files=True)
        except ConfigErrors as error:
            return [str(problem) for problem in error.problems]
        return []

    def test_configuration(self) -> None:
        self.assertEqual(self.problems(), [])
        self.file.chmod(0o666)
        (problem,) = self.problems()
        self.assertIn("edge.toml: ", problem)
        self.assertIn("has mode 0666, so everybody can write it; chmod o-w it", problem)
        load(self.file)  # whoever only wants to read it may

    def test_included(self) -> None:
        part = self.folder / "part.toml"
        part.write_text("[policies.p]\n")
        self.file.write_text('include = ["part.toml"]\n' + MINIMAL)
        self.assertEqual(self.problems(), [])
        part.chmod(0o602)
        (problem,) = self.problems()
        self.assertIn("part.toml has mode 0602", problem)

    def test_named(self) -> None:
        config = loads(MINIMAL + NAMED, base=self.folder, available=False)
        names = re.findall(r"NAME(-[a-z-]+)", NAMED)
        self.assertEqual(len(names), NAMED.count("NAME"))
        for name in names:
            (self.folder / f"NAME{name}").touch(0o644)
        self.assertEqual([*permission_errors(config)], [])
        for name in names:
            file = self.folder / f"NAME{name}"
            file.chmod(0o646)
            (finding,) = permission_errors(config)
            self.assertIn(f"{file} has mode 0646", finding.message)
            file.chmod(0o644)

    def test_every_path_of_the_schema_is_judged(self) -> None:
        """A new key is written above, or is one that the proxy itself writes."""
        found = {name for cls, name in _paths(schema.Config) if (cls, name) not in _WRITTEN}
        for name in found:
            self.assertIn(name, NAMED.replace("=", " ").split())

    def test_state(self) -> None:
        state = self.folder / "state"
        state.mkdir()
        state.chmod(0o777)
        (problem,) = self.problems()
        self.assertIn("server.state_dir", problem)
        state.chmod(0o1777)
        self.assertEqual(self.problems(), [])

    def test_folders(self) -> None:
        config = loads(MINIMAL + NAMED.replace("NAME-", "keys/"), base=self.folder, available=False)
        (self.folder / "keys").mkdir()
        self.assertEqual([*permission_warnings(config)], [])
        (self.folder / "keys").chmod(0o777)
        (finding,) = permission_warnings(config)
        self.assertIn("keys has mode 0777", finding.message)
        self.folder.chmod(0o777)
        _, warnings = load_with_warnings(self.file, files=True)
        self.assertIn("has mode 0777", "\n".join(map(str, warnings)))

    def test_check_and_start_refuse(self) -> None:
        self.file.chmod(0o666)
        check = subprocess.run(
            [sys.executable, "-m", "txrproxy.cli", "check", str(self.file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=twistd.PATIENCE,
            env=twistd.environment(),
        )
        start = twistd.run(
            "-n", "--pidfile=", "txrproxy", "--config", str(self.file), cwd=self.folder
        )
        for done in (check, start):
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("has mode 0666, so everybody can write it", done.stdout + done.stderr)


def _paths(cls: type[Any]) -> Iterator[tuple[type[Any], str]]:
    for field in attrs.fields(attrs.resolve_types(cls)):
        if field.type in _PATHS:
            yield cls, field.name
        for inner in _classes(field.type):
            yield from _paths(inner)


def _classes(kind: Any) -> Iterator[type[Any]]:
    if isinstance(kind, type) and kind.__module__ == schema.__name__ and attrs.has(kind):
        yield kind
    for part in getattr(kind, "__args__", ()):
        yield from _classes(part)

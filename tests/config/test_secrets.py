"""The files behind policies: what check says of them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.guards.mmdb import database
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load_with_warnings

APR1 = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
BCRYPT = "$2b$04$" + "a" * 53
KEY = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key())
USERS = 'basic_auth = { users = "file:users" }'
KEYS = 'jwt = { audience = "a", keys = "file:keys" }'


class SecretsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)

    def checked(self, policy: str, about: str = "policies.p") -> tuple[list[str], list[str]]:
        file = self.folder / "edge.toml"
        file.write_text(MINIMAL + f"[policies.p]\n{policy}\n" + '[[routes]]\nname="z"\nuse=["p"]\n'
                        'match={path="/z"}\nrespond={status=200}\n')  # fmt: skip
        try:
            _, warnings = load_with_warnings(file, files=True)
        except ConfigErrors as error:
            return [str(problem) for problem in error.problems], []
        return [], [str(w) for w in warnings if about in str(w)]

    def error(self, policy: str) -> str:
        (error,), _ = self.checked(policy)
        return error

    def test_good(self) -> None:
        self.write("users", f"a:{APR1}")
        self.write("keys", f'{{"keys": [{KEY}]}}', 0o644)
        self.assertEqual(self.checked(USERS), ([], []))
        self.assertEqual(self.checked(KEYS), ([], []))
        self.assertEqual(self.checked('jwt = { audience = "a", keys = "https://a/k" }'), ([], []))

    def test_place_and_what_is_wrong(self) -> None:
        for policy, place in (
            (USERS, "policies.p.basic_auth.users"),
            (KEYS, "policies.p.jwt.keys"),
        ):
            missing = self.error(policy)
            self.assertIn(f"edge.toml:{len(MINIMAL.splitlines()) + 2}: {place}", missing)
            self.assertIn("No such file", missing)
        self.write("users", "a:hunter2")
        error = self.error(USERS)
        self.assertIn("users: line 1: not a hash", error)
        self.assertNotIn("hunter2", error)
        self.write("keys", "{}")
        self.assertIn("keys: not a JSON Web Key Set", self.error(KEYS))

    def test_what_others_may_read(self) -> None:
        self.write("users", f"a:{APR1}", 0o604)
        (_, (warning,)) = self.checked(USERS)
        self.assertIn("users has mode 0604, so everybody can read it; chmod o-r it", warning)
        self.write("secret", "x" * 32, 0o644)
        os.environ["TXRPROXY_TEST_SECRET"] = "x" * 32
        self.addCleanup(os.environ.pop, "TXRPROXY_TEST_SECRET")
        for table, key in ((self.STICKY, "pools.q.sticky.secret"), (self.ADMIN, "admin.token")):
            _, (warning,) = self.checked("\n" + table.replace("SECRET", "file:secret"), f"{key}: ")
            self.assertIn(f"{key}: {self.folder}/secret has mode 0644, so everybody", warning)
            found = self.checked("\n" + table.replace("SECRET", "env:TXRPROXY_TEST_SECRET"), "has")
            self.assertEqual(found, ([], []))

    def test_authorities(self) -> None:
        (self.folder / "ca.pem").write_text("hunter2")
        for policy in (
            'forward_auth = { url = "https://a/", ca = "ca.pem" }',
            'jwt = { keys = "https://a/", audience = "a", ca = "ca.pem" }',
        ):
            error = self.error(policy)
            self.assertIn(f"policies.p.{policy.split()[0]}.ca: ", error)
            self.assertIn("ca.pem: no certificate in PEM form", error)

    def test_databases(self) -> None:
        (self.folder / "a.mmdb").write_bytes(database({}, "Test-ASN"))
        (self.folder / "c.mmdb").write_bytes(database({}, "Test-Country"))
        (self.folder / "bad").write_text("hunter2")
        for files, rules, expected in (
            ("c.mmdb", 'allow = ["CH", "AS", "unknown"]', ""),
            ("a.mmdb", 'deny = ["AS64500", "unknown"]', ""),
            ("c.mmdb a.mmdb", 'allow = ["CH"], deny = ["AS1"]', ""),
            ("c.mmdb", 'deny = ["AS64500"]', 'geo.deny[0]: found "AS64500", but no database'),
            ("a.mmdb", 'allow = ["CH"]', "of geo.files has countries"),
            ("c.mmdb bad", 'allow = ["CH"]', "geo.files[1]: "),
            ("bad", 'allow = ["CH"]', "bad: not a database in MaxMind's format"),
            ("missing", 'allow = ["CH"]', "missing: can not be read: No such file"),
        ):
            listed = ", ".join(f'"{file}"' for file in files.split())
            errors, _ = self.checked(f"geo = {{ files = [{listed}], {rules} }}")
            self.assertEqual(len(errors), 1 if expected else 0, (files, rules, errors))
            self.assertIn(expected, "".join(errors))
            self.assertNotIn("hunter2", "".join(errors))

    def test_variables(self) -> None:
        error = self.error('basic_auth = { users = "env:TXRPROXY_TEST_NOT_SET" }')
        self.assertIn("environment variable TXRPROXY_TEST_NOT_SET: is not set", error)

    STICKY = '[pools.q]\nbackends=["http://127.0.0.1:1"]\nsticky={cookie="c",secret="SECRET"}'
    ADMIN = '[admin]\ntoken = "SECRET"'

    def test_secrets_of_the_proxy(self) -> None:
        self.write("empty", " \n")
        self.write("short", "x" * 31 + "\n")
        self.write("good", "x" * 32 + "\n")
        for table, secret, expected in (
            (self.ADMIN, "file:short", ""),
            (self.ADMIN, "file:empty", "admin.token: {folder}/empty: is empty"),
            (self.ADMIN, "file:none", "admin.token: {folder}/none: can not be read: No such file"),
            (self.ADMIN, "env:TXRPROXY_TEST_NOT_SET", "TXRPROXY_TEST_NOT_SET: is not set"),
            (self.STICKY, "file:good", ""),
            (self.STICKY, "file:short", "pools.q.sticky.secret: {folder}/short: is shorter than"),
            (self.STICKY, "file:empty", "pools.q.sticky.secret: {folder}/empty: is empty"),
        ):
            errors, _ = self.checked("\n" + table.replace("SECRET", secret))
            self.assertEqual(len(errors), 1 if expected else 0, (table, secret, errors))
            self.assertIn(expected.format(folder=self.folder), "".join(errors))
            self.assertNotIn("xxx", "".join(errors))

    def test_without_the_extra(self) -> None:
        self.write("users", f"a:{BCRYPT}")
        self.write("keys", f'{{"keys": [{KEY}]}}')
        real = importlib.util.find_spec

        def without(name: str, *args: Any) -> Any:
            return None if name in ("bcrypt", "jwt", "maxminddb") else real(name, *args)

        self.patch(importlib.util, "find_spec", without)
        self.assertIn("needs bcrypt; install the extra", self.error(USERS))
        self.assertIn("needs jwt; install the extra", self.error(KEYS))
        geo = 'geo = { files = ["a.mmdb"], allow = ["CH"] }'
        self.assertIn(
            "needs maxminddb; install the extra: pip install 'txrproxy[geo]'", self.error(geo)
        )

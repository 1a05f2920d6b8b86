"""The files behind ``listeners.*.tls`` and ``pools.*.tls``: what check says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.tls.authority import Issued, authority
from txrproxy.config.certificates import sources
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load_with_warnings, loads
from txrproxy.config.values import Secret
from txrproxy.tls.certificates import Source

ROOT = authority()
CERT = 'certificates = [{ cert = "a.pem", key = "file:a.key" }]\n'


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        ROOT.issue("a.example").write(self.folder, "a")

    def write(self, issued: Issued, name: str) -> None:
        issued.write(self.folder, name)

    def checked(self, text: str) -> tuple[list[str], list[str]]:
        """Errors, then warnings, of the minimal configuration and more."""
        file = self.folder / "edge.toml"
        file.write_text(MINIMAL + text)
        try:
            _, warnings = load_with_warnings(file, files=True)
        except ConfigErrors as error:
            return [str(problem) for problem in error.problems], []
        return [], [str(warning) for warning in warnings]

    def tls(self, keys: str) -> tuple[list[str], list[str]]:
        return self.checked(f'[listeners.s]\nbind = ["127.0.0.1:1"]\n[listeners.s.tls]\n{keys}')

    def error(self, keys: str) -> str:
        (error,), _ = self.tls(keys)
        return error

    def warning(self, keys: str) -> str:
        errors, (warning,) = self.tls(keys)
        self.assertEqual(errors, [])
        return warning


class ErrorTests(Case):
    def test_good(self) -> None:
        self.assertEqual(self.tls(CERT), ([], []))

    def test_names_place_and_file(self) -> None:
        (self.folder / "a.pem").unlink()
        error = self.error(CERT)
        self.assertTrue(error.startswith(f"{self.folder}/edge.toml:12: "), error)
        self.assertIn("listeners.s.tls.certificates[0].cert: ", error)
        self.assertIn(f"{self.folder}/a.pem: can not be read: No such file", error)

    def test_mismatch(self) -> None:
        (self.folder / "a.key").write_bytes(ROOT.issue("b.example").key_pem)
        self.assertIn("not of the private key in", self.error(CERT))

    def test_weak(self) -> None:
        self.write(ROOT.issue("a.example", kind="RSA", bits=1024), "a")
        error = self.error(CERT)
        self.assertIn("certificates[0].cert: ", error)
        self.assertTrue(
            error.endswith(
                "a.pem: too weak to be served: a.example has an RSA key of 1024 bits, "
                "expected 2048 or more; make a new key, and have a certificate issued for it"
            ),
            error,
        )

    def test_bad_key_is_named_as_such(self) -> None:
        encrypted = (
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
        )
        for content in (b"", b"-----BEGIN PRIVATE KEY-----\n", encrypted, None):
            if content is None:
                (self.folder / "a.key").unlink()
            else:
                (self.folder / "a.key").write_bytes(content)
            error = self.error(CERT)
            self.assertIn("listeners.s.tls.certificates[0].key: ", error)
            self.assertIn(f"{self.folder}/a.key: ", error)
        error = self.error(CERT.replace("file:a.key", "env:NOT_SET_ANYWHERE"))
        self.assertIn("certificates[0].key: environment variable NOT_SET_ANYWHERE: ", error)
        error = self.error(CERT.replace("file:a.key", "file:a.pem"))
        self.assertIn("certificates[0].cert: ", error)  # one file: the one that is named first

    def test_client_authorities(self) -> None:
        keys = CERT + 'client_auth = "required"\nclient_ca = "ca.pem"\n'
        self.assertIn("ca.pem: can not be read", self.error(keys))
        (self.folder / "ca.pem").write_bytes(ROOT.pem)
        errors, warnings = self.tls(keys)
        self.assertEqual(errors, [])
        self.assertIn("serves all routes", "".join(warnings))

    def test_broken_certificate_and_authorities(self) -> None:
        errors, _ = self.tls(
            CERT.replace("a.pem", "b.pem") + 'client_auth = "required"\nclient_ca = "ca.pem"\n'
        )
        self.assertEqual(len(errors), 2)

    def test_authorities_named_twice_are_one_problem(self) -> None:
        (error,), _ = self.tls(
            'client_auth = "required"\nclient_ca = "ca.pem"\ncertificates = '
            '[{ cert = "a.pem", key = "file:a.key", client_ca = "ca.pem" }]\n'
        )
        self.assertIn("listeners.s.tls.client_ca: ", error)

    def test_client_authorities_of_one_certificate(self) -> None:
        keys = (
            'certificates = [{ cert = "a.pem", key = "file:a.key", client_auth = "required", '
            'client_ca = "no.pem" }, { cert = "a.pem", key = "file:a.key" }]\n'
        )
        self.assertTrue(any("certificates[0].client_ca: " in error for error in self.tls(keys)[0]))

    def test_client_auth_without_authorities(self) -> None:
        keys = 'certificates = [{ cert = "a.pem", key = "file:a.key", client_auth = "optional" }]\n'
        self.assertIn('certificates[0].client_auth: found "optional" without', self.error(keys))

    def test_disagreement(self) -> None:
        self.write(ROOT.issue("a.example", kind="RSA"), "r")
        keys = (
            'certificates = [{ cert = "a.pem", key = "file:a.key" }, '
            '{ cert = "r.pem", key = "file:r.key", min_version = "1.3" }]\n'
        )
        self.assertIn("tls.certificates: ", self.error(keys))
        self.assertIn("both serve a.example", self.error(keys))

    def test_all_at_once(self) -> None:
        errors, _ = self.tls(
            'certificates = [{ cert = "x.pem", key = "file:a.key" }, '
            '{ cert = "a.pem", key = "file:x.key" }]\nclient_ca = "x.pem"\nmin_version = "1.1"\n'
        )
        self.assertEqual(len(errors), 4)

    def test_files_are_left_alone_unless_asked_for(self) -> None:
        loads(MINIMAL + '[listeners.s]\nbind = ["127.0.0.1:1"]\n[listeners.s.tls]\n' + CERT)


class BackendTests(Case):
    def pool(self, tls: str) -> list[str]:
        file = self.folder / "edge.toml"
        file.write_text(MINIMAL.replace("[[routes]]", f"tls = {{ {tls} }}\n[[routes]]"))
        try:
            load_with_warnings(file, files=True, available=False)
        except ConfigErrors as error:
            return [str(problem) for problem in error.problems]
        return []

    def test_good(self) -> None:
        (self.folder / "ca.pem").write_bytes(ROOT.pem)
        self.assertEqual(self.pool('ca = "ca.pem", cert = "a.pem", key = "file:a.key"'), [])

    def test_bad(self) -> None:
        first, second = self.pool('ca = "ca.pem", cert = "b.pem", key = "file:a.key"')
        self.assertIn("pools.app.tls.ca: ", first)
        self.assertIn("pools.app.tls.cert: ", second)
        (self.folder / "ca.pem").write_bytes(ROOT.pem)
        (only,) = self.pool('ca = "ca.pem", cert = "a.pem", key = "file:b.key"')
        self.assertIn("pools.app.tls.key: ", only)


class WarningTests(Case):
    def test_soon(self) -> None:
        self.write(ROOT.issue("a.example", days=10), "a")
        warning = self.warning(CERT)
        self.assertIn("a.pem (a.example) expires on", warning)
        self.assertTrue(warning.startswith(f"{self.folder}/edge.toml:12: "), warning)

    def test_expired(self) -> None:
        self.write(ROOT.issue("a.example", days=-1), "a")
        self.assertIn("a.pem (a.example) EXPIRED", self.warning(CERT))

    def test_what_backends_are_shown(self) -> None:
        (self.folder / "ca.pem").write_bytes(ROOT.pem)
        pool = (
            '[pools.b]\nbackends = ["https://127.0.0.1:1"]\n[pools.b.tls]\nca = "ca.pem"\n'
            'cert = "c.pem"\nkey = "file:c.key"\n[[routes]]\nname = "b"\npool = "b"\n'
        )
        for days, why in ((-1, "EXPIRED on"), (10, "expires on"), (90, "")):
            self.write(ROOT.issue(subject="proxy", days=days, client=True), "c")
            errors, warnings = self.checked(pool)
            self.assertEqual(errors, [])
            told = [warning for warning in warnings if "pools.b.tls.cert: " in warning]
            self.assertEqual(len(told), bool(why))
            for warning in told:
                self.assertIn(f"{self.folder}/c.pem (CN=proxy) {why}", warning)

    def test_twice_the_same_name(self) -> None:
        self.write(ROOT.issue("a.example", "c.example"), "b")
        warning = self.warning(
            'certificates = [{ cert = "a.pem", key = "file:a.key" }, '
            '{ cert = "b.pem", key = "file:b.key" }]\n'
        )
        self.assertIn(f"a.example is served by {self.folder.resolve()}/a.pem before it", warning)

    def test_client_certificates_that_nobody_asks_for(self) -> None:
        route = (
            '[[routes]]\nname = "r"\npool = "app"\nmatch = { client_cert = { san = "DNS:a" } }\n'
        )
        text = MINIMAL.replace("[[routes]]", route + "[[routes]]", 1)
        file = self.folder / "edge.toml"
        file.write_text(text)
        _, (warning,) = load_with_warnings(file)
        self.assertIn("never matches: no listener asks for client certificates", str(warning))


class SourceTests(SynchronousTestCase):
    def test_own_rules_before_those_of_the_listener(self) -> None:
        config = loads(
            MINIMAL
            + """
[listeners.s]
bind = ["127.0.0.1:1"]
[listeners.s.tls]
min_version = "1.3"
client_auth = "required"
client_ca = "ca.pem"
certificates = [
  { cert = "a.pem", key = "env:A" },
  { cert = "b.pem", key = "env:B", min_version = "1.2", client_auth = "off", client_ca = "b-ca" },
]
""",
            base="/etc/edge",
        )
        tls: Any = config.listeners["s"].tls  # type: ignore[index]
        base = Path("/etc/edge")
        self.assertEqual(
            sources(tls, config.resolve),
            [
                Source(base / "a.pem", Secret("env", "A"), "1.3", "required", base / "ca.pem"),
                Source(base / "b.pem", Secret("env", "B"), "1.2", "off", base / "b-ca"),
            ],
        )

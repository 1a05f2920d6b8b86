"""The worked example of ``docs/tls.md``, run as it is written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.tls.authority import Issued
from tests.tls.handshake import client_context, shake
from txrproxy.config.certificates import sources
from txrproxy.config.toml import load_with_warnings
from txrproxy.http.security import security_lines
from txrproxy.tls.listener import ListenerTls
from txrproxy.tls.pem import parse_chain, parse_key
from txrproxy.tls.profiles import PROFILES

TEXT = (Path(__file__).parents[2] / "docs" / "tls.md").read_text(encoding="utf-8")
EXAMPLE = TEXT[TEXT.index("### A worked example") : TEXT.index("## Security fields")]


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", EXAMPLE, re.DOTALL)
    assert found is not None
    return found[1]


class ExampleTests(SynchronousTestCase):
    def test_example(self) -> None:
        if shutil.which("openssl") is None:
            raise SkipTest("openssl is not installed")
        folder = Path(self.mktemp())
        folder.mkdir()
        subprocess.run(
            ["sh", "-eu"],
            input=block("sh").encode(),
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
        file = folder / "edge.toml"
        file.write_text(block("toml"))
        config, warnings = load_with_warnings(file, files=True)
        self.assertEqual(warnings, ())
        settings: Any = config.listeners["https"].tls  # type: ignore[index]
        tls = ListenerTls(
            sources(settings, config.resolve),
            config.resolve,
            Clock(),
            lambda: 0.0,
            in_thread=maybeDeferred,
        )
        (certificate,) = parse_chain((folder / "tls/alice.pem").read_bytes(), "alice")
        alice = Issued(certificate, parse_key((folder / "tls/alice.key").read_bytes(), "alice"))
        outcome = shake(tls.contexts, b"localhost", client_context(certificate=alice))
        self.assertEqual(outcome.alert, "")
        peer = tls.peer(outcome.server, b"127.0.0.1", False)
        assert peer is not None
        for line in (
            b"X-Client-Cert-Verify: SUCCESS\r\n",
            b"X-Client-Cert-Subject: CN=alice,O=Example\r\n",
            b"X-Client-Cert-San: DNS:alice.example\r\n",
        ):
            self.assertIn(line, peer.tail)
            self.assertIn(line.decode().strip(), EXAMPLE)
        accepted = config.routes[0].match.client_cert
        assert accepted is not None
        assert peer.identity is not None
        self.assertEqual(set(accepted.subject), peer.identity.values("subject"))
        refused = shake(tls.contexts, b"localhost", client_context("1.3"))
        self.assertIn("certificate required", refused.alert)


class FactsTests(SynchronousTestCase):
    """Tables of the page against the code."""

    def test_security_fields(self) -> None:
        for level in ("basic", "strict"):
            for lines in security_lines(level):
                for line in lines:
                    name = line[2].partition(b":")[0].decode()
                    self.assertIn(f"`{name}`", TEXT)
                    if name != "Permissions-Policy" and "same" not in name:
                        self.assertIn(f"`{line[1].decode()}`", TEXT)

    def test_version_of_the_guidelines(self) -> None:
        from txrproxy.tls import profiles

        self.assertIn("version 6.0", TEXT)
        self.assertIn("version 6.0", profiles.__doc__ or "")
        self.assertEqual(set(PROFILES), {"intermediate", "modern"})

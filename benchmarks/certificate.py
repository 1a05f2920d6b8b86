"""The certificate that every subject shows in the TLS cases, and the client that trusts it.

ECDSA on P-256, self-signed, made anew for each invocation: what servers commonly have today, and
the same signature to compute for everyone.
"""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_REQUEST = ("req", "-x509", "-nodes", "-days", "90", "-subj", "/CN=localhost")
_NAMES = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
_P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class CertificateError(Exception):
    """openssl made none; the text ends with what it printed."""


@dataclass(frozen=True)
class Certificate:
    """PEM files; ``both`` has the certificate and then the key, as some peers want it."""

    cert: Path
    key: Path
    both: Path

    def trusting(self) -> ssl.SSLContext:
        """For clients that must see this certificate, over HTTP/1.1."""
        context = ssl.create_default_context(cafile=str(self.cert))
        context.set_alpn_protocols(["http/1.1"])
        return context


def make(folder: Path) -> Certificate:
    """Write a new one into ``folder``. Raises :exc:`CertificateError`."""
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
    folder.mkdir()
    command = ["openssl", *_REQUEST, *_NAMES, *_P256]
    command += ["-keyout", str(made.key), "-out", str(made.cert)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise CertificateError(done.stderr[-300:].strip())
    made.both.write_text(made.cert.read_text() + made.key.read_text())
    made.both.chmod(0o600)
    return made

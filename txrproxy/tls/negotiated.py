"""What two sides agreed upon in a handshake, as anybody may ask who holds a TLS layer."""

from __future__ import annotations

from cryptography import x509
from OpenSSL import SSL

from txrproxy.tls.openssl import session_reused


class Negotiated:
    """Answers by the ``connection``, while the handshake goes on and after."""

    __slots__ = ("connection",)

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection

    @property
    def alpn(self) -> bytes:
        """The application protocol agreed upon; empty without ALPN."""
        return self.connection.get_alpn_proto_negotiated()

    @property
    def server_name(self) -> bytes | None:
        """The name that the client asked for."""
        return self.connection.get_servername()

    @property
    def version(self) -> str:
        """Such as "TLSv1.3"."""
        return self.connection.get_protocol_version_name()

    @property
    def cipher(self) -> str | None:
        """OpenSSL's name of the cipher suite."""
        return self.connection.get_cipher_name()

    @property
    def resumed(self) -> bool:
        """Whether the handshake was an abbreviated one."""
        return session_reused(self.connection)

    @property
    def peer_certificate(self) -> x509.Certificate | None:
        """The peer's own; whether it was verified is up to the context."""
        return self.connection.get_peer_certificate(as_cryptography=True)

    @property
    def peer_chain(self) -> list[x509.Certificate]:
        """What the peer sent; a server's list does not begin with the client's own certificate."""
        return self.connection.get_peer_cert_chain(as_cryptography=True) or []

"""Handshakes in memory: an OpenSSL client against a server connection, no sockets."""

from __future__ import annotations

from typing import Any

from attrs import define
from cryptography import x509
from OpenSSL import SSL

from tests.tls.authority import Issued
from txrproxy.tls.binding import is_resumed

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def client_context(
    version: str | None = None,
    *,
    certificate: Issued | None = None,
    ciphers: bytes = b"",
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])
    if certificate is not None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
        for one in certificate.above:
            context.add_extra_chain_cert(one)
    if ciphers:
        context.set_cipher_list(ciphers)
    return context


@define
class Outcome:
    """How a handshake went. ``alert`` is what the client was told when it was refused."""

    client: SSL.Connection
    server: SSL.Connection
    alert: str = ""
    refusal: str = ""
    session: Any = None
    staple: bytes = b""

    @property
    def certificate(self) -> x509.Certificate | None:
        return self.client.get_peer_certificate(as_cryptography=True)

    @property
    def resumed(self) -> bool:
        return is_resumed(self.server)


def shake(
    contexts: Any,
    name: bytes | None = b"a.example",
    context: SSL.Context | None = None,
    *,
    alpn: tuple[bytes, ...] = (),
    session: Any = None,
    staple: bool = False,
    split: int = 0,
) -> Outcome:
    """A whole handshake and a byte in each direction, so that tickets have arrived.

    With ``split``, the first flight arrives in two pieces, the first of this size.
    """
    context = context or client_context()
    client = SSL.Connection(context)
    if name is not None:
        client.set_tlsext_host_name(name)
    if alpn:
        client.set_alpn_protos(list(alpn))
    if session is not None:
        client.set_session(session)
    if staple:
        client.request_ocsp()
    client.set_connect_state()
    server = contexts.connection()
    outcome = Outcome(client, server)
    try:
        client.do_handshake()
    except SSL.WantReadError:
        hello = client.bio_read(1 << 20)
        greet = getattr(contexts, "greet", lambda connection, data: True)
        if split:
            assert not greet(server, hello[:split])
        assert greet(server, hello)
        server.bio_write(hello)
    for _ in range(6):
        for mine, other in ((client, server), (server, client)):
            try:
                mine.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                text = error.args[0][-1][-1] if error.args and error.args[0] else ""
                if mine is client:
                    outcome.alert = outcome.alert or text
                else:
                    outcome.refusal = outcome.refusal or text
            try:
                other.bio_write(mine.bio_read(1 << 20))
            except SSL.Error:
                pass
    # In TLS 1.3 the client is through before the server has judged its certificate.
    try:
        client.recv(1)
    except SSL.WantReadError:
        pass
    except SSL.Error as error:
        text = error.args[0][-1][-1] if error.args and error.args[0] else ""
        outcome.alert = outcome.alert or text
    if not outcome.alert:
        outcome.session = client.get_session()
        # A connection that ends without a close_notify spoils its session.
        client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        server.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    return outcome
